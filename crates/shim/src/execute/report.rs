//! The way back from the process that becomes a container or an exec: warnings, its terminal, "ready", a failure.
//!
//! It is a socket pair that keeps message boundaries and is closed by exec, so the shim learns of a successful
//! exec by the end of the stream. "Ready" tells that end from the end of a process that was killed while it was
//! being set up.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::protocol::StartError;

/// Messages are short sentences; a longer one is cut by its sender.
const MAX_REPORT_BYTES: usize = 16 << 10;

/// What is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something the machine did not allow and that is done without.
    Warning(String),
    /// The master of the terminal travels beside this.
    Terminal,
    /// The container's first process has this pid: another process made it, which ends.
    Pid(i32),
    /// Everything is set; exec is next.
    Ready,
    /// It failed.
    Failed(StartError),
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct Reporter {
    socket: OwnedFd,
}

/// Makes a channel: the shim's end (not blocking) and the child's.
pub(crate) fn pair() -> io::Result<(OwnedFd, Reporter)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, Reporter { socket: theirs }))
}

impl Reporter {
    /// Reports. A shim that is gone cannot be told, and the process will end with it.
    pub(crate) fn report(&self, report: &Report) {
        let _ = self.send(report, &[]);
    }

    /// Reports a warning.
    pub(crate) fn warn(&self, sentence: String) {
        self.report(&Report::Warning(sentence));
    }

    /// Reports a failure.
    pub(crate) fn fail(&self, failure: &StartError) {
        let mut failure = failure.clone();
        let mut end = failure.message.len().min(MAX_REPORT_BYTES / 2);
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        failure.message.truncate(end);
        self.report(&Report::Failed(failure));
    }

    /// Sends the master of the terminal.
    pub(crate) fn terminal(&self, master: BorrowedFd<'_>) -> io::Result<()> {
        self.send(&Report::Terminal, &[master])
    }

    fn send(&self, report: &Report, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(report).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !beside.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(beside));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Receives one report and what travels beside it; `None` at the end.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_REPORT_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let beside = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let report = postcard::from_bytes(&bytes[..received.bytes]).map_err(io::Error::other)?;
    Ok(Some((report, beside)))
}
