//! netlink(7), synchronous and small: build several messages into one batch, send them with one system call,
//! read what the kernel answered. rtnetlink (links, addresses, routes), nfnetlink (nftables) and sock_diag all
//! speak it.
//!
//! Why not a library: the kernel does the work of a request inside sendmsg(2) and has queued every answer
//! when that call returns, so nothing here ever waits and an event loop would only add its own latency (a
//! bridge and a Pod's veth pair are three system calls this way). A socket acts in the network namespace it
//! was opened in, whichever thread uses it later.
//!
//! This module knows the framing only; what the messages mean stands with those who send them. Lengths
//! that come from the kernel are checked all the same.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Bytes of a netlink message header (`struct nlmsghdr`).
const HEADER_LEN: usize = 16;
/// The answer to a request that asked for one: an error code, zero for success.
const NLMSG_ERROR: u16 = 2;
/// The end of a dump.
const NLMSG_DONE: u16 = 3;
/// This is a request; every message we send carries it.
const NLM_F_REQUEST: u16 = 1;
/// Answer also when all went well.
const NLM_F_ACK: u16 = 4;
/// The table changed while it was dumped: what was read may be incomplete.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The answer carries attributes behind the error code (the kernel's explanation).
const NLM_F_ACK_TLVS: u16 = 0x200;
/// Give the whole table.
const NLM_F_DUMP: u16 = 0x300;
/// Create the object if it is not there.
pub const NLM_F_CREATE: u16 = 0x400;
/// Fail if the object is there already.
pub const NLM_F_EXCL: u16 = 0x200;
/// Append to the list (nftables rules).
pub const NLM_F_APPEND: u16 = 0x800;
/// The attribute holds attributes.
const NLA_F_NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are its type.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// Larger than any datagram the kernel makes for a dump (32 KiB).
const RECEIVE_BUFFER_LEN: usize = 64 * 1024;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// Who owns which socket: sock_diag(7).
    SockDiag,
    /// nftables.
    Netfilter,
}

/// The kernel refused one message: the error number and, where it gave one, its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The position of the refused message among those of the batch that asked for an answer.
    pub index: usize,
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's own words (NLMSGERR_ATTR_MSG), for instance "Device is already in use".
    pub explanation: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.explanation {
            Some(words) => write!(f, "{error}: {words}"),
            None => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        if refused.explanation.is_none() {
            return io::Error::from_raw_os_error(refused.errno);
        }
        io::Error::new(io::Error::from_raw_os_error(refused.errno).kind(), refused)
    }
}

/// The error number of a failure of this module, with or without the kernel's explanation.
pub fn errno(error: &io::Error) -> Option<i32> {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    error.raw_os_error().or(refused.map(|refused| refused.errno))
}

/// Several messages that leave in one system call, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: Vec<u8>,
    /// Where each message that asked for an answer starts.
    asking: Vec<usize>,
    /// Where each other message starts.
    silent: Vec<usize>,
}

