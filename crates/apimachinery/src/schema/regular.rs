//! `pattern` of a schema, compiled once.
//!
//! Kubernetes uses Go's regular expressions (RE2); the crate `regex` has the same syntax and the same promise of linear
//! time, so that a pattern of a user cannot hold the node up. What is compiled is bounded in size and in number.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

/// Bytes that one compiled pattern may take.
const MOST_BYTES: usize = 1 << 20;
/// Patterns that are kept; when more come, all are forgotten and compiled again.
const MOST_PATTERNS: usize = 256;

/// Compiles a pattern, or says why it is none.
pub(super) fn compile(pattern: &str) -> Result<Arc<Regex>, regex::Error> {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = compiled.get(pattern) {
        return Ok(found.clone());
    }
    let regex = Arc::new(RegexBuilder::new(pattern).size_limit(MOST_BYTES).build()?);
    if compiled.len() >= MOST_PATTERNS {
        compiled.clear();
    }
    compiled.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}
