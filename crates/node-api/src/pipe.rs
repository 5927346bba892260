//! The ends of streams, whatever carries them: what comes from the other end ([`Incoming`]), and what goes to it
//! ([`Outgoing`]). Exec, attach and port-forward are written over these and know neither SPDY nor WebSocket.
//!
//! Memory is bounded in both directions. What was read and not yet taken counts against the [`Budget`] of its connection:
//! when that is used up, nobody reads from the socket until something was taken. What is to be sent waits in one short
//! queue, and its sender with it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Sent data that the connection has not taken yet, in pieces of [`PIECE_BYTES`] at most.
pub(crate) const QUEUED_PIECES: usize = 8;
/// How much is read from a process or a port at once.
pub(crate) const PIECE_BYTES: usize = 32 << 10;
/// What a piece costs beside its bytes, so that many small ones are not free.
const PIECE_COST_BYTES: usize = 128;

/// How much of what one connection brought may wait.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget, with room for a piece at least.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit_bytes.max(PIECE_BYTES + PIECE_COST_BYTES))))
    }

    /// Waits until there is room for this piece.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let cost = u32::try_from(bytes + PIECE_COST_BYTES).ok()?;
        self.0.clone().acquire_many_owned(cost).await.ok()
    }
}

/// A piece of what came, and the room it takes until it is dropped.
pub(crate) struct Piece {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// What comes from the other end of one stream.
pub(crate) struct Incoming {
    pieces: mpsc::UnboundedReceiver<Piece>,
}

impl Incoming {
    /// The next bytes; nothing after the other end has said its last.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
}

/// Where the reader of a connection puts what it read for one stream. Dropping it ends the stream's input.
#[derive(Clone)]
pub(crate) struct Inlet {
    // The budget bounds it.
    pieces: mpsc::UnboundedSender<Piece>,
    budget: Budget,
}

impl Inlet {
    /// Gives bytes on, when there is room for them. When nobody takes any more, they are forgotten.
    pub(crate) async fn put(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            let room = tokio::select! {
                room = self.budget.take(piece.len()) => room,
                () = self.pieces.closed() => return,
            };
            let _ = self.pieces.send(Piece { bytes: piece, _room: room });
        }
    }
}

/// A new stream's input: the reader's side and the taker's.
pub(crate) fn incoming(budget: &Budget) -> (Inlet, Incoming) {
    let (sender, pieces) = mpsc::unbounded_channel();
    (Inlet { pieces: sender, budget: budget.clone() }, Incoming { pieces })
}

/// Something to be told to the other end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outbound {
    /// Bytes on a stream.
    Data(u32, Bytes),
    /// Nothing more on this stream from us.
    End(u32),
    /// This stream is over in both directions, and what was on its way with it.
    Reset(u32),
}

/// The connection does not take anything any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// What goes to the other end of one stream.
#[derive(Clone)]
pub(crate) struct Outgoing {
    stream: u32,
    queue: mpsc::Sender<Outbound>,
}

impl Outgoing {
    /// A stream's output into the queue of its connection.
    pub(crate) fn new(stream: u32, queue: mpsc::Sender<Outbound>) -> Self {
        Self { stream, queue }
    }

    /// Sends bytes, when the connection can take them.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Closed> {
        self.queue.send(Outbound::Data(self.stream, bytes)).await.map_err(|_| Closed)
    }

    /// Tells the other end that this was all.
    pub(crate) async fn end(self) {
        // A connection that is gone has ended everything.
        let _ = self.queue.send(Outbound::End(self.stream)).await;
    }

    /// Ends the stream in both directions at once.
    pub(crate) async fn reset(self) {
        let _ = self.queue.send(Outbound::Reset(self.stream)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn reading_waits_while_nothing_is_taken() {
        let (inlet, mut incoming) = incoming(&Budget::new(2 * PIECE_BYTES));
        let mut putting = Box::pin(inlet.put(vec![1; 4 * PIECE_BYTES].into()));
        assert!(poll(putting.as_mut()).is_pending(), "four pieces do not fit in two");
        let first = incoming.pieces.try_recv().unwrap();
        assert!(incoming.pieces.try_recv().is_err(), "with its cost, only one fitted");
        assert!(poll(putting.as_mut()).is_pending());
        drop(first);
        assert!(poll(putting.as_mut()).is_pending());
        assert!(incoming.pieces.try_recv().is_ok(), "the next came when there was room");
    }

    #[test]
    fn what_nobody_takes_blocks_nobody() {
        let (inlet, incoming) = incoming(&Budget::new(1));
        let mut putting = Box::pin(inlet.put(vec![1; 4 * PIECE_BYTES].into()));
        assert!(poll(putting.as_mut()).is_pending());
        drop(incoming);
        assert!(poll(putting.as_mut()).is_ready());
    }
}
