//! JSON merge patch (RFC 7386). Fields keep their order; new ones come last.

use serde_json::{Map, Value};

/// Merges a patch into a value: objects field by field, null deletes, anything else replaces.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    // All deletions in one pass: each alone would move everything behind it.
    if patch.values().any(Value::is_null) {
        target.retain(|name, _| !patch.get(name).is_some_and(Value::is_null));
    }
    for (name, value) in patch {
        if !value.is_null() {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}
