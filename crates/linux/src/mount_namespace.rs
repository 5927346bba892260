//! A mount namespace of one's own, and taking a copy of a mount out of another process' one.
//!
//! open_tree(2) copies only what is mounted in the caller's own namespace, so the caller has to be there for an instant.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::clone::SingleThreaded;

/// The word that the calling thread has a root and a working directory that no other thread has, without which setns(2) lets
/// it into no mount namespace. It stays with that thread.
#[derive(Clone, Copy, Debug)]
pub struct OwnRoot(PhantomData<*const ()>);

impl From<SingleThreaded> for OwnRoot {
    fn from(_proof: SingleThreaded) -> Self {
        Self(PhantomData)
    }
}

/// Why a mount was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It is not there, or not to be had.
    #[error("cannot copy a mount of another mount namespace")]
    Refused(#[source] io::Error),
    /// The caller did not come back, so all that it did by paths would go astray: it has to end.
    #[error("cannot return from another mount namespace")]
    Stranded(#[source] io::Error),
}

/// Gives the calling thread mounts of its own: it sees what the machine mounts, and nobody sees what it mounts. They go
/// with it.
pub fn enter_own() -> io::Result<OwnRoot> {
    // SAFETY: neither flag changes which memory or which descriptors the thread has.
    unsafe { unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(OwnRoot(PhantomData))
}

/// Opens the mount namespace of the thread `tid`.
pub fn of_thread(tid: i32) -> io::Result<OwnedFd> {
    open(&format!("/proc/{tid}/ns/mnt"))
}

/// Opens the mount namespace that the calling thread is in.
pub fn own() -> io::Result<OwnedFd> {
    open("/proc/thread-self/ns/mnt")
}

fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached copy of the mount at `path` in `namespace`: of the same superblock, so of the same pages. `own` is the
/// caller's namespace, at whose root it stands afterwards.
pub fn copy_mount(
    namespace: BorrowedFd<'_>,
    path: &Path,
    own: BorrowedFd<'_>,
    _proof: OwnRoot,
) -> Result<OwnedFd, CopyError> {
    let enter = |namespace| move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount));
    enter(namespace).map_err(|errno| CopyError::Refused(errno.into()))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copied = open_tree(CWD, path, flags);
    enter(own).map_err(|errno| CopyError::Stranded(errno.into()))?;
    copied.map_err(|errno| CopyError::Refused(errno.into()))
}
