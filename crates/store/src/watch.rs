//! Watchers: positions in the history, woken only by changes under their prefix.
//!
//! The writer marks the first change that a watcher has not seen, and wakes it. A watcher without a mark has seen everything up
//! to the newest revision, however long ago it was told something; so a quiet watcher never lags, and its bookmark is exact.
//! Marks are set with the memory locked for writing and taken with it locked for reading: none is lost in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::error::WatchError;
use crate::memory::{Memory, Shared};
use crate::object::{Event, Revision};

/// How many changes a watcher is given at once: the lock is held no longer, and the receiver holds no more.
const BATCH_EVENTS: usize = 256;
/// No mark: revisions of changes begin at one.
const NOTHING: u64 = 0;

/// The writer's side of a watcher.
#[derive(Debug)]
struct Watch {
    prefix: Box<str>,
    /// The first change that it has not seen.
    unseen: AtomicU64,
    wake: Notify,
}

/// Every watcher of the store.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    next_id: u64,
    by_id: HashMap<u64, Arc<Watch>>,
    /// Those that were marked and have not been woken yet.
    marked: Vec<Arc<Watch>>,
}

impl Watches {
    /// Marks whom a change concerns. They are woken by [`Woken`], when the memory is not locked any more.
    pub(crate) fn mark(&mut self, event: &Event) {
        let key = event.key();
        for watch in self.by_id.values() {
            if key.starts_with(&*watch.prefix) && watch.unseen.load(Ordering::Relaxed) == NOTHING {
                watch.unseen.store(event.revision.get(), Ordering::Relaxed);
                self.marked.push(watch.clone());
            }
        }
    }

    /// Everyone who has to be woken.
    pub(crate) fn take_marked(&mut self) -> Woken {
        Woken(std::mem::take(&mut self.marked))
    }

    /// Everyone, because the store ends.
    pub(crate) fn all(&self) -> Woken {
        Woken(self.by_id.values().cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The revision up to which every watcher has been told everything; `current` when nobody is behind.
    pub(crate) fn reached(&self, current: Revision) -> Revision {
        let behind = self.by_id.values().map(|watch| watch.unseen.load(Ordering::Relaxed));
        behind
            .filter(|unseen| *unseen != NOTHING)
            .min()
            .map_or(current, |unseen| Revision::new(unseen).previous())
    }

    fn add(&mut self, watch: Watch) -> (u64, Arc<Watch>) {
        let id = self.next_id;
        self.next_id += 1;
        let watch = Arc::new(watch);
        self.by_id.insert(id, watch.clone());
        (id, watch)
    }

    fn remove(&mut self, id: u64) {
        self.by_id.remove(&id);
        // A thousand watches that have ended are not paid for ever after.
        if self.by_id.capacity() > 64 && self.by_id.len() < self.by_id.capacity() / 4 {
            self.by_id.shrink_to_fit();
        }
    }
}

/// Watchers to wake.
#[must_use]
pub(crate) struct Woken(Vec<Arc<Watch>>);

impl Woken {
    /// Wakes them. A wake-up before the watcher waits is kept for it.
    pub(crate) fn wake(self) {
        for watch in self.0 {
            watch.wake.notify_one();
        }
    }
}

/// Tells the changes under a prefix, in order, each once. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    id: u64,
    watch: Arc<Watch>,
    reached: Revision,
    ended: Option<WatchError>,
}

impl Watcher {
    /// A watcher of what changes after `from`; the memory is locked by the caller, who may list from it first.
    pub(crate) fn new(
        shared: Arc<Shared>,
        memory: &mut Memory,
        prefix: &str,
        from: Revision,
    ) -> Result<Self, WatchError> {
        let (current, compacted) = (memory.revision(), memory.history.compacted());
        if from > current {
            return Err(WatchError::Future { asked: from, current });
        }
        if from < compacted {
            return Err(WatchError::Compacted { asked: from, oldest: compacted });
        }
        let first = memory.history.after(from).find(|event| event.key().starts_with(prefix));
        let unseen = AtomicU64::new(first.map_or(NOTHING, |event| event.revision.get()));
        let (id, watch) = memory.watches.add(Watch { prefix: prefix.into(), unseen, wake: Notify::new() });
        Ok(Self { shared, id, watch, reached: from, ended: None })
    }

    /// The next changes, at least one. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`WatchError::Lagged`] when the history has left this watcher behind, [`WatchError::Closed`] at the end of the store.
    /// Both are final.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            let events = self.try_next()?;
            if !events.is_empty() {
                return Ok(events);
            }
            self.watch.wake.notified().await;
        }
    }

    /// The next changes that are there already; empty when there are none.
    ///
    /// # Errors
    /// As [`Watcher::next`].
    pub fn try_next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let shared = self.shared.clone();
        let memory = shared.read();
        let unseen = self.watch.unseen.swap(NOTHING, Ordering::Relaxed);
        if unseen == NOTHING {
            self.reached = memory.revision();
            return if memory.is_closed() { Err(self.end(WatchError::Closed)) } else { Ok(Vec::new()) };
        }
        let unseen = Revision::new(unseen);
        if unseen <= memory.history.compacted() {
            return Err(self.end(WatchError::Lagged { reached: self.reached }));
        }
        let prefix = &*self.watch.prefix;
        let mut ours =
            memory.history.after(unseen.previous()).filter(|event| event.key().starts_with(prefix));
        let events: Vec<_> = ours.by_ref().take(BATCH_EVENTS).cloned().collect();
        match (ours.next(), events.last()) {
            (Some(more), Some(last)) => {
                self.watch.unseen.store(more.revision.get(), Ordering::Relaxed);
                self.reached = last.revision;
            }
            _ => self.reached = memory.revision(),
        }
        Ok(events)
    }

    /// The revision up to which this watcher has been told everything, for a bookmark: a watch from there misses nothing.
    pub fn progress(&mut self) -> Revision {
        let memory = self.shared.read();
        if self.ended.is_none() && self.watch.unseen.load(Ordering::Relaxed) == NOTHING {
            self.reached = memory.revision();
        }
        self.reached
    }

    fn end(&mut self, error: WatchError) -> WatchError {
        self.ended = Some(error.clone());
        error
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.write().watches.remove(self.id);
    }
}
