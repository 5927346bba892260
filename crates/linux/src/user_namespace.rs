//! Making user namespaces, whose users are others outside (user_namespaces(7)).
//!
//! A user namespace is made by a process that enters it, and only somebody outside may say who its users are. The process
//! here makes a network namespace with it, which therefore belongs to it, waits until both are held by descriptors, and ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::clone::{self, CloneFlags, Cloned};

/// Which users a namespace has: `count` of them, counted from 0 inside and from `first` outside; groups likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// Who user 0 of the namespace is outside.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl IdRange {
    /// Reads the map of a process, as /proc/PID/uid_map has it. None: it is not one range from 0 on, or the machine's own.
    pub fn parse(map: &str) -> Option<Self> {
        let mut lines = map.lines();
        let mut numbers = lines.next()?.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (inside, first, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (inside == 0 && first != 0 && lines.next().is_none()).then_some(Self { first, count })
    }

    /// Who `id` of the namespace is outside, if it has that one.
    pub fn outside(self, id: u32) -> Option<u32> {
        (id < self.count).then(|| self.first.checked_add(id)).flatten()
    }
}

/// A user namespace, and a network namespace that belongs to it.
#[derive(Debug)]
pub struct Created {
    /// The user namespace.
    pub users: OwnedFd,
    /// The network namespace, with a loopback link that is down.
    pub network: OwnedFd,
}

/// Makes a user namespace with the users of `range`. It needs CAP_SETUID and CAP_SETGID over them.
pub fn create_with_network(range: IdRange) -> io::Result<Created> {
    let (pid, pidfd) = clone_waiting()?;
    let map = format!("0 {} {}", range.first, range.count);
    let open = |name: &str| File::open(format!("/proc/{pid}/{name}")).map(OwnedFd::from);
    let created = std::fs::write(format!("/proc/{pid}/uid_map"), &map)
        .and_then(|()| std::fs::write(format!("/proc/{pid}/gid_map"), &map))
        .and_then(|()| Ok(Created { users: open("ns/user")?, network: open("ns/net")? }));
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    // It tells nobody of its end by a signal, so it is waited for as a clone (__WALL of waitid(2)).
    let options = WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::PidFd(pidfd.as_fd()), options) {}
    created
}

/// A child in new user and network namespaces that waits to be killed, and is when this process dies. It holds no pipe
/// to wait on: what another thread clones meanwhile would hold a copy of it.
fn clone_waiting() -> io::Result<(i32, OwnedFd)> {
    let parent = std::process::id() as libc::pid_t;
    let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as CloneFlags;
    // SAFETY: the process may have threads, and the child makes nothing but system calls, below.
    match unsafe { clone::fork(namespaces, 0, None) }? {
        // SAFETY: system calls with numbers; _exit does not return.
        Cloned::Child => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Else the parent died before it was asked for.
            while libc::getppid() == parent {
                libc::pause();
            }
            libc::_exit(0)
        },
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_one_range_is_read_and_the_machines_own_is_none() {
        let range = IdRange { first: 1_879_048_192, count: 65_536 };
        assert_eq!(IdRange::parse("         0 1879048192      65536\n"), Some(range));
        assert_eq!(range.outside(0), Some(1_879_048_192));
        assert_eq!(range.outside(65_535), Some(1_879_113_727));
        assert_eq!(range.outside(65_536), None);
        for other in ["", "0 0 4294967295\n", "1 100 5\n", "0 100 5\n5 200 5\n", "0 -1 5\n", "0 100"] {
            assert_eq!(IdRange::parse(other), None, "{other:?}");
        }
    }
}
