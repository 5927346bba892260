//! Small steps through JSON objects, with which defaults are filled in.
//!
//! A field that is absent or `null` gets its default; one that is there is left alone, as Kubernetes' `SetDefaults_*` do.

use serde_json::{Map, Value};

/// Gives a field its default.
pub(crate) fn fill(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).is_none_or(Value::is_null)
    {
        object.insert(field.to_owned(), default.into());
    }
}

/// The object below that field, made if it is absent. Something else that stands there is left, and an unused object given.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    fill(object, field, Value::Object(Map::new()));
    &mut object[field]
}

/// The object below that field, if there is one.
pub(crate) fn existing<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    object.get_mut(field).filter(|value| value.is_object())
}

/// The items of a list below that field.
pub(crate) fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter(|item| item.is_object())
}

/// A text below some fields.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether something other than `null` stands there.
pub(crate) fn has(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

/// Takes away fields that are not the writer's business.
pub(crate) fn drop_field(object: &mut Value, field: &str) -> Option<Value> {
    object.as_object_mut().and_then(|object| object.shift_remove(field))
}

/// Makes a field of `new` what it is in `old`, also when it is absent there.
pub(crate) fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => {
            if let Some(new) = new.as_object_mut() {
                new.insert(field.to_owned(), value.clone());
            }
        }
        None => {
            drop_field(new, field);
        }
    }
}

/// The list below that field, made if there is none.
pub(crate) fn child_list<'a>(object: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !object.get(field).is_some_and(Value::is_array) {
        object[field] = Value::Array(Vec::new());
    }
    match &mut object[field] {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list just now"),
    }
}
