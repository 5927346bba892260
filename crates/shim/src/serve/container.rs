//! Containers: starting, signalling, killing and forgetting them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use linux::cgroup::{Cgroup, Limits};
use linux::clone::{self, CloneFlags, Cloned};
use linux::seccomp::Filter;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::external::External;
use super::log::{Log, Stream};
use super::requests::{Answer, Caller, done, refusal};
use super::start::Birth;
use super::{Role, Shim};
use crate::execute::{Attempt, ForeignUsers, Streams, Surroundings, become_container, report_channel};
use crate::plan::{ContainerPlan, DeviceAccess, JoinedNamespace, NamespaceOwner};
use crate::protocol::{ContainerState, LogConfig, Reply, StartError, StartErrorKind, Step, UnixNanos};

/// How long the removal of a cgroup waits for processes that were killed; longer only a hung mount makes it.
pub(super) const EMPTY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pipes of a container's output hold.
const PIPE_BYTES: usize = 256 << 10;

/// A container, from its request until Remove.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) state: ContainerState,
    pub(super) cgroup: Cgroup,
    /// Whether the cgroup is still this container's: its next attempt takes it over.
    pub(super) owns_cgroup: bool,
    /// How many processes the kernel had killed there for lack of memory before this attempt.
    pub(super) oom_kills_before: u64,
    /// The system call filter, for execs.
    pub(super) seccomp: Option<Rc<Filter>>,
    /// Its first process.
    pub(super) pidfd: Option<OwnedFd>,
    /// The pid and time of its start, also after its end.
    pub(super) started: Option<(i32, UnixNanos)>,
    pub(super) log: Log,
    /// Whether it was sent its stop signal.
    pub(super) is_signalled: bool,
    /// The write end of its standard input, if that is kept open.
    pub(super) stdin: Option<OwnedFd>,
    /// The master of its terminal.
    pub(super) terminal: Option<OwnedFd>,
    /// Whether its processes outlive its first one unless they are killed: it has no PID namespace of its own.
    pub(super) leaves_processes: bool,
    /// How another runtime made it.
    pub(super) external: Option<External>,
}

/// The ends of a container's streams that it gets.
pub(super) struct Pipes {
    pub(super) given: [Option<OwnedFd>; 3],
    pub(super) kept_stdin: Option<OwnedFd>,
    pub(super) kept_outputs: [OwnedFd; 2],
}

/// A pidfd of a child; none if it has ended already.
pub(super) fn open_pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

impl Container {
    /// Whether the kernel killed one of its processes for lack of memory.
    pub(super) fn oom_killed(&self) -> bool {
        self.cgroup.oom_kills().is_ok_and(|kills| kills > self.oom_kills_before)
    }
}

