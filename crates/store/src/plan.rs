//! Deciding a batch of transactions against the memory and each other. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::memory::Memory;
use crate::object::{Change, Event, Object, Revision};
use crate::operation::{Committed, Operation};

/// Transactions that will be committed as one.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    memory: &'a Memory,
    revision: Revision,
    after: BTreeMap<Arc<str>, Option<Arc<Object>>>,
    events: Vec<Arc<Event>>,
}

/// What a batch changes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is to be in the database for each key that changes, however often it changed; none: nothing.
    pub(crate) after: BTreeMap<Arc<str>, Option<Arc<Object>>>,
    /// Every change, for the watchers.
    pub(crate) events: Vec<Arc<Event>>,
    /// The last revision that it takes.
    pub(crate) revision: Revision,
}

impl<'a> Batch<'a> {
    /// An empty batch whose changes get the revisions after `revision`.
    pub(crate) fn new(memory: &'a Memory, revision: Revision) -> Self {
        Self { memory, revision, after: BTreeMap::new(), events: Vec::new() }
    }

    /// Adds a transaction, whole or, when a condition of it does not hold, not at all.
    pub(crate) fn add(&mut self, operations: Vec<Operation>) -> Result<Committed, Error> {
        let (mark, revision) = (self.events.len(), self.revision);
        let mut objects = Vec::with_capacity(operations.len());
        for operation in operations {
            match self.step(operation) {
                Ok(object) => objects.push(object),
                Err(error) => {
                    for event in self.events.drain(mark..).rev() {
                        self.after.insert(event.key().clone(), event.previous().cloned());
                    }
                    self.revision = revision;
                    return Err(error);
                }
            }
        }
        Ok(Committed { revision: self.revision, objects })
    }

    pub(crate) fn finish(self) -> Plan {
        Plan { after: self.after, events: self.events, revision: self.revision }
    }

    fn step(&mut self, operation: Operation) -> Result<Option<Arc<Object>>, Error> {
        let current = match self.after.get(operation.key()) {
            Some(after) => after.clone(),
            None => self.memory.get(operation.key()).cloned(),
        };
        let at = current.as_ref().map(|object| object.revision);
        let conflict = |key, expected| Error::Conflict { key, expected, found: at };
        match operation {
            Operation::Create { key, value } => match at {
                Some(found) => Err(Error::Exists { key, found }),
                None => Ok(Some(self.put(key, value, None))),
            },
            Operation::Update { key, value, expected } => match current {
                Some(previous) if previous.revision == expected => {
                    Ok(Some(self.put(previous.key.clone(), value, Some(previous))))
                }
                _ => Err(conflict(key, Some(expected))),
            },
            Operation::Delete { key, expected } => match current {
                Some(last) if last.revision == expected => {
                    self.record(last.key.clone(), None, Change::Delete { last: last.clone() });
                    Ok(Some(last))
                }
                _ => Err(conflict(key, Some(expected))),
            },
            Operation::Check { key, expected } => {
                if at == expected {
                    Ok(current)
                } else {
                    Err(conflict(key, expected))
                }
            }
        }
    }

    fn put(&mut self, key: Arc<str>, value: Arc<[u8]>, previous: Option<Arc<Object>>) -> Arc<Object> {
        let revision = self.revision.next();
        let created = previous.as_ref().map_or(revision, |previous| previous.created);
        let object = Arc::new(Object { key: key.clone(), value, created, revision });
        self.record(key, Some(object.clone()), Change::Put { object: object.clone(), previous });
        object
    }

    fn record(&mut self, key: Arc<str>, after: Option<Arc<Object>>, change: Change) {
        self.revision = self.revision.next();
        self.after.insert(key, after);
        self.events.push(Arc::new(Event { revision: self.revision, change }));
    }
}
