//! Containers of a Pod with users of its own (`hostUsers: false`, KEP-127): who is root in them is nobody on the machine.
//!
//! ```text
//! shim ─clone─► forerunner: join cgroup ► limits, streams ► trees ► join namespaces ─clone─► container: operations ► ... exec
//!                                                                   └─► reports the pid, lets it go on, ends
//! ```
//!
//! The container's mount, PID and cgroup namespaces must belong to the Pod's user namespace, so they are made by a process
//! that is in it; and whoever is in it can neither mount the image, nor map the owners of volumes, nor make device nodes, nor
//! raise a limit. The forerunner does those while it is still the machine's root: each thing becomes a detached mount, a tree,
//! which the container, its sibling, puts in its place. Everything else the container does itself, by the same operations as
//! any other, so that the filesystems it mounts are its own.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::clone::{self, CloneFlags, Cloned};
use linux::mount;
use linux::user_namespace::IdRange;
use rustix::fs::{CWD, Gid, OFlags, Uid};

use super::attempt::Attempt;
use super::operations::{attach_on_host, stage};
use super::paths::{ensure_directory_on_host, open_exactly_in};
use super::program::{self, Console};
use super::report::Report;
use super::{Executor, Surroundings, devices, identity, mounts, rootfs};
use crate::plan::{ContainerPlan, Device, Operation, Overlay};
use crate::protocol::{StartError, Step};

/// What a container needs that has users of its own.
#[derive(Debug)]
pub(crate) struct ForeignUsers {
    /// The user namespace.
    pub(crate) namespace: OwnedFd,
    /// Who its users are on the machine.
    pub(crate) range: IdRange,
    /// A process in the PID namespace that the container is born in, unless it gets a new one.
    pub(crate) pid_namespace: Option<OwnedFd>,
    /// Namespaces that the container is born in, new ones.
    pub(crate) new_namespaces: CloneFlags,
}

/// Prepares the container and makes it: in the sibling that this returns in, it is that one, which goes on here.
pub(super) fn container(
    plan: &ContainerPlan,
    surroundings: &Surroundings,
    users: &ForeignUsers,
) -> Result<StartError, StartError> {
    let Surroundings { single, proc, streams, reporter, .. } = surroundings;
    program::give(&plan.process, streams, users.range, proc, reporter)?;
    let trees = trees(&plan.operations, users)?;
    surroundings.join_namespaces()?;
    identity::become_root().attempt(Step::Identity, || "become root of the Pod".to_owned())?;
    if let Some(process) = &users.pid_namespace {
        clone::join_namespaces(process.as_fd(), clone::NEW_PID)
            .attempt(Step::Namespaces, || "join a PID namespace of the Pod".to_owned())?;
    }
    surroundings.own_cgroup_namespace(plan)?;
    let describe = || "clone the container into the user namespace of the Pod".to_owned();
    let (mut told, mut teller) = io::pipe().attempt(Step::Namespaces, describe)?;
    let cloned = clone::clone_sibling(*single, users.new_namespaces).attempt(Step::Namespaces, describe)?;
    if let Cloned::Parent { pid, .. } = cloned {
        // The shim knows the container before that one can end.
        reporter.report(&Report::Pid(pid));
        let _ = teller.write_all(&[1]);
        clone::exit(0);
    }
    drop(teller);
    told.read_exact(&mut [0]).attempt(Step::Namespaces, describe)?;
    let mut executor = Executor::with_trees(proc, &surroundings.hierarchy, &plan.cgroup, trees);
    for operation in &plan.operations {
        executor.execute(operation)?;
    }
    drop(executor);
    program::run(&plan.process, None, proc, reporter, Console::Bind)
}

/// Makes what only the machine's root can, in the order in which operations ask for it.
fn trees(operations: &[Operation], users: &ForeignUsers) -> Result<VecDeque<OwnedFd>, StartError> {
    let mut trees = VecDeque::new();
    let mut nodes = None;
    let mut target = PathBuf::new();
    for operation in operations {
        match operation {
            Operation::Stage(bind) => stage(bind)?,
            Operation::Rootfs(overlay) => {
                target.clone_from(&overlay.target);
                trees.push_back(root(overlay, users.range)?);
            }
            Operation::Mount(mount) if mount.source.is_bind() => {
                trees.push_back(mounts::bound(mount, Some(users.namespace.as_fd()))?);
            }
            Operation::Device(device) => {
                let describe = || format!("make the device {}", device.path.display());
                let nodes = match &nodes {
                    Some(nodes) => nodes,
                    None => nodes.insert(device_directory(&target).attempt(Step::Device, describe)?),
                };
                trees.push_back(node(nodes, device, trees.len())?);
            }
            _ => {}
        }
    }
    Ok(trees)
}

/// The image under a writable layer that belongs to the Pod's root.
fn root(overlay: &Overlay, range: IdRange) -> Result<OwnedFd, StartError> {
    let describe = || format!("give {} to root of the Pod", overlay.upper.display());
    let owner = (Some(Uid::from_raw(range.first)), Some(Gid::from_raw(range.first)));
    ensure_directory_on_host(&overlay.upper)
        .and_then(|()| Ok(rustix::fs::chown(&overlay.upper, owner.0, owner.1)?))
        .attempt(Step::Rootfs, describe)?;
    let mounted = rootfs::mount(overlay)?;
    mounts::clone_tree(&mounted, false)
        .attempt(Step::Rootfs, || format!("take the root filesystem at {}", overlay.target.display()))
}

/// A place for device nodes that are bound one by one. A mount can be copied only once it is attached (Linux < 6.15), and
/// over the root filesystem nobody needs the place any more.
fn device_directory(target: &Path) -> io::Result<OwnedFd> {
    let parameters = [("mode", Some("755")), ("size", Some("64k"))];
    let tree = mounts::new_filesystem("tmpfs", "devices", parameters, mount::NO_SUID | mount::NO_EXEC)?;
    attach_on_host(&tree, target)?;
    Ok(tree)
}

/// A device node, which stays the machine's: what the machine's root alone may open, root of the Pod may not.
fn node(nodes: &OwnedFd, device: &Device, number: usize) -> Result<OwnedFd, StartError> {
    let path = PathBuf::from(format!("/{number}"));
    devices::make(nodes, &Device { path: path.clone(), ..device.clone() })?;
    let made =
        open_exactly_in(nodes, &path, OFlags::PATH).and_then(|made| Ok(mounts::clone_tree(&made, false)?));
    made.attempt(Step::Device, || format!("make the device {}", device.path.display()))
}

/// Puts a tree over the root of the caller's mount namespace, from where it can become that root: what lies above the Pod's
/// directories on the machine is closed to root of the Pod.
pub(super) fn attach_over_root(tree: &OwnedFd) -> Result<(), StartError> {
    rustix::mount::move_mount(tree, "", CWD, "/", rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .attempt(Step::Rootfs, || "put the root filesystem in its place".to_owned())
}
