//! Port-forward over the protocols that clients know: SPDY, SPDY inside of a WebSocket, and plain channels of a WebSocket.
//!
//! Over SPDY a client opens two streams for every connection, and ties them together by a number of its own
//! (`portforward/httpstream.go` of the kubelet).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Upgraded, note_end, upgrade_required};
use crate::forward::{Forwarder, Outcome, port, ports};
use crate::handshake::{self, Agreed, Disagreed, Wanted};
use crate::limits::Limits;
use crate::query::Query;
use crate::spdy::session::NewStream;
use crate::websocket::channel::Encoding;
use crate::websocket::session::Channels;
use crate::websocket::tunnel::Tunnel;
use crate::{spdy, websocket};

const SPDY_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
const WEBSOCKET_PROTOCOLS: [&str; 4] = [TUNNELLED, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// How connections are carried.
pub(super) enum Way {
    /// Two SPDY streams each.
    Spdy,
    /// The same, in the messages of a WebSocket.
    Tunnel,
    /// One connection a port, two channels each.
    Channels {
        /// How messages look.
        encoding: Encoding,
        /// The ports.
        ports: Vec<u16>,
    },
}

/// Agrees on a protocol, or tells what cannot be agreed on.
pub(super) fn agree(headers: &HeaderMap, query: &Query) -> Result<(Agreed, Way), Box<Disagreed>> {
    match handshake::wanted(headers) {
        Wanted::Spdy => Ok((handshake::spdy(headers, &SPDY_PROTOCOLS)?, Way::Spdy)),
        Wanted::WebSocket => {
            let agreed = handshake::websocket(headers, &WEBSOCKET_PROTOCOLS)?;
            let encoding = match agreed.protocol {
                TUNNELLED => return Ok((agreed, Way::Tunnel)),
                "v4.base64.channel.k8s.io" => Encoding::Base64,
                _ => Encoding::Binary,
            };
            Ok((agreed, Way::Channels { encoding, ports: ports(query)? }))
        }
        Wanted::Nothing => Err(upgrade_required().into()),
    }
}

/// Forwards until the client goes away.
pub(super) async fn carry(connection: Upgraded, way: Way, forwarder: Arc<Forwarder>, limits: &Limits) {
    match way {
        Way::Spdy => over_spdy(connection, forwarder, limits).await,
        Way::Tunnel => {
            let socket = websocket::open(connection, limits).await;
            over_spdy(Tunnel::new(socket), forwarder, limits).await;
        }
        Way::Channels { encoding, ports } => {
            let readable = [true, false].repeat(ports.len());
            let socket = websocket::open(connection, limits).await;
            let ended = websocket::session::run(socket, encoding, &readable, limits, |channels| {
                over_channels(channels, ports, forwarder)
            });
            note_end("a WebSocket of forwarded ports", ended.await);
        }
    }
}

async fn over_channels(mut channels: Channels, ports: Vec<u16>, forwarder: Arc<Forwarder>) {
    let mut connections = JoinSet::new();
    for (index, port) in (0_u8..).zip(ports) {
        let (data, error) = (channels.outgoing(index * 2), channels.outgoing(index * 2 + 1));
        let Some(incoming) = channels.take_incoming(index * 2) else { continue };
        let forwarder = forwarder.clone();
        connections.spawn(async move {
            // The first message of both names the port.
            let name = Bytes::copy_from_slice(&port.to_le_bytes());
            let _ = data.send(name.clone()).await;
            let _ = error.send(name).await;
            if let Outcome::Failed(why) = forwarder.forward(port, incoming, &data).await {
                let _ = error.send(why.into()).await;
            }
        });
    }
    drop(channels);
    while connections.join_next().await.is_some() {}
}

async fn over_spdy<C: AsyncRead + AsyncWrite>(connection: C, forwarder: Arc<Forwarder>, limits: &Limits) {
    let timeout = limits.stream_creation_timeout;
    let ended =
        spdy::session::run(connection, limits, |streams| serve_pairs(streams, forwarder, timeout)).await;
    note_end("a session of forwarded ports", ended);
}

async fn serve_pairs(mut streams: mpsc::Receiver<NewStream>, forwarder: Arc<Forwarder>, timeout: Duration) {
    // Dropped with the session, and every connection with it.
    let mut connections = JoinSet::new();
    let mut halves: HashMap<String, oneshot::Sender<Half>> = HashMap::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            stream = streams.recv() => match stream {
                Some(stream) => stream,
                None => return,
            },
        };
        let half = match Half::read(stream) {
            Ok(half) => half,
            Err((stream, why)) => {
                tracing::debug!(why, "a stream of a port-forward is refused");
                stream.refuse().await;
                continue;
            }
        };
        half.stream.accept().await;
        match halves.remove(&half.request) {
            // The first half has waited too long: this one has no partner.
            Some(waiting) => {
                if let Err(half) = waiting.send(half) {
                    half.stream.outgoing.reset().await;
                }
            }
            None => {
                halves.retain(|_, waiting| !waiting.is_closed());
                let (partner, arrives) = oneshot::channel();
                halves.insert(half.request.clone(), partner);
                connections.spawn(pair(half, arrives, forwarder.clone(), timeout));
            }
        }
    }
}

/// Which of a connection's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Data,
    Error,
}

/// One of the two streams of a connection.
struct Half {
    request: String,
    port: u16,
    role: Role,
    stream: NewStream,
}

impl Half {
    fn read(stream: NewStream) -> Result<Self, (NewStream, String)> {
        let headers = &stream.headers;
        let read = || {
            let named = headers.get("port").filter(|port| !port.is_empty());
            let port = port(named.ok_or("\"port\" header is required")?)?;
            let role = match headers.get("streamtype").unwrap_or_default() {
                "data" => Role::Data,
                "error" => Role::Error,
                "" => return Err("\"streamType\" header is required".into()),
                other => return Err(format!("invalid stream type {other:?}")),
            };
            // Clients of Kubernetes 1.1 gave no number, and opened the stream of errors first.
            let request = headers.get("requestid").filter(|id| !id.is_empty()).map_or_else(
                || if role == Role::Error { stream.id } else { stream.id.wrapping_sub(2) }.to_string(),
                Into::into,
            );
            Ok((request, port, role))
        };
        match read() {
            Ok((request, port, role)) => Ok(Self { request, port, role, stream }),
            Err(why) => Err((stream, why)),
        }
    }
}

/// Waits for the other half, then carries the connection.
async fn pair(first: Half, arrives: oneshot::Receiver<Half>, forwarder: Arc<Forwarder>, timeout: Duration) {
    let second = match tokio::time::timeout(timeout, arrives).await {
        Ok(Ok(second)) if second.role != first.role => second,
        Ok(Ok(second)) => {
            second.stream.outgoing.reset().await;
            return first.stream.outgoing.reset().await;
        }
        _ => {
            if first.role == Role::Error {
                let why = format!("(request={}) timed out waiting for streams", first.request);
                let _ = first.stream.outgoing.send(why.into()).await;
            }
            return first.stream.outgoing.reset().await;
        }
    };
    let (data, error) = if first.role == Role::Data { (first, second) } else { (second, first) };
    let NewStream { incoming, outgoing, reset, .. } = data.stream;
    let error = error.stream.outgoing;
    tokio::select! {
        outcome = forwarder.forward(data.port, incoming, &outgoing) => {
            if let Outcome::Failed(why) = outcome {
                let _ = error.send(why.into()).await;
            }
            outgoing.end().await;
        }
        // The client wants nothing more of it, but waits for the end of the errors.
        Ok(()) = reset => {}
    }
    error.end().await;
}
