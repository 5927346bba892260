//! The one thread that writes.
//!
//! ```text
//! take all that waits ─► decide ─► reserve, if the block is used up ─► commit ─► publish ─► answer ─► maintain
//! ```
//!
//! Requests that wait while a commit is made become the next transaction, so the number of fsyncs follows the disk and not the
//! number of writers. Relaxed writes at the head of the queue are committed by themselves and do not wait for an fsync that
//! only those behind them need.
//!
//! The thread runs a tokio runtime of its own, for its timer, so a store can be used from any runtime or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::database::{Database, WriteError};
use crate::error::Error;
use crate::lock::DataLock;
use crate::memory::Shared;
use crate::object::Revision;
use crate::operation::{Committed, Durability, Operation};
use crate::plan::{Batch, Plan};

/// How many revisions are reserved with one fsync.
const BLOCK_REVISIONS: u64 = 1000;
/// How many requests become one transaction at most.
const BATCH_REQUESTS: usize = 256;

type Answer = oneshot::Sender<Result<Committed, Error>>;
type CloseAnswer = oneshot::Sender<Result<(), Error>>;

/// What the writer is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// All of it or nothing.
    Transaction { operations: Vec<Operation>, durability: Durability, answer: Answer },
    /// To end, after everything that was asked before.
    Close { answer: CloseAnswer },
}

/// The writer's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) sync_timeout: Duration,
    /// The last revision that was given, also to what could not be committed: its frames may be in the log nevertheless.
    pub(crate) given: Revision,
    /// Why nothing can be written any more.
    pub(crate) failed: Option<Arc<str>>,
    /// The directory is free when the writer has ended.
    pub(crate) _lock: DataLock,
}

/// Ends the watches however the writer ends.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let everyone = {
            let mut memory = self.0.write();
            memory.close();
            memory.watches.all()
        };
        everyone.wake();
    }
}

impl Writer {
    /// Runs until it is told to close or nobody can ask any more.
    pub(crate) async fn run(self) {
        let close = CloseOnDrop(self.shared.clone());
        let (answer, result) = self.serve_all().await;
        // Whoever is told that the store is closed finds the directory free and the watchers told.
        drop(close);
        match (answer, result) {
            (Some(answer), result) => drop(answer.send(result)),
            (None, Err(error)) => {
                tracing::warn!(%error, "the store was not closed cleanly; nothing that was acknowledged is lost");
            }
            (None, Ok(())) => {}
        }
    }

    /// Serves to the end, and lets go of everything.
    async fn serve_all(mut self) -> (Option<CloseAnswer>, Result<(), Error>) {
        let mut sync_at = None;
        let mut waiting = Vec::with_capacity(BATCH_REQUESTS);
        loop {
            let received = match sync_at {
                None => self.requests.recv_many(&mut waiting, BATCH_REQUESTS).await,
                Some(at) => {
                    let receive = self.requests.recv_many(&mut waiting, BATCH_REQUESTS);
                    match tokio::time::timeout_at(at, receive).await {
                        Ok(received) => received,
                        Err(_) => {
                            self.sync();
                            sync_at = None;
                            continue;
                        }
                    }
                }
            };
            if received == 0 {
                return (None, self.close());
            }
            if let Some(answer) = self.serve(&mut waiting) {
                return (Some(answer), self.close());
            }
            self.maintain();
            sync_at = match (self.database.is_unsynced(), sync_at) {
                (true, None) => Some(Instant::now() + self.sync_timeout),
                (true, at) => at,
                (false, _) => None,
            };
        }
    }

    /// Serves a batch; the answer to whoever asked to close, when someone did.
    fn serve(&mut self, waiting: &mut Vec<Request>) -> Option<CloseAnswer> {
        let (mut relaxed, mut rest, mut close) = (Vec::new(), Vec::new(), None);
        for request in waiting.drain(..) {
            match request {
                Request::Transaction { operations, durability, answer } => {
                    if durability == Durability::Relaxed && rest.is_empty() {
                        relaxed.push((operations, answer));
                    } else {
                        rest.push((operations, answer));
                    }
                }
                Request::Close { answer } => {
                    close = Some(answer);
                    break;
                }
            }
        }
        self.commit(relaxed, Durability::Relaxed);
        self.commit(rest, Durability::Durable);
        close
    }