impl Batch {
    /// No message yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message that the kernel must answer. `header` is the fixed structure of its family.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> Message<'_> {
        self.asking.push(self.buffer.len());
        self.start(kind, flags | NLM_F_ACK, header)
    }

    /// Adds a message without answer (the begin and end of an nftables transaction).
    pub fn silent_message(&mut self, kind: u16, header: &[u8]) -> Message<'_> {
        self.silent.push(self.buffer.len());
        self.start(kind, 0, header)
    }

    /// How many messages ask for an answer.
    pub fn len(&self) -> usize {
        self.asking.len()
    }

    /// True when there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.asking.is_empty()
    }

    fn start(&mut self, kind: u16, flags: u16, header: &[u8]) -> Message<'_> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        self.buffer.extend_from_slice(header);
        let mut message = Message { buffer: &mut self.buffer, start };
        message.pad();
        message
    }

    fn number(&mut self, first: u32) {
        for (offset, start) in self.asking.iter().enumerate() {
            let sequence = first.wrapping_add(offset as u32);
            self.buffer[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
        // An answer to a message that asked for none is a failure of the whole transaction.
        let rest = first.wrapping_add(self.asking.len() as u32);
        for start in &self.silent {
            self.buffer[start + 8..start + 12].copy_from_slice(&rest.to_ne_bytes());
        }
    }
}

/// One message under construction. Its length is kept true after every attribute.
#[derive(Debug)]
pub struct Message<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl Message<'_> {
    /// Adds an attribute with raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("a netlink attribute is shorter than 64 KiB");
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a number in the machine's byte order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order (nftables).
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string, ended by a zero byte.
    pub fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds an attribute that starts with a fixed structure and goes on with the attributes `fill` adds.
    pub fn nested_after(&mut self, kind: u16, head: &[u8], fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        self.buffer.extend_from_slice(head);
        self.pad();
        fill(&mut Message { buffer: self.buffer, start: self.start });
        let length =
            u16::try_from(self.buffer.len() - at).expect("a netlink attribute is shorter than 64 KiB");
        self.buffer[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds an attribute that holds the attributes `fill` adds.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        self.nested_after(kind, &[], fill)
    }

    fn pad(&mut self) {
        let padded = self.buffer.len().next_multiple_of(4);
        self.buffer.resize(padded, 0);
        let length =
            u32::try_from(self.buffer.len() - self.start).expect("a netlink message is shorter than 4 GiB");
        self.buffer[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A netlink socket of one family, bound to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol: Option<Protocol> = match family {
            Family::Route => None,
            Family::SockDiag => Some(rustix::net::netlink::SOCK_DIAG),
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // Explanations are wanted, a copy of our own message is not. Older kernels without them serve too.
        let _ = set_option(&fd, libc::NETLINK_EXT_ACK);
        let _ = set_option(&fd, libc::NETLINK_CAP_ACK);
        // Dumps honour their filter fields (strict check, Linux 4.20).
        let _ = set_option(&fd, libc::NETLINK_GET_STRICT_CHK);
        Ok(Self { fd, sequence: 1, buffer: vec![0; RECEIVE_BUFFER_LEN] })
    }

    /// Sends the batch and returns the first refusal, if any. rtnetlink performs the messages after a refused
    /// one too; an nftables transaction is all or nothing.
    pub fn perform(&mut self, batch: Batch) -> io::Result<()> {
        match self.perform_each(batch)?.into_iter().next() {
            Some(refused) => Err(refused.into()),
            None => Ok(()),
        }
    }

    /// Sends the batch and returns every refusal, in order: a caller that tears down goes on past some.
    pub fn perform_each(&mut self, mut batch: Batch) -> io::Result<Vec<Refused>> {
        let expected = batch.len();
        let first = self.sequence;
        self.sequence = first.wrapping_add(expected as u32 + 1);
        batch.number(first);
        self.send(&batch.buffer)?;

        let mut answered = 0;
        let mut refusals = Vec::new();
        while answered < expected {
            let length = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                // All answers are queued when send returns: what is missing now will never come.
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if message.kind != NLMSG_ERROR || index > expected {
                    continue;
                }
                answered += usize::from(index < expected);
                refusals.extend(refusal(&message, index));
            }
        }
        if answered < expected && refusals.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the kernel answered only {answered} of {expected} netlink messages"),
            ));
        }
        refusals.sort_by_key(|refused| refused.index);
        Ok(refusals)
    }

    /// Asks for a table and calls `each` with the type and the payload of every entry. A table that changed
    /// meanwhile is read again by the caller's next call: the flag of an interrupted dump is returned as an
    /// `Interrupted` error after all entries were given.
    pub fn dump(&mut self, kind: u16, header: &[u8], each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.dump_with(kind, header, |_| {}, each)
    }

    /// As [`Socket::dump`], with attributes in the request.
    pub fn dump_with(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Message<'_>),
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let mut batch = Batch::new();
        fill(&mut batch.start(kind, NLM_F_DUMP, header));
        batch.asking.push(0);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        batch.number(sequence);
        self.send(&batch.buffer)?;
        let mut interrupted = false;
        loop {
            let length = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_DONE if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    NLMSG_DONE => return refusal(&message, 0).map_or(Ok(()), |refused| Err(refused.into())),
                    NLMSG_ERROR => {
                        return refusal(&message, 0).map_or(Ok(()), |refused| Err(refused.into()));
                    }
                    kind => each(kind, message.payload),
                }
            }
        }
    }

    /// Asks for one object and calls `each` with the type and the payload of the answer.
    pub fn query(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Message<'_>),
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let mut batch = Batch::new();
        fill(&mut batch.message(kind, 0, header));
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        batch.number(sequence);
        self.send(&batch.buffer)?;
        loop {
            let length = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]).filter(|message| message.sequence == sequence) {
                if message.kind == NLMSG_ERROR {
                    return refusal(&message, 0).map_or(Ok(()), |refused| Err(refused.into()));
                }
                each(message.kind, message.payload);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What the kernel tells everybody: changes of links, addresses and so on, from the moment it was opened.
#[derive(Debug)]
pub struct Subscription {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Subscription {
    /// Subscribes to the groups of rtnetlink (a mask of RTMGRP_*) in the calling thread's network namespace.
    pub fn open(groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { fd, buffer: vec![0; RECEIVE_BUFFER_LEN] })
    }

    /// Waits until `found` is true of the type and payload of a message, or until the deadline; says which.
    /// Messages that were lost because nobody read them are an error (ENOBUFS): the caller looks by itself.
    pub fn wait_for(
        &mut self,
        deadline: Instant,
        mut found: impl FnMut(u16, &[u8]) -> bool,
    ) -> io::Result<bool> {
        loop {
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    if messages(&self.buffer[..length]).any(|message| found(message.kind, message.payload)) {
                        return Ok(true);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    let timeout = rustix::event::Timespec {
                        tv_sec: left.as_secs() as i64,
                        tv_nsec: i64::from(left.subsec_nanos()),
                    };
                    let mut wanted = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
                    match rustix::event::poll(&mut wanted, Some(&timeout)) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn set_option(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one initialised int whose size is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of one datagram; a length that does not fit ends the walk.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER_LEN)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            payload: &message[HEADER_LEN..],
        })
    })
}