impl Shim {
    /// Makes a container.
    pub(super) fn start_container(&mut self, caller: Caller, key: String, mut plan: ContainerPlan) -> Answer {
        if let Some(answer) = self.answer_again(caller, &key) {
            return answer;
        }
        self.mount_layers(&mut plan.operations)?;
        self.take_over_cgroup(&plan.cgroup)?;
        let (cgroup, warnings) = self.make_cgroup(&plan.cgroup, &plan.limits, &plan.devices)?;
        let oom_kills_before = cgroup.oom_kills().unwrap_or(0);
        let started = self.clone_container(&key, &plan, &cgroup);
        let (pid, pidfd, channel, log, pipes) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = cgroup.remove(EMPTY_TIMEOUT);
                return Err(error);
            }
        };
        let shares = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.shares_processes);
        let is_forerunner = has_own_users(&plan);
        let container = Container {
            state: ContainerState::Starting,
            cgroup,
            owns_cgroup: true,
            oom_kills_before,
            seccomp: plan.process.seccomp.map(|filter| self.share_filter(filter)),
            pidfd: (!is_forerunner).then_some(pidfd),
            started: None,
            log,
            is_signalled: false,
            stdin: None,
            terminal: None,
            leaves_processes: shares || plan.new_namespaces & clone::NEW_PID == 0,
            external: None,
        };
        self.containers.insert(key.clone(), container);
        if let Some(pipes) = pipes {
            self.adopt_pipes(&key, pipes)?;
        }
        // A forerunner tells who the container is.
        let role = if is_forerunner { Role::Runtime } else { Role::Container(key.clone()) };
        self.processes.insert(pid, role);
        self.add_birth(channel, Birth::new(pid, Role::Container(key), caller).with_warnings(warnings))?;
        Ok(None)
    }

    /// Takes the cgroup from an earlier attempt that has ended. It is made anew: its last processes and its counters
    /// are not the new one's, and Linux 6.14 to 6.18 kill whatever is cloned into a cgroup that `cgroup.kill` was once
    /// written to.
    pub(super) fn take_over_cgroup(&mut self, path: &str) -> Result<(), StartError> {
        for (key, other) in &mut self.containers {
            if other.cgroup.path() != path || !other.owns_cgroup {
                continue;
            }
            if matches!(other.state, ContainerState::Starting | ContainerState::Running { .. }) {
                let message = format!("container {key} still runs in cgroup {path}");
                return Err(refusal(StartErrorKind::Conflict, message));
            }
            other.owns_cgroup = false;
            other
                .cgroup
                .kill_all()
                .and_then(|()| other.cgroup.remove(EMPTY_TIMEOUT))
                .map_err(io::Error::other)
                .attempt(Step::Cgroup, || format!("clear cgroup {path} of {key}"))?;
        }
        Ok(())
    }

    /// One copy of a filter serves all containers that have it.
    pub(super) fn share_filter(&self, filter: Filter) -> Rc<Filter> {
        let same = |container: &Container| container.seccomp.clone().filter(|known| **known == filter);
        self.containers.values().find_map(same).unwrap_or_else(|| Rc::new(filter))
    }

    /// Answers a key that was seen before with what became of it.
    pub(super) fn answer_again(&mut self, caller: Caller, key: &str) -> Option<Answer> {
        let container = self.containers.get(key)?;
        if let ContainerState::Failed(failure) = &container.state {
            return Some(Err(failure.clone()));
        }
        if let Some((pid, started_at)) = container.started {
            return Some(Ok(Some((Reply::Started { pid, started_at, warnings: Vec::new() }, Vec::new()))));
        }
        let role = Role::Container(key.to_owned());
        let birth = self.births.values_mut().find(|birth| birth.role == role)?;
        birth.callers.push(caller);
        Some(Ok(None))
    }

    pub(super) fn make_cgroup(
        &self,
        path: &str,
        limits: &Limits,
        devices: &DeviceAccess,
    ) -> Result<(Cgroup, Vec<String>), StartError> {
        let describe = || format!("make cgroup {path}");
        let make = || -> io::Result<(Cgroup, Vec<String>)> {
            let cgroup = Cgroup::ensure(&self.hierarchy, path).map_err(io::Error::other)?;
            let unhonoured = cgroup.apply(limits).map_err(io::Error::other)?;
            self.restrict_devices(&cgroup, devices)?;
            Ok((cgroup, unhonoured))
        };
        let (cgroup, unhonoured) = make().attempt(Step::Cgroup, describe)?;
        let warn = |file: String| format!("a limit does not hold: this kernel has no cgroup file {file}");
        Ok((cgroup, unhonoured.into_iter().map(warn).collect()))
    }

    fn restrict_devices(&self, cgroup: &Cgroup, devices: &DeviceAccess) -> io::Result<()> {
        if !cgroup.is_v2() {
            for lines in devices.v1.chunk_by(|one, next| one.0 == next.0) {
                let texts = lines.iter().map(|(_, line)| line.as_str());
                cgroup.write_lines("devices", &lines[0].0, texts).map_err(io::Error::other)?;
            }
            return Ok(());
        }
        let Some(program) = &devices.v2 else { return Ok(()) };
        let program = linux::bpf::load_device_program(program).map_err(io::Error::other)?;
        let Some(directory) = cgroup.dir_fd().map_err(io::Error::other)? else { return Ok(()) };
        linux::bpf::attach_device_program(directory.as_fd(), program.as_fd()).map_err(io::Error::other)
    }

    /// Clones the process that becomes the container.
    #[allow(clippy::type_complexity, reason = "the parts of one container, taken apart by the only caller")]
    fn clone_container(
        &mut self,
        key: &str,
        plan: &ContainerPlan,
        cgroup: &Cgroup,
    ) -> Result<(i32, OwnedFd, OwnedFd, Log, Option<Pipes>), StartError> {
        let log = open_log(&plan.log)?;
        let mut pipes = match plan.process.terminal {
            Some(_) => None,
            None => Some(make_pipes(plan.stdin)?),
        };
        let given = pipes.as_mut().map(|pipes| std::mem::take(&mut pipes.given)).unwrap_or_default();
        let streams = Streams::new(given).attempt(Step::Stdio, || "open /dev/null".to_owned())?;
        let (namespaces, pid_namespace) = self.namespaces_to_join(&plan.joined_namespaces)?;
        let (join_files, directory) = join_handles(cgroup)?;
        let (channel, reporter) =
            report_channel().attempt(Step::Stage, || "make a report channel".to_owned())?;
        let proc = self.proc.try_clone().attempt(Step::Stage, || "copy a descriptor".to_owned())?;
        let (single, hierarchy) = (self.single, self.hierarchy.clone());
        // Made by the child after it has joined its cgroup.
        let mut flags = plan.new_namespaces & !clone::NEW_CGROUP;
        let shared = self.sandbox.as_ref().filter(|sandbox| sandbox.shares_processes);
        let pid_namespace = pid_namespace.or(match (shared, flags & clone::NEW_PID) {
            (Some(sandbox), flag) if flag != 0 => {
                Some(sandbox.pidfd.try_clone().attempt(Step::Namespaces, || "copy a descriptor".to_owned())?)
            }
            _ => None,
        });
        if pid_namespace.is_some() {
            flags &= !clone::NEW_PID;
        }
        let (users, pid_namespace, flags) = match has_own_users(plan) {
            // The forerunner's mounts are its own, too.
            true => (Some(self.foreign_users(pid_namespace, flags)?), None, clone::NEW_MOUNT),
            false => (None, pid_namespace, flags),
        };
        let surroundings =
            Surroundings { single, join_files, namespaces, proc, streams, hierarchy, users, reporter };
        let cloned = self
            .clone_into(pid_namespace.as_ref(), flags, directory.as_ref())
            .attempt(Step::Namespaces, || format!("clone a process for container {key}"))?;
        match cloned {
            Cloned::Child => become_container(plan, surroundings),
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd, channel, log, pipes)),
        }
    }

    /// What a container of a Pod with users of its own is made with.
    fn foreign_users(
        &self,
        pid_namespace: Option<OwnedFd>,
        new_namespaces: CloneFlags,
    ) -> Result<ForeignUsers, StartError> {
        let users = self.sandbox.as_ref().and_then(|sandbox| sandbox.users.as_ref()).ok_or_else(|| {
            refusal(StartErrorKind::Setup, "the sandbox has no user namespace of its own".to_owned())
        })?;
        let namespace =
            users.namespace.try_clone().attempt(Step::Namespaces, || "copy a descriptor".to_owned())?;
        Ok(ForeignUsers { namespace, range: users.range, pid_namespace, new_namespaces })
    }

    /// Clones, with the child born in the PID namespace of another process if one is given. A process cannot enter
    /// a PID namespace, only its children can (pid_namespaces(7)).
    pub(super) fn clone_into(
        &self,
        pid_namespace: Option<&OwnedFd>,
        flags: CloneFlags,
        cgroup: Option<&OwnedFd>,
    ) -> io::Result<Cloned> {
        let Some(other) = pid_namespace else {
            return clone::clone3(self.single, flags, cgroup.map(AsFd::as_fd));
        };
        clone::join_namespaces(other.as_fd(), clone::NEW_PID)?;
        let cloned = clone::clone3(self.single, flags, cgroup.map(AsFd::as_fd));
        if !matches!(cloned, Ok(Cloned::Child)) {
            // Without this the shim's next child would be born in the wrong place, so its failure ends the shim.
            let own = self.proc.namespace(rustix::process::getpid().as_raw_nonzero().get(), "pid")?;
            clone::join_namespaces(own.as_fd(), clone::NEW_PID)?;
        }
        cloned
    }

    /// Opens the namespaces to join; the PID namespace apart, as a descriptor of its owner.
    #[allow(clippy::type_complexity, reason = "two lists of one kind of thing")]
    fn namespaces_to_join(
        &self,
        joined: &[JoinedNamespace],
    ) -> Result<(Vec<(OwnedFd, CloneFlags)>, Option<OwnedFd>), StartError> {
        let (mut namespaces, mut pid_namespace, mut of_sandbox) = (Vec::new(), None, 0);
        for namespace in joined {
            let descriptor = match &namespace.of {
                NamespaceOwner::Sandbox => {
                    of_sandbox |= namespace.kind;
                    continue;
                }
                NamespaceOwner::Container(key) => self.running(key)?,
                NamespaceOwner::Path(path) => {
                    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
                    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
                        .attempt(Step::Namespaces, || format!("open the namespace {}", path.display()))?
                }
            };
            if namespace.kind == clone::NEW_PID {
                pid_namespace = Some(descriptor);
            } else {
                namespaces.push((descriptor, namespace.kind));
            }
        }
        if of_sandbox != 0 {
            let sandbox = self.sandbox.as_ref().ok_or_else(|| {
                refusal(StartErrorKind::Setup, "the container needs a sandbox and there is none".to_owned())
            })?;
            let copy =
                || sandbox.pidfd.try_clone().attempt(Step::Namespaces, || "copy a descriptor".to_owned());
            if of_sandbox & clone::NEW_PID != 0 {
                pid_namespace = Some(copy()?);
            }
            // One call joins them all.
            namespaces.push((copy()?, of_sandbox & !clone::NEW_PID));
        }
        Ok((namespaces, pid_namespace))
    }

    /// The first process of a running container.
    pub(super) fn running(&self, key: &str) -> Result<OwnedFd, StartError> {
        let missing = || refusal(StartErrorKind::NoSuchContainer, format!("container {key} does not run"));
        let container = self.containers.get(key).ok_or_else(missing)?;
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Err(missing());
        }
        let pidfd = container.pidfd.as_ref().ok_or_else(missing)?;
        pidfd.try_clone().attempt(Step::Namespaces, || "copy a descriptor".to_owned())
    }

    /// Sends a signal to the first process of a container, or to an exec.
    pub(super) fn signal(&mut self, key: &str, signal: i32) -> Result<(), StartError> {
        let pidfd = match (self.containers.get(key), self.execs.get(key)) {
            (Some(container), _) => container.pidfd.as_ref(),
            (None, Some(exec)) => Some(&exec.pidfd),
            (None, None) => return Err(unknown(key)),
        };
        let Some(pidfd) = pidfd else { return Ok(()) };
        match linux::pidfd::send_signal(pidfd.as_fd(), signal) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            outcome => outcome.attempt(Step::Stage, || format!("send signal {signal} to {key}")),
        }
    }

    /// Sends a container its stop signal, the first time that this is asked.
    pub(super) fn signal_once(&mut self, key: &str, signal: i32) -> Result<(), StartError> {
        if self.containers.get(key).ok_or_else(|| unknown(key))?.is_signalled {
            return Ok(());
        }
        self.signal(key, signal)?;
        if let Some(container) = self.containers.get_mut(key) {
            container.is_signalled = true;
        }
        Ok(())
    }

    /// Kills every process of a container, or those of one exec.
    pub(super) fn kill(&mut self, key: &str) -> Result<(), StartError> {
        match self.containers.get(key) {
            Some(container) => {
                if let Some(first) = &container.pidfd {
                    let _ = pidfd_send_signal(first, Signal::KILL);
                }
                container
                    .cgroup
                    .kill_all()
                    .map_err(io::Error::other)
                    .attempt(Step::Cgroup, || format!("kill {key}"))
            }
            None => self.kill_session(self.execs.get(key).ok_or_else(|| unknown(key))?),
        }
    }

    /// Forgets a container that has ended: its cgroup goes, and what another runtime kept of it.
    pub(super) fn remove(&mut self, caller: Caller, key: &str) -> Answer {
        let Some(container) = self.containers.get(key) else { return Ok(done(())) };
        if matches!(container.state, ContainerState::Starting | ContainerState::Running { .. }) {
            let message = format!("container {key} has not ended: kill it first");
            return Err(refusal(StartErrorKind::Conflict, message));
        }
        if let Some(external) = &container.external {
            let external = external.clone();
            self.delete_external(Some(caller), &external)?;
        }
        self.close_outputs(key);
        let Some(container) = self.containers.remove(key) else { return Ok(done(())) };
        if container.owns_cgroup {
            let _ = container.cgroup.kill_all();
            container
                .cgroup
                .remove(EMPTY_TIMEOUT)
                .map_err(io::Error::other)
                .attempt(Step::Cgroup, || format!("remove the cgroup of {key}"))?;
        }
        // The runtime's answer is the container's, if there is one.
        Ok(if container.external.is_some() { None } else { done(()) })
    }
}

