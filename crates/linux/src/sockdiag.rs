//! Which sockets wait for somebody in a network namespace: sock_diag(7), the interface below ss(8).
//!
//! Only what a stranger can talk to is listed: listening TCP and bound UDP sockets. The kernel filters by
//! state, so a thousand open connections cost nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{Family, Socket, u32_at};

/// SOCK_DIAG_BY_FAMILY.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Bytes of `struct inet_diag_msg`.
const MESSAGE_LEN: usize = 72;
/// The state of a listening TCP socket (TCP_LISTEN) and of a UDP socket that is not connected (TCP_CLOSE).
const TCP_LISTEN: u32 = 10;
const TCP_CLOSE: u32 = 7;

/// The protocol number of TCP.
pub const TCP: i32 = libc::IPPROTO_TCP;
/// The protocol number of UDP.
pub const UDP: i32 = libc::IPPROTO_UDP;

/// A socket that waits for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The IP protocol number: [`TCP`] or [`UDP`].
    pub protocol: i32,
    /// The local address; unspecified means all.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// The socket's inode, as in the links of /proc/PID/fd.
    pub inode: u32,
}

/// Lists the waiting sockets of the calling thread's network namespace.
pub fn waiting() -> io::Result<Vec<Waiting>> {
    let mut socket = Socket::open(Family::SockDiag)?;
    let mut found = Vec::new();
    for (protocol, state) in [(TCP, TCP_LISTEN), (UDP, TCP_CLOSE)] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let listed =
                socket.dump(SOCK_DIAG_BY_FAMILY, &request(family, protocol, 1 << state), |_, message| {
                    found.extend(parse(protocol, message).filter(|waiting| waiting.port != 0));
                });
            match listed {
                // A kernel without this family has no such socket either.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) && family == libc::AF_INET6 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
        }
    }
    Ok(found)
}

/// `struct inet_diag_req_v2` that asks for all sockets in these states.
fn request(family: i32, protocol: i32, states: u32) -> [u8; 56] {
    let mut request = [0; 56];
    request[0] = family as u8;
    request[1] = protocol as u8;
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    request
}

/// Reads `struct inet_diag_msg`.
fn parse(protocol: i32, message: &[u8]) -> Option<Waiting> {
    let message = message.get(..MESSAGE_LEN)?;
    let address = match i32::from(message[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&message[8..12]).ok()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).ok()?)),
        _ => return None,
    };
    let port = u16::from_be_bytes([message[4], message[5]]);
    Some(Waiting { protocol, address, port, inode: u32_at(message, 68)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_listeners_are_listed() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = waiting().unwrap();
        let has = |protocol, port| {
            found
                .iter()
                .any(|waiting| waiting.protocol == protocol && waiting.port == port && waiting.inode != 0)
        };
        assert!(has(TCP, tcp.local_addr().unwrap().port()), "{found:?}");
        assert!(has(UDP, udp.local_addr().unwrap().port()), "{found:?}");
    }
}
