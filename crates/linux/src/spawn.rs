//! Starting a program as a child that borrows its parent's memory until it has executed it (posix_spawn(3), which the C
//! library does by clone(2) with CLONE_VM and CLONE_VFORK): nothing is copied, so it costs half of fork and exec.
//!
//! The parent waits until the program is executed; so this is for a parent that has nothing else to do.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::exec::{Arguments, pointers};

/// Executes the program at `path` in a child with a session of its own and with these standard streams; its other
/// descriptors are the caller's that are not close-on-exec. Returns its pid.
pub fn spawn(path: &CStr, arguments: &Arguments, streams: [BorrowedFd<'_>; 3]) -> io::Result<i32> {
    let actions = FileActions::new(streams)?;
    let attributes = Attributes::new()?;
    let (argv, envp) = (pointers(arguments.arguments()), pointers(arguments.environment()));
    let mut pid = 0;
    // SAFETY: both arrays end with a null pointer and point to strings of `arguments`, which the child reads before it
    // executes and so before this returns; actions and attributes are initialised.
    let refused = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const *actions.0,
            &raw const *attributes.0,
            argv.as_ptr().cast(),
            envp.as_ptr().cast(),
        )
    };
    checked(refused).map(|()| pid)
}

/// What the child does to its descriptors.
struct FileActions(Box<libc::posix_spawn_file_actions_t>);

impl FileActions {
    fn new(streams: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let mut raw = Box::new(MaybeUninit::uninit());
        // SAFETY: the call initialises what it is given.
        checked(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        let mut actions = Self(unsafe { raw.assume_init() });
        for (number, stream) in streams.iter().enumerate() {
            // A copy onto itself loses close-on-exec, too (POSIX issue 8, glibc 2.29).
            // SAFETY: `actions` is initialised; the descriptors are only numbers to it.
            checked(unsafe {
                libc::posix_spawn_file_actions_adddup2(&raw mut *actions.0, stream.as_raw_fd(), number as i32)
            })?;
        }
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut *self.0) };
    }
}

/// What the child is besides.
struct Attributes(Box<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut raw = Box::new(MaybeUninit::uninit());
        // SAFETY: the call initialises what it is given.
        checked(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        let mut attributes = Self(unsafe { raw.assume_init() });
        // SAFETY: `attributes` is initialised.
        checked(unsafe { libc::posix_spawnattr_setflags(&raw mut *attributes.0, libc::POSIX_SPAWN_SETSID) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut *self.0) };
    }
}

/// These functions return the error instead of setting errno.
fn checked(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
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
