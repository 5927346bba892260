//! Byte-range locks that belong to an open file description (fcntl(2), "Open file description locks").
//!
//! One file of length zero serves as a table of any number of locks: a byte's offset is the lock's name. Unlike
//! POSIX record locks, these are not lost when another descriptor of the same file is closed in the process,
//! and two threads exclude each other. They vanish with the last copy of the descriptor, also by kill -9.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Waits until the exclusive lock named `offset` is ours. It is released when `file`'s description is closed.
pub fn lock_exclusive(file: impl AsFd, offset: u32) -> io::Result<()> {
    loop {
        match request(file.as_fd().as_raw_fd(), offset, libc::F_OFD_SETLKW) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

/// Takes the exclusive lock named `offset` if nobody has it. `false`: somebody has.
pub fn try_lock_exclusive(file: impl AsFd, offset: u32) -> io::Result<bool> {
    match request(file.as_fd().as_raw_fd(), offset, libc::F_OFD_SETLK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn request(fd: libc::c_int, offset: u32, command: libc::c_int) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all zeroes is a valid value; l_pid must be zero for OFD locks.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = libc::off_t::from(offset);
    lock.l_len = 1;
    // SAFETY: the descriptor is borrowed by the caller for the call's duration and `lock` is a live, initialised flock.
    let result = unsafe { libc::fcntl(fd, command, &raw const lock) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn names_are_independent_and_die_with_the_description() {
        let path = std::env::temp_dir().join(format!("podling-range-lock-{}", std::process::id()));
        let open = || File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        lock_exclusive(&first, 7).unwrap();
        assert!(!try_lock_exclusive(&second, 7).unwrap(), "another description is excluded");
        assert!(try_lock_exclusive(&second, 8).unwrap(), "another name is free");
        drop(first);
        assert!(try_lock_exclusive(&second, 7).unwrap(), "closing releases");
        std::fs::remove_file(&path).unwrap();
    }
}
