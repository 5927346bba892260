//! Frames on a unix stream socket, with file descriptors beside them; used by both ends, blocks nowhere.
//!
//! A frame is `length: u32 LE`, `descriptors: u32 LE`, then `length` bytes of postcard. Descriptors travel beside
//! the first byte of their frame. The kernel keeps the order of descriptors and never merges those of two sends
//! into one read, so a queue of received descriptors and the count in each header say whose they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The length of a frame's header.
const HEADER_BYTES: usize = 8;
/// The largest frame: arguments and environment may be 2 MiB and more, a filter 32 KiB, mounts some hundred.
const MAX_FRAME_BYTES: usize = 64 << 20;
/// The most descriptors of one frame.
const MAX_DESCRIPTORS: usize = 8;
/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

/// A frame that arrived: its bytes and its descriptors.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    /// What travelled beside it.
    pub descriptors: Vec<OwnedFd>,
}

impl Frame {
    /// The message in it.
    pub fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        postcard::from_bytes(&self.bytes)
            .map_err(|error| invalid(format!("frame is not understood: {error}")))
    }
}

/// What arrived and was not taken yet.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Reads once. `Ok(false)` is the end of the stream; `WouldBlock` passes through.
    pub fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let start = self.bytes.len();
        self.bytes.resize(start + READ_BYTES, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut self.bytes[start..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let count = received.as_ref().map_or(0, |message| message.bytes);
        self.bytes.truncate(start + count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        received?;
        Ok(count > 0)
    }

    /// Takes the next whole frame, if it is there.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = self.bytes.get(..HEADER_BYTES) else { return Ok(None) };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > MAX_FRAME_BYTES || count > MAX_DESCRIPTORS {
            return Err(invalid(format!("frame of {length} bytes and {count} descriptors")));
        }
        if self.bytes.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        if self.descriptors.len() < count {
            return Err(invalid(format!("frame came with fewer than its {count} descriptors")));
        }
        let bytes = self.bytes[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        self.bytes.drain(..HEADER_BYTES + length);
        if self.bytes.is_empty() {
            // A large frame's memory is not kept.
            self.bytes = Vec::new();
        }
        Ok(Some(Frame { bytes, descriptors: self.descriptors.drain(..count).collect() }))
    }
}

/// What is still to be sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    frames: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// How much of the first frame is sent.
    sent: usize,
}

impl Outgoing {
    /// Appends a message and what travels beside it.
    pub fn push<T: Serialize>(&mut self, message: &T, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.frames.push_back((encode(message, descriptors.len())?, descriptors));
        Ok(())
    }

    /// How many frames were not sent, or not wholly.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends as much as the socket takes. `WouldBlock` passes through: call again when it is writable.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<()> {
        while let Some((bytes, descriptors)) = self.frames.front() {
            let beside: Vec<BorrowedFd<'_>> =
                if self.sent == 0 { descriptors.iter().map(AsFd::as_fd).collect() } else { Vec::new() };
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !beside.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&beside));
            }
            let rest = IoSlice::new(&bytes[self.sent..]);
            self.sent += sendmsg(&socket, &[rest], &mut control, SendFlags::NOSIGNAL)?;
            if self.sent == bytes.len() {
                self.frames.pop_front();
                self.sent = 0;
            }
        }
        Ok(())
    }
}

fn encode<T: Serialize>(message: &T, descriptors: usize) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(message, vec![0; HEADER_BYTES])
        .map_err(|error| invalid(format!("message cannot be encoded: {error}")))?;
    let length = bytes.len() - HEADER_BYTES;
    if length > MAX_FRAME_BYTES || descriptors > MAX_DESCRIPTORS {
        return Err(invalid(format!("message of {length} bytes and {descriptors} descriptors is too large")));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4..HEADER_BYTES].copy_from_slice(&(descriptors as u32).to_le_bytes());
    Ok(bytes)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_stay_with_their_frames() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = |name: &str| {
            let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            std::fs::File::from(fd.try_clone().unwrap()).write_all(name.as_bytes()).unwrap();
            fd
        };
        let mut outgoing = Outgoing::default();
        outgoing.push(&"plain", vec![]).unwrap();
        outgoing.push(&"one", vec![file("a")]).unwrap();
        outgoing.push(&"two", vec![file("b"), file("c")]).unwrap();
        outgoing.flush(&ours).unwrap();
        drop(ours);

        let mut incoming = Incoming::default();
        while incoming.fill(&theirs).unwrap() {}
        let mut seen = Vec::new();
        while let Some(frame) = incoming.next_frame().unwrap() {
            seen.push((frame.parse::<String>().unwrap(), frame.descriptors.len()));
        }
        assert_eq!(seen, [("plain".to_owned(), 0), ("one".to_owned(), 1), ("two".to_owned(), 2)]);
    }

    #[test]
    fn a_frame_larger_than_one_read_arrives_whole() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let large = vec![7u8; 3 << 20];
        let mut outgoing = Outgoing::default();
        outgoing.push(&large, vec![]).unwrap();
        let mut incoming = Incoming::default();
        let frame = loop {
            match outgoing.flush(&ours) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
            incoming.fill(&theirs).unwrap();
            if let Some(frame) = incoming.next_frame().unwrap() {
                break frame;
            }
        };
        assert_eq!(frame.parse::<Vec<u8>>().unwrap(), large);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn a_frame_of_nonsense_is_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0xff; 64]).unwrap();
        let mut incoming = Incoming::default();
        incoming.fill(&theirs).unwrap();
        assert!(incoming.next_frame().is_err());
    }
}
