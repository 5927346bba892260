//! Host ports: what was asked for, who has it, and holding it while the Pod lives.
//!
//! The kernel forwards the packets (see [`crate::plan::ruleset`]); what is held here is a listening socket on
//! the same port that never accepts. It costs nothing, no packet for this host reaches it, and it makes the
//! kernel the judge of every conflict: with a server of the host, with another node of podling, with
//! whatever starts later. The kubelet's host ports were held the same way.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::sockets;

/// A transport protocol, as in `ports[].protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, Kubernetes' default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP: forwarded where the kernel tracks it; not held.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

/// A container port that is reachable at a port of the host: `hostPort`, or a port published on the command
/// line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Only at this address of the host; none (or 0.0.0.0) means at all of them.
    pub host_ip: Option<IpAddr>,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the Pod.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl HostPort {
    /// The one IPv4 address of the host to forward from; none means all.
    pub fn host_address(&self) -> Option<Ipv4Addr> {
        match self.host_ip {
            Some(IpAddr::V4(address)) if !address.is_unspecified() => Some(address),
            _ => None,
        }
    }

    /// Two ports cannot be had together: same protocol and number, and an address in common.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let same_address = match (self.host_address(), other.host_address()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && same_address
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address() {
            Some(address) => write!(f, "{address}:{}/{}", self.host_port, self.protocol),
            None => write!(f, "{}/{}", self.host_port, self.protocol),
        }
    }
}

/// Text that is not a port to publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a port to publish: write HOST:CONTAINER, with ports from 1 to 65535, like 8080:80, \
         127.0.0.1:8080:80 or 5353:53/udp"
)]
pub struct ParseHostPortError {
    text: String,
}

/// `[HOSTIP:]HOST:CONTAINER[/PROTOCOL]`, as after `-p` on the command line.
impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let protocol = match protocol {
                "tcp" | "TCP" => Protocol::Tcp,
                "udp" | "UDP" => Protocol::Udp,
                "sctp" | "SCTP" => Protocol::Sctp,
                _ => return None,
            };
            // From the right: an IPv6 address holds colons too.
            let (front, container_port) = ports.rsplit_once(':')?;
            let (host_ip, host_port) = match front.rsplit_once(':') {
                Some((address, port)) => {
                    let address = address.trim_start_matches('[').trim_end_matches(']');
                    (Some(address.parse().ok()?), port)
                }
                None => (None, front),
            };
            let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
            let (host_port, container_port) = (port(host_port)?, port(container_port)?);
            Some(HostPort { host_ip, host_port, container_port, protocol })
        };
        parse().ok_or_else(|| ParseHostPortError { text: text.to_owned() })
    }
}

/// Who has a host port that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A Pod of this node.
    Pod {
        /// Its UID.
        pod_uid: String,
    },
    /// A process of the host (or another node of podling).
    Process {
        /// Its PID and the first word of its command line.
        pid: i32,
        /// The name, as in /proc/PID/comm.
        name: String,
    },
    /// Somebody whose process could not be found, for instance in another PID namespace.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Pod { pod_uid } => write!(f, "Pod {pod_uid}"),
            Holder::Process { pid, name } => write!(f, "{name} (pid {pid})"),
            Holder::Unknown => f.write_str("a process that could not be found"),
        }
    }
}

/// Why a host port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has it.
    #[error("host port {port} is already used by {holder}: choose another port or stop the holder")]
    Taken {
        /// What was asked for.
        port: HostPort,
        /// Who has it.
        holder: Holder,
    },
    /// The address is not one of this host's.
    #[error(
        "host port {port}: this machine has no address {address}, choose one of its own or leave hostIP out"
    )]
    NotOurAddress {
        /// What was asked for.
        port: HostPort,
        /// The address.
        address: IpAddr,
    },
    /// IPv6 host addresses are not forwarded yet.
    #[error("host port {port}: hostIP {address} is IPv6, host ports are forwarded for IPv4 only")]
    Ipv6 {
        /// What was asked for.
        port: HostPort,
        /// The address.
        address: IpAddr,
    },
    /// The socket call failed.
    #[error("could not hold host port {port}")]
    Hold {
        /// What was asked for.
        port: HostPort,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A host port that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    /// Which port.
    pub port: HostPort,
    /// None for SCTP, which has no socket of ours.
    _socket: Option<OwnedFd>,
}

