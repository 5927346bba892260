//! Text becomes Pods, ConfigMaps and Secrets: all of it, or every reason why not.
//!
//! The way of a manifest, one file each:
//!
//! ```text
//! bytes ─ source ─► text ─ tree ─► nodes with positions ─ document ─► objects by kind
//!            nodes ─ strict ─► unknown fields, wrong types, missing values   (fields.rs, the API's own table)
//!            nodes ─ honour ─► warnings for what podling does not honour     (honoured.rs)
//!            nodes ─ read/* ─► typed, defaulted, validated
//! ```
//!
//! No step stops at the first problem; only text that is not YAML hides what stands in the same document.
//! Nothing here reads a file: the caller brings the bytes.

pub mod problem;

pub use problem::{Problem, ProblemKind, Problems, Snippet};

use crate::pod::{KeyedObject, Pod};

/// What a manifest holds.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Pods, in the order of the text.
    pub pods: Vec<Pod>,
    /// ConfigMaps and Secrets, in the order of the text.
    pub objects: Vec<KeyedObject>,
    /// What is accepted and yet worth a word: fields not honoured, likely mistakes.
    pub warnings: Vec<Problem>,
    /// Where each value stands.
    pub positions: Positions,
}

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// Where the values of a manifest stand.
#[derive(Clone, Default)]
pub struct Positions {}
impl std::fmt::Debug for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Positions")
    }
}
impl Positions {
    /// Where a field of an object stands: of the nearest parent that is written when the field itself is not.
    pub fn lookup(&self, _kind: &str, _name: &str, _path: &str) -> Option<Position> {
        None
    }
}
