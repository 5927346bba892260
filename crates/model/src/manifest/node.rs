//! Reading from the tree: a field is there with the right type, or it is as if absent.
//!
//! What has the wrong type was reported by `strict` before anything is read, so the readers need no second
//! word about it. A null is an absent field, as in Kubernetes.

use super::scalar::{Meaning, Scalar};
use super::tree::{Entry, Node, Value};

impl Node {
    /// An empty mapping that stands where another node does.
    pub(crate) fn empty(place: &Node) -> Node {
        Node { at: place.at, value: Value::Map(Vec::new()) }
    }

    /// The value of a key, unless it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// The text of a key, unless it is empty.
    pub(crate) fn filled_text(&self, key: &str) -> Option<&str> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// The whole number of a key.
    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// The boolean of a key.
    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)?.scalar()?.meaning {
            Meaning::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The items of a key's list; none when there is no list.
    pub(crate) fn list(&self, key: &str) -> &[Node] {
        self.get(key).map(Node::items).unwrap_or_default()
    }

    /// The texts of a key's list.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).iter().filter_map(Node::as_text).map(str::to_owned).collect()
    }

    /// The items, if this is a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries, if this is a mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The scalar, if this is one.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        let scalar = self.scalar()?;
        (scalar.meaning == Meaning::Text).then_some(scalar.text.as_str())
    }

    /// The whole number, if this is one.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self.scalar()?.meaning {
            Meaning::Int(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The text that a quantity is written in: text or number.
    pub(crate) fn quantity_text(&self) -> Option<String> {
        let scalar = self.scalar()?;
        match scalar.meaning {
            Meaning::Text => Some(scalar.text.clone()),
            Meaning::Int(value) => Some(value.to_string()),
            Meaning::Float => Some(scalar.text.replace('_', "")),
            Meaning::Null | Meaning::Bool(_) => None,
        }
    }

    /// Whether this is nothing.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.meaning == Meaning::Null)
    }
}
