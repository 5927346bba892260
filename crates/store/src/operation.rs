//! What can be asked of the writer.

use std::sync::Arc;

use crate::object::{Object, Revision};

/// One step of a transaction. Each is conditional: what the caller believes is part of it, so that no update is ever lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates an object; there must be none of that key.
    Create {
        /// Its key.
        key: Arc<str>,
        /// Its value.
        value: Arc<[u8]>,
    },
    /// Gives an object a new value; it must be at that revision.
    Update {
        /// Its key.
        key: Arc<str>,
        /// Its new value.
        value: Arc<[u8]>,
        /// The revision at which the caller has seen it.
        expected: Revision,
    },
    /// Removes an object; it must be at that revision.
    Delete {
        /// Its key.
        key: Arc<str>,
        /// The revision at which the caller has seen it.
        expected: Revision,
    },
    /// Changes nothing: it must be at that revision, or must not be (none).
    Check {
        /// Its key.
        key: Arc<str>,
        /// The revision at which the caller has seen it; none when it has seen that there is no such object.
        expected: Option<Revision>,
    },
}

impl Operation {
    /// The key it is about.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Operation::Create { key, .. }
            | Operation::Update { key, .. }
            | Operation::Delete { key, .. }
            | Operation::Check { key, .. } => key,
        }
    }

    pub(crate) fn value(&self) -> Option<&Arc<[u8]>> {
        match self {
            Operation::Create { value, .. } | Operation::Update { value, .. } => Some(value),
            Operation::Delete { .. } | Operation::Check { .. } => None,
        }
    }
}

/// When a write is answered. In both cases it survives `kill -9` from then on, and is seen by every reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the medium and survives a power cut.
    Durable,
    /// When it is in the log, before the log is on the medium: for what is observed again anyway, like a status.
    Relaxed,
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The store's revision after it.
    pub revision: Revision,
    /// For each operation the object as it now is: the created or updated one, for a deletion the last one, and for a check
    /// the one that was found.
    pub objects: Vec<Option<Arc<Object>>>,
}
