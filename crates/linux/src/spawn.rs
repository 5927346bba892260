//! Starting a program as a child that borrows its parent's memory until it has executed it (clone(2) with CLONE_VM and
//! CLONE_VFORK): nothing is copied, so it costs half of fork and exec.
//!
//! The parent waits until the program is executed; so this is for a parent that has nothing else to do. It must not handle
//! signals either: a handler would run in the child, in the parent's memory. posix_spawn(3) does the same for any parent,
//! and therefore looks at and sets the action of each of 64 signals in each child, which takes as long as the rest.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::exec::{Arguments, pointers};

/// What the child's few calls need of a stack, many times over.
const STACK_BYTES: usize = 32 << 10;

/// Executes the program at `path` in a child with a session of its own and with these standard streams; its other
/// descriptors are the caller's that are not close-on-exec. Returns its pid.
pub fn spawn(path: &CStr, arguments: &Arguments, streams: [BorrowedFd<'_>; 3]) -> io::Result<i32> {
    let (argv, envp) = (pointers(arguments.arguments()), pointers(arguments.environment()));
    let mut child = Child {
        path: path.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        streams: streams.map(|stream| stream.as_raw_fd()),
        refused: 0,
    };
    let mut stack = Vec::<u8>::with_capacity(STACK_BYTES);
    // SAFETY: the end of the allocation; x86-64 and aarch64 have stacks that grow down and are aligned to 16.
    let top = unsafe { stack.as_mut_ptr().add(STACK_BYTES) };
    let top = top.wrapping_sub(top.addr() % 16);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `execute` on a stack of its own. It shares this memory, but by CLONE_VFORK this thread stands
    // still until the child has executed the program or ended, so all that `child` points to outlives its use.
    let pid = unsafe { libc::clone(execute, top.cast(), flags, (&raw mut child).cast()) };
    let pid = match pid {
        -1 => return Err(io::Error::last_os_error()),
        pid => pid,
    };
    // SAFETY: `child` is a local that another process has written to, and which nobody writes to any more.
    let refused = unsafe { (&raw const child.refused).read_volatile() };
    if refused == 0 {
        return Ok(pid);
    }
    // SAFETY: waits for the child that has just ended; no memory is passed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Err(io::Error::from_raw_os_error(refused))
}

/// What parent and child share.
struct Child {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    streams: [c_int; 3],
    /// The error number of what the kernel refused.
    refused: c_int,
}

/// The child. Allocates nothing and takes no lock: the memory is its parent's.
extern "C" fn execute(shared: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its `Child`, which nobody else looks at meanwhile.
    let child = unsafe { &mut *shared.cast::<Child>() };
    // SAFETY: system calls on descriptors that the parent holds, and on C strings and arrays of `Arguments`, which end with
    // null; a child has standard streams of its own.
    let is_prepared = unsafe {
        libc::setsid() != -1
            && (0..3).zip(child.streams).all(|(number, stream)| match stream == number {
                // A copy onto itself would keep close-on-exec.
                true => libc::fcntl(number, libc::F_SETFD, 0) != -1,
                false => libc::dup2(stream, number) != -1,
            })
    };
    if is_prepared {
        // SAFETY: as above.
        unsafe { libc::execve(child.path, child.argv, child.envp) };
    }
    // SAFETY: the address of this thread's errno, which is the waiting parent's.
    child.refused = unsafe { *libc::__errno_location() };
    127
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;

    fn arguments(words: &[&std::ffi::CStr]) -> Arguments {
        Arguments::new(words.iter().map(|word| (*word).to_owned()).collect(), vec![c"NAME=value".to_owned()])
    }

    #[test]
    fn a_program_gets_its_arguments_environment_and_streams() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let arguments = arguments(&[c"sh", c"-c", c"echo $0 $NAME; exit 7", c"zero"]);
        let pid = spawn(c"/bin/sh", &arguments, [null.as_fd(), writer.as_fd(), null.as_fd()]).unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "zero value\n");
        let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(7));
    }

    #[test]
    fn what_cannot_be_executed_is_refused_with_its_reason() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let streams = [null.as_fd(); 3];
        let refused = |path: &std::ffi::CStr| spawn(path, &arguments(&[c"x"]), streams).unwrap_err().kind();
        assert_eq!(refused(c"/nothing/here"), io::ErrorKind::NotFound);
        assert_eq!(refused(c"/etc/passwd"), io::ErrorKind::PermissionDenied);
    }
}
