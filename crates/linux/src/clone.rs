//! Making processes with clone3(2): fork with namespaces, a cgroup and a pidfd in one call.
//!
//! The child is a copy of a single-threaded process, so it may allocate and take locks like its parent; what
//! it must not do is to use glibc's setuid family, which signals threads by ids that a raw clone leaves stale.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// New namespaces and other flags of clone3(2), joined by `|`.
pub type CloneFlags = u64;

/// A new mount namespace.
pub const NEW_MOUNT: CloneFlags = libc::CLONE_NEWNS as u64;
/// A new PID namespace, of which the child is PID 1.
pub const NEW_PID: CloneFlags = libc::CLONE_NEWPID as u64;
/// A new network namespace.
pub const NEW_NETWORK: CloneFlags = libc::CLONE_NEWNET as u64;
/// A new IPC namespace.
pub const NEW_IPC: CloneFlags = libc::CLONE_NEWIPC as u64;
/// A new UTS namespace (host name).
pub const NEW_UTS: CloneFlags = libc::CLONE_NEWUTS as u64;
/// A new cgroup namespace, rooted in the caller's cgroup: useful for [`unshare`] after joining one.
pub const NEW_CGROUP: CloneFlags = libc::CLONE_NEWCGROUP as u64;

/// A new user namespace.
pub const NEW_USER: CloneFlags = libc::CLONE_NEWUSER as u64;

/// Since Linux 5.7; the constant is as wide as clone3's flags and libc's is not on all targets.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// The word that this process has one thread, so that a copy of it is whole.
#[derive(Clone, Copy, Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Looks it up. The caller promises not to start a thread afterwards.
    pub fn verify() -> io::Result<Self> {
        let tasks = std::fs::read_dir("/proc/self/task")?.count();
        if tasks == 1 {
            return Ok(Self(()));
        }
        Err(io::Error::other(format!("clone needs a single-threaded process, this one has {tasks} threads")))
    }
}

/// Who returns from [`clone3`].
#[derive(Debug)]
pub enum Cloned {
    /// The new process. It must end by exec or [`exit`], never by returning from main.
    Child,
    /// The old one.
    Parent {
        /// The child's pid, as seen from here.
        pid: i32,
        /// The child's pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Makes a child process. Its end is told by SIGCHLD. `cgroup` is the directory of the v2 cgroup it is born in.
pub fn clone3(
    proof: SingleThreaded,
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    clone_with(proof, flags, libc::SIGCHLD, cgroup)
}

/// Makes a child of the caller's parent: a sibling, in namespaces that belong to the caller's user namespace, and of which
/// the parent hears as of any child of its own.
pub fn clone_sibling(proof: SingleThreaded, flags: CloneFlags) -> io::Result<Cloned> {
    // Which signal tells of its end is the parent's affair, so clone3 takes none here.
    clone_with(proof, flags | libc::CLONE_PARENT as u64, 0, None)
}

fn clone_with(
    _proof: SingleThreaded,
    flags: CloneFlags,
    exit_signal: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    // SAFETY: there is no other thread, by `_proof`.
    unsafe { fork(flags, exit_signal, cgroup) }
}

/// fork(2) by clone3(2).
///
/// # Safety
///
/// Unless the process is single-threaded, another thread may hold any lock at this moment, and its copy is never released:
/// then the child may make nothing but system calls.
pub(crate) unsafe fn fork(
    flags: CloneFlags,
    exit_signal: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is a plain structure of integers, for which zero is the documented default.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = exit_signal as u64;
    if let Some(directory) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child runs on a copy of memory and stack, with which it does what the caller promised.
    // `arguments` and `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Moves the calling process into new namespaces of the given kinds.
pub fn unshare(_proof: SingleThreaded, flags: CloneFlags) -> io::Result<()> {
    // SAFETY: only CLONE_FILES and CLONE_VM could break memory or descriptor ownership, and in a single-threaded
    // process there is nobody to be unshared from.
    if unsafe { libc::unshare(flags as libc::c_int) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Joins the namespaces of `flags` of the process behind a pidfd, or the one namespace behind an nsfs descriptor.
pub fn join_namespaces(descriptor: BorrowedFd<'_>, flags: CloneFlags) -> io::Result<()> {
    // SAFETY: setns takes a descriptor and an integer; it touches no memory of ours.
    if unsafe { libc::setns(descriptor.as_raw_fd(), flags as libc::c_int) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Ends a cloned child at once, without destructors or exit handlers of the parent's copy.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit does not return and runs no code of ours.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_told_so() {
        // The test harness runs tests in threads of their own.
        assert!(SingleThreaded::verify().is_err());
    }
}
