//! Strategic merge patch: a merge patch that knows from the schema which lists are merged and by which key, with directives
//! beside the fields (`k8s.io/apimachinery/pkg/util/strategicpatch`, the half that the server does).
//!
//! | directive | what it does |
//! |---|---|
//! | `$patch: replace` | in an object: the patch is the new object; in a list: the rest of the patch is the new list |
//! | `$patch: delete` | in an object: it becomes empty; in an item of a list: the item with that key goes |
//! | `$retainKeys` | fields that are not listed go |
//! | `$setElementOrder/x` | the order of the list x (see [`super::order`]) |
//! | `$deleteFromPrimitiveList/x` | values that go from the list x |
//!
//! A directive that finds nothing to act on leaves nothing behind.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::order;
use crate::schema::{Definitions, Kind, PatchStrategy, Schema};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Why a strategic merge patch cannot be applied. The words are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategicMergeError {
    /// `$deleteFromPrimitiveList` without a list of values to go from a merged list.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// `$retainKeys` is no list, or does not have a field that the patch has.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` is no list, or not beside a list.
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    /// The items of a patch stand in another order than `$setElementOrder` asks for, or are not in it.
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch {
        /// The items, by key.
        patch: String,
        /// The order asked for.
        order: String,
    },
    /// Lists of lists cannot be merged.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Items of a merged list are of different types.
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    /// Items of a list are objects and nothing tells them apart.
    #[error("cannot merge lists without merge key")]
    NoKeyDeclared,
    /// An item lacks the field that tells it apart.
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoKey {
        /// The item.
        item: String,
        /// The field.
        key: String,
    },
    /// `$patch` has a value that it cannot have here.
    #[error("unknown patch type: {directive} in map: {patch}")]
    Directive {
        /// The value.
        directive: String,
        /// Where it stands.
        patch: String,
    },
    /// `$patch: merge` in a list.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeInList,
    /// The schema does not have such a field.
    #[error("unable to find api field for the json field {0:?}")]
    UnknownField(String),
}

impl StrategicMergeError {
    /// Whether the patch is wrong by itself, whatever the object.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::PrimitiveList | Self::RetainKeys | Self::SetElementOrder)
    }
}

type Result<T> = std::result::Result<T, StrategicMergeError>;
type Fields = Map<String, Value>;

/// Applies a patch to the fields of an object of that schema.
pub(super) fn apply(
    mut object: Fields,
    patch: Fields,
    schema: &Schema,
    definitions: &Definitions,
) -> Result<Fields> {
    Merger { definitions }.object(&mut object, patch, Some(schema))?;
    Ok(object)
}

/// How a list is merged, by the schema.
#[derive(Clone, Copy)]
struct ListShape<'a> {
    items: Option<&'a Schema>,
    is_merged: bool,
    key: Option<&'a str>,
}

#[derive(Clone, Copy)]
struct Merger<'a> {
    definitions: &'a Definitions,
}

