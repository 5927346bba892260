//! Starting a shim, and finding a running one by its socket.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with, socketpair,
    sockopt,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::programs;
use crate::ShimConfig;

/// A shim's process and a connection to it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) socket: OwnedFd,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Starts the shim's program from its memfd. Its standard input is the connection.
pub(super) fn spawn(config: &ShimConfig) -> io::Result<Found> {
    std::fs::create_dir_all(&config.pod_dir)?;
    let program = programs::shim()?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let log =
        OpenOptions::new().create(true).append(true).mode(0o640).open(config.pod_dir.join("shim.log"))?;
    // Without pre_exec and the like this is a vfork, which costs the same however large this process is.
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("podling-shim")
        .arg(&config.pod_dir)
        .arg(&config.cgroup)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()?;
    let pid = child.id() as i32;
    // Not reaped yet, so the pid is this child's.
    Ok(Found { socket: ours, pid, pidfd: open_pidfd(pid)? })
}

/// Connects to the shim that listens in a Pod's run directory. Paths of sockets are short (unix(7)), so it is named
/// through a descriptor of its directory.
pub(super) fn connect(pod_dir: &Path) -> io::Result<Found> {
    let directory = openat(CWD, pod_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let path = format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd());
    connect_to(&socket, &SocketAddrUnix::new(path.as_str())?)?;
    // The kernel noted the listener's pid when it began to listen.
    let pid = sockopt::socket_peercred(&socket)?.pid.as_raw_nonzero().get();
    Ok(Found { socket, pid, pidfd: open_pidfd(pid)? })
}

fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}
