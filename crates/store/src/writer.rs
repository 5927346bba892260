//! The one thread that writes.
//!
//! ```text
//! take all that waits ─► decide ─► reserve, if the block is used up ─► commit ─► publish ─► answer ─► maintain
//!                                                                                   └─► syncer: fsync ─► answer
//! ```
//!
//! Requests that wait while a commit is made become the next transaction. A commit is in the log and with the kernel, so it
//! survives `kill -9`; what is durable is answered by the [syncer](crate::syncer) when it is on the medium too. It is published
//! before that: whoever acts on what he sees writes behind it in the same log, so nothing that is on the medium
//! ever depends on something that was lost, and an fsync stands between no write and those who wait to see it.
//!
//! The thread runs a tokio runtime of its own, for its timer, so a store can be used from any runtime or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
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
use crate::syncer::Unsynced;

/// How many revisions are reserved with one fsync.
const BLOCK_REVISIONS: u64 = 1000;
/// How many requests become one transaction at most.
const BATCH_REQUESTS: usize = 256;

pub(crate) type Answer = oneshot::Sender<Result<Committed, Error>>;
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
    pub(crate) unsynced: SyncSender<Unsynced>,
    pub(crate) syncer: JoinHandle<()>,
    pub(crate) sync_timeout: Duration,
    /// The last revision that was given, also to what could not be committed: its frames may be in the log nevertheless.
    pub(crate) given: Revision,
    /// Whether something was committed since the syncer was asked last.
    pub(crate) has_unasked: bool,
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
                            self.ask_syncer(Vec::new());
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
            sync_at = match (self.has_unasked, sync_at) {
                (true, None) => Some(Instant::now() + self.sync_timeout),
                (true, at) => at,
                (false, _) => None,
            };
        }
    }

    /// Serves a batch; the answer to whoever asked to close, when someone did.
    fn serve(&mut self, waiting: &mut Vec<Request>) -> Option<CloseAnswer> {
        let (mut transactions, mut close) = (Vec::new(), None);
        for request in waiting.drain(..) {
            match request {
                Request::Transaction { operations, durability, answer } => {
                    transactions.push((operations, durability, answer));
                }
                Request::Close { answer } => {
                    close = Some(answer);
                    break;
                }
            }
        }
        self.commit(transactions);
        close
    }

    fn commit(&mut self, transactions: Vec<(Vec<Operation>, Durability, Answer)>) {
        let (mut answers, mut results) = (Vec::new(), Vec::new());
        let plan = {
            let memory = self.shared.read();
            let mut batch = Batch::new(&memory, self.given);
            for (operations, durability, answer) in transactions {
                results.push(batch.add(operations));
                answers.push((durability, answer));
            }
            batch.finish()
        };
        if let Err(error) = self.perform(plan) {
            results.fill_with(|| Err(error.clone()));
        }
        let mut durable = Vec::new();
        for ((durability, answer), result) in answers.into_iter().zip(results) {
            match (durability, result) {
                (Durability::Durable, Ok(committed)) => durable.push((answer, committed)),
                // Whoever does not wait for the answer has it done nevertheless.
                (_, result) => drop(answer.send(result)),
            }
        }
        if !durable.is_empty() {
            self.ask_syncer(durable);
        }
    }

    /// Has everything that was committed brought to the medium, and these answered then.
    fn ask_syncer(&mut self, answers: Vec<(Answer, Committed)>) {
        let written = self.shared.written.load(Ordering::Relaxed);
        self.has_unasked = false;
        // It ends after the writer. If it has ended in a panic, those who wait see that the store is closed.
        let _ = self.unsynced.send(Unsynced { written, answers });
    }

    /// Commits and publishes.
    fn perform(&mut self, plan: Plan) -> Result<(), Error> {
        if plan.events.is_empty() {
            return Ok(());
        }
        if let Some(reason) = self.shared.failed.get() {
            return Err(Error::Failed { file: self.database.file().to_owned(), reason: reason.clone() });
        }
        if plan.revision > self.database.reserved() {
            let reserved = plan.revision.plus(BLOCK_REVISIONS);
            self.database.reserve(reserved).map_err(|error| self.failure(error))?;
            self.is_synced();
        }
        self.given = plan.revision;
        self.database.write(&plan.after).map_err(|error| self.failure(error))?;
        self.shared.written.fetch_add(1, Ordering::AcqRel);
        self.has_unasked = true;
        let woken = {
            let mut memory = self.shared.write();
            memory.publish(plan.events);
            memory.watches.take_marked()
        };
        woken.wake();
        Ok(())
    }

    /// Something was fsynced behind all commits.
    fn is_synced(&mut self) {
        self.shared.synced.fetch_max(self.shared.written.load(Ordering::Relaxed), Ordering::AcqRel);
        self.has_unasked = false;
    }

    fn failure(&self, error: WriteError) -> Error {
        let file = self.database.file().to_owned();
        match error {
            WriteError::NoSpace => Error::NoSpace { file },
            WriteError::Other(source) => Error::Write { file, source: Arc::new(source) },
            WriteError::Medium(source) => {
                let reason = self.shared.fail(&file, &source.to_string());
                Error::Failed { file, reason }
            }
        }
    }

    fn maintain(&mut self) {
        if self.shared.failed.get().is_some() {
            return;
        }
        match self.database.maintain() {
            Ok(()) => {}
            Err(WriteError::Medium(error)) => {
                self.shared.fail(self.database.file(), &error.to_string());
            }
            Err(WriteError::NoSpace) => {
                tracing::warn!(file = %self.database.file().display(), "no space is left to write the log back");
            }
            Err(WriteError::Other(error)) => {
                tracing::warn!(file = %self.database.file().display(), %error, "the log could not be written back");
            }
        }
    }

    fn close(self) -> Result<(), Error> {
        let Writer { database, shared, mut requests, unsynced, syncer, given, _lock, .. } = self;
        // Whatever is asked from now on finds the channel closed; what was asked before has been served.
        requests.close();
        let file = database.file().to_owned();
        // It ends when it has answered all who wait.
        drop(unsynced);
        if syncer.join().is_err() {
            let reason = "the thread that fsyncs ended in a panic".into();
            return Err(Error::Failed { file, reason });
        }
        match shared.failed.get() {
            Some(reason) => Err(Error::Failed { file, reason: reason.clone() }),
            None => database.close(given).map_err(|error| match error {
                WriteError::NoSpace => Error::NoSpace { file },
                WriteError::Medium(source) | WriteError::Other(source) => {
                    Error::Write { file, source: Arc::new(source) }
                }
            }),
        }
    }
}
