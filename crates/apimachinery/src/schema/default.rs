//! Values that a structural schema gives where none is written, `default`.
//!
//! Built-in kinds have their defaults in code, except those that are part of a list's key; they are not filled in here.

use serde_json::Value;

use super::{Definitions, Kind, Schema};

/// Fills in the defaults of a custom kind, outside in: an object that a default brings gets its own fields' defaults.
/// A `null` where none may stand counts as absent (`PruneNonNullableDefaults`).
pub fn fill_defaults(value: &mut Value, schema: &Schema, definitions: &Definitions) {
    match (&definitions.resolve(schema).kind, value) {
        (Kind::Object(object), Value::Object(members)) => {
            for (name, field) in &object.fields {
                let is_absent = match members.get(name) {
                    None => true,
                    Some(Value::Null) => !field.schema.nullable,
                    Some(_) => false,
                };
                if let (true, Some(default)) = (is_absent, &field.schema.default) {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    fill_defaults(member, &field.schema, definitions);
                }
            }
        }
        (Kind::Map { values, .. }, Value::Object(members)) => {
            for member in members.values_mut() {
                fill_item(member, values, definitions);
            }
        }
        (Kind::List { items, .. }, Value::Array(list)) => {
            for item in list {
                fill_item(item, items, definitions);
            }
        }
        _ => {}
    }
}

fn fill_item(item: &mut Value, schema: &Schema, definitions: &Definitions) {
    if let (Value::Null, false, Some(default)) = (&item, schema.nullable, &schema.default) {
        *item = default.clone();
    }
    fill_defaults(item, schema, definitions);
}
