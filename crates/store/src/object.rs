//! What is stored, and what is told of a change. All of it is shared and immutable: a list, a thousand watchers and the history
//! hold the same bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The number of a change. Every change of an object has its own, later ones are greater, and none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Before every change.
    pub const ZERO: Revision = Revision(0);

    /// The revision of that number, which a client gave back.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, as it is given to clients.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(crate) const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(crate) const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no revision: a revision is a whole number without sign")]
pub struct ParseRevisionError {
    /// What was given.
    pub text: String,
}

impl FromStr for Revision {
    type Err = ParseRevisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRevisionError { text: text.to_owned() };
        // u64's own parser takes a sign, which would be a second spelling of the same revision.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        text.parse().map(Revision).map_err(|_| error())
    }
}

/// An object as it is at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name; objects are ordered by the bytes of it.
    pub key: Arc<str>,
    /// What it is.
    pub value: Arc<[u8]>,
    /// The change that created it.
    pub created: Revision,
    /// The change that made it what it is.
    pub revision: Revision,
}

/// A change as watchers are told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The change's number.
    pub revision: Revision,
    /// What happened.
    pub change: Change,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was created (then there is nothing before it) or updated.
    Put {
        /// What it is now.
        object: Arc<Object>,
        /// What it was before; none when it was created.
        previous: Option<Arc<Object>>,
    },
    /// It was deleted.
    Delete {
        /// What it was at the end.
        last: Arc<Object>,
    },
}

impl Event {
    /// The key of the object that changed.
    pub fn key(&self) -> &Arc<str> {
        match &self.change {
            Change::Put { object, .. } => &object.key,
            Change::Delete { last } => &last.key,
        }
    }

    /// What was before the change.
    pub fn previous(&self) -> Option<&Arc<Object>> {
        match &self.change {
            Change::Put { previous, .. } => previous.as_ref(),
            Change::Delete { last } => Some(last),
        }
    }

    /// Whether the object was created by it.
    pub fn is_creation(&self) -> bool {
        matches!(self.change, Change::Put { previous: None, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_have_one_spelling() {
        assert_eq!("42".parse(), Ok(Revision::new(42)));
        assert_eq!(Revision::new(42).to_string(), "42");
        for text in ["", "+1", "-1", " 1", "1 ", "0x1", "1.0", "99999999999999999999"] {
            assert!(text.parse::<Revision>().is_err(), "{text:?}");
        }
    }
}
