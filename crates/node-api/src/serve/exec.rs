//! Exec and attach over the protocols that clients know: which one, and which of its streams is which.

use engine::streams::{Session, StreamError, Streams};
use http::Request;
use tokio::sync::mpsc;

use super::{Upgraded, note_end, upgrade_required};
use crate::command::{Ends, StatusStyle, Talk, converse, greet};
use crate::handshake::{self, Agreed, Disagreed, Wanted};
use crate::limits::Limits;
use crate::pipe::Outgoing;
use crate::spdy::session::NewStream;
use crate::websocket::channel::Encoding;
use crate::websocket::session::Channels;
use crate::{spdy, websocket};

/// What SPDY clients may ask for, and since when the end is an object and there is a stream of sizes
/// (`k8s.io/apimachinery/pkg/util/remotecommand/constants.go`). Version 5 differs from 4 over WebSocket only.
const SPDY_PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const WEBSOCKET_PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// The protocol that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Streams of their own, each opened by the client.
    Spdy {
        /// How the end is told.
        style: StatusStyle,
        /// Whether a terminal has a stream for its sizes.
        resizes: bool,
    },
    /// Numbered channels.
    WebSocket {
        /// How the end is told.
        style: StatusStyle,
        /// How messages look.
        encoding: Encoding,
    },
}

/// Agrees on a protocol, or tells what cannot be agreed on.
pub(super) fn agree<B>(request: &Request<B>) -> Result<(Agreed, Protocol), Box<Disagreed>> {
    let headers = request.headers();
    match handshake::wanted(headers) {
        Wanted::Spdy => {
            let agreed = handshake::spdy(headers, &SPDY_PROTOCOLS)?;
            let protocol = spdy_protocol(agreed.protocol);
            Ok((agreed, protocol))
        }
        Wanted::WebSocket => {
            let agreed = handshake::websocket(headers, &WEBSOCKET_PROTOCOLS)?;
            let protocol = websocket_protocol(agreed.protocol);
            Ok((agreed, protocol))
        }
        Wanted::Nothing => Err(upgrade_required().into()),
    }
}

fn spdy_protocol(name: &str) -> Protocol {
    let style = if name.starts_with("v5.") || name.starts_with("v4.") {
        StatusStyle::Object
    } else {
        StatusStyle::Text
    };
    Protocol::Spdy { style, resizes: style == StatusStyle::Object || name.starts_with("v3.") }
}

fn websocket_protocol(name: &str) -> Protocol {
    let style = if name.starts_with('v') { StatusStyle::Object } else { StatusStyle::Text };
    let encoding = match name {
        "v5.channel.k8s.io" => Encoding::BinaryWithClose,
        "v4.base64.channel.k8s.io" | "base64.channel.k8s.io" => Encoding::Base64,
        _ => Encoding::Binary,
    };
    Protocol::WebSocket { style, encoding }
}

/// A process and a client that are to be brought together.
pub(super) struct Conversation {
    /// How the client speaks.
    pub(super) protocol: Protocol,
    /// What it wants.
    pub(super) streams: Streams,
    /// What with.
    pub(super) talk: Talk,
    /// The process, or why there is none.
    pub(super) started: Result<Session, StreamError>,
}

impl Conversation {
    /// Carries it over a connection until it ends.
    pub(super) async fn carry(self, connection: Upgraded, limits: &Limits) {
        let Self { protocol, streams: wanted, talk, started } = self;
        match protocol {
            Protocol::WebSocket { style, encoding } => {
                let readable = [wanted.stdin, false, false, false, wanted.tty];
                let socket = websocket::open(connection, limits).await;
                let ended =
                    websocket::session::run(socket, encoding, &readable, limits, |channels| async move {
                        let ends = channel_ends(channels, wanted, style);
                        greet(&ends).await;
                        converse(started, &talk, ends).await;
                    });
                note_end("a WebSocket", ended.await);
            }
            Protocol::Spdy { style, resizes } => {
                let expected = Expected { wanted, resizes: wanted.tty && resizes };
                let ended = spdy::session::run(connection, limits, |streams| async move {
                    let gathering = gather(streams, expected, style);
                    match tokio::time::timeout(limits.stream_creation_timeout, gathering).await {
                        Ok(Some(ends)) => converse(started, &talk, ends).await,
                        Ok(None) => {}
                        Err(_) => tracing::debug!("timed out waiting for client to create streams"),
                    }
                });
                note_end("a SPDY session", ended.await);
            }
        }
    }
}

fn channel_ends(mut channels: Channels, wanted: Streams, style: StatusStyle) -> Ends {
    Ends {
        stdin: channels.take_incoming(STDIN),
        stdout: wanted.stdout.then(|| channels.outgoing(STDOUT)),
        stderr: wanted.stderr.then(|| channels.outgoing(STDERR)),
        error: channels.outgoing(ERROR),
        resize: channels.take_incoming(RESIZE),
        style,
    }
}

/// Which streams a client is to open.
#[derive(Debug, Clone, Copy)]
struct Expected {
    wanted: Streams,
    resizes: bool,
}

impl Expected {
    fn has(self, kind: &str) -> bool {
        match kind {
            "error" => true,
            "stdin" => self.wanted.stdin,
            "stdout" => self.wanted.stdout,
            "stderr" => self.wanted.stderr,
            "resize" => self.resizes,
            _ => false,
        }
    }
}

const KINDS: [&str; 5] = ["error", "stdin", "stdout", "stderr", "resize"];

/// Waits until the client has opened the streams it asked for. Others are refused.
async fn gather(
    mut streams: mpsc::Receiver<NewStream>,
    expected: Expected,
    style: StatusStyle,
) -> Option<Ends> {
    let mut found: [Option<NewStream>; 5] = [const { None }; 5];
    let missing =
        |found: &[Option<NewStream>; 5]| (0..5).any(|at| found[at].is_none() && expected.has(KINDS[at]));
    while missing(&found) {
        let stream = streams.recv().await?;
        let kind = stream.headers.get("streamtype").unwrap_or_default();
        match KINDS.iter().position(|known| *known == kind && expected.has(known)) {
            Some(at) if found[at].is_none() => {
                stream.accept().await;
                found[at] = Some(stream);
            }
            _ => stream.refuse().await,
        }
    }
    let [error, stdin, stdout, stderr, resize] = found;
    let outgoing = |stream: NewStream| -> Outgoing { stream.outgoing };
    Some(Ends {
        stdin: stdin.map(|stream| stream.incoming),
        stdout: stdout.map(outgoing),
        stderr: stderr.map(outgoing),
        error: error.map(outgoing)?,
        resize: resize.map(|stream| stream.incoming),
        style,
    })
}
