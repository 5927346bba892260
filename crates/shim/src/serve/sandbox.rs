//! The Pod's sandbox: its namespaces, pause that holds them, and the Pod's tmpfs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use linux::cgroup::Cgroup;
use linux::clone::{self, Cloned};
use linux::exec::Arguments;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::requests::{Answer, Caller, refusal};
use super::start::Birth;
use super::users::Users;
use super::{Role, Shim, time};
use crate::execute::{Attempt, Report, Reporter, failure, report_channel, tmpfs};
use crate::plan::SandboxPlan;
use crate::protocol::{Reply, StartError, StartErrorKind, Step, TmpfsMount, UnixNanos};

/// The sandbox that stands or is being made.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) key: String,
    pub(super) pid: i32,
    /// Pause, and by it the namespaces it holds.
    pub(super) pidfd: OwnedFd,
    pub(super) created_at: UnixNanos,
    /// Whether containers share pause's PID namespace.
    pub(super) shares_processes: bool,
    /// The Pod's user namespace, unless that is the machine's.
    pub(super) users: Option<Users>,
    /// POSIX shared memory, mounted in the shim's mount namespace.
    shm: Option<PathBuf>,
    /// Whether pause has been told to end.
    pub(super) stopping: bool,
}

impl Shim {
    /// Starts pause in the Pod's namespaces. `descriptors`: the program of pause, the network namespace, and the user
    /// namespace.
    pub(super) fn create_sandbox(
        &mut self,
        caller: Caller,
        key: String,
        plan: SandboxPlan,
        descriptors: Vec<OwnedFd>,
    ) -> Answer {
        if let Some(sandbox) = &self.sandbox {
            if sandbox.key != key {
                let message = format!("the sandbox {} stands already", sandbox.key);
                return Err(refusal(StartErrorKind::Conflict, message));
            }
            if let Some(birth) = self.births.values_mut().find(|birth| birth.role == Role::Pause) {
                birth.callers.push(caller);
                return Ok(None);
            }
            return self.sandbox_reply().map(Some);
        }
        let mut descriptors = descriptors.into_iter();
        let pause = descriptors.next().ok_or_else(|| {
            refusal(StartErrorKind::Setup, "the program of pause did not come with the request".to_owned())
        })?;
        let (netns, users) = (descriptors.next(), descriptors.next());
        let (channel, reporter) =
            report_channel().attempt(Step::Namespaces, || "make a report channel".to_owned())?;
        let cloned = match &users {
            Some(users) => self.clone_among(users, plan.new_namespaces),
            None => clone::clone3(self.single, plan.new_namespaces, None),
        };
        let cloned = cloned.attempt(Step::Namespaces, || "make the namespaces of the Pod".to_owned())?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => become_pause(&plan, &pause, netns.as_ref(), &reporter, self),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(reporter);
        self.processes.insert(pid, Role::Pause);
        let users = users.map(|namespace| self.users_of(pid, namespace)).transpose();
        let users = users.inspect_err(|_| {
            self.processes.remove(&pid);
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        })?;
        self.sandbox = Some(Sandbox {
            key,
            pid,
            pidfd,
            created_at: time::now(),
            shares_processes: plan.new_namespaces & clone::NEW_PID != 0,
            users,
            shm: None,
            stopping: false,
        });
        // On this side while the other one becomes pause.
        if let Err(failure) = self.furnish(&plan) {
            self.abandon_sandbox();
            return Err(failure);
        }
        self.add_birth(channel, Birth::new(pid, Role::Pause, caller))?;
        Ok(None)
    }

    /// Makes the cgroups and mounts the Pod's tmpfs.
    fn furnish(&mut self, plan: &SandboxPlan) -> Result<(), StartError> {
        self.make_cgroups(plan)?;
        for volume in &plan.volumes {
            if !self.memory_volumes.contains(&volume.path) {
                tmpfs(volume)?;
                self.memory_volumes.push(volume.path.clone());
            }
        }
        let Some(shm) = &plan.shm else { return Ok(()) };
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

    fn make_cgroups(&self, plan: &SandboxPlan) -> Result<(), StartError> {
        let ensure = |path: &str| {
            let cgroup = Cgroup::ensure(&self.hierarchy, path).map_err(io::Error::other);
            cgroup.attempt(Step::Cgroup, || format!("make cgroup {path}"))
        };
        let limited = ensure(&self.cgroup)?.apply(&plan.limits).map(drop).map_err(io::Error::other);
        limited.attempt(Step::Cgroup, || format!("limit the Pod's cgroup {}", self.cgroup))?;
        plan.cgroups.iter().try_for_each(|path| ensure(path).map(drop))
    }

    /// The answer to CreateSandbox.
    pub(super) fn sandbox_reply(&self) -> Result<(Reply, Vec<OwnedFd>), StartError> {
        let sandbox = self.sandbox.as_ref();
        let sandbox =
            sandbox.ok_or_else(|| refusal(StartErrorKind::Setup, "there is no sandbox".to_owned()))?;
        Ok((Reply::Sandbox { pause_pid: sandbox.pid, created_at: sandbox.created_at }, Vec::new()))
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
fn become_pause(
    plan: &SandboxPlan,
    pause: &OwnedFd,
    netns: Option<&OwnedFd>,
    reporter: &Reporter,
    shim: &Shim,
) -> ! {
    let failed = settle(plan, pause, netns, reporter, shim).unwrap_or_else(|failed| failed);
    reporter.fail(&failed);
    clone::exit(1)
}

fn settle(
    plan: &SandboxPlan,
    pause: &OwnedFd,
    netns: Option<&OwnedFd>,
    reporter: &Reporter,
    shim: &Shim,
) -> Result<StartError, StartError> {
    if let Some(netns) = netns {
        clone::join_namespaces(netns.as_fd(), clone::NEW_NETWORK)
            .attempt(Step::Namespaces, || "join the network namespace of the Pod".to_owned())?;
    }
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
