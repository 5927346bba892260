//! Everything that is read: the objects, the latest changes, and who watches. Pure but for the wake-ups; the lock
//! around it is [`Shared`], and nobody waits while holding it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::ListError;
use crate::history::History;
use crate::object::{Change, Event, Object, Revision};
use crate::watch::Watches;

/// Objects by key. The order of `str` is that of its bytes, so a prefix is a range.
pub(crate) type Objects = BTreeMap<Arc<str>, Arc<Object>>;

/// Which objects to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListRequest<'a> {
    /// Only keys that begin with it.
    pub prefix: &'a str,
    /// Only keys after it: the last key of the page before.
    pub start_after: Option<&'a str>,
    /// So many at most.
    pub limit: Option<usize>,
    /// As it was then; none for now. The history must reach back to it.
    pub at: Option<Revision>,
}

/// Objects as they all were at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The objects, in the order of their keys.
    pub objects: Vec<Arc<Object>>,
    /// The revision at which the list is true.
    pub revision: Revision,
    /// How many more there are after the limit.
    pub remaining: usize,
}

/// The memory and its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    memory: RwLock<Memory>,
    /// How many commits have been made.
    pub(crate) written: AtomicU64,
    /// How many of them are on the medium.
    pub(crate) synced: AtomicU64,
    /// Why nothing can be written any more.
    pub(crate) failed: OnceLock<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(memory: Memory) -> Self {
        let none = || AtomicU64::new(0);
        Self { memory: RwLock::new(memory), written: none(), synced: none(), failed: OnceLock::new() }
    }

    /// Whether commits are in the log that may not be on the medium.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.written.load(Ordering::Acquire) > self.synced.load(Ordering::Acquire)
    }

    /// From now on nothing is written; why that is, also when it was so before.
    pub(crate) fn fail(&self, file: &Path, reason: &str) -> Arc<str> {
        tracing::error!(file = %file.display(), reason, "the medium failed, nothing is written any more");
        self.failed.get_or_init(|| reason.into()).clone()
    }

    /// A panic elsewhere cannot leave the memory half changed in a way that matters: the writer is the only one to change
    /// objects, and its end closes the store.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Memory {
    objects: Objects,
    bytes: usize,
    revision: Revision,
    pub(crate) history: History,
    pub(crate) watches: Watches,
    closed: bool,
}

impl Memory {
    /// The memory of a store just opened: its objects, and no history before `revision`.
    pub(crate) fn new(objects: Objects, revision: Revision, history: History) -> Self {
        let bytes = objects.values().map(|object| object_bytes(object)).sum();
        Self { objects, bytes, revision, history, watches: Watches::default(), closed: false }
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Makes committed changes visible and marks the watchers whom they concern.
    pub(crate) fn publish(&mut self, events: Vec<Arc<Event>>) {
        for event in events {
            if let Some(previous) = event.previous() {
                self.bytes -= object_bytes(previous);
            }
            match &event.change {
                Change::Put { object, .. } => {
                    self.bytes += object_bytes(object);
                    self.objects.insert(object.key.clone(), object.clone());
                }
                Change::Delete { last } => {
                    self.objects.remove(&last.key);
                }
            }
            self.revision = event.revision;
            self.watches.mark(&event);
            self.history.push(event);
        }
    }

    pub(crate) fn list(&self, request: &ListRequest<'_>) -> Result<List, ListError> {
        let revision = request.at.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(ListError::Future { asked: revision, current: self.revision });
        }
        if revision < self.history.compacted() {
            return Err(ListError::Compacted { asked: revision, oldest: self.history.compacted() });
        }
        let undone = self.undone(request, revision);
        let limit = request.limit.unwrap_or(usize::MAX);
        let (mut objects, mut remaining) = (Vec::new(), 0);
        let mut take = |object: &Arc<Object>| {
            if objects.len() < limit {
                objects.push(object.clone());
            } else {
                remaining += 1;
            }
        };
        let mut undone = undone.into_iter().peekable();
        for (key, object) in range(&self.objects, request) {
            while let Some((_, before)) = undone.next_if(|(other, _)| *other < key) {
                before.iter().for_each(|object| take(object));
            }
            match undone.next_if(|(other, _)| *other == key) {
                Some((_, before)) => before.iter().for_each(|object| take(object)),
                None => take(object),
            }
        }
        undone.for_each(|(_, before)| before.iter().for_each(|object| take(object)));
        Ok(List { objects, revision, remaining })
    }

    /// What was at `revision` where it differs from now, by undoing the later changes.
    fn undone(
        &self,
        request: &ListRequest<'_>,
        revision: Revision,
    ) -> BTreeMap<&Arc<str>, Option<&Arc<Object>>> {
        let mut undone = BTreeMap::new();
        if revision == self.revision {
            return undone;
        }
        for event in self.history.after(revision).rev() {
            let key = event.key();
            if key.starts_with(request.prefix) && request.start_after.is_none_or(|after| **key > *after) {
                undone.insert(key, event.previous());
            }
        }
        undone
    }
}

fn range<'a>(
    objects: &'a Objects,
    request: &ListRequest<'a>,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Object>)> {
    let prefix = request.prefix;
    let from = match request.start_after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    objects.range::<str, _>((from, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
}

fn object_bytes(object: &Object) -> usize {
    object.key.len() + object.value.len()
}
