//! Standard streams: pipes and files given by the shim, or a terminal made inside of the container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, openat, openat2};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;

use super::attempt::Attempt;
use super::mounts::{attach_to, clone_tree};
use super::report::Reporter;
use crate::protocol::{StartError, Step};

/// statfs(2)'s magic number of devpts.
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Standard input, output and error; what is missing is /dev/null.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// In that order.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// Opened on the host before the container's root is entered.
    pub(crate) null: Option<OwnedFd>,
}

impl Streams {
    /// Streams as given, with the host's null device for the rest.
    pub(crate) fn new(streams: [Option<OwnedFd>; 3]) -> io::Result<Self> {
        let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { streams, null: Some(null) })
    }

    /// Puts them in place for an external runtime, which gives them to the container.
    pub(crate) fn install_for_runtime(&self) -> io::Result<()> {
        for (number, stream) in self.streams.iter().enumerate() {
            if let Some(source) = stream.as_ref().or(self.null.as_ref()) {
                linux::exec::replace_stdio(source.as_fd(), number as i32)?;
            }
        }
        Ok(())
    }

    /// Puts them in place, and gives pipes to the user (as the caller's namespace counts) who is to open them by
    /// /dev/stdout.
    pub(super) fn install(&self, uid: u32) -> Result<(), StartError> {
        let put = || -> io::Result<()> {
            for (number, stream) in self.streams.iter().enumerate() {
                let Some(source) = stream.as_ref().or(self.null.as_ref()) else { continue };
                if stream.is_some() && uid != 0 && is_pipe(source)? {
                    own(source.as_fd(), uid)?;
                }
                linux::exec::replace_stdio(source.as_fd(), number as i32)?;
            }
            Ok(())
        };
        put().attempt(Step::Stdio, || "set the standard streams".to_owned())
    }
}

/// Makes a terminal in the container's devpts, sends its master to the shim and puts the other end in place.
/// `console` binds it to /dev/console, too, by descriptor (CVE-2025-52565).
pub(super) fn open_terminal(
    (rows, columns): (u16, u16),
    uid: u32,
    console: bool,
    reporter: &Reporter,
) -> Result<(), StartError> {
    let open = || -> io::Result<()> {
        let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat2(CWD, "/dev/pts/ptmx", flags, Mode::empty(), resolve)?;
        if rustix::fs::fstatfs(&master)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
            return Err(io::Error::other("/dev/pts/ptmx is not on a devpts"));
        }
        unlockpt(&master)?;
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size)?;
        own(slave.as_fd(), uid)?;
        if console {
            bind_console(&slave)?;
        }
        reporter.terminal(master.as_fd())?;
        for number in 0..=2 {
            linux::exec::replace_stdio(slave.as_fd(), number)?;
        }
        Ok(rustix::process::ioctl_tiocsctty(&slave)?)
    };
    open().attempt(Step::Stdio, || "open a terminal".to_owned())
}

fn bind_console(slave: &OwnedFd) -> io::Result<()> {
    let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let create = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    drop(openat2(CWD, "/dev/console", create | OFlags::NOCTTY, Mode::from_raw_mode(0o600), resolve));
    let console = openat2(CWD, "/dev/console", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    attach_to(&clone_tree(slave, false)?, &console)
}

fn is_pipe(file: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Fifo)
}

fn own(file: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    match fchown(file, Some(Uid::from_raw(uid)), None::<Gid>) {
        // Some filesystems and sandboxes refuse; the stream works all the same.
        Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