/// The refusal in an NLMSG_ERROR or NLMSG_DONE message; none when its code is zero.
fn refusal(message: &Received<'_>, index: usize) -> Option<Refused> {
    let code = u32_at(message.payload, 0).unwrap_or(0) as i32;
    if code >= 0 {
        return None;
    }
    const NLMSGERR_ATTR_MSG: u16 = 1;
    // With NETLINK_CAP_ACK only the header of our own message is echoed between code and attributes.
    let explanation = (message.kind == NLMSG_ERROR && message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| message.payload.get(4 + HEADER_LEN..))
        .flatten()
        .and_then(|tail| attributes(tail).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG))
        .map(|(_, text)| string(text).to_owned());
    Some(Refused { index, errno: -code, explanation })
}

/// Walks the attributes of a payload: (type, value). A length that does not fit ends the walk.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A string attribute's text up to its zero byte; empty when it is not UTF-8.
pub fn string(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

/// A number in the machine's byte order at an offset, if there are enough bytes.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset.checked_add(2)?)?.try_into().ok()?))
}

/// A number in the machine's byte order at an offset, if there are enough bytes.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut batch = Batch::new();
        batch.message(16, NLM_F_CREATE, &[7; 16]).string(3, "lo").nested(18, |info| {
            info.string(1, "veth").nested_after(2, &[9; 5], |peer| {
                peer.u32(1, 0xdead_beef);
            });
        });
        batch.number(40);
        let all: Vec<_> = messages(&batch.buffer).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].sequence), (16, 40));
        let tail = &all[0].payload[16..];
        assert_eq!(attribute(tail, 3).map(string), Some("lo"));
        let info = attribute(tail, 18).unwrap();
        assert_eq!(attribute(info, 1).map(string), Some("veth"));
        let peer = attribute(info, 2).unwrap();
        assert_eq!(attribute(&peer[8..], 1).and_then(|value| u32_at(value, 0)), Some(0xdead_beef));
    }

    #[test]
    fn broken_lengths_end_the_walk() {
        for bytes in [&[][..], &[3], &[3, 0, 1, 0], &[255, 255, 1, 0, 0], &[0, 0, 0, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        // A zero-length message must not loop for ever.
        assert_eq!(messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn the_loopback_link_is_listed() {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut names = Vec::new();
        socket
            .dump(libc::RTM_GETLINK, &[0; 16], |_, payload| {
                names
                    .extend(attribute(&payload[16..], libc::IFLA_IFNAME).map(|name| string(name).to_owned()));
            })
            .unwrap();
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
    }

    #[test]
    fn a_refusal_names_its_message() {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        // Asking for one link by index is no change: 1 is loopback, the other does not exist.
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        batch.message(libc::RTM_GETLINK, 0, &header);
        let refusals = socket.perform_each(batch).unwrap();
        assert_eq!(refusals.len(), 1);
        assert_eq!((refusals[0].index, refusals[0].errno), (0, libc::ENODEV));
    }
}