impl<'a> Merger<'a> {
    /// The schema of a field; `None` where anything may stand.
    fn field(&self, schema: Option<&'a Schema>, name: &str) -> Result<Option<&'a Schema>> {
        let Some(schema) = schema else { return Ok(None) };
        match &self.definitions.resolve(schema).kind {
            Kind::Any | Kind::Reference(_) => Ok(None),
            Kind::Map { values, .. } => Ok(Some(values)),
            Kind::Object(object) => match object.fields.get(name) {
                Some(field) => Ok(Some(&field.schema)),
                None if object.keeps_unknown => Ok(None),
                None => Err(StrategicMergeError::UnknownField(name.to_owned())),
            },
            _ => Err(StrategicMergeError::UnknownField(name.to_owned())),
        }
    }

    /// Whether an object at that field is replaced as a whole.
    fn is_replaced(&self, schema: Option<&'a Schema>, name: &str) -> bool {
        match schema.map(|schema| &self.definitions.resolve(schema).kind) {
            Some(Kind::Object(object)) => object.fields.get(name).is_some_and(|field| field.is_replaced),
            _ => false,
        }
    }

    fn list_shape(&self, schema: Option<&'a Schema>, name: &str) -> Result<ListShape<'a>> {
        let schema = self.field(schema, name)?;
        let kind = schema.map(|schema| &self.definitions.resolve(schema).kind);
        Ok(match kind {
            Some(Kind::List { items, patch: PatchStrategy::Merge { key, .. }, .. }) => {
                ListShape { items: Some(items), is_merged: true, key: key.as_deref() }
            }
            _ => ListShape { items: None, is_merged: false, key: None },
        })
    }

    fn object(&self, original: &mut Fields, mut patch: Fields, schema: Option<&'a Schema>) -> Result<()> {
        if let Some(directive) = patch.shift_remove(DIRECTIVE) {
            *original = match directive.as_str() {
                Some("replace") => clean_fields(patch),
                Some("delete") => Fields::new(),
                _ => return Err(unknown_directive(&directive, &Value::Object(patch))),
            };
            return Ok(());
        }
        retain_keys(original, &mut patch)?;
        self.set_orders(original, &mut patch, schema)?;
        // All deletions in one pass: each alone would move everything behind it.
        if patch.values().any(Value::is_null) {
            original.retain(|name, _| !patch.get(name).is_some_and(Value::is_null));
        }
        for (name, value) in patch {
            match directive_target(&name, DELETE_FROM_LIST) {
                Some(target) => {
                    let target = target.ok_or(StrategicMergeError::PrimitiveList)?;
                    self.delete_from_list(original, target, value, schema)?;
                }
                None if value.is_null() => {}
                None => self.value(original, name, value, schema)?,
            }
        }
        Ok(())
    }

    /// Merges the value of one field.
    fn value(
        &self,
        original: &mut Fields,
        name: String,
        patch: Value,
        schema: Option<&'a Schema>,
    ) -> Result<()> {
        match (original.get_mut(&name), patch) {
            (Some(Value::Object(fields)), Value::Object(patch)) if !self.is_replaced(schema, &name) => {
                let schema = self.field(schema, &name)?;
                self.object(fields, patch, schema)
            }
            (Some(Value::Array(items)), Value::Array(patch)) => {
                let shape = self.list_shape(schema, &name)?;
                *items = if shape.is_merged {
                    self.list(std::mem::take(items), patch, shape)?
                } else {
                    clean_items(patch)
                };
                Ok(())
            }
            (_, patch) => {
                match clean(patch) {
                    Some(value) => original.insert(name, value),
                    None => original.shift_remove(&name),
                };
                Ok(())
            }
        }
    }

    fn delete_from_list(
        &self,
        original: &mut Fields,
        target: &str,
        values: Value,
        schema: Option<&'a Schema>,
    ) -> Result<()> {
        let gone: HashSet<Value> = match values {
            Value::Null => return Ok(()),
            Value::Array(values) => values.into_iter().collect(),
            _ => return Err(StrategicMergeError::PrimitiveList),
        };
        let Some(Value::Array(items)) = original.get_mut(target) else { return Ok(()) };
        if !self.list_shape(schema, target)?.is_merged || items.iter().any(Value::is_object) {
            return Err(StrategicMergeError::PrimitiveList);
        }
        items.retain(|item| !gone.contains(item));
        Ok(())
    }

    /// Merges a list that the schema says is merged. What the patch has stands in the patch's order, the rest stays about
    /// where it was.
    fn list(&self, original: Vec<Value>, patch: Vec<Value>, shape: ListShape<'a>) -> Result<Vec<Value>> {
        let Some(first) = original.first().or(patch.first()) else { return Ok(original) };
        for item in original.iter().chain(&patch) {
            if item.is_array() {
                return Err(StrategicMergeError::ListOfLists);
            }
            if std::mem::discriminant(item) != std::mem::discriminant(first) {
                let lists = Value::Array(vec![Value::Array(original), Value::Array(patch)]);
                return Err(StrategicMergeError::MixedList(lists.to_string()));
            }
        }
        if !first.is_object() {
            let mut seen = HashSet::new();
            let both = original.iter().chain(&patch);
            let merged = both.filter(|item| seen.insert(*item)).cloned().collect();
            return order::arranged(merged, &patch, &original, None);
        }
        let key = shape.key.ok_or(StrategicMergeError::NoKeyDeclared)?;
        let (mut merged, patch) = special_items(original, patch, key)?;
        let before = merged.clone();
        let mut places: HashMap<Value, usize> = HashMap::with_capacity(merged.len());
        for (place, item) in merged.iter().enumerate() {
            if let Some(value) = item.get(key) {
                places.entry(value.clone()).or_insert(place);
            }
        }
        let wanted = patch.clone();
        for item in patch {
            let Value::Object(fields) = item else { continue };
            let value = order::key_of_fields(&fields, key)?.clone();
            match places.get(&value).and_then(|place| merged.get_mut(*place)) {
                Some(Value::Object(known)) => self.object(known, fields, shape.items)?,
                _ => {
                    places.insert(value, merged.len());
                    merged.push(Value::Object(clean_fields(fields)));
                }
            }
        }
        order::arranged(merged, &wanted, &before, Some(key))
    }

    /// Carries out every `$setElementOrder` together with the list that it is about.
    fn set_orders(
        &self,
        original: &mut Fields,
        patch: &mut Fields,
        schema: Option<&'a Schema>,
    ) -> Result<()> {
        let names: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
        for name in names {
            let target =
                directive_target(&name, SET_ORDER).flatten().ok_or(StrategicMergeError::SetElementOrder)?;
            let Some(Value::Array(wanted)) = patch.shift_remove(&name) else {
                return Err(StrategicMergeError::SetElementOrder);
            };
            let list = |found: Option<Value>| match found {
                None => Ok(None),
                Some(Value::Array(items)) => Ok(Some(items)),
                Some(_) => Err(StrategicMergeError::SetElementOrder),
            };
            let changed = list(patch.shift_remove(target))?;
            let known = list(original.get(target).cloned())?;
            let shape = self.list_shape(schema, target)?;
            if let Some(changed) = &changed {
                order::check(changed, &wanted, shape.key)?;
            }
            let before = known.clone().unwrap_or_default();
            let merged = match (known, changed) {
                (None, None) => continue,
                (Some(known), None) => known,
                (None, Some(changed)) => clean_items(changed),
                (Some(known), Some(changed)) if shape.is_merged => self.list(known, changed, shape)?,
                (Some(_), Some(changed)) => clean_items(changed),
            };
            let arranged = order::arranged(merged, &wanted, &before, shape.key)?;
            original.insert(target.to_owned(), Value::Array(arranged));
        }
        Ok(())
    }
}

/// What a directive such as `$setElementOrder/x` is about; `Some(None)` when it names nothing.
fn directive_target<'b>(name: &'b str, directive: &str) -> Option<Option<&'b str>> {
    let rest = name.strip_prefix(directive)?;
    Some(rest.strip_prefix('/'))
}

