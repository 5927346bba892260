//! The Pod's sandbox: its namespaces, pause that holds them, and the Pod's tmpfs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use linux::cgroup::Cgroup;
use linux::clone::{self, Cloned, SingleThreaded};
use linux::exec::Arguments;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::requests::{Answer, Caller, refusal};
use super::start::Birth;
use super::{Role, Shim, time};
use crate::execute::{Attempt, Report, Reporter, failure, report_channel, tmpfs};
use crate::plan::{FurniturePlan, SandboxPlan};
use crate::protocol::{Reply, StartError, StartErrorKind, Step, TmpfsMount, UnixNanos};

/// The sandbox that stands or is being made.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) key: String,
    pub(super) pid: i32,
    /// Pause, and by it the namespaces it holds.
    pub(super) pidfd: OwnedFd,
    pub(super) netns: OwnedFd,
    pub(super) created_at: UnixNanos,
    /// Whether containers share pause's PID namespace.
    pub(super) shares_processes: bool,
    /// POSIX shared memory, mounted in the shim's mount namespace.
    shm: Option<PathBuf>,
    /// Whether pause has been told to end.
    pub(super) stopping: bool,
}

/// Gives the shim mounts of its own: it sees what the host mounts, and the host sees nothing of the Pod's.
pub(super) fn enter_own_mount_namespace(single: SingleThreaded) -> io::Result<()> {
    clone::unshare(single, clone::NEW_MOUNT)?;
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

impl Shim {
    /// Makes the namespaces, and pause in them from the program in `pause`.
    pub(super) fn create_sandbox(
        &mut self,
        key: String,
        plan: SandboxPlan,
        pause: Option<OwnedFd>,
    ) -> Answer {
        if let Some(sandbox) = &self.sandbox {
            if sandbox.key != key {
                let message = format!("the sandbox {} stands already", sandbox.key);
                return Err(refusal(StartErrorKind::Conflict, message));
            }
            return self.sandbox_reply().map(Some);
        }
        let pause = pause.ok_or_else(|| {
            refusal(StartErrorKind::Setup, "the program of pause did not come with the request".to_owned())
        })?;
        let (channel, reporter) =
            report_channel().attempt(Step::Namespaces, || "make a report channel".to_owned())?;
        let cloned = clone::clone3(self.single, plan.new_namespaces, None)
            .attempt(Step::Namespaces, || "make the namespaces of the Pod".to_owned())?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => become_pause(&plan, &pause, &reporter, self),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(reporter);
        self.processes.insert(pid, Role::Pause);
        let netns = self
            .proc
            .namespace(pid, "net")
            .attempt(Step::Namespaces, || "open the network namespace of the Pod".to_owned())?;
        self.failed_sandbox = None;
        self.sandbox = Some(Sandbox {
            key,
            pid,
            pidfd,
            netns,
            created_at: time::now(),
            shares_processes: plan.new_namespaces & clone::NEW_PID != 0,
            shm: None,
            stopping: false,
        });
        self.add_birth(channel, Birth::of_pause(pid))?;
        self.sandbox_reply().map(Some)
    }

    /// Makes what the containers share, while pause becomes what it is; answered when both are done.
    pub(super) fn furnish_sandbox(&mut self, caller: Caller, key: &str, plan: &FurniturePlan) -> Answer {
        if self.sandbox.as_ref().is_none_or(|sandbox| sandbox.key != key) {
            let failed = self.failed_sandbox.take().filter(|(failed, _)| failed == key);
            return Err(failed.map_or_else(
                || refusal(StartErrorKind::Setup, format!("there is no sandbox {key}")),
                |(_, failure)| failure,
            ));
        }
        if let Err(failure) = self.furnish(plan) {
            self.abandon_sandbox();
            return Err(failure);
        }
        match self.births.values_mut().find(|birth| birth.role == Role::Pause) {
            Some(birth) => {
                birth.callers.push(caller);
                Ok(None)
            }
            None => Ok(super::requests::done(())),
        }
    }

    /// Pause could not become what it should: told to who waits for it, or else to who asks next.
    pub(super) fn sandbox_failed(&mut self, pid: i32, failure: &StartError) {
        self.processes.remove(&pid);
        if let Some(sandbox) = self.drop_sandbox() {
            self.failed_sandbox = Some((sandbox.key, failure.clone()));
        }
    }

    fn furnish(&mut self, plan: &FurniturePlan) -> Result<(), StartError> {
        self.make_cgroups(plan)?;
        for volume in &plan.volumes {
            if !self.memory_volumes.contains(&volume.path) {
                tmpfs(volume)?;
                self.memory_volumes.push(volume.path.clone());
            }
        }
        let stands = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.shm.is_some());
        let Some(shm) = plan.shm.as_ref().filter(|_| !stands) else { return Ok(()) };
        let shm = TmpfsMount { path: self.pod_dir.join(&shm.path), ..shm.clone() };
        tmpfs(&shm)?;
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.shm = Some(shm.path);
        }
        Ok(())
    }

    /// Ends a pause whose sandbox could not be furnished. Its end is no event: it never stood.
    fn abandon_sandbox(&mut self) {
        if let Some(sandbox) = self.drop_sandbox() {
            self.processes.remove(&sandbox.pid);
            let _ = rustix::process::pidfd_send_signal(&sandbox.pidfd, Signal::KILL);
        }
    }

    fn make_cgroups(&self, plan: &FurniturePlan) -> Result<(), StartError> {
        let ensure = |path: &str| {
            let cgroup = Cgroup::ensure(&self.hierarchy, path).map_err(io::Error::other);
            cgroup.attempt(Step::Cgroup, || format!("make cgroup {path}"))
        };
        let limited = ensure(&self.cgroup)?.apply(&plan.limits).map(drop).map_err(io::Error::other);
        limited.attempt(Step::Cgroup, || format!("limit the Pod's cgroup {}", self.cgroup))?;
        plan.cgroups.iter().try_for_each(|path| ensure(path).map(drop))
    }

    /// The answer to CreateSandbox.
    fn sandbox_reply(&self) -> Result<(Reply, Vec<OwnedFd>), StartError> {
        let Some(sandbox) = &self.sandbox else {
            return Err(refusal(StartErrorKind::Setup, "there is no sandbox".to_owned()));
        };
        let netns = sandbox
            .netns
            .try_clone()
            .attempt(Step::Namespaces, || "copy the descriptor of the network namespace".to_owned())?;
        Ok((Reply::Sandbox { pause_pid: sandbox.pid, created_at: sandbox.created_at }, vec![netns]))
    }

    /// Tells pause to end; the answer comes when it has.
    pub(super) fn stop_sandbox(&mut self, caller: Caller) -> Answer {
        let Some(sandbox) = &mut self.sandbox else { return Ok(super::requests::done(())) };
        sandbox.stopping = true;
        let _ = rustix::process::pidfd_send_signal(&sandbox.pidfd, Signal::KILL);
        self.stopping_sandbox.push(caller);
        Ok(None)
    }

    /// Forgets a sandbox whose pause has ended, and unmounts its shared memory. Memory volumes stay.
    pub(super) fn drop_sandbox(&mut self) -> Option<Sandbox> {
        let sandbox = self.sandbox.take()?;
        if let Some(shm) = &sandbox.shm {
            let _ = unmount(shm, UnmountFlags::DETACH);
        }
        Some(sandbox)
    }
}

