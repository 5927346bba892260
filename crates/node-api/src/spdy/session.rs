//! One SPDY connection at work: a reader that gives streams and their bytes to whoever serves them, a writer with the one
//! compressor, and the end of it all.
//!
//! ```text
//! open ──(work is done)──► said: GOAWAY sent ──(peer closes, or linger)──► closed
//!   └────(peer closes, breaks the rules, or is idle too long)─────────────► closed, work dropped
//! ```
//!
//! The linger has two reasons. Closing a TCP socket with unread input (a client still sends standard input) makes the
//! kernel reset the connection, and the client loses what it has not read yet. And spdystream, when it reads the end of
//! the connection, drops frames that it has read but not yet handed on. So the client is given the time to close first.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::frame::{Decoder, Encoder, Frame, FrameError, FrameLimits, ResetStatus, StreamId};
use super::headers::Headers;
use crate::activity::Activity;
use crate::limits::Limits;
use crate::pipe::{Budget, Incoming, Inlet, Outbound, Outgoing, QUEUED_PIECES, incoming};

/// Answers of the reader's that the writer has not sent yet. A peer that pings without reading waits here.
const QUEUED_ANSWERS: usize = 32;
/// New streams that nobody has looked at.
const QUEUED_STREAMS: usize = 8;

/// Why a connection ended that had work to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// It sent what is not SPDY.
    #[error("the client broke the rules of SPDY")]
    Frame(#[from] FrameError),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Nothing was sent in either direction.
    #[error("the connection was idle for {0:?}")]
    Idle(Duration),
    /// It went away before its time.
    #[error("the client closed the connection")]
    Closed,
}

/// A stream that the client opened and nobody has answered yet.
pub(crate) struct NewStream {
    /// Its number.
    pub(crate) id: StreamId,
    /// What it is for.
    pub(crate) headers: Headers,
    /// What comes on it.
    pub(crate) incoming: Incoming,
    /// What goes on it.
    pub(crate) outgoing: Outgoing,
    /// Fires when the client resets it.
    pub(crate) reset: oneshot::Receiver<()>,
    answers: mpsc::WeakSender<Answer>,
}

impl NewStream {
    /// Tells the client that its stream is served.
    pub(crate) async fn accept(&self) {
        self.answer(Answer::Frame(Frame::SynReply {
            stream: self.id,
            fin: false,
            headers: Headers::default(),
        }))
        .await;
    }

    /// Tells the client that it is not.
    pub(crate) async fn refuse(self) {
        self.answer(Answer::Reset(self.id, ResetStatus::Cancel)).await;
    }

    async fn answer(&self, answer: Answer) {
        if let Some(answers) = self.answers.upgrade() {
            // A writer that is gone has ended the connection.
            let _ = answers.send(answer).await;
        }
    }
}

/// What the writer sends before any data that waits.
enum Answer {
    Frame(Frame),
    Reset(StreamId, ResetStatus),
}

/// Runs a connection: gives its new streams to `work`, and ends when work or peer does.
pub(crate) async fn run<C, F, W>(connection: C, limits: &Limits, work: F) -> Result<(), SessionError>
where
    C: AsyncRead + AsyncWrite,
    F: FnOnce(mpsc::Receiver<NewStream>) -> W,
    W: Future<Output = ()>,
{
    let (read_half, write_half) = tokio::io::split(connection);
    let (opened, streams) = mpsc::channel(QUEUED_STREAMS);
    let (queue, queued) = mpsc::channel(QUEUED_PIECES);
    let (answers, answered) = mpsc::channel(QUEUED_ANSWERS);
    let shared = Arc::new(Shared { open: Mutex::default(), activity: Activity::begin() });
    let reader = Reader {
        shared: shared.clone(),
        opened,
        queue: queue.downgrade(),
        answers: answers.downgrade(),
        budget: Budget::new(limits.waiting_bytes),
        streams_limit: limits.streams,
        last_stream: 0,
        gone_away: false,
    };
    let reading = reader.run(read_half);
    tokio::pin!(reading);
    let writing = write(write_half, queued, answered, &shared);
    let working = async move {
        work(streams).await;
        // The last senders: the writer now ends when it has written what waits.
        drop((queue, answers));
    };
    let mut write_half = tokio::select! {
        Err(error) = &mut reading => return Err(error),
        ((), written) = async { tokio::join!(working, writing) } => written?,
        () = shared.activity.idle(limits.idle_timeout) => return Err(SessionError::Idle(limits.idle_timeout)),
    };
    // However the client goes away now, it was told everything.
    let _ = tokio::time::timeout(limits.linger_timeout, reading).await;
    let _ = write_half.shutdown().await;
    Ok(())
}

/// What reader and writer both know.
struct Shared {
    open: Mutex<HashMap<StreamId, Open>>,
    activity: Activity,
}

/// One stream. It is forgotten when both ends have said their last.
struct Open {
    inlet: Option<Inlet>,
    we_ended: bool,
    reset: oneshot::Sender<()>,
}

impl Shared {
    /// The lock is never held across an await, and nothing below it can panic half-way.
    fn open(&self) -> MutexGuard<'_, HashMap<StreamId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inlet(&self, stream: StreamId) -> Option<Inlet> {
        self.open().get(&stream)?.inlet.clone()
    }

    fn they_ended(&self, stream: StreamId) {
        let mut open = self.open();
        if let Some(found) = open.get_mut(&stream) {
            found.inlet = None;
            if found.we_ended {
                open.remove(&stream);
            }
        }
    }

    fn we_ended(&self, stream: StreamId) {
        let mut open = self.open();
        if let Some(found) = open.get_mut(&stream) {
            found.we_ended = true;
            if found.inlet.is_none() {
                open.remove(&stream);
            }
        }
    }
}

