//! Signals by pidfd, for every signal number: rustix's safe `Signal` knows no real-time signals, which Kubernetes'
//! stopSignal may name.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends `signal` to the process behind a pidfd. 0 only asks whether it is there.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes integers; without a siginfo it reads no memory of ours.
    let failed =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, 0usize, 0u32) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
