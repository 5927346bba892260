//! Who listens in a network namespace, and which process that is. It is what lets podling say "port 80 is
//! already held by container web (pid 123, nginx)" or "nothing listens on localhost:8081".
//!
//! Read when something happened (a container failed, somebody waits), never in a loop.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::ports::Protocol;

/// A socket that waits for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address it is bound to; unspecified means all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// What [`owner`] finds the process by.
    pub inode: u32,
}

impl Listener {
    /// Whether a client that connects to `address` and `port` meets this socket. An IPv6 socket bound to all
    /// addresses takes IPv4 clients too, unless it said otherwise, which the kernel does not tell here.
    pub fn answers(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let reachable = self.address == address
            || self.address.is_unspecified() && (self.address.is_ipv6() || address.is_ipv4());
        self.protocol == protocol && self.port == port && reachable
    }
}

/// Lists the listening TCP and bound UDP sockets in a network namespace.
pub fn listeners(netns: BorrowedFd<'_>) -> io::Result<Vec<Listener>> {
    linux::netns::within(netns, listeners_here)?
}

/// Lists those of the calling thread's network namespace.
pub fn listeners_here() -> io::Result<Vec<Listener>> {
    let listener = |waiting: linux::sockdiag::Waiting| Listener {
        protocol: if waiting.protocol == linux::sockdiag::TCP { Protocol::Tcp } else { Protocol::Udp },
        address: waiting.address,
        port: waiting.port,
        inode: waiting.inode,
    };
    Ok(linux::sockdiag::waiting()?.into_iter().map(listener).collect())
}

/// Finds the first of the processes that has the socket open. A process that ended meanwhile is passed over.
pub fn owner(inode: u32, pids: impl IntoIterator<Item = i32>) -> Option<i32> {
    let wanted = format!("socket:[{inode}]");
    pids.into_iter().find(|pid| {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_answers_where_it_is_bound() {
        let listener = |address: &str| Listener {
            protocol: Protocol::Tcp,
            address: address.parse().unwrap(),
            port: 80,
            inode: 1,
        };
        for (bound, client, expected) in [
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("10.0.0.2", "127.0.0.1", false),
            ("::", "127.0.0.1", true),
            ("::", "::1", true),
            ("0.0.0.0", "::1", false),
        ] {
            assert_eq!(
                listener(bound).answers(Protocol::Tcp, client.parse().unwrap(), 80),
                expected,
                "{bound} {client}"
            );
        }
        assert!(!listener("0.0.0.0").answers(Protocol::Udp, "127.0.0.1".parse().unwrap(), 80));
        assert!(!listener("0.0.0.0").answers(Protocol::Tcp, "127.0.0.1".parse().unwrap(), 81));
    }

    #[test]
    fn the_owner_is_found_by_inode() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners_here().unwrap().into_iter().find(|listener| listener.port == port).unwrap();
        let me = std::process::id() as i32;
        assert_eq!(owner(found.inode, [1_999_999_999, me]), Some(me));
        assert_eq!(owner(found.inode, []), None);
    }
}