struct Reader {
    shared: Arc<Shared>,
    opened: mpsc::Sender<NewStream>,
    queue: mpsc::WeakSender<Outbound>,
    answers: mpsc::WeakSender<Answer>,
    budget: Budget,
    streams_limit: usize,
    last_stream: StreamId,
    gone_away: bool,
}

impl Reader {
    /// Reads until the connection is of no use any more; that is never without a reason.
    async fn run(mut self, mut from: impl AsyncRead + Unpin) -> Result<Infallible, SessionError> {
        let mut decoder = Decoder::new(FrameLimits::default());
        loop {
            while let Some(frame) = decoder.next_frame()? {
                self.take(frame).await;
            }
            if self.gone_away && self.shared.open().is_empty() {
                return Err(SessionError::Closed);
            }
            decoder.buffer().reserve(FrameLimits::default().piece_bytes);
            if from.read_buf(decoder.buffer()).await? == 0 {
                return Err(SessionError::Closed);
            }
            self.shared.activity.note();
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, headers).await,
            Frame::Data { stream, fin, bytes } => {
                // Of a stream that is no more, data may still be on its way: it is passed over, as spdystream does.
                if let Some(inlet) = self.shared.inlet(stream) {
                    inlet.put(bytes).await;
                }
                if fin {
                    self.shared.they_ended(stream);
                }
            }
            Frame::RstStream { stream, .. } => {
                if let Some(open) = self.shared.open().remove(&stream) {
                    // Nobody needs to wait for it.
                    let _ = open.reset.send(());
                }
            }
            Frame::Headers { stream, fin: true, .. } | Frame::SynReply { stream, fin: true, .. } => {
                self.shared.they_ended(stream);
            }
            // We send no pings: so one with an even number answers none, and deserves no answer.
            Frame::Ping { id } if !id.is_multiple_of(2) => {
                self.answer(Answer::Frame(Frame::Ping { id })).await
            }
            Frame::GoAway { .. } => self.gone_away = true,
            Frame::Headers { .. }
            | Frame::SynReply { .. }
            | Frame::Ping { .. }
            | Frame::Settings
            | Frame::WindowUpdate { .. } => {}
        }
    }

    async fn open(&mut self, id: StreamId, fin: bool, headers: Headers) {
        if self.gone_away {
            return;
        }
        if id.is_multiple_of(2) || id <= self.last_stream {
            return self.answer(Answer::Reset(id, ResetStatus::ProtocolError)).await;
        }
        self.last_stream = id;
        if self.shared.open().len() >= self.streams_limit {
            return self.answer(Answer::Reset(id, ResetStatus::RefusedStream)).await;
        }
        let Some(queue) = self.queue.upgrade() else { return };
        let (inlet, incoming) = incoming(&self.budget);
        let (reset, was_reset) = oneshot::channel();
        let inlet = (!fin).then_some(inlet);
        self.shared.open().insert(id, Open { inlet, we_ended: false, reset });
        let stream = NewStream {
            id,
            headers,
            incoming,
            outgoing: Outgoing::new(id, queue),
            reset: was_reset,
            answers: self.answers.clone(),
        };
        if self.opened.send(stream).await.is_err() {
            self.shared.open().remove(&id);
            self.answer(Answer::Reset(id, ResetStatus::RefusedStream)).await;
        }
    }

    async fn answer(&self, answer: Answer) {
        if let Some(answers) = self.answers.upgrade() {
            let _ = answers.send(answer).await;
        }
    }
}

/// Writes until nobody has anything to say any more, and gives back what it wrote to.
async fn write<C: AsyncWrite + Unpin>(
    mut to: C,
    mut queued: mpsc::Receiver<Outbound>,
    mut answered: mpsc::Receiver<Answer>,
    shared: &Shared,
) -> io::Result<C> {
    let mut encoder = Encoder::default();
    let mut out = Vec::with_capacity(4096);
    let mut last_stream = 0;
    loop {
        // An answer to SYN_STREAM must stand before the stream's data.
        let frame = tokio::select! {
            biased;
            Some(answer) = answered.recv() => match answer {
                Answer::Frame(frame) => frame,
                Answer::Reset(stream, status) => {
                    shared.open().remove(&stream);
                    Frame::RstStream { stream, status }
                }
            },
            Some(outbound) = queued.recv() => match outbound {
                Outbound::Data(stream, bytes) => Frame::Data { stream, fin: false, bytes },
                Outbound::End(stream) => {
                    shared.we_ended(stream);
                    Frame::Data { stream, fin: true, bytes: Bytes::new() }
                }
                Outbound::Reset(stream) => {
                    shared.open().remove(&stream);
                    Frame::RstStream { stream, status: ResetStatus::Cancel }
                }
            },
            else => break,
        };
        if let Frame::SynReply { stream, .. } = &frame {
            last_stream = *stream;
        }
        encoder.encode(&frame, &mut out);
        // Small frames that wait already go out together.
        if (queued.is_empty() && answered.is_empty()) || out.len() >= 64 << 10 {
            to.write_all(&out).await?;
            to.flush().await?;
            out.clear();
            shared.activity.note();
        }
    }
    encoder.encode(&Frame::GoAway { last_stream, status: 0 }, &mut out);
    to.write_all(&out).await?;
    to.flush().await?;
    Ok(to)
}
