//! Mounts in the root filesystem: made detached, given their attributes, then attached by descriptor.
//!
//! Nothing is mounted by path: the target is opened in the root (see `paths`), the mount is complete before it
//! appears there, so there is no moment in which it is writable or follows an exchanged name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::cgroup::Hierarchy;
use linux::mount::{self, MountAttributes};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::attempt::{Attempt, failure};
use super::paths::{Kind, ensure_in, is_directory, open_exactly_in};
use crate::plan::{Mount, MountSource};
use crate::protocol::{StartError, Step};

/// Filesystems that guard the container from the host: their target must not lead through a link (CVE-2019-19921).
const GUARDS: [&str; 2] = ["proc", "sysfs"];

/// Makes one mount.
pub(super) fn perform(
    root: &OwnedFd,
    mount: &Mount,
    hierarchy: &Hierarchy,
    cgroup: &str,
) -> Result<(), StartError> {
    match &mount.source {
        MountSource::Bind { .. } | MountSource::MappedBind { .. } => {
            attach_bound(root, mount, &bound(mount, None)?)
        }
        MountSource::Filesystem { kind, source, parameters } => {
            let describe = || format!("mount {kind} at {}", mount.target.display());
            let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            let tree = new_filesystem(kind, source, parameters, mount.set).attempt(Step::Mount, describe)?;
            if mount.propagation != 0 {
                set_propagation(&tree, mount).attempt(Step::Mount, describe)?;
            }
            if GUARDS.contains(&kind.as_str()) {
                attach_exactly(root, &tree, &mount.target).attempt(Step::Mount, describe)
            } else {
                attach(root, &tree, &mount.target, Kind::Directory).attempt(Step::Mount, describe)
            }
        }
        MountSource::Cgroup => cgroups(root, mount, hierarchy, cgroup),
    }
}

/// What a mount binds, complete and detached; its owners mapped by the user namespace `users`, if it asks for that.
pub(super) fn bound(mount: &Mount, users: Option<BorrowedFd<'_>>) -> Result<OwnedFd, StartError> {
    let (path, recursive, mapped) = match &mount.source {
        MountSource::Bind { path, recursive } => (path, *recursive, false),
        MountSource::MappedBind { path, recursive } => (path, *recursive, true),
        _ => return Err(failure(Step::Mount, "bind", io::Error::other("it is a filesystem of its own"))),
    };
    let describe = || format!("bind {} to {}", path.display(), mount.target.display());
    let tree = bind(path, recursive).attempt(Step::Mount, describe)?;
    if mapped {
        let users = users.ok_or_else(|| io::Error::other("there is no user namespace"));
        map_owners(&tree, users.attempt(Step::Mount, describe)?).attempt(Step::Mount, describe)?;
    }
    set_attributes(&tree, mount, recursive).attempt(Step::Mount, describe)?;
    Ok(tree)
}

/// Puts what [`bound`] made in its place.
pub(super) fn attach_bound(root: &OwnedFd, mount: &Mount, tree: &OwnedFd) -> Result<(), StartError> {
    let put = || {
        let kind = if is_directory(tree)? { Kind::Directory } else { Kind::File };
        attach(root, tree, &mount.target, kind)
    };
    put().attempt(Step::Mount, || format!("put a mount at {}", mount.target.display()))
}

/// Maps the owners of a detached mount, or says what it lacks.
pub(crate) fn map_owners(tree: &OwnedFd, users: BorrowedFd<'_>) -> io::Result<()> {
    mount::map_owners(tree.as_fd(), users).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::INVAL | Errno::NOSYS) => io::Error::other(
            "its filesystem cannot show other owners (idmapped mounts), which hostUsers: false needs: they are had \
             on ext4, xfs and btrfs since Linux 5.19, on tmpfs since 6.3, and not on NFS, /dev, /proc or /sys",
        ),
        _ => error,
    })
}

