//! The door: everything a caller does with an open store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, FILE};
use crate::error::{Error, ListError, OpenError, WatchError};
use crate::history::History;
use crate::lock::DataLock;
use crate::memory::{List, ListRequest, Memory, Shared};
use crate::object::{Object, Revision};
use crate::operation::{Committed, Durability, Operation};
use crate::syncer::Syncer;
use crate::watch::Watcher;
use crate::writer::{Request, Writer};

/// The longest key.
const KEY_LIMIT_BYTES: usize = 1024;
/// How many requests wait for the writer before callers wait to be taken up.
const WAITING_REQUESTS: usize = 1024;
/// How many batches wait for the medium before the writer waits for it.
const UNSYNCED_BATCHES: usize = 64;

/// Every limit of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many changes are kept for watchers.
    pub history_limit_events: usize,
    /// How many bytes of objects, before and after, these changes hold at most.
    pub history_limit_bytes: usize,
    /// The largest value.
    pub value_limit_bytes: usize,
    /// After what time a relaxed write is on the medium at the latest.
    pub relaxed_sync_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_limit_events: 10_000,
            history_limit_bytes: 32 << 20,
            value_limit_bytes: 8 << 20,
            // What ext4 does for files (ext4(5), `commit`).
            relaxed_sync_timeout: Duration::from_secs(5),
        }
    }
}

/// What there is, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// How many objects.
    pub objects: usize,
    /// How many bytes their keys and values have.
    pub objects_bytes: usize,
    /// How many changes the history holds.
    pub history_events: usize,
    /// How many bytes they hold.
    pub history_bytes: usize,
    /// How many watchers.
    pub watchers: usize,
    /// Whether something that was written is not on the medium yet.
    pub unsynced: bool,
    /// The revision of the latest change.
    pub revision: Revision,
    /// The revision up to which every watcher has been told everything.
    pub watched: Revision,
    /// The oldest revision from which a watch can begin.
    pub compacted: Revision,
}

/// An open store. Clones are the same store; it ends with [`Store::close`], or when the last of them is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    value_limit_bytes: usize,
}

impl Store {
    /// Opens the store in the locked directory, making it when there is none. Reads and checks all of it: do it before serving.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] says what is not as it was written; nothing was changed then.
    pub fn open(lock: DataLock, options: &Options) -> Result<Self, OpenError> {
        let directory = lock.store();
        let (database, log, contents) = Database::open(&directory)?;
        // What was reserved may have been given before a power cut; whoever has seen it must not see it again.
        let given = contents.reserved;
        let history = History::new(given, options.history_limit_events, options.history_limit_bytes);
        let shared = Arc::new(Shared::new(Memory::new(contents.objects, given, history)));
        let (sender, requests) = mpsc::channel(WAITING_REQUESTS);
        let thread =
            |source| OpenError::Io { attempt: "starting the writer of", path: directory.clone(), source };
        let (unsynced, waiting) = std::sync::mpsc::sync_channel(UNSYNCED_BATCHES);
        let syncer = Syncer { log, file: directory.join(FILE), shared: shared.clone(), waiting };
        let syncer = std::thread::Builder::new()
            .name("store-syncer".to_owned())
            .spawn(move || syncer.run())
            .map_err(thread)?;
        let writer = Writer {
            database,
            shared: shared.clone(),
            requests,
            unsynced,
            syncer,
            sync_timeout: options.relaxed_sync_timeout,
            given,
            has_unasked: false,
            _lock: lock,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(thread)?;
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(writer.run()))
            .map_err(thread)?;
        Ok(Self { shared, requests: sender, value_limit_bytes: options.value_limit_bytes })
    }

