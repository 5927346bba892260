//! Signals as data: block a set of signals, then read them one by one from a file descriptor
//! (signalfd(2)), so that a program needs no signal handler and no async-signal-safe code.
//!
//! PID 1 of a PID namespace ignores signals whose disposition is the default; a blocked signal that is
//! read from a signalfd reaches it all the same. Must be called before threads are started: the mask is
//! per thread and inherited.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// One signal as the kernel tells it, who sent it and, for SIGCHLD, about whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The signal's number.
    pub signal: i32,
    /// The sender, or for SIGCHLD the child; 0 when the kernel or another PID namespace sent it.
    pub pid: u32,
}

/// An open signalfd together with the promise that its signals are blocked in this thread.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks `signals` in the calling thread and opens a close-on-exec descriptor that yields them.
    /// `nonblocking` makes [`SignalFd::read`] fail with `WouldBlock` instead of waiting.
    pub fn block_and_open(signals: &[i32], nonblocking: bool) -> io::Result<Self> {
        let set = set_of(signals)?;
        // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let flags = libc::SFD_CLOEXEC | if nonblocking { libc::SFD_NONBLOCK } else { 0 };
        // SAFETY: `set` is an initialised signal set and -1 asks for a new descriptor.
        let raw = unsafe { libc::signalfd(-1, &set, flags) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { fd })
    }

    /// The next pending signal.
    pub fn read(&self) -> io::Result<Received> {
        let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut bytes))?;
        if length != bytes.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        // SAFETY: the buffer is exactly one signalfd_siginfo, filled by the kernel; every bit pattern of
        // its integer fields is valid, and read_unaligned needs no alignment.
        let info = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<libc::signalfd_siginfo>()) };
        Ok(Received { signal: info.ssi_signo as i32, pid: info.ssi_pid })
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Unblocks `signals` in the calling thread. A child inherits the mask over exec, so a program that blocked
/// signals for itself does this between fork and exec.
pub fn unblock(signals: &[i32]) -> io::Result<()> {
    let set = set_of(signals)?;
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
    if failed != 0 { Err(io::Error::from_raw_os_error(failed)) } else { Ok(()) }
}

fn set_of(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset writes the whole set and fails on no input.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has just initialised it.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: `set` is initialised; a bad signal number is refused with EINVAL.
        if unsafe { libc::sigaddset(&mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_with_its_sender() {
        let signals = SignalFd::block_and_open(&[libc::SIGUSR1], false).unwrap();
        // SAFETY: tgkill to this very thread; the signal is blocked here.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGUSR1) };
        let received = signals.read().unwrap();
        assert_eq!((received.signal, received.pid), (libc::SIGUSR1, std::process::id()));
    }

    #[test]
    fn an_invalid_signal_is_refused() {
        assert!(SignalFd::block_and_open(&[4096], true).is_err());
    }
}
