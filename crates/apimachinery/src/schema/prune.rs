//! Fields that a schema does not know are taken out of a value, and named.
//!
//! The API server stores nothing that it does not know: typed decoding does this for built-in kinds, pruning for
//! custom ones. Whether the names become an error, a warning or nothing is the request's `fieldValidation`.

use serde_json::Value;

use super::{Definitions, Kind, Schema};

/// Takes unknown fields out and returns their paths, such as `spec.containers[0].imge`, in the order of the value.
pub fn prune(value: &mut Value, schema: &Schema, definitions: &Definitions) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(value, schema, definitions, &mut String::new(), &mut unknown);
    unknown
}

fn walk(
    value: &mut Value,
    schema: &Schema,
    definitions: &Definitions,
    path: &mut String,
    unknown: &mut Vec<String>,
) {
    match (&definitions.resolve(schema).kind, value) {
        (Kind::Object(object), Value::Object(members)) => {
            // Within a custom object this is its metadata, which Kubernetes decodes as what it is: `null` is absence.
            if matches!(schema.kind, Kind::Reference(_)) {
                members.retain(|_, member| !member.is_null());
            }
            let mut is_known = true;
            for (name, member) in members.iter_mut() {
                let length = path.len();
                push_field(path, name);
                match object.fields.get(name) {
                    Some(field) => walk(member, &field.schema, definitions, path, unknown),
                    None if object.keeps_unknown => {}
                    None => {
                        unknown.push(path.clone());
                        is_known = false;
                    }
                }
                path.truncate(length);
            }
            if !is_known {
                members.retain(|name, _| object.fields.contains_key(name));
            }
        }
        (Kind::Map { values, .. }, Value::Object(members)) => {
            for (name, member) in members.iter_mut() {
                let length = path.len();
                push_field(path, name);
                walk(member, values, definitions, path, unknown);
                path.truncate(length);
            }
        }
        (Kind::List { items, .. }, Value::Array(list)) => {
            for (index, item) in list.iter_mut().enumerate() {
                let length = path.len();
                push_index(path, index);
                walk(item, items, definitions, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Appends `.name`, as Kubernetes' strict decoder does.
pub(crate) fn push_field(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Appends `[index]`.
pub(crate) fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}
