//! Who manages which fields of an object, `metadata.managedFields`, kept at every write.

use serde_json::Value;

use crate::call::Call;
use crate::respond::Failure;

/// How a request says what an object shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The whole object.
    Update,
    /// A part of it.
    Patch,
    /// What the writer wants to own, server-side apply.
    Apply,
}

impl Manner {
    /// Whether a resourceVersion in the new object is a client's own words: in a patched object it is the old one's.
    pub(crate) fn names_version(self) -> bool {
        self == Manner::Update
    }
}

/// The fields of a new object.
pub(crate) fn manage_created(_call: &Call, object: &mut Value) -> Result<(), Failure> {
    apimachinery::meta::remove(object, "managedFields");
    Ok(())
}

/// The fields of a changed object.
pub(crate) fn manage_updated(
    _call: &Call,
    _manner: Manner,
    _old: &Value,
    new: &mut Value,
) -> Result<(), Failure> {
    apimachinery::meta::remove(new, "managedFields");
    Ok(())
}

/// Server-side apply.
pub(crate) fn apply(_call: &Call, _old: &Value, _applied: Value) -> Result<Value, Failure> {
    Err(apimachinery::status::Status::unsupported_media_type(&["application/merge-patch+json"]).into())
}

/// Whether a change changes nothing.
pub(crate) fn is_same(new: &Value, old: &Value) -> bool {
    new == old
}
