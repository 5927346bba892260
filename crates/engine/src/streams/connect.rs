//! port-forward: a connection to a port of the Pod, on its loopback address as the kubelet's runtimes have it.
//!
//! A socket belongs for ever to the network namespace in which it was made (network_namespaces(7)): only the making
//! needs a thread that has entered it. The namespace is the sandbox's, so containers may restart meanwhile.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpSocket, TcpStream};

use super::{Reader, StreamError, Writer};
use crate::pod::PodContext;

pub(super) async fn connect(context: &Arc<PodContext>, port: u16) -> Result<(Reader, Writer), StreamError> {
    let pod = context.pod();
    let failed = |source| StreamError::Port { port, pod: pod.meta.name.clone(), source };
    let netns = context.prepared().netns.clone();
    if netns.is_none() && !pod.spec.host_network {
        return Err(failed(io::Error::new(ErrorKind::NotConnected, "the Pod has no network now")));
    }
    let made = tokio::task::spawn_blocking(move || match netns {
        Some(netns) => linux::netns::within(netns.as_fd(), sockets)?,
        None => sockets(),
    });
    let (v4, v6) = made.await.map_err(io::Error::other).and_then(|made| made).map_err(failed)?;
    let stream = match open(v4, (Ipv4Addr::LOCALHOST, port).into()).await {
        Ok(stream) => stream,
        Err(first) => match v6 {
            // The first error is the one that is told: nearly nobody listens on ::1 alone.
            Some(v6) => open(v6, (Ipv6Addr::LOCALHOST, port).into()).await.map_err(|_| failed(first))?,
            None => return Err(failed(first)),
        },
    };
    let (reader, writer) = stream.into_split();
    Ok((Box::pin(reader), Box::pin(writer)))
}

/// Sockets of both families; a machine may be without IPv6.
fn sockets() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let make =
        |family| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    Ok((make(AddressFamily::INET)?, make(AddressFamily::INET6).ok()))
}

async fn open(socket: OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpSocket::from_std_stream(StdStream::from(socket)).connect(address).await?;
    // What is forwarded comes in pieces that somebody waits for.
    stream.set_nodelay(true)?;
    Ok(stream)
}
