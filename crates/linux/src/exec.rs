//! execve(2) and what a process sets right before it: standard streams, signals, descriptors.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Arguments and environment in the shape that execve takes, made once and tried on several paths.
#[derive(Debug)]
pub struct Arguments {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Arguments {
    /// Takes what the program is to be given.
    pub fn new(arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        Self { arguments, environment }
    }

    /// The same environment with other arguments.
    pub fn set_arguments(&mut self, arguments: Vec<CString>) {
        self.arguments = arguments;
    }

    pub(crate) fn arguments(&self) -> &[CString] {
        &self.arguments
    }

    pub(crate) fn environment(&self) -> &[CString] {
        &self.environment
    }

    /// Replaces this process by the program at `path`. Returns only if the kernel refuses.
    pub fn execute(&self, path: &CStr) -> io::Error {
        let (argv, envp) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: path is NUL-terminated; both arrays end with a null pointer and point to strings of `self`.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        io::Error::last_os_error()
    }

    /// Replaces this process by the program in an open file (a memfd). Returns only if the kernel refuses.
    pub fn execute_descriptor(&self, program: BorrowedFd<'_>) -> io::Error {
        let (argv, envp) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: the path is the empty C string; both arrays end with null and point to strings of `self`.
        unsafe {
            libc::execveat(
                program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr().cast(),
                envp.as_ptr().cast(),
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    }
}

pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Makes descriptor `number` (0, 1 or 2) a copy of `source`, without close-on-exec.
pub fn replace_stdio(source: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    assert!((0..=2).contains(&number), "only the standard streams belong to nobody");
    if source.as_raw_fd() == number {
        // dup2 onto itself would leave close-on-exec set.
        return Ok(rustix::io::fcntl_setfd(source, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: the standard streams have no owner in Rust's sense; whatever was open there is closed.
    if unsafe { libc::dup2(source.as_raw_fd(), number) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Marks every descriptor from 3 on close-on-exec, whoever opened it (CVE-2024-21626).
pub fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: close_range with CLOEXEC closes nothing now; it sets a flag that hurts no owner.
    let failed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from 3 on but one. For a process that has become something else and takes nothing along; its
/// owners of what is closed here must never run again, which holds for a cloned child that ends by exit.
pub fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd() as u32;
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: the caller's promise: nobody uses the descriptors that are closed.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives every signal its default action: exec keeps ignored signals, and a daemon may have been started with some.
pub fn reset_all_signals() {
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33) {
            continue;
        }
        // SAFETY: SIG_DFL runs no handler of ours; a refused number changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes writes to a closed pipe or socket fail instead of ending the process.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN runs no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Undoes what Rust's runtime and the shim do to signals: SIGPIPE is ignored, some are blocked. For a child whose
/// parent called [`reset_all_signals`].
pub fn reset_own_signals() {
    // SAFETY: SIG_DFL runs no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: an all-zero sigset_t is the empty set on Linux.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &empty, std::ptr::null_mut()) };
}
