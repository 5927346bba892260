//! Network namespaces: hold one by a descriptor, make one, and run something inside one.
//!
//! A network namespace belongs to a thread. Nothing here ever moves the calling thread: work inside a
//! namespace runs in a thread of its own that ends with it, so a thread pool can never be left in the wrong
//! namespace.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

/// A descriptor of the calling thread's network namespace.
pub fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes a network namespace (with a loopback link that is down) that lives as long as the descriptor, or a
/// process or link in it.
pub fn create() -> io::Result<OwnedFd> {
    in_thread(|| {
        // SAFETY: only this thread's network namespace changes, and the thread ends right after.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
        current()
    })?
}

/// Runs `work` in a thread of its own inside the namespace and returns what it returned.
pub fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    in_thread(|| {
        rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        Ok(work())
    })?
}

/// Two descriptors of one namespace name the same inode of nsfs (namespaces(7)).
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok(one.st_dev == other.st_dev && one.st_ino == other.st_ino)
}

fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
