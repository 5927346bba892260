//! Executing a plan's operations, one after the other.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::cgroup::Hierarchy;
use linux::mount::{self, MountAttributes};
use rustix::fs::{CWD, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::attempt::{Attempt, failure};
use super::paths::{Kind, ensure_directory_in, ensure_directory_on_host};
use super::proc::Proc;
use super::{devices, mounts, rootfs};
use crate::plan::Operation;
use crate::protocol::{StagedBind, StartError, Step, TmpfsMount};

/// What operations know of each other: the root filesystem they work in, and what hides a path.
pub(crate) struct Executor<'a> {
    proc: &'a Proc,
    hierarchy: &'a Hierarchy,
    cgroup: &'a str,
    root: Option<OwnedFd>,
    pub(super) covers: devices::Covers,
    /// What was made beforehand, in the order of the operations that ask for it (see `users`).
    trees: Option<VecDeque<OwnedFd>>,
}

impl<'a> Executor<'a> {
    /// Nothing done yet.
    pub(crate) fn new(proc: &'a Proc, hierarchy: &'a Hierarchy, cgroup: &'a str) -> Self {
        Self { proc, hierarchy, cgroup, root: None, covers: devices::Covers::default(), trees: None }
    }

    /// The same where what only the machine's root can make is there already.
    pub(super) fn with_trees(
        proc: &'a Proc,
        hierarchy: &'a Hierarchy,
        cgroup: &'a str,
        trees: VecDeque<OwnedFd>,
    ) -> Self {
        Self { trees: Some(trees), ..Self::new(proc, hierarchy, cgroup) }
    }

    /// Executes one operation.
    pub(crate) fn execute(&mut self, operation: &Operation) -> Result<(), StartError> {
        if self.trees.is_some() && self.put_tree(operation)? {
            return Ok(());
        }
        match operation {
            Operation::Stage(bind) => stage(bind),
            Operation::Rootfs(overlay) => {
                self.root = Some(rootfs::mount(overlay)?);
                Ok(())
            }
            Operation::Mount(mount) => mounts::perform(self.root()?, mount, self.hierarchy, self.cgroup),
            Operation::Directory(path) => ensure_directory_in(self.root()?, path)
                .map(drop)
                .attempt(Step::WorkingDirectory, || format!("make the directory {}", path.display())),
            Operation::Device(device) => devices::make(self.root()?, device),
            Operation::Symlink { path, target } => devices::link(self.root()?, path, target),
            Operation::Mask(path) => {
                let root = self.root.as_ref().ok_or_else(no_root)?;
                self.covers.mask(root, path)
            }
            Operation::ReadOnly(path) => devices::make_read_only(self.root()?, path),
            Operation::ReadOnlyRoot => {
                let attributes = MountAttributes { set: mount::READ_ONLY, ..Default::default() };
                mount::set_attributes(self.root()?.as_fd(), attributes, false)
                    .attempt(Step::Rootfs, || "make the root filesystem read-only".to_owned())
            }
            Operation::Sysctl { name, value } => self
                .proc
                .sysctl(name, value)
                .attempt(Step::Setting, || format!("set sysctl {name} to {value:?}")),
            Operation::HostName(name) => rustix::system::sethostname(name.as_bytes())
                .attempt(Step::Setting, || format!("set the host name to {name}")),
            Operation::DomainName(name) => rustix::system::setdomainname(name.as_bytes())
                .attempt(Step::Setting, || format!("set the domain name to {name}")),
            Operation::EnterRoot => self.enter_root(),
        }
    }

    /// Puts what was made for an operation in its place; tells whether that was all of it.
    fn put_tree(&mut self, operation: &Operation) -> Result<bool, StartError> {
        match operation {
            Operation::Stage(_) => {}
            Operation::Rootfs(_) => {
                let root = self.next_tree()?;
                super::users::attach_over_root(&root)?;
                self.root = Some(root);
            }
            Operation::Mount(mount) if mount.source.is_bind() => {
                let tree = self.next_tree()?;
                mounts::attach_bound(self.root()?, mount, &tree)?;
            }
            Operation::Device(device) => {
                let tree = self.next_tree()?;
                mounts::attach(self.root()?, &tree, &device.path, Kind::File)
                    .attempt(Step::Device, || {
                        format!("put the device {} in its place", device.path.display())
                    })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn next_tree(&mut self) -> Result<OwnedFd, StartError> {
        self.trees.as_mut().and_then(VecDeque::pop_front).ok_or_else(|| {
            failure(Step::Mount, "carry out the plan", std::io::Error::other("a part of it was not prepared"))
        })
    }

    /// Makes the root filesystem the root and drops the old one, by pivot_root(".", ".") as in pivot_root(2).
    fn enter_root(&mut self) -> Result<(), StartError> {
        let enter = |root: &OwnedFd| -> rustix::io::Result<()> {
            rustix::process::fchdir(root)?;
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            rustix::process::chdir("/")
        };
        enter(self.root()?).attempt(Step::EnterRoot, || "enter the root filesystem".to_owned())
    }

    fn root(&self) -> Result<&OwnedFd, StartError> {
        self.root.as_ref().ok_or_else(no_root)
    }
}

fn no_root() -> StartError {
    failure(
        Step::Rootfs,
        "carry out the plan",
        std::io::Error::other("it works in a root filesystem before it mounts one"),
    )
}

/// Binds a part of a volume to its staging path.
pub(super) fn stage(bind: &StagedBind) -> Result<(), StartError> {
    let describe = || format!("bind {} of volume {}", bind.sub_path.display(), bind.volume_root.display());
    let volume = rustix::fs::open(
        &bind.volume_root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .attempt(Step::Stage, describe)?;
    let source = super::paths::ensure_beneath(&volume, &bind.sub_path).attempt(Step::Stage, describe)?;
    let tree = mounts::clone_tree(&source, false).attempt(Step::Stage, describe)?;
    let make_target = || -> std::io::Result<()> {
        if super::paths::is_directory(&source)? {
            return ensure_directory_on_host(&bind.target);
        }
        if let Some(parent) = bind.target.parent() {
            ensure_directory_on_host(parent)?;
        }
        std::fs::OpenOptions::new().create(true).append(true).open(&bind.target).map(drop)
    };
    make_target().attempt(Step::Stage, || format!("make {}", bind.target.display()))?;
    attach_on_host(&tree, &bind.target).attempt(Step::Stage, describe)
}

/// Mounts a tmpfs of the Pod, in the calling process's mount namespace.
pub(crate) fn tmpfs(tmpfs: &TmpfsMount) -> Result<(), StartError> {
    let mut parameters = vec![("mode", format!("{:o}", tmpfs.mode))];
    if let Some(size) = tmpfs.size_limit_bytes {
        parameters.push(("size", size.to_string()));
    }
    if let Some(gid) = tmpfs.gid {
        parameters.push(("gid", gid.to_string()));
    }
    let describe = || format!("mount a tmpfs at {}", tmpfs.path.display());
    ensure_directory_on_host(&tmpfs.path).attempt(Step::Stage, describe)?;
    let parameters = parameters.iter().map(|(name, value)| (*name, Some(value.as_str())));
    let tree = mounts::new_filesystem("tmpfs", "tmpfs", parameters, mount::NO_SUID | mount::NO_DEV)
        .attempt(Step::Stage, describe)?;
    attach_on_host(&tree, &tmpfs.path).attempt(Step::Stage, describe)
}

/// Attaches a detached mount at a path of podling's own.
pub(crate) fn attach_on_host(tree: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