/// Whether a container is among the Pod's users instead of the machine's.
fn has_own_users(plan: &ContainerPlan) -> bool {
    plan.joined_namespaces.iter().any(|namespace| namespace.kind == clone::NEW_USER)
}

pub(super) fn unknown(key: &str) -> StartError {
    refusal(StartErrorKind::NoSuchContainer, format!("there is no container or exec {key}"))
}

/// What a child needs to be in a cgroup: v1's files to write to, and the v2 directory to be born in.
pub(super) fn join_handles(cgroup: &Cgroup) -> Result<(Vec<OwnedFd>, Option<OwnedFd>), StartError> {
    let describe = || format!("open cgroup {}", cgroup.path());
    let files = cgroup.join_files().map_err(io::Error::other).attempt(Step::Cgroup, describe)?;
    let directory = cgroup.dir_fd().map_err(io::Error::other).attempt(Step::Cgroup, describe)?;
    Ok((files, directory))
}

pub(super) fn open_log(config: &LogConfig) -> Result<Log, StartError> {
    Log::open(config.clone()).attempt(Step::Stage, || format!("open the log {}", config.path.display()))
}

/// Pipes for a container without a terminal.
pub(super) fn make_pipes(stdin: bool) -> Result<Pipes, StartError> {
    let make = || -> io::Result<Pipes> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (stdout, theirs_out) = rustix::pipe::pipe_with(flags)?;
        let (stderr, theirs_err) = rustix::pipe::pipe_with(flags)?;
        for ours in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(ours, true)?;
            // Fewer switches between a fast writer and the shim; pages are taken only when there is something in them.
            let _ = rustix::pipe::fcntl_setpipe_size(ours, PIPE_BYTES);
        }
        let (theirs_in, kept_stdin) = match stdin {
            true => rustix::pipe::pipe_with(flags).map(|(read, write)| (Some(read), Some(write)))?,
            false => (None, None),
        };
        Ok(Pipes {
            given: [theirs_in, Some(theirs_out), Some(theirs_err)],
            kept_stdin,
            kept_outputs: [stdout, stderr],
        })
    };
    make().attempt(Step::Stdio, || "make pipes".to_owned())
}

/// The streams in the order of [`Pipes::kept_outputs`].
pub(super) const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];