fn unknown_directive(directive: &Value, patch: &Value) -> StrategicMergeError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    StrategicMergeError::Directive { directive, patch: patch.to_string() }
}

/// Carries out `$retainKeys`: what is not listed goes, and the patch may not set what is not listed.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<()> {
    let Some(listed) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(listed) = listed else { return Err(StrategicMergeError::RetainKeys) };
    let listed: HashSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    let is_allowed = |(name, value): (&String, &Value)| {
        value.is_null()
            || name.starts_with(DELETE_FROM_LIST)
            || name.starts_with(SET_ORDER)
            || listed.contains(name.as_str())
    };
    if !patch.iter().all(is_allowed) {
        return Err(StrategicMergeError::RetainKeys);
    }
    original.retain(|name, _| listed.contains(name.as_str()));
    Ok(())
}

/// Carries out the items that are directives: the list without what they delete, and the patch without them.
fn special_items(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut gone = HashSet::new();
    let mut replaces = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(order::key_of(&item, key)?.clone());
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(StrategicMergeError::MergeInList),
            _ => return Err(unknown_directive(directive, &item)),
        }
    }
    if replaces {
        return Ok((clean_items(rest), Vec::new()));
    }
    if !gone.is_empty() {
        original.retain(|item| !item.get(key).is_some_and(|value| gone.contains(value)));
    }
    Ok((original, rest))
}

/// A value of a patch where there is nothing to merge it with: no directives, no null in objects. Nothing when it is a
/// directive itself.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(clean_fields(fields))),
        Value::Array(items) => Some(Value::Array(clean_items(items))),
        value => Some(value),
    }
}

fn clean_fields(fields: Fields) -> Fields {
    let is_directive = |name: &str| {
        name == DIRECTIVE
            || name == RETAIN_KEYS
            || [DELETE_FROM_LIST, SET_ORDER].iter().any(|directive| {
                name.strip_prefix(directive).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    };
    let kept = fields.into_iter().filter(|(name, value)| !value.is_null() && !is_directive(name));
    kept.filter_map(|(name, value)| Some((name, clean(value)?))).collect()
}

fn clean_items(items: Vec<Value>) -> Vec<Value> {
    items.into_iter().filter_map(clean).collect()
}
