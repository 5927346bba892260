//! JSON patch (RFC 6902), with what Kubernetes adds: negative indices count from the end, a test of null passes where there
//! is nothing, and limits, so that a small request cannot become a large object.
//!
//! The code is podling's own and not a library's because of those limits and because fields keep their order; the
//! library json-patch is the oracle of the tests.

use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// How many operations a patch may have (`maxJSONPatchOperations`).
pub const MOST_OPERATIONS: usize = 10_000;
/// How many bytes all `copy` operations of a patch may add (`JSONPatchMaxCopyBytes`).
pub const MOST_COPIED_BYTES: usize = 3 << 20;
/// How deep a patched object may be: deeper than the parser reads, nobody could get it back.
const MOST_DEPTH: usize = 120;

/// Why an operation cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// More operations than a patch may have.
    #[error("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The copies would make the object too large.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {bytes}, exceeding the limit {MOST_COPIED_BYTES}"
    )]
    CopiesTooMuch {
        /// How large they would make it.
        bytes: usize,
    },
    /// The object would nest deeper than it could be read.
    #[error("{operation} operation does not apply: {path:?} would be nested too deeply")]
    TooDeep {
        /// The operation.
        operation: &'static str,
        /// Where.
        path: String,
    },
    /// There is nothing at a path.
    #[error("{operation} operation does not apply: doc is missing path: {path:?}")]
    Missing {
        /// The operation.
        operation: &'static str,
        /// Where.
        path: String,
    },
    /// An index is no number, or beyond the list.
    #[error("{operation} operation does not apply: {path:?} is no index of the list")]
    Index {
        /// The operation.
        operation: &'static str,
        /// Where.
        path: String,
    },
    /// Something would be moved into itself, or the whole object removed.
    #[error("{operation} operation does not apply: {path:?} cannot be its own part")]
    IntoItself {
        /// The operation.
        operation: &'static str,
        /// Where.
        path: String,
    },
    /// The value is another one.
    #[error("testing value {path} failed")]
    TestFailed {
        /// Where.
        path: String,
    },
}

/// One operation as it stands in the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Operation {
    Add {
        path: Pointer,
        #[serde(deserialize_with = "present")]
        value: Value,
    },
    Remove {
        path: Pointer,
    },
    Replace {
        path: Pointer,
        #[serde(deserialize_with = "present")]
        value: Value,
    },
    Move {
        from: Pointer,
        path: Pointer,
    },
    Copy {
        from: Pointer,
        path: Pointer,
    },
    Test {
        path: Pointer,
        #[serde(default)]
        value: Value,
    },
}

/// Without this, an absent value would be read as null.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Value::deserialize(deserializer)
}

/// A path of RFC 6901, its parts without escapes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pointer {
    text: String,
    parts: Vec<String>,
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(unescape).collect::<Option<_>>(),
            None => text.is_empty().then(Vec::new),
        };
        match parts {
            Some(parts) => Ok(Self { text, parts }),
            None => Err(format!("{text:?} is no JSON pointer")),
        }
    }
}

fn unescape(part: &str) -> Option<String> {
    let mut pieces = part.split('~');
    let mut whole = pieces.next()?.to_owned();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(1)?;
        whole.push_str(match escape {
            "0" => "~",
            "1" => "/",
            _ => return None,
        });
        whole.push_str(rest);
    }
    Some(whole)
}

/// Reads the body of a request.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Operation>, PatchError> {
    let operations: Vec<Operation> = serde_json::from_slice(text)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if operations.len() > MOST_OPERATIONS {
        return Err(JsonPatchError::TooMany { count: operations.len() }.into());
    }
    Ok(operations)
}

/// Applies the operations one after another.
pub(super) fn apply(mut document: Value, operations: Vec<Operation>) -> Result<Value, JsonPatchError> {
    let mut copied_bytes = 0;
    for operation in operations {
        match operation {
            Operation::Add { path, value } => add(&mut document, "add", &path, value)?,
            Operation::Remove { path } => {
                remove(&mut document, "remove", &path)?;
            }
            Operation::Replace { path, value } => {
                check_depth("replace", &path, &value)?;
                *find_mut(&mut document, "replace", &path)? = value;
            }
            Operation::Move { from, path } => relocate(&mut document, &from, &path)?,
            Operation::Copy { from, path } => {
                let value = find(&document, &from).ok_or_else(|| missing("copy", &from))?;
                copied_bytes += size_bytes(value);
                if copied_bytes > MOST_COPIED_BYTES {
                    return Err(JsonPatchError::CopiesTooMuch { bytes: copied_bytes });
                }
                let value = value.clone();
                add(&mut document, "copy", &path, value)?;
            }
            Operation::Test { path, value } => {
                if find(&document, &path).unwrap_or(&Value::Null) != &value {
                    return Err(JsonPatchError::TestFailed { path: path.text });
                }
            }
        }
    }
    Ok(document)
}

