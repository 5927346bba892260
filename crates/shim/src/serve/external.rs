//! Containers made by another OCI runtime (crun, runc) from a bundle.
//!
//! A child of the shim, with mounts of its own, prepares the root filesystem and runs `create` and `start`. The
//! runtime's processes end; the container's first process becomes the shim's child, because the shim is a
//! subreaper, and from there on it is a container like every other.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use linux::cgroup::{Cgroup, Hierarchy};
use linux::clone::{self, Cloned, SingleThreaded};
use linux::exec::Arguments;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::container::{Container, make_pipes, open_log};
use super::requests::{Answer, Caller};
use super::start::Birth;
use super::{Role, Shim};
use crate::execute::{Attempt, Executor, Proc, Report, Reporter, Streams, failure, report_channel};
use crate::plan::ExternalPlan;
use crate::protocol::{ContainerState, StartError, Step};

/// How another runtime is called for a container.
#[derive(Clone, Debug)]
pub(super) struct External {
    runtime: PathBuf,
    state_dir: PathBuf,
    bundle: PathBuf,
    id: String,
}

/// What the child that calls the runtime works with.
struct RuntimeCall<'a> {
    single: SingleThreaded,
    external: &'a External,
    streams: &'a Streams,
}

impl Shim {
    /// Makes a container by another runtime.
    pub(super) fn start_external(&mut self, caller: Caller, key: String, mut plan: ExternalPlan) -> Answer {
        if let Some(answer) = self.answer_again(caller, &key) {
            return answer;
        }
        self.mount_layers(&mut plan.operations)?;
        self.take_over_cgroup(&plan.cgroup)?;
        let cgroup = Cgroup::open(&self.hierarchy, &plan.cgroup)
            .map_err(io::Error::other)
            .attempt(Step::Cgroup, || format!("name cgroup {}", plan.cgroup))?;
        let log = open_log(&plan.log)?;
        let mut pipes = make_pipes(plan.stdin)?;
        let given = std::mem::take(&mut pipes.given);
        let streams = Streams::new(given).attempt(Step::Stdio, || "open /dev/null".to_owned())?;
        let external = External {
            runtime: plan.runtime.clone(),
            state_dir: plan.state_dir.clone(),
            bundle: plan.bundle.clone(),
            id: plan.id.clone(),
        };
        let (channel, reporter) =
            report_channel().attempt(Step::Stage, || "make a report channel".to_owned())?;
        let cloned = clone::clone3(self.single, clone::NEW_MOUNT, None)
            .attempt(Step::Namespaces, || "clone a process for the runtime".to_owned())?;
        let (pid, _) = match cloned {
            Cloned::Child => {
                let runtime = RuntimeCall { single: self.single, external: &external, streams: &streams };
                let outcome = create_and_start(&runtime, &plan, &self.proc, &self.hierarchy, &reporter);
                leave(outcome, &reporter)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((reporter, streams));
        let container = Container {
            state: ContainerState::Starting,
            oom_kills_before: cgroup.oom_kills().unwrap_or(0),
            cgroup,
            owns_cgroup: true,
            seccomp: plan.seccomp.map(|filter| self.share_filter(filter)),
            pidfd: None,
            started: None,
            log,
            is_signalled: false,
            stdin: None,
            terminal: None,
            leaves_processes: true,
            external: Some(external),
        };
        self.containers.insert(key.clone(), container);
        self.adopt_pipes(&key, pipes)?;
        self.processes.insert(pid, Role::Runtime);
        self.add_birth(channel, Birth::new(pid, Role::Container(key), caller))?;
        Ok(None)
    }

    /// Has the runtime forget a container. With a caller, that one is answered when it has.
    pub(super) fn delete_external(
        &mut self,
        caller: Option<Caller>,
        external: &External,
    ) -> Result<(), StartError> {
        let (channel, reporter) =
            report_channel().attempt(Step::Stage, || "make a report channel".to_owned())?;
        let streams =
            Streams::new([None, None, None]).attempt(Step::Stdio, || "open /dev/null".to_owned())?;
        let cloned = clone::clone3(self.single, clone::NEW_MOUNT, None)
            .attempt(Step::Namespaces, || "clone a process for the runtime".to_owned())?;
        let pid = match cloned {
            Cloned::Child => {
                let runtime = RuntimeCall { single: self.single, external, streams: &streams };
                hide_unified(&self.hierarchy);
                let outcome = runtime.call(&["delete", "--force"], &[]);
                leave(outcome, &reporter)
            }
            Cloned::Parent { pid, .. } => pid,
        };
        drop(reporter);
        self.processes.insert(pid, Role::Runtime);
        self.add_birth(channel, Birth::for_runtime(pid, caller))
    }
}

/// Ends the child with what became of it.
fn leave(outcome: Result<(), StartError>, reporter: &Reporter) -> ! {
    match outcome {
        Ok(()) => reporter.report(&Report::Ready),
        Err(failure) => reporter.fail(&failure),
    }
    clone::exit(0)
}

fn create_and_start(
    runtime: &RuntimeCall<'_>,
    plan: &ExternalPlan,
    proc: &Proc,
    hierarchy: &Hierarchy,
    reporter: &Reporter,
) -> Result<(), StartError> {
    let mut executor = Executor::new(proc, hierarchy, &plan.cgroup);
    for operation in &plan.operations {
        executor.execute(operation)?;
    }
    hide_unified(hierarchy);
    let pid_file = plan.bundle.join("pid");
    let bundle = plan.bundle.as_os_str();
    runtime.call(
        &["create"],
        &[OsStr::new("--bundle"), bundle, OsStr::new("--pid-file"), pid_file.as_os_str()],
    )?;
    let pid = std::fs::read_to_string(&pid_file)
        .and_then(|text| text.trim().parse().map_err(io::Error::other))
        .attempt(Step::Runtime, || format!("read the pid from {}", pid_file.display()))?;
    reporter.report(&Report::Pid(pid));
    runtime.call(&["start"], &[])
}

/// crun before 1.9 refuses machines that have a v2 tree beside v1's controllers, so that tree is not shown to it.
fn hide_unified(hierarchy: &Hierarchy) {
    if let Hierarchy::V1 { unified: Some(mount_point), .. } = hierarchy {
        let _ = unmount(mount_point, UnmountFlags::DETACH);
    }
}

impl RuntimeCall<'_> {
    /// Runs the runtime with a subcommand and waits for its end.
    fn call(&self, subcommand: &[&str], options: &[&OsStr]) -> Result<(), StartError> {
        let External { runtime, state_dir, bundle, id } = self.external;
        let log = bundle.join("runtime.log");
        let mut words: Vec<&OsStr> = vec![
            runtime.as_os_str(),
            OsStr::new("--root"),
            state_dir.as_os_str(),
            OsStr::new("--log"),
            log.as_os_str(),
        ];
        words.extend(subcommand.iter().map(OsStr::new));
        words.extend(options);
        words.push(OsStr::new(id));
        let what = || format!("run {} {}", runtime.display(), subcommand.join(" "));
        let status = self.run(&words).attempt(Step::Runtime, what)?;
        if status == 0 {
            return Ok(());
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let said = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
        Err(failure(Step::Runtime, &what(), io::Error::other(format!("exit code {status}: {said}"))))
    }

    fn run(&self, words: &[&OsStr]) -> io::Result<i32> {
        let strings = |words: &mut dyn Iterator<Item = Vec<u8>>| -> io::Result<Vec<CString>> {
            words.map(|word| CString::new(word).map_err(io::Error::other)).collect()
        };
        let arguments = strings(&mut words.iter().map(|word| word.as_bytes().to_vec()))?;
        let environment =
            vec![CString::from(c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];
        let program = arguments[0].clone();
        let arguments = Arguments::new(arguments, environment);
        match clone::clone3(self.single, 0, None)? {
            Cloned::Child => {
                linux::exec::reset_own_signals();
                let ready =
                    self.streams.install_for_runtime().and_then(|()| linux::exec::close_all_on_exec());
                if ready.is_ok() {
                    let _ = arguments.execute(&program);
                }
                clone::exit(127)
            }
            Cloned::Parent { pidfd, .. } => wait_for(&pidfd),
        }
    }
}

fn wait_for(child: &OwnedFd) -> io::Result<i32> {
    loop {
        match waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(status) => {
                return Ok(status.and_then(|status| status.exit_status()).unwrap_or(255));
            }
        }
    }
}
