//! Becoming a container: what the cloned process does until it is the container's program.
//!
//! ```text
//! shim ──clone3──► join cgroup ► join namespaces ► operations ► stdio ► limits ► identity ► seccomp ► exec
//!   ▲                                                                                               │
//!   └──────────── report channel: warnings, the terminal, ready, or one failure; closed by exec ◄───┘
//! ```
//!
//! The order is part of the security: namespaces before mounts, mounts before the new root is entered, the
//! working directory verified after it, descriptors marked close-on-exec last, the filter after everything that
//! needs more than the program may do. Nothing here returns to the shim's code: it ends in exec or exit.
//! Where the Pod has users of its own, the way is in two parts (see `users`).

mod attempt;
mod devices;
mod exec;
mod exec_server;
mod identity;
mod mounts;
mod operations;
mod paths;
mod proc;
mod program;
mod report;
mod rootfs;
mod stdio;
mod users;

pub(crate) use attempt::{Attempt, failure};
pub(crate) use exec::{ExecSurroundings, become_exec, become_exec_server};
pub(crate) use identity::become_root;
pub(crate) use mounts::{bind, map_owners};
pub(crate) use operations::{Executor, attach_on_host, tmpfs};
pub(crate) use paths::ensure_directory_on_host;
pub(crate) use proc::Proc;
pub(crate) use report::{Report, Reporter, pair as report_channel, receive as receive_report};
pub(crate) use stdio::Streams;
pub(crate) use users::ForeignUsers;

use std::os::fd::{AsFd, OwnedFd};

use linux::cgroup::Hierarchy;
use linux::clone::{self, CloneFlags, SingleThreaded};

use crate::plan::ContainerPlan;
use crate::protocol::{StartError, Step};

/// What the shim prepared for the process that becomes a container.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// That the copy is whole.
    pub(crate) single: SingleThreaded,
    /// v1's `tasks` files of the container's cgroup.
    pub(crate) join_files: Vec<OwnedFd>,
    /// Namespaces to join, PID namespaces excepted (a process is born in those).
    pub(crate) namespaces: Vec<(OwnedFd, CloneFlags)>,
    /// The host's procfs.
    pub(crate) proc: Proc,
    /// Standard streams, unless there is a terminal.
    pub(crate) streams: Streams,
    /// Where the cgroups are, for containers that see them.
    pub(crate) hierarchy: Hierarchy,
    /// The Pod's users, if they are not the machine's.
    pub(crate) users: Option<ForeignUsers>,
    /// The way back.
    pub(crate) reporter: Reporter,
}

impl Surroundings {
    fn join_namespaces(&self) -> Result<(), StartError> {
        self.namespaces.iter().try_for_each(|(namespace, kind)| {
            clone::join_namespaces(namespace.as_fd(), *kind)
                .attempt(Step::Namespaces, || "join the namespaces of the Pod".to_owned())
        })
    }

    /// A cgroup namespace is rooted where its maker is, so it is made after joining the cgroup, not by clone3.
    fn own_cgroup_namespace(&self, plan: &ContainerPlan) -> Result<(), StartError> {
        if plan.new_namespaces & clone::NEW_CGROUP == 0 {
            return Ok(());
        }
        clone::unshare(self.single, clone::NEW_CGROUP)
            .attempt(Step::Namespaces, || "make a cgroup namespace".to_owned())
    }
}

/// Makes the calling process the container. Never returns.
pub(crate) fn become_container(plan: &ContainerPlan, surroundings: Surroundings) -> ! {
    let failure = container(plan, &surroundings).unwrap_or_else(|failure| failure);
    surroundings.reporter.fail(&failure);
    clone::exit(1)
}

/// `Ok` is an exec that failed; it is a failure like every other.
fn container(plan: &ContainerPlan, surroundings: &Surroundings) -> Result<StartError, StartError> {
    linux::cgroup::join_self(surroundings.join_files.iter().map(AsFd::as_fd))
        .attempt(Step::Cgroup, || format!("join cgroup {}", plan.cgroup))?;
    if let Some(users) = &surroundings.users {
        return users::container(plan, surroundings, users);
    }
    surroundings.join_namespaces()?;
    surroundings.own_cgroup_namespace(plan)?;
    let mut executor = Executor::new(&surroundings.proc, &surroundings.hierarchy, &plan.cgroup);
    for operation in &plan.operations {
        executor.execute(operation)?;
    }
    drop(executor);
    program::run(
        &plan.process,
        Some(&surroundings.streams),
        &surroundings.proc,
        &surroundings.reporter,
        program::Console::Bind,
    )
}