fn relocate(document: &mut Value, from: &Pointer, path: &Pointer) -> Result<(), JsonPatchError> {
    if path.parts.starts_with(&from.parts) {
        // Moved to where it is, it only has to be there.
        if path.parts.len() == from.parts.len() {
            return find(document, from).map(|_| ()).ok_or_else(|| missing("move", from));
        }
        return Err(JsonPatchError::IntoItself { operation: "move", path: path.text.clone() });
    }
    let value = remove(document, "move", from)?;
    add(document, "move", path, value)
}

fn add(
    document: &mut Value,
    operation: &'static str,
    path: &Pointer,
    value: Value,
) -> Result<(), JsonPatchError> {
    check_depth(operation, path, &value)?;
    let Some((last, parents)) = path.parts.split_last() else {
        *document = value;
        return Ok(());
    };
    match descend_mut(document, parents) {
        Some(Value::Object(fields)) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            // The place behind the last item is a place too.
            let place = if last == "-" { Some(items.len()) } else { index(last, items.len() + 1) };
            let place = place.ok_or_else(|| no_index(operation, path))?;
            items.insert(place, value);
            Ok(())
        }
        _ => Err(missing(operation, path)),
    }
}

fn remove(document: &mut Value, operation: &'static str, path: &Pointer) -> Result<Value, JsonPatchError> {
    let Some((last, parents)) = path.parts.split_last() else {
        return Err(JsonPatchError::IntoItself { operation, path: path.text.clone() });
    };
    match descend_mut(document, parents) {
        Some(Value::Object(fields)) => fields.shift_remove(last).ok_or_else(|| missing(operation, path)),
        Some(Value::Array(items)) => {
            let place = index(last, items.len()).ok_or_else(|| no_index(operation, path))?;
            Ok(items.remove(place))
        }
        _ => Err(missing(operation, path)),
    }
}

/// The place that a part of a path means in a list with that many places.
fn index(part: &str, places: usize) -> Option<usize> {
    let (digits, is_from_end) = match part.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (part, false),
    };
    let is_canonical = digits == "0" || !digits.starts_with('0');
    if !is_canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: usize = digits.parse().ok()?;
    let place = if is_from_end { places.checked_sub(number)? } else { number };
    (place < places).then_some(place)
}

fn find<'a>(document: &'a Value, path: &Pointer) -> Option<&'a Value> {
    path.parts.iter().try_fold(document, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(index(part, items.len())?),
        _ => None,
    })
}

fn find_mut<'a>(
    document: &'a mut Value,
    operation: &'static str,
    path: &Pointer,
) -> Result<&'a mut Value, JsonPatchError> {
    descend_mut(document, &path.parts).ok_or_else(|| missing(operation, path))
}

fn descend_mut<'a>(document: &'a mut Value, parts: &[String]) -> Option<&'a mut Value> {
    parts.iter().try_fold(document, |value, part| match value {
        Value::Object(fields) => fields.get_mut(part),
        Value::Array(items) => {
            let place = index(part, items.len())?;
            items.get_mut(place)
        }
        _ => None,
    })
}

fn missing(operation: &'static str, path: &Pointer) -> JsonPatchError {
    JsonPatchError::Missing { operation, path: path.text.clone() }
}

fn no_index(operation: &'static str, path: &Pointer) -> JsonPatchError {
    JsonPatchError::Index { operation, path: path.text.clone() }
}

fn check_depth(operation: &'static str, path: &Pointer, value: &Value) -> Result<(), JsonPatchError> {
    if path.parts.len() + depth(value) > MOST_DEPTH {
        return Err(JsonPatchError::TooDeep { operation, path: path.text.clone() });
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// About how long the value is as JSON; never less than a byte for each value.
fn size_bytes(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, value)| name.len() + 4 + size_bytes(value)).sum::<usize>()
        }
        Value::Array(items) => 2 + items.iter().map(|item| 1 + size_bytes(item)).sum::<usize>(),
        Value::String(text) => 2 + text.len(),
        Value::Number(_) => 8,
        Value::Bool(_) | Value::Null => 4,
    }
}
