//! A host of its own for each test: a fresh network namespace, which the test's thread moves into, and a
//! directory for claims. Nothing of the machine's own network is touched, and all of it goes when the test
//! ends, however it ends.

#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)] // A failed step fails the test.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use linux::netlink::{Batch, Family, NLM_F_CREATE, NLM_F_EXCL, Socket};
use network::{AttachRequest, Attachment, Error, HostPort, Network, NetworkConfig, Protocol};

/// Runs a test in a host of its own, in a thread of its own.
pub fn on_fresh_host(test: impl FnOnce(&Host) + Send) {
    let netns =
        linux::netns::create().expect("privileged tests need root: a network namespace could not be made");
    linux::netns::within(netns.as_fd(), || {
        let host = Host { claims: tempfile::tempdir().unwrap() };
        loopback_up();
        test(&host);
    })
    .unwrap();
}

/// The test's host.
pub struct Host {
    pub claims: tempfile::TempDir,
}

impl Host {
    pub fn config(&self, node: &str) -> NetworkConfig {
        NetworkConfig {
            run_dir: format!("/run/podling/test/{node}").into(),
            claims_dir: self.claims.path().to_owned(),
            pod_range: None,
        }
    }

    pub fn node(&self, node: &str) -> Network {
        Network::open(self.config(node)).unwrap()
    }

    /// Everything of podling that is in the kernel and in the claims: empty when nothing is left.
    pub fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for (program, arguments) in [
            ("ip", &["-o", "link"][..]),
            ("ip", &["-o", "addr"]),
            ("ip", &["route", "show", "table", "all"]),
            ("ip", &["neigh", "show", "nud", "all"]),
            ("nft", &["list", "tables"]),
        ] {
            let text = run(program, arguments);
            let ours = |line: &&str| {
                line.contains("podling") || line.contains("10.201.") || line.contains("unreachable 10")
            };
            traces.extend(text.lines().filter(ours).map(str::to_owned));
        }
        let files = std::fs::read_dir(self.claims.path()).unwrap().flatten();
        traces
            .extend(files.map(|file| file.file_name().into_string().unwrap()).filter(|name| name != "lock"));
        traces
    }
}

/// A program of the machine, run in the calling thread's namespace.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn loopback_up() {
    let mut header = [0; 16];
    header[4] = 1;
    header[8] = 1;
    header[12] = 1;
    let mut batch = Batch::new();
    batch.message(19, 0, &header);
    Socket::open(Family::Route).unwrap().perform(batch).unwrap();
}

/// A Pod: only its namespace, held by a descriptor.
pub struct Pod {
    pub uid: String,
    pub netns: OwnedFd,
    pub attachment: Attachment,
}

impl Pod {
    pub fn attach(network: &Network, uid: &str, host_ports: Vec<HostPort>) -> Result<Self, Error> {
        let netns = linux::netns::create().unwrap();
        let request = AttachRequest { pod_uid: uid, netns: netns.as_fd(), host_ports };
        let attachment = network.attach(&request)?;
        Ok(Self { uid: uid.to_owned(), netns, attachment })
    }

    pub fn address(&self) -> IpAddr {
        self.attachment.addresses[0]
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        linux::netns::within(self.netns.as_fd(), work).unwrap()
    }

    /// A server in the Pod that tells every client whose address it sees.
    pub fn serve(&self, port: u16) {
        let listener = self.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{}", peer.ip());
            }
        });
    }
}

/// Connects and returns the client's address as the server saw it.
pub fn peer_seen(address: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(address.into(), port), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub fn tcp(host_port: u16, container_port: u16) -> HostPort {
    HostPort { host_ip: None, host_port, container_port, protocol: Protocol::Tcp }
}

/// A network beyond the host: a namespace on the other end of a link, which is the host's default route.
pub struct World {
    pub netns: OwnedFd,
    pub address: Ipv4Addr,
    pub host_address: Ipv4Addr,
}

impl World {
    pub fn beyond(_host: &Host) -> Self {
        let netns = linux::netns::create().unwrap();
        let mut batch = Batch::new();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&netns) as u32;
        batch.message(16, NLM_F_CREATE | NLM_F_EXCL, &[0; 16]).string(3, "uplink").u32(4, 1400).nested(
            18,
            |info| {
                info.string(1, "veth").nested(2, |data| {
                    data.nested_after(1, &[0; 16], |peer| {
                        peer.string(3, "world").u32(28, fd);
                    });
                });
            },
        );
        Socket::open(Family::Route).unwrap().perform(batch).unwrap();
        run("ip", &["addr", "add", "198.51.100.1/24", "dev", "uplink"]);
        run("ip", &["link", "set", "uplink", "up"]);
        linux::netns::within(netns.as_fd(), || {
            loopback_up();
            run("ip", &["addr", "add", "198.51.100.2/24", "dev", "world"]);
            run("ip", &["link", "set", "world", "up"]);
        })
        .unwrap();
        run("ip", &["route", "add", "default", "via", "198.51.100.2"]);
        let (address, host_address) = (Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(198, 51, 100, 1));
        Self { netns, address, host_address }
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        linux::netns::within(self.netns.as_fd(), work).unwrap()
    }
}
