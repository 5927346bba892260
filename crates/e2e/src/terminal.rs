//! A terminal (pty(7)) for tests of what people see.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Both ends.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
    theirs: File,
}

impl Terminal {
    /// A terminal of 24 lines and 100 columns.
    pub fn open() -> Terminal {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("the terminal's other end");
        unlockpt(&ours).expect("the terminal's other end");
        let path = ptsname(&ours, Vec::new()).expect("the terminal's name").into_string().expect("ASCII");
        let theirs = File::options().read(true).write(true).open(path).expect("the terminal's other end");
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("the terminal's size");
        Terminal { ours, theirs }
    }

    /// Gives one end to a command, and the other to us: what is printed is read from it, keys are written to it.
    pub fn attach(self, command: &mut Command) -> File {
        let end = || Stdio::from(self.theirs.try_clone().expect("one more descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        self.ours.into()
    }
}
