//! One WebSocket with numbered channels at work. It ends as a SPDY connection does (see [`crate::spdy::session`]), with a
//! close frame of code 1000 in place of GOAWAY: kubectl takes any other end for a failure.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::channel::{Encoding, FromClient, ToClient, decode, encode};
use crate::activity::Activity;
use crate::limits::Limits;
use crate::pipe::{Budget, Incoming, Inlet, Outbound, Outgoing, QUEUED_PIECES, incoming};

/// Why a connection ended that had work to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// It broke, or the client broke the rules.
    #[error("the WebSocket failed")]
    WebSocket(#[from] Error),
    /// Nothing was sent in either direction.
    #[error("the connection was idle for {0:?}")]
    Idle(Duration),
    /// It went away before its time.
    #[error("the client closed the connection")]
    Closed,
}

/// The channels of one connection.
pub(crate) struct Channels {
    incoming: Vec<Option<Incoming>>,
    queue: mpsc::Sender<Outbound>,
}

impl Channels {
    /// What comes on a channel; nothing if it is not read, or was taken.
    pub(crate) fn take_incoming(&mut self, channel: u8) -> Option<Incoming> {
        self.incoming.get_mut(usize::from(channel))?.take()
    }

    /// What goes on a channel.
    pub(crate) fn outgoing(&self, channel: u8) -> Outgoing {
        Outgoing::new(u32::from(channel), self.queue.clone())
    }
}

/// Runs a connection whose channels are read where `readable` says so, and ends when work or peer does.
pub(crate) async fn run<C, F, W>(
    socket: WebSocketStream<C>,
    encoding: Encoding,
    readable: &[bool],
    limits: &Limits,
    work: F,
) -> Result<(), SessionError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    F: FnOnce(Channels) -> W,
    W: Future<Output = ()>,
{
    let budget = Budget::new(limits.waiting_bytes);
    let (inlets, ends): (Vec<_>, Vec<_>) =
        readable.iter().map(|readable| readable.then(|| incoming(&budget)).unzip()).unzip();
    let (queue, queued) = mpsc::channel(QUEUED_PIECES);
    let activity = Activity::begin();
    let (sink, stream) = socket.split();
    let reading = read(stream, encoding, inlets, &activity);
    tokio::pin!(reading);
    let writing = write(sink, encoding, queued, &activity);
    let working = work(Channels { incoming: ends, queue });
    tokio::select! {
        Err(error) = &mut reading => return Err(error),
        ((), written) = async { tokio::join!(working, writing) } => written?,
        () = activity.idle(limits.idle_timeout) => return Err(SessionError::Idle(limits.idle_timeout)),
    }
    // However the client goes away now, it was told everything.
    let _ = tokio::time::timeout(limits.linger_timeout, reading).await;
    Ok(())
}

async fn read<C>(
    mut stream: SplitStream<WebSocketStream<C>>,
    encoding: Encoding,
    mut inlets: Vec<Option<Inlet>>,
    activity: &Activity,
) -> Result<Infallible, SessionError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        activity.note();
        let message: Bytes = match message? {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            // The library answers pings and closes by itself, and gives the end of the stream next.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        match decode(encoding, message) {
            FromClient::Data(channel, bytes) => {
                if let Some(Some(inlet)) = inlets.get(usize::from(channel)) {
                    inlet.put(bytes).await;
                }
            }
            FromClient::Close(channel) => {
                if let Some(inlet) = inlets.get_mut(usize::from(channel)) {
                    *inlet = None;
                }
            }
            FromClient::Nothing => {}
        }
    }
    Err(SessionError::Closed)
}

async fn write<C>(
    mut sink: SplitSink<WebSocketStream<C>, Message>,
    encoding: Encoding,
    mut queued: mpsc::Receiver<Outbound>,
    activity: &Activity,
) -> Result<(), Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(outbound) = queued.recv().await {
        // A channel has no end of its own towards the client: the connection's end is that of all.
        let Outbound::Data(channel, bytes) = outbound else { continue };
        let message = match encode(encoding, channel as u8, &bytes) {
            ToClient::Binary(bytes) => Message::Binary(bytes),
            ToClient::Text(text) => Message::text(text),
        };
        sink.send(message).await?;
        activity.note();
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(close))).await
}
