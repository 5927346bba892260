//! The walks over objects that server-side apply is made of: which fields an object has, what differs between two, one
//! merged into another, fields removed. Each goes by the schema; where there is none, mappings are walked and lists are
//! leaves (structured-merge-diff's deduced type).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::{PathElement, Scalar};
use super::set::{FieldSet, Node};
use crate::schema::{Definitions, Kind, ListType, Schema};

/// The walks, with what they look schemas up in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) definitions: &'a Definitions,
}

/// A list whose items are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Items<'a> {
    pub(super) schema: &'a Schema,
    /// The keys; `None` of a set.
    keys: Option<&'a [String]>,
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

#[derive(Default)]
struct Difference {
    added: Node,
    modified: Node,
    removed: Node,
}

impl<'a> Walk<'a> {
    pub(super) fn kind(&self, schema: Option<&'a Schema>) -> Option<&'a Kind> {
        let kind = &self.definitions.resolve(schema?).kind;
        (!matches!(kind, Kind::Any | Kind::Reference(_))).then_some(kind)
    }

    /// Whether mappings of that schema are walked, and not a leaf.
    fn walks_fields(&self, schema: Option<&'a Schema>) -> bool {
        match self.kind(schema) {
            None => true,
            Some(Kind::Object(object)) => !object.is_atomic,
            Some(Kind::Map { is_atomic, .. }) => !is_atomic,
            Some(_) => false,
        }
    }

    /// How items of a list of that schema are told apart; `None` when the list is a leaf.
    pub(super) fn items(&self, schema: Option<&'a Schema>) -> Option<Items<'a>> {
        match self.kind(schema) {
            Some(Kind::List { items, list_type: ListType::Set, .. }) => {
                Some(Items { schema: items, keys: None })
            }
            Some(Kind::List { items, list_type: ListType::Map { keys }, .. }) => {
                Some(Items { schema: items, keys: Some(keys) })
            }
            _ => None,
        }
    }

    /// The schema of a field, and whether the schema names it.
    pub(super) fn field(&self, schema: Option<&'a Schema>, name: &str) -> (Option<&'a Schema>, bool) {
        match self.kind(schema) {
            Some(Kind::Object(object)) => match object.fields.get(name) {
                Some(field) => (Some(&field.schema), true),
                None => (None, false),
            },
            Some(Kind::Map { values, .. }) => (Some(values), false),
            _ => (None, false),
        }
    }

    /// What tells an item of a list apart, or why nothing does.
    pub(super) fn element(&self, items: Items<'a>, item: &Value) -> Result<PathElement, String> {
        let Some(keys) = items.keys else {
            return match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".into())
                }
                scalar => Ok(PathElement::Value(Scalar(scalar.clone()))),
            };
        };
        let fields = match item {
            Value::Object(fields) => fields,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let default = || self.field(Some(items.schema), key).0?.default.as_ref();
            let Some(value) = fields.get(key).filter(|value| !value.is_null()).or_else(default) else {
                return Err(format!(
                    "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                ));
            };
            found.push((key.clone(), Scalar(value.clone())));
        }
        found.sort();
        Ok(PathElement::Key(found))
    }

    /// As [`Self::element`], of an object that is stored already: what cannot be told apart goes by its place.
    fn place(&self, items: Items<'a>, index: usize, item: &Value) -> PathElement {
        self.element(items, item).unwrap_or(PathElement::Index(index))
    }

    /// The fields that an object has.
    pub(super) fn field_set(&self, value: &Value, schema: Option<&'a Schema>) -> FieldSet {
        self.node(value, schema).children
    }

    fn node(&self, value: &Value, schema: Option<&'a Schema>) -> Node {
        let mut node = Node::default();
        match value {
            Value::Object(fields) if self.walks_fields(schema) => {
                for (name, value) in fields {
                    let (child, is_named) = self.field(schema, name);
                    let mut below = self.node(value, child);
                    let is_bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    below.is_member |= is_bare || !is_named;
                    node.children.put(PathElement::field(name), below);
                }
            }
            Value::Array(list) if self.items(schema).is_some() => {
                let Some(items) = self.items(schema) else { return node };
                for (index, item) in list.iter().enumerate() {
                    let element = self.place(items, index, item);
                    let mut below = self.node(item, Some(items.schema));
                    below.is_member = true;
                    // Of items that nothing tells apart, only that there are some is known.
                    let is_known = node.children.get(&element).is_some();
                    node.children.put(element, if is_known { Node::member() } else { below });
                }
            }
            _ => node.is_member = true,
        }
        node
    }

    /// What differs between two objects.
    pub(super) fn compare(&self, old: &Value, new: &Value, schema: Option<&'a Schema>) -> Comparison {
        let difference = self.difference(Some(old), Some(new), schema);
        Comparison {
            added: difference.added.children,
            modified: difference.modified.children,
            removed: difference.removed.children,
        }
    }

    fn difference(&self, old: Option<&Value>, new: Option<&Value>, schema: Option<&'a Schema>) -> Difference {
        let mut out = Difference::default();
        let walked = match (old, new) {
            // Two empty ones are leaves, so that empty and absent stay apart.
            _ if old.is_none_or(is_bare) && new.is_none_or(is_bare) => false,
            (Some(Value::Object(_)) | None, Some(Value::Object(_)) | None) => self.walks_fields(schema),
            (Some(Value::Array(_)) | None, Some(Value::Array(_)) | None) => self.items(schema).is_some(),
            _ => false,
        };
        if !walked {
            match (old, new) {
                (None, _) => out.added.is_member = true,
                (_, None) => out.removed.is_member = true,
                (Some(old), Some(new)) => out.modified.is_member = !equal(old, new),
            }
            return out;
        }
        if old.is_some_and(Value::is_object) || new.is_some_and(Value::is_object) {
            self.field_differences(old, new, schema, &mut out);
        } else if let Some(items) = self.items(schema) {
            self.item_differences(old, new, items, &mut out);
        }
        out.added.is_member |= old.is_none();
        out.removed.is_member |= new.is_none();
        out
    }

    fn field_differences(
        &self,
        old: Option<&Value>,
        new: Option<&Value>,
        schema: Option<&'a Schema>,
        out: &mut Difference,
    ) {
        let old = old.and_then(Value::as_object);
        let new = new.and_then(Value::as_object);
        let only_new =
            new.into_iter().flatten().filter(|(name, _)| !old.is_some_and(|old| old.contains_key(*name)));
        let names = old.into_iter().flatten().chain(only_new).map(|(name, _)| name);
        for name in names {
            let below = self.difference(
                old.and_then(|old| old.get(name)),
                new.and_then(|new| new.get(name)),
                self.field(schema, name).0,
            );
            out.put(PathElement::field(name), below);
        }
    }

    fn item_differences(
        &self,
        old: Option<&Value>,
        new: Option<&Value>,
        items: Items<'a>,
        out: &mut Difference,
    ) {
        let mut pairs: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (index, item) in old.and_then(Value::as_array).into_iter().flatten().enumerate() {
            pairs.entry(self.place(items, index, item)).or_default().0.push(item);
        }
        for (index, item) in new.and_then(Value::as_array).into_iter().flatten().enumerate() {
            pairs.entry(self.place(items, index, item)).or_default().1.push(item);
        }
        for (element, (old, new)) in pairs {
            let below = match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.difference(old.first().copied(), new.first().copied(), Some(items.schema))
                }
                // Items that nothing tells apart are one leaf.
                (old, new) => {
                    let mut leaf = Difference::default();
                    leaf.added.is_member = old.is_empty();
                    leaf.removed.is_member = new.is_empty();
                    let is_same =
                        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| equal(old, new));
                    leaf.modified.is_member = !old.is_empty() && !new.is_empty() && !is_same;
                    leaf
                }
            };
            out.put(element, below);
        }
    }

    /// What an object becomes when what somebody applies is merged into it.
    pub(super) fn merge(&self, live: Value, config: &Value, schema: Option<&'a Schema>) -> Value {
        match (live, config) {
            (Value::Object(mut live), Value::Object(config)) if self.walks_fields(schema) => {
                for (name, value) in config {
                    let (child, _) = self.field(schema, name);
                    let merged = match live.get_mut(name) {
                        Some(known) => self.merge(known.take(), value, child),
                        None => value.clone(),
                    };
                    live.insert(name.clone(), merged);
                }
                Value::Object(live)
            }
            (Value::Array(live), Value::Array(config)) if !config.is_empty() => match self.items(schema) {
                Some(items) => Value::Array(self.merge_items(live, config, items)),
                None => Value::Array(config.clone()),
            },
            // Nothing applied to a list that is walked takes nothing from it.
            (Value::Array(live), Value::Array(_)) if self.items(schema).is_some() => Value::Array(live),
            (_, config) => config.clone(),
        }
    }

    /// Merges items: those of both stand in the order applied, those of the object alone about where they were.
    fn merge_items(&self, live: Vec<Value>, config: &[Value], items: Items<'a>) -> Vec<Value> {
        let elements = |list: &[Value]| -> Vec<PathElement> {
            list.iter().enumerate().map(|(index, item)| self.place(items, index, item)).collect()
        };
        let (ours, theirs) = (elements(&live), elements(config));
        let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
        let mut first_of: BTreeMap<&PathElement, usize> = BTreeMap::new();
        for (index, element) in ours.iter().enumerate() {
            first_of.entry(element).or_insert(index);
        }
        let applied: BTreeSet<&PathElement> = theirs.iter().collect();
        let mut shared = theirs.iter().filter(|element| first_of.contains_key(element)).peekable();
        let mut merged = Vec::with_capacity(live.len() + config.len());
        let mut at = 0;
        for (element, item) in theirs.iter().zip(config) {
            // Before an applied item go the object's own that stood before the next shared one.
            while at < ours.len() && ours[at] != *element {
                let is_shared = applied.contains(&ours[at]);
                if is_shared && shared.peek().is_some_and(|next| **next == ours[at]) {
                    break;
                }
                if !is_shared {
                    merged.extend(live[at].take());
                }
                at += 1;
            }
            let known = first_of.get(element).and_then(|index| live[*index].take());
            if at < ours.len() && ours[at] == *element {
                at += 1;
            }
            if shared.peek().is_some_and(|next| *next == element) {
                shared.next();
            }
            merged.push(match known {
                Some(known) => self.merge(known, item, Some(items.schema)),
                None => item.clone(),
            });
        }
        let rest = live.into_iter().zip(&ours).filter(|(_, element)| !applied.contains(element));
        merged.extend(rest.filter_map(|(item, _)| item));
        merged
    }

    /// Removes fields. False when nothing is left.
    pub(super) fn remove(&self, value: &mut Value, gone: &FieldSet, schema: Option<&'a Schema>) -> bool {
        match value {
            Value::Object(fields) if self.walks_fields(schema) => {
                fields.retain(|name, value| match gone.get(&PathElement::field(name)) {
                    None => true,
                    Some(node) if node.is_member => false,
                    Some(node) => self.remove(value, &node.children, self.field(schema, name).0),
                });
                !fields.is_empty()
            }
            Value::Array(list) => {
                let Some(items) = self.items(schema) else { return false };
                let mut index = 0;
                list.retain_mut(|item| {
                    let element = self.place(items, index, item);
                    index += 1;
                    match gone.get(&element) {
                        None => true,
                        Some(node) if node.is_member => false,
                        Some(node) => self.remove(item, &node.children, Some(items.schema)),
                    }
                });
                !list.is_empty()
            }
            Value::Object(_) => false,
            _ => true,
        }
    }
}

impl Difference {
    fn put(&mut self, element: PathElement, below: Self) {
        self.added.children.put(element.clone(), below.added);
        self.modified.children.put(element.clone(), below.modified);
        self.removed.children.put(element, below.removed);
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// Whether two values are equal; numbers by their value.
fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(_), Value::Number(_)) => Scalar(one.clone()) == Scalar(two.clone()),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, value)| two.get(name).is_some_and(|other| equal(value, other)))
        }
        _ => one == two,
    }
}
