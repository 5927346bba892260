//! Writing to procfs, and being sure that it is procfs.
//!
//! CVE-2025-52881: a container that can mount over /proc redirects a runtime's writes. So everything goes through
//! one descriptor of the host's /proc that was verified when the shim started, resolved beneath it and on it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// statfs(2)'s magic number of procfs.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The host's procfs.
#[derive(Debug)]
pub(crate) struct Proc {
    root: OwnedFd,
}

impl Proc {
    /// Opens /proc and verifies it.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = openat(CWD, "/proc", flags, Mode::empty())?;
        if rustix::fs::fstatfs(&root)?.f_type as u64 != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc is not procfs"));
        }
        Ok(Self { root })
    }

    /// Another handle of the same.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { root: self.root.try_clone()? })
    }

    /// Writes a value to a file of procfs. `self` in a path is the caller.
    pub(crate) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve)?;
        let written = rustix::io::write(&file, value.as_bytes())?;
        if written == value.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }

    /// Reads a file of procfs.
    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(openat2(&self.root, path, flags, Mode::empty(), resolve)?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        // A process may give itself a name that is no text.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sets a sysctl, like "net.core.somaxconn", in the caller's namespaces.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        self.write(&sysctl_path(name), value)
    }

    /// Opens a namespace of a process, like "net".
    pub(crate) fn namespace(&self, pid: i32, kind: &str) -> io::Result<OwnedFd> {
        // A magic link of the kernel's own, in a procfs that is verified.
        Ok(openat(&self.root, format!("{pid}/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The path of a sysctl below /proc: dots separate, a slash stands for a dot inside a name (sysctl(8)).
fn sysctl_path(name: &str) -> String {
    let swapped: String = name
        .chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("sys/{swapped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_become_paths() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.rp_filter"), "sys/net/ipv4/conf/eth0.1/rp_filter");
    }

    #[test]
    fn nothing_above_or_beside_procfs_is_written() {
        let proc = Proc::open().unwrap();
        assert!(proc.write("../etc/hostname", "x").is_err());
        assert!(proc.write("self/root/etc/hostname", "x").is_err());
    }
}
