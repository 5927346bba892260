//! An object as printers look at it: paths instead of types, absence instead of errors.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age;

/// An object, and the time at which it is looked at.
pub(super) struct View<'a> {
    pub(super) object: &'a Value,
    pub(super) now: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn new(object: &'a Value, now: Timestamp) -> View<'a> {
        View { object, now }
    }

    /// A part of it.
    pub(super) fn at(&self, pointer: &str) -> View<'a> {
        View { object: self.object.pointer(pointer).unwrap_or(&Value::Null), now: self.now }
    }

    pub(super) fn has(&self, pointer: &str) -> bool {
        self.object.pointer(pointer).is_some_and(|value| !value.is_null())
    }

    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The text there, or what stands for its absence.
    pub(super) fn text_or(&self, pointer: &str, absent: &'a str) -> &'a str {
        Some(self.text(pointer)).filter(|text| !text.is_empty()).unwrap_or(absent)
    }

    /// The text there, or what stands for its absence, as a cell.
    pub(super) fn cell_or(&self, pointer: &str, absent: &str) -> Value {
        match self.object.pointer(pointer) {
            Some(Value::String(text)) if !text.is_empty() => json!(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => json!(value.to_string()),
            _ => json!(absent),
        }
    }

    /// The value there as a cell.
    pub(super) fn cell(&self, pointer: &str) -> Value {
        self.object.pointer(pointer).cloned().unwrap_or_else(|| json!(""))
    }

    pub(super) fn integer(&self, pointer: &str) -> i64 {
        self.object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
    }

    pub(super) fn boolean(&self, pointer: &str) -> bool {
        self.object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn list(&self, pointer: &str) -> Vec<View<'a>> {
        let items = self.object.pointer(pointer).and_then(Value::as_array);
        items.into_iter().flatten().map(|item| View::new(item, self.now)).collect()
    }

    /// How many members or items there are.
    pub(super) fn count(&self, pointer: &str) -> usize {
        match self.object.pointer(pointer) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(members)) => members.len(),
            _ => 0,
        }
    }

    pub(super) fn texts(&self, pointer: &str) -> Vec<&'a str> {
        self.object
            .pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    pub(super) fn moment(&self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer).parse().ok()
    }

    pub(super) fn since(&self, pointer: &str) -> String {
        age::since(self.moment(pointer), self.now)
    }

    pub(super) fn name(&self) -> Value {
        json!(self.text("/metadata/name"))
    }

    pub(super) fn age(&self) -> Value {
        json!(self.since("/metadata/creationTimestamp"))
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.has("/metadata/deletionTimestamp")
    }

    /// The status of a condition, if there is one of that type.
    pub(super) fn condition(&self, kind: &str) -> Option<&'a str> {
        self.list("/status/conditions")
            .iter()
            .find(|condition| condition.text("/type") == kind)
            .map(|condition| condition.text("/status"))
    }

    /// Labels or a simple selector as `a=b,c=d`.
    pub(super) fn labels(&self, pointer: &str) -> Value {
        let members = self.object.pointer(pointer).and_then(Value::as_object);
        let mut pairs: Vec<String> = members
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        pairs.sort();
        json!(if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") })
    }

    /// A LabelSelector as `a=b,c in (d,e)`.
    pub(super) fn selector(&self, pointer: &str) -> Value {
        let selector = self.at(pointer);
        let mut parts: Vec<(String, String)> = Vec::new();
        let labels = selector.object.pointer("/matchLabels").and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
        }
        for expression in selector.list("/matchExpressions") {
            let key = expression.text("/key");
            let mut values = expression.texts("/values");
            values.sort_unstable();
            let values = values.join(",");
            let text = match expression.text("/operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.to_owned(),
            };
            parts.push((key.to_owned(), text));
        }
        parts.sort();
        let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        json!(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
    }

    /// Names and images of the containers of a Pod template.
    pub(super) fn containers(&self, pointer: &str) -> [Value; 2] {
        let containers = self.list(pointer);
        ["/name", "/image"].map(|field| {
            let texts: Vec<&str> = containers.iter().map(|container| container.text(field)).collect();
            json!(texts.join(","))
        })
    }
}

/// The first of a list and how many more there are: `a,b,c + 2 more...`.
pub(super) fn first_of(texts: &[String], most: usize, absent: &str) -> String {
    let shown = texts[..texts.len().min(most)].join(",");
    match texts.len().checked_sub(most) {
        _ if shown.is_empty() => absent.to_owned(),
        None | Some(0) => shown,
        Some(more) => format!("{shown} + {more} more..."),
    }
}
