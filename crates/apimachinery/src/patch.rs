//! Changes to an object that a client sends instead of the object: JSON patch, JSON merge patch, strategic merge patch.
//! Server-side apply, the fourth kind, needs to know who owns which field and has [`crate::apply`] for itself.
//!
//! A patch makes an object or an error and never a half of it. What it made is as unchecked as what a client sends:
//! validation comes after.

mod json;
mod merge;
mod order;
mod strategic;
#[cfg(test)]
pub(crate) mod tests;

use serde_json::Value;

pub use json::{JsonPatchError, MOST_COPIED_BYTES, MOST_OPERATIONS};
pub use merge::merge;
pub use strategic::StrategicMergeError;

use crate::schema::{Definitions, Schema};
use crate::status::{Cause, Reason, Status};

/// The kinds of patches, told apart by the content type of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// RFC 6902: a list of operations.
    Json,
    /// RFC 7386: a partial object; lists are replaced, null deletes.
    Merge,
    /// A partial object; lists are merged as the schema says, and directives say more. Only for built-in kinds.
    StrategicMerge,
    /// Server-side apply: all that somebody wants of an object.
    Apply,
}

impl PatchKind {
    /// The kind that a content type (without parameters) names.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// The content types that a resource takes, for the answer to another one.
    pub fn media_types(takes_strategic_merge: bool) -> &'static [&'static str] {
        if takes_strategic_merge {
            &[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]
        } else {
            &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
        }
    }
}

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The body is no JSON of the right shape.
    #[error("{0}")]
    Malformed(String),
    /// An operation of a JSON patch.
    #[error(transparent)]
    Json(#[from] JsonPatchError),
    /// A directive or a list of a strategic merge patch.
    #[error(transparent)]
    StrategicMerge(#[from] StrategicMergeError),
}

impl PatchError {
    /// The answer to the client. Kubernetes keeps to itself which operation failed and why; podling says it.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Malformed(message) => Status::bad_request(message.clone()),
            Self::Json(JsonPatchError::TooMany { .. } | JsonPatchError::CopiesTooMuch { .. }) => {
                Status::request_entity_too_large(self)
            }
            Self::StrategicMerge(error) if error.is_malformed() => Status::bad_request(error.to_string()),
            Self::Json(_) | Self::StrategicMerge(_) => {
                let message =
                    format!("the server rejected our request due to an error in our request: {self}");
                let cause = Cause { message: self.to_string(), ..Cause::default() };
                Status::failure(422, Reason::Invalid, message).because(vec![cause])
            }
        }
    }
}

/// Applies a JSON patch, given as the text of the request.
pub fn apply_json_patch(object: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations = json::parse(patch)?;
    Ok(json::apply(object.clone(), operations)?)
}

/// Applies a JSON merge patch, given as the text of the request.
pub fn apply_merge_patch(object: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch = partial_object(patch)?;
    let mut object = object.clone();
    merge(&mut object, Value::Object(patch));
    Ok(object)
}

/// Applies a strategic merge patch, given as the text of the request, to an object of that schema.
pub fn apply_strategic_merge_patch(
    object: &Value,
    patch: &[u8],
    schema: &Schema,
    definitions: &Definitions,
) -> Result<Value, PatchError> {
    let patch = partial_object(patch)?;
    let Value::Object(fields) = object else {
        return Err(PatchError::Malformed("only an object can be patched".to_owned()));
    };
    Ok(Value::Object(strategic::apply(fields.clone(), patch, schema, definitions)?))
}

fn partial_object(patch: &[u8]) -> Result<serde_json::Map<String, Value>, PatchError> {
    match serde_json::from_slice(patch) {
        Ok(Value::Object(patch)) => Ok(patch),
        Ok(_) => Err(PatchError::Malformed("a merge patch must be a JSON object".to_owned())),
        Err(error) => Err(PatchError::Malformed(format!("error decoding patch: {error}"))),
    }
}