/// A detached copy of what is mounted or lies at a path of the host.
pub(crate) fn bind(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// A detached copy of what an open file is the root of.
pub(super) fn clone_tree(file: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(file, "", flags)
}

/// A detached new filesystem.
pub(super) fn new_filesystem<'p>(
    kind: &str,
    source: &str,
    parameters: impl IntoIterator<Item = (&'p str, Option<&'p str>)>,
    attributes: u64,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    for (name, value) in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, name, value)?,
            None => fsconfig_set_flag(&context, name)?,
        }
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn set_attributes(tree: &OwnedFd, mount: &Mount, recursive: bool) -> io::Result<()> {
    if mount.set != 0 || mount.clear != 0 {
        let attributes = MountAttributes { set: mount.set, clear: mount.clear, propagation: 0 };
        mount::set_attributes(tree.as_fd(), attributes, false)?;
    }
    if mount.set_recursive != 0 {
        let attributes = MountAttributes { set: mount.set_recursive, ..Default::default() };
        mount::set_attributes(tree.as_fd(), attributes, recursive)?;
    }
    if mount.propagation != 0 {
        set_propagation(tree, mount)?;
    }
    Ok(())
}

fn set_propagation(tree: &OwnedFd, mount: &Mount) -> io::Result<()> {
    let attributes = MountAttributes { propagation: mount.propagation, ..Default::default() };
    mount::set_attributes(tree.as_fd(), attributes, mount.propagation_recursive)
}

/// Attaches a detached mount in the root filesystem.
pub(super) fn attach(root: &OwnedFd, tree: &OwnedFd, target: &Path, kind: Kind) -> io::Result<()> {
    let target = ensure_in(root, target, kind)?;
    attach_to(tree, &target)
}

/// The same where no link may be on the way.
fn attach_exactly(root: &OwnedFd, tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let opened = match open_exactly_in(root, target, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure_in(root, target, Kind::Directory)?;
            open_exactly_in(root, target, OFlags::PATH | OFlags::DIRECTORY)?
        }
        opened => opened?,
    };
    attach_to(tree, &opened)
}

/// Attaches a detached mount to an open file or directory.
pub(super) fn attach_to(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", target, "", flags)?)
}

/// The container's own cgroup, bound where it expects its control groups.
fn cgroups(root: &OwnedFd, mount: &Mount, hierarchy: &Hierarchy, cgroup: &str) -> Result<(), StartError> {
    let describe = || format!("mount the control groups at {}", mount.target.display());
    let below = cgroup.trim_start_matches('/');
    let bind_own = |at: &Path, target: &Path| -> io::Result<()> {
        let tree = bind(&at.join(below), false)?;
        set_attributes(&tree, mount, false)?;
        attach(root, &tree, target, Kind::Directory)
    };
    let mounts = match hierarchy {
        Hierarchy::V2 { mount_point } => {
            return bind_own(mount_point, &mount.target).attempt(Step::Mount, describe);
        }
        Hierarchy::V1 { mounts, .. } => mounts,
    };
    let writable = mount.set & !mount::READ_ONLY;
    let tree =
        new_filesystem("tmpfs", "tmpfs", [("mode", Some("755"))], writable).attempt(Step::Mount, describe)?;
    attach(root, &tree, &mount.target, Kind::Directory).attempt(Step::Mount, describe)?;
    for v1 in mounts.iter().filter(|v1| v1.mount_point.join(below).is_dir()) {
        let Some(name) = v1.mount_point.file_name() else { continue };
        bind_own(&v1.mount_point, &mount.target.join(name)).attempt(Step::Mount, describe)?;
        for controller in v1.controllers.iter().filter(|controller| **controller != name) {
            let link = mount.target.join(controller);
            super::devices::link(root, &link, Path::new(name))?;
        }
    }
    let attributes = MountAttributes { set: mount.set, ..Default::default() };
    mount::set_attributes(tree.as_fd(), attributes, false).attempt(Step::Mount, describe)
}
