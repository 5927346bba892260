//! Taking a copy of a mount out of another process' mount namespace.
//!
//! open_tree(2) copies only what is mounted in the caller's own namespace, so the caller has to be there for an instant.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::clone::SingleThreaded;

/// Opens the mount namespace of the process `pid`.
pub fn of_process(pid: i32) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/mnt");
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached copy of the mount at `path` in `namespace`: of the same superblock, so of the same pages. `own` is the
/// caller's namespace, at whose root it stands afterwards.
///
/// Should the caller not come back from there, its process ends: everything that it does by paths would go astray.
pub fn copy_mount(
    namespace: BorrowedFd<'_>,
    path: &Path,
    own: BorrowedFd<'_>,
    _proof: SingleThreaded,
) -> io::Result<OwnedFd> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copied = open_tree(CWD, path, flags);
    if move_into_link_name_space(own, Some(LinkNameSpaceType::Mount)).is_err() {
        std::process::abort();
    }
    Ok(copied?)
}
