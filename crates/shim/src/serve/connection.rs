//! A daemon's connection: frames in, frames out, never waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SocketFlags, accept_with, sockopt};

use crate::frame::{Frame, Incoming, Outgoing};
use crate::protocol::Message;

/// A daemon that does not read is cut off here; it can connect again and ask for everything.
const MAX_UNSENT_FRAMES: usize = 4096;

#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether it said Hello; events are told from then on.
    pub(super) greeted: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, incoming: Incoming::default(), outgoing: Outgoing::default(), greeted: false })
    }

    /// Takes a connection of the listener. Anybody but root is turned away.
    pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let socket = accept_with(listener, SocketFlags::CLOEXEC)?;
        if !sockopt::socket_peercred(&socket)?.uid.is_root() {
            return Ok(None);
        }
        Self::new(socket).map(Some)
    }

    /// Reads once; `false` at the end.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        match self.incoming.fill(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            outcome => outcome,
        }
    }

    /// The next whole frame.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        self.incoming.next_frame()
    }

    /// Sends a message, or keeps it for when the socket takes it.
    pub(super) fn send(&mut self, message: &Message, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.outgoing.push(message, descriptors)?;
        if self.outgoing.len() > MAX_UNSENT_FRAMES {
            return Err(io::Error::other("the daemon does not read"));
        }
        self.flush()
    }

    /// Sends what was kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.outgoing.flush(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether something waits for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
