//! Port-forward: connections to ports of a Pod, each with a stream of data and one that tells what went wrong.
//!
//! A connection that fails ends its own streams and nothing else. How it is told needs care, because kubectl since 1.23
//! closes the whole session when it reads anything on any error stream: so a browser that reloads while a container
//! restarts would end `kubectl port-forward`. Therefore a port that was never reached in this session is told in the words
//! of the kubelet (it is probably the wrong port), while one that was, and does not answer now, only ends its connection,
//! as the Pod itself would have.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use engine::streams::{PodStreams, Reader, StreamError, Target, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pipe::{Closed, Incoming, Outgoing, PIECE_BYTES};
use crate::query::Query;
use crate::status::{Refusal, chain};

/// What all connections of one session share.
pub(crate) struct Forwarder {
    streams: Arc<dyn PodStreams>,
    target: Target,
    reached: Mutex<HashSet<u16>>,
}

/// How a forwarded connection ended.
pub(crate) enum Outcome {
    /// Both ends have said their last, or one went away.
    Done,
    /// It was never made, and this is to be told.
    Failed(String),
}

impl Forwarder {
    /// Nothing reached yet.
    pub(crate) fn new(streams: Arc<dyn PodStreams>, target: Target) -> Self {
        Self { streams, target, reached: Mutex::default() }
    }

    /// Makes a connection and carries it.
    pub(crate) async fn forward(&self, port: u16, from_client: Incoming, to_client: &Outgoing) -> Outcome {
        match self.streams.connect(self.target.clone(), port).await {
            Ok((from_pod, to_pod)) => {
                self.reached().insert(port);
                carry(from_client, to_client, from_pod, to_pod).await;
                Outcome::Done
            }
            Err(StreamError::Port { .. }) if self.reached().contains(&port) => Outcome::Done,
            Err(error) => Outcome::Failed(self.told(port, &error)),
        }
    }

    fn reached(&self) -> std::sync::MutexGuard<'_, HashSet<u16>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the words of the kubelet's `portforward/httpstream.go`.
    fn told(&self, port: u16, error: &StreamError) -> String {
        let Target { pod, uid, .. } = &self.target;
        let uid = uid.as_deref().unwrap_or_default();
        format!("error forwarding port {port} to pod {pod}, uid {uid}: {}", chain(error))
    }
}

/// Carries bytes both ways until the Pod has said its last: what the client still sends then is of no use.
async fn carry(mut from_client: Incoming, to_client: &Outgoing, mut from_pod: Reader, mut to_pod: Writer) {
    let upwards = async {
        while let Some(piece) = from_client.next().await {
            let written = async {
                to_pod.write_all(&piece.bytes).await?;
                to_pod.flush().await
            };
            if written.await.is_err() {
                break;
            }
        }
        let _ = to_pod.shutdown().await;
        // The answer may still come.
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            if !matches!(from_pod.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
            if to_client.send(buffer.split().freeze()).await == Err(Closed) {
                return;
            }
        }
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
    }
}

/// A port as a header or parameter names it (`portforward/httpstream.go`).
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let port: u16 = text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: {why}")
    })?;
    if port == 0 { Err(format!("port {text:?} must be > 0")) } else { Ok(port) }
}

/// The ports that a WebSocket without SPDY inside names in its query (`portforward/websocket.go`).
pub(crate) fn ports(query: &Query) -> Result<Vec<u16>, Refusal> {
    let mut ports = Vec::new();
    for value in query.all("ports").chain(query.all("port")) {
        if value.is_empty() {
            return Err(Refusal::bad_request("query parameter \"port\" cannot be empty"));
        }
        for one in value.split(',') {
            ports.push(port(one).map_err(Refusal::bad_request)?);
        }
    }
    if ports.is_empty() {
        return Err(Refusal::bad_request("query parameter \"port\" is required"));
    }
    // A channel's number is one byte, and each port has two.
    if ports.len() > 127 {
        return Err(Refusal::bad_request("at most 127 ports can be forwarded over one WebSocket"));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_the_kubelet_reads_them() {
        let read =
            |query: &str| ports(&Query::parse(Some(query))).map_err(|refused| refused.message().to_owned());
        assert_eq!(read("port=80&port=81,82"), Ok(vec![80, 81, 82]));
        assert_eq!(read("ports=80"), Ok(vec![80]), "the API's parameter has another name than the kubelet's");
        assert_eq!(read(""), Err("query parameter \"port\" is required".into()));
        assert_eq!(read("port="), Err("query parameter \"port\" cannot be empty".into()));
        assert_eq!(read("port=0"), Err("port \"0\" must be > 0".into()));
        assert_eq!(
            read("port=65536"),
            Err("unable to parse \"65536\" as a port: strconv.ParseUint: parsing \"65536\": value out of range".into())
        );
        assert!(read(&format!("port={}", vec!["1"; 128].join(","))).is_err());
    }
}
