//! One WebSocket with numbered channels at work. It ends as a SPDY connection does (see [`crate::spdy::session`]), with a
//! close frame of code 1000 in place of GOAWAY: kubectl takes any other end for a failure.
//!
//! It begins with a ping, and nothing is sent before the client has answered. client-go makes the streams of its end beside
//! the loop that reads (`readDemuxLoop` in tools/remotecommand/websocket.go), and throws away what comes for a stream that is
//! not there yet; a command here may have said everything before. The answer is there long before most commands say
//! anything, so it costs them no time.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
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
    let heard = Notify::new();
    let reading = read(stream, encoding, inlets, &activity, &heard);
    tokio::pin!(reading);
    let writing = async {
        let sink = greet(sink, &heard, limits.greeting_timeout).await?;
        write(sink, encoding, queued, &activity).await
    };
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
    heard: &Notify,
) -> Result<Infallible, SessionError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        activity.note();
        heard.notify_one();
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

/// Sends a ping, and waits until something was heard of the client, which shows that it reads.
async fn greet<C>(
    mut sink: SplitSink<WebSocketStream<C>, Message>,
    heard: &Notify,
    timeout: Duration,
) -> Result<SplitSink<WebSocketStream<C>, Message>, Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    sink.send(Message::Ping(Bytes::new())).await?;
    // Who does not answer pings is told everything all the same.
    let _ = tokio::time::timeout(timeout, heard.notified()).await;
    Ok(sink)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// Frames as they are on the wire (RFC 6455 section 5.2).
    const PING: [u8; 2] = [0x89, 0];
    const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
    const WORD: [u8; 7] = [0x82, 5, 1, b'w', b'o', b'r', b'd'];
    const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe8];

    /// The client's end of a connection on which a command says a word at once, and ends.
    fn begin(greeting_timeout: Duration) -> DuplexStream {
        let (server, client) = tokio::io::duplex(4096);
        let limits = Limits { greeting_timeout, ..Limits::default() };
        tokio::spawn(async move {
            let socket = crate::websocket::open(server, &limits).await;
            run(socket, Encoding::Binary, &[], &limits, |channels| async move {
                let _ = channels.outgoing(1).send(Bytes::from_static(b"word")).await;
            })
            .await
        });
        client
    }

    async fn expect<const N: usize>(client: &mut DuplexStream, frame: [u8; N]) {
        let mut bytes = [0; N];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, frame);
    }

    #[tokio::test]
    async fn nothing_is_said_before_the_client_shows_that_it_reads() {
        let mut client = begin(Duration::from_secs(3600));
        expect(&mut client, PING).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            byte = client.read_u8() => panic!("{byte:?}"),
            () = std::future::ready(()) => {}
        }
        client.write_all(&PONG).await.unwrap();
        expect(&mut client, WORD).await;
        expect(&mut client, CLOSE).await;
    }

    #[tokio::test]
    async fn a_client_that_answers_no_ping_is_told_everything_all_the_same() {
        let mut client = begin(Duration::from_millis(1));
        expect(&mut client, PING).await;
        expect(&mut client, WORD).await;
        expect(&mut client, CLOSE).await;
    }
}