/// What the cloned process does: settings of its namespaces, then pause.
fn become_pause(plan: &SandboxPlan, pause: &OwnedFd, reporter: &Reporter, shim: &Shim) -> ! {
    let failed = settle(plan, pause, reporter, shim).unwrap_or_else(|failed| failed);
    reporter.fail(&failed);
    clone::exit(1)
}

fn settle(
    plan: &SandboxPlan,
    pause: &OwnedFd,
    reporter: &Reporter,
    shim: &Shim,
) -> Result<StartError, StartError> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .attempt(Step::Setting, || format!("set the host name to {name}"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .attempt(Step::Setting, || format!("set the domain name to {name}"))?;
    }
    for (name, value) in &plan.sysctls {
        shim.proc.sysctl(name, value).attempt(Step::Setting, || format!("set sysctl {name} to {value:?}"))?;
    }
    linux::exec::reset_own_signals();
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())
        .attempt(Step::Stdio, || "open /dev/null".to_owned())?;
    for number in 0..=2 {
        linux::exec::replace_stdio(null.as_fd(), number)
            .attempt(Step::Stdio, || "set the standard streams".to_owned())?;
    }
    let _ = rustix::process::setsid();
    set_parent_process_death_signal(Some(Signal::KILL))
        .attempt(Step::Exec, || "ask to die with the shim".to_owned())?;
    linux::exec::close_all_on_exec().attempt(Step::Exec, || "close descriptors".to_owned())?;
    reporter.report(&Report::Ready);
    let arguments = Arguments::new(vec![CString::from(c"/pause")], Vec::new());
    Ok(failure(Step::Exec, "run pause", arguments.execute_descriptor(pause.as_fd())))
}
