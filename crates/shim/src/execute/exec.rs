//! Becoming a further process in a running container.
//!
//! The container may be hostile by now. So the process is not dumpable (its /proc entries are closed to the
//! container, CVE-2019-5736), it comes from a sealed memfd, takes nothing along but its streams, verifies its
//! working directory (CVE-2024-21626), and writes only to the host's procfs.

use std::os::fd::{AsFd, OwnedFd};

use linux::clone::{self, CloneFlags};
use linux::user_namespace::IdRange;

use super::attempt::Attempt;
use super::identity;
use super::proc::Proc;
use super::program::{self, Console};
use super::report::Reporter;
use super::stdio::Streams;
use crate::plan::ProcessPlan;
use crate::protocol::{StartError, Step};

/// What a container's processes have of their own or of the Pod; joining what is the caller's already is no harm.
const NAMESPACES: CloneFlags =
    clone::NEW_MOUNT | clone::NEW_NETWORK | clone::NEW_IPC | clone::NEW_UTS | clone::NEW_CGROUP;

/// What the shim prepared for an exec.
#[derive(Debug)]
pub(crate) struct ExecSurroundings {
    /// v1's `tasks` files of the container's cgroup.
    pub(crate) join_files: Vec<OwnedFd>,
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// The users of the Pod, if they are not the machine's.
    pub(crate) users: Option<IdRange>,
    /// The host's procfs.
    pub(crate) proc: Proc,
    /// Standard streams, unless there is a terminal.
    pub(crate) streams: Streams,
    /// The way back.
    pub(crate) reporter: Reporter,
}

/// Makes the calling process a process of the container. Never returns.
pub(crate) fn become_exec(process: &ProcessPlan, surroundings: ExecSurroundings) -> ! {
    let failure = enter(process, &surroundings).unwrap_or_else(|failure| failure);
    surroundings.reporter.fail(&failure);
    clone::exit(1)
}

/// Makes the calling process the server of the container's execs. Never returns.
pub(crate) fn become_exec_server(
    process: &ProcessPlan,
    surroundings: ExecSurroundings,
    socket: OwnedFd,
) -> ! {
    let serve = || {
        join(process, &surroundings)?;
        // Its children are born in the container's PID namespace; it stays outside.
        clone::join_namespaces(surroundings.init.as_fd(), clone::NEW_PID)
            .attempt(Step::Namespaces, || "join the container's PID namespace".to_owned())?;
        let ExecSurroundings { proc, reporter, .. } = &surroundings;
        program::serve(process, surroundings.ungiven(), proc, reporter, socket)
    };
    match serve() {
        Ok(never) => match never {},
        // After the server has begun nobody hears of it any more; the end of its socket says enough.
        Err(failure) => surroundings.reporter.fail(&failure),
    }
    clone::exit(1)
}

fn enter(process: &ProcessPlan, surroundings: &ExecSurroundings) -> Result<StartError, StartError> {
    join(process, surroundings)?;
    let ExecSurroundings { proc, reporter, .. } = surroundings;
    program::run(process, surroundings.ungiven(), proc, reporter, Console::Leave)
}

impl ExecSurroundings {
    /// The streams that the process is still to be given.
    fn ungiven(&self) -> Option<&Streams> {
        self.users.is_none().then_some(&self.streams)
    }
}

fn join(process: &ProcessPlan, surroundings: &ExecSurroundings) -> Result<(), StartError> {
    linux::cgroup::join_self(surroundings.join_files.iter().map(AsFd::as_fd))
        .attempt(Step::Cgroup, || "join the container's cgroup".to_owned())?;
    let describe = || "join the container's namespaces".to_owned();
    let init = surroundings.init.as_fd();
    let Some(users) = surroundings.users else {
        return clone::join_namespaces(init, NAMESPACES).attempt(Step::Namespaces, describe);
    };
    program::give(process, &surroundings.streams, users, &surroundings.proc, &surroundings.reporter)?;
    clone::join_namespaces(init, NAMESPACES | clone::NEW_USER).attempt(Step::Namespaces, describe)?;
    identity::become_root().attempt(Step::Identity, || "become root of the Pod".to_owned())
}