    fn commit(&mut self, requests: Vec<(Vec<Operation>, Answer)>, durability: Durability) {
        if requests.is_empty() {
            return;
        }
        let (mut answers, mut results) = (Vec::new(), Vec::new());
        let plan = {
            let memory = self.shared.read();
            let mut batch = Batch::new(&memory, self.given);
            for (operations, answer) in requests {
                results.push(batch.add(operations));
                answers.push(answer);
            }
            batch.finish()
        };
        if let Err(error) = self.perform(plan, durability) {
            results.fill_with(|| Err(error.clone()));
        }
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever does not wait for the answer has it done nevertheless.
            let _ = answer.send(result);
        }
    }

    /// Commits and publishes.
    fn perform(&mut self, plan: Plan, durability: Durability) -> Result<(), Error> {
        if plan.events.is_empty() {
            return Ok(());
        }
        if let Some(reason) = &self.failed {
            return Err(Error::Failed { file: self.database.file().to_owned(), reason: reason.clone() });
        }
        if plan.revision > self.database.reserved() {
            let reserved = plan.revision.plus(BLOCK_REVISIONS);
            self.database.reserve(reserved).map_err(|error| self.failure(error))?;
        }
        self.given = plan.revision;
        self.database.write(&plan.after, durability).map_err(|error| self.failure(error))?;
        self.shared.unsynced.store(self.database.is_unsynced(), Ordering::Relaxed);
        let woken = {
            let mut memory = self.shared.write();
            memory.publish(plan.events);
            memory.watches.take_marked()
        };
        woken.wake();
        Ok(())
    }

    fn failure(&mut self, error: WriteError) -> Error {
        let file = self.database.file().to_owned();
        match error {
            WriteError::NoSpace => Error::NoSpace { file },
            WriteError::Other(source) => Error::Write { file, source: Arc::new(source) },
            WriteError::Medium(source) => {
                let reason = self.fail(&source.to_string());
                Error::Failed { file, reason }
            }
        }
    }

    fn fail(&mut self, reason: &str) -> Arc<str> {
        tracing::error!(file = %self.database.file().display(), reason, "the medium failed, nothing is written any more");
        self.failed.get_or_insert_with(|| reason.into()).clone()
    }

    fn sync(&mut self) {
        if let Err(error) = self.database.sync() {
            self.fail(&format!("fsync: {error}"));
        }
        self.shared.unsynced.store(self.database.is_unsynced(), Ordering::Relaxed);
    }

    fn maintain(&mut self) {
        if self.failed.is_some() {
            return;
        }
        match self.database.maintain() {
            Ok(()) => {}
            Err(WriteError::Medium(error)) => {
                self.fail(&error.to_string());
            }
            Err(WriteError::NoSpace) => {
                tracing::warn!(file = %self.database.file().display(), "no space is left to write the log back");
            }
            Err(WriteError::Other(error)) => {
                tracing::warn!(file = %self.database.file().display(), %error, "the log could not be written back");
            }
        }
    }

    fn close(mut self) -> Result<(), Error> {
        // Whatever is asked from now on finds the channel closed; what was asked before has been served.
        self.requests.close();
        let file = self.database.file().to_owned();
        match self.failed.take() {
            Some(reason) => Err(Error::Failed { file, reason }),
            None => self.database.close(self.given).map_err(|error| match error {
                WriteError::NoSpace => Error::NoSpace { file },
                WriteError::Medium(source) | WriteError::Other(source) => {
                    Error::Write { file, source: Arc::new(source) }
                }
            }),
        }
    }
}
