//! The order of a merged list: `$setElementOrder` before the order of the patch before the order of the object.
//!
//! What somebody asked for keeps the order asked for; what only the object has keeps its own order among itself and, as far
//! as both can be, its place before the items that came after it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::strategic::{DIRECTIVE, StrategicMergeError};

/// The value that tells an item apart.
pub(super) fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, StrategicMergeError> {
    item.get(key).ok_or_else(|| StrategicMergeError::NoKey { item: item.to_string(), key: key.to_owned() })
}

/// As [`key_of`], of an item's fields.
pub(super) fn key_of_fields<'a>(
    fields: &'a Map<String, Value>,
    key: &str,
) -> Result<&'a Value, StrategicMergeError> {
    fields.get(key).ok_or_else(|| StrategicMergeError::NoKey {
        item: Value::Object(fields.clone()).to_string(),
        key: key.to_owned(),
    })
}

fn identity<'a>(item: &'a Value, key: Option<&str>) -> Result<&'a Value, StrategicMergeError> {
    key.map_or(Ok(item), |key| key_of(item, key))
}

/// The place of each identity in a list, the first where there are several.
fn places<'a>(
    items: &'a [Value],
    key: Option<&str>,
) -> Result<HashMap<&'a Value, usize>, StrategicMergeError> {
    let mut places = HashMap::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        places.entry(identity(item, key)?).or_insert(place);
    }
    Ok(places)
}

/// Puts a merged list in order: `wanted` says the order of some items, `before` is the list as it was.
pub(super) fn arranged(
    merged: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, StrategicMergeError> {
    let wanted = places(wanted, key)?;
    let before = places(before, key)?;
    let mut asked = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let identity = identity(&item, key)?;
        let place_before = before.get(identity).copied();
        match wanted.get(identity) {
            Some(place) => asked.push((*place, place_before, item)),
            None => others.push((place_before, item)),
        }
    }
    asked.sort_by_key(|(place, _, _)| *place);
    others.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(asked.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, place_before, item) in asked {
        // An item that nobody asked for goes before the first one that it stood before.
        let stood_before =
            |other: &(Option<usize>, Value)| other.0.zip(place_before).is_some_and(|(one, two)| one < two);
        while let Some((_, other)) = others.next_if(stood_before) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others.map(|(_, item)| item));
    Ok(arranged)
}

/// Whether the items of a patch stand in the order asked for, all of them; those that are directives do not count.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), StrategicMergeError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut rest = wanted.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let identity_of_item = identity(item, key)?;
        let mut found = false;
        for other in rest.by_ref() {
            if identity(other, key)? == identity_of_item {
                found = true;
                break;
            }
        }
        if !found {
            let list = |items: &[Value]| Value::Array(items.to_vec()).to_string();
            return Err(StrategicMergeError::OrderMismatch { patch: list(patch), order: list(wanted) });
        }
    }
    Ok(())
}