    /// The object of that key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.shared.read().get(key).cloned()
    }

    /// The objects of a prefix, or a page of them, as they all were at one revision.
    ///
    /// # Errors
    /// Only for a list of the past, when the history does not reach back to it.
    pub fn list(&self, request: &ListRequest<'_>) -> Result<List, ListError> {
        self.shared.read().list(request)
    }

    /// The revision of the latest change.
    pub fn current_revision(&self) -> Revision {
        self.shared.read().revision()
    }

    /// Tells what changes under the prefix after `from`; none: from now on.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] or [`WatchError::Future`] when the history does not have that revision.
    pub fn watch(&self, prefix: &str, from: Option<Revision>) -> Result<Watcher, WatchError> {
        let mut memory = self.shared.write();
        let from = from.unwrap_or_else(|| memory.revision());
        Watcher::new(self.shared.clone(), &mut memory, prefix, from)
    }

    /// What is under the prefix now, and a watcher of everything after exactly that.
    ///
    /// # Errors
    /// None but what [`Store::watch`] names, and neither of these can happen from now on.
    pub fn list_and_watch(&self, prefix: &str) -> Result<(List, Watcher), WatchError> {
        let mut memory = self.shared.write();
        let from = memory.revision();
        let watcher = Watcher::new(self.shared.clone(), &mut memory, prefix, from)?;
        let list = memory.list(&ListRequest { prefix, ..ListRequest::default() });
        // The watcher must not be dropped while the memory is locked.
        drop(memory);
        match list {
            Ok(list) => Ok((list, watcher)),
            Err(_) => Err(WatchError::Closed),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`Error::Exists`] with the revision found.
    pub async fn create(
        &self,
        key: impl Into<Arc<str>>,
        value: impl Into<Arc<[u8]>>,
        durability: Durability,
    ) -> Result<Arc<Object>, Error> {
        self.one(Operation::Create { key: key.into(), value: value.into() }, durability).await
    }

    /// Gives an object a new value when it is at the revision expected.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the revision found.
    pub async fn update(
        &self,
        key: impl Into<Arc<str>>,
        value: impl Into<Arc<[u8]>>,
        expected: Revision,
        durability: Durability,
    ) -> Result<Arc<Object>, Error> {
        self.one(Operation::Update { key: key.into(), value: value.into(), expected }, durability).await
    }

    /// Removes an object when it is at the revision expected, and tells the revision of the deletion.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the revision found.
    pub async fn delete(
        &self,
        key: impl Into<Arc<str>>,
        expected: Revision,
        durability: Durability,
    ) -> Result<Revision, Error> {
        let operation = Operation::Delete { key: key.into(), expected };
        Ok(self.transaction(vec![operation], durability).await?.revision)
    }

    /// Does all of it or nothing. When the caller stops waiting after it was taken up, it is done nevertheless.
    ///
    /// # Errors
    /// The first operation that could not be done.
    pub async fn transaction(
        &self,
        operations: Vec<Operation>,
        durability: Durability,
    ) -> Result<Committed, Error> {
        operations.iter().try_for_each(|operation| self.permit(operation))?;
        let (answer, result) = oneshot::channel();
        let request = Request::Transaction { operations, durability, answer };
        self.requests.send(request).await.map_err(|_| Error::Closed)?;
        result.await.map_err(|_| Error::Closed)?
    }

    /// What there is, for metrics.
    pub fn statistics(&self) -> Statistics {
        let memory = self.shared.read();
        Statistics {
            objects: memory.len(),
            objects_bytes: memory.bytes(),
            history_events: memory.history.len(),
            history_bytes: memory.history.bytes(),
            watchers: memory.watches.len(),
            unsynced: self.shared.is_unsynced(),
            revision: memory.revision(),
            watched: memory.watches.reached(memory.revision()),
            compacted: memory.history.compacted(),
        }
    }

    /// Ends the store after everything that was asked before: the log is written back, watchers are told, the directory is free.
    ///
    /// # Errors
    /// When the file could not be closed cleanly; nothing that was acknowledged is lost then.
    pub async fn close(&self) -> Result<(), Error> {
        let (answer, result) = oneshot::channel();
        self.requests.send(Request::Close { answer }).await.map_err(|_| Error::Closed)?;
        result.await.map_err(|_| Error::Closed)?
    }

    async fn one(&self, operation: Operation, durability: Durability) -> Result<Arc<Object>, Error> {
        let mut committed = self.transaction(vec![operation], durability).await?;
        // A create and an update always answer with an object.
        committed.objects.pop().flatten().ok_or(Error::Closed)
    }

    fn permit(&self, operation: &Operation) -> Result<(), Error> {
        let key = operation.key();
        if key.is_empty() || key.len() > KEY_LIMIT_BYTES || key.contains('\0') {
            return Err(Error::InvalidKey { key: key.clone(), limit_bytes: KEY_LIMIT_BYTES });
        }
        let (bytes, limit_bytes) = (operation.value().map_or(0, |value| value.len()), self.value_limit_bytes);
        if bytes > limit_bytes {
            return Err(Error::TooLarge { key: key.clone(), bytes, limit_bytes });
        }
        Ok(())
    }
}