/// Takes a port of the calling thread's network namespace, or says who has it.
pub fn hold(port: &HostPort) -> Result<Held, Error> {
    if let Some(address @ IpAddr::V6(_)) = port.host_ip {
        return Err(Error::Ipv6 { port: port.clone(), address });
    }
    let address = port.host_address().unwrap_or(Ipv4Addr::UNSPECIFIED);
    match bind(port.protocol, SocketAddr::from((address, port.host_port))) {
        Ok(socket) => Ok(Held { port: port.clone(), _socket: socket }),
        Err(rustix::io::Errno::ADDRINUSE) => {
            Err(Error::Taken { port: port.clone(), holder: process_holding(port).unwrap_or(Holder::Unknown) })
        }
        Err(rustix::io::Errno::ADDRNOTAVAIL) => {
            Err(Error::NotOurAddress { port: port.clone(), address: address.into() })
        }
        Err(source) => Err(Error::Hold { port: port.clone(), source: source.into() }),
    }
}

fn bind(protocol: Protocol, address: SocketAddr) -> Result<Option<OwnedFd>, rustix::io::Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Sctp => return Ok(None),
    };
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if protocol == Protocol::Tcp {
        // Connections of a former holder that linger in TIME_WAIT are no conflict; a listener is one, with or
        // without this option.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, 1)?;
    }
    Ok(Some(socket))
}

/// Finds the process that has the port, among all of the machine: only after a conflict, so it may take a
/// few milliseconds.
fn process_holding(port: &HostPort) -> Option<Holder> {
    let wanted = port.host_address();
    let listener = sockets::listeners_here().ok()?.into_iter().find(|listener| {
        listener.protocol == port.protocol
            && listener.port == port.host_port
            && (listener.address.is_unspecified()
                || wanted.is_none_or(|wanted| listener.address == IpAddr::V4(wanted)))
    })?;
    let pids = std::fs::read_dir("/proc").ok()?;
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pid = sockets::owner(listener.inode, pids)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder::Process { pid, name: name.trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, host_port: u16, protocol: Protocol) -> HostPort {
        HostPort { host_ip: host_ip.parse().ok(), host_port, container_port: 80, protocol }
    }

    #[test]
    fn ports_to_publish_are_parsed() {
        let published = |text: &str| text.parse::<HostPort>().unwrap();
        assert_eq!(published("8080:80"), port("", 8080, Protocol::Tcp));
        assert_eq!(published("127.0.0.1:8080:80/udp"), port("127.0.0.1", 8080, Protocol::Udp));
        assert_eq!(published("[::1]:8080:80"), port("::1", 8080, Protocol::Tcp));
        for wrong in
            ["", "80", ":80", "80:", "0:80", "80:0", "65536:80", "a:80", "1:2:3", "80:80/icmp", "80:80/"]
        {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_conflict_where_an_address_is_common() {
        for (one, other, expected) in [
            (port("", 80, Protocol::Tcp), port("", 80, Protocol::Tcp), true),
            (port("0.0.0.0", 80, Protocol::Tcp), port("127.0.0.1", 80, Protocol::Tcp), true),
            (port("127.0.0.2", 80, Protocol::Tcp), port("127.0.0.1", 80, Protocol::Tcp), false),
            (port("", 80, Protocol::Tcp), port("", 80, Protocol::Udp), false),
            (port("", 80, Protocol::Tcp), port("", 81, Protocol::Tcp), false),
        ] {
            assert_eq!(one.conflicts(&other), expected, "{one} {other}");
            assert_eq!(other.conflicts(&one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_with_his_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let refused = hold(&port("127.0.0.1", number, Protocol::Tcp)).unwrap_err();
        let Error::Taken { holder: Holder::Process { pid, .. }, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*pid, std::process::id() as i32);
        drop(listener);
        let held = hold(&port("127.0.0.1", number, Protocol::Tcp)).unwrap();
        assert!(std::net::TcpListener::bind(("127.0.0.1", number)).is_err());
        drop(held);
        assert!(std::net::TcpListener::bind(("127.0.0.1", number)).is_ok());
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        let refused = hold(&port("192.0.2.77", 80, Protocol::Udp)).unwrap_err();
        assert!(matches!(refused, Error::NotOurAddress { .. }), "{refused}");
        let refused = hold(&port("::1", 80, Protocol::Tcp)).unwrap_err();
        assert!(matches!(refused, Error::Ipv6 { .. }), "{refused}");
    }
}
