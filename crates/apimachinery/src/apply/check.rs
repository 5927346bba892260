//! Whether what is applied fits its schema. Ownership needs every field to have a place: an unknown field or an item twice
//! is refused here, before validation has its say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::PathElement;
use super::set::path_text;
use super::walk::Walk;
use crate::schema::{Kind, Schema};

impl<'a> Walk<'a> {
    /// All that does not fit.
    pub(super) fn problems(&self, config: &Value, schema: Option<&'a Schema>) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(config, schema, &mut Vec::new(), &mut problems);
        problems
    }

    fn check(
        &self,
        value: &Value,
        schema: Option<&'a Schema>,
        path: &mut Vec<PathElement>,
        problems: &mut Vec<String>,
    ) {
        let Some(kind) = self.kind(schema) else { return };
        let expected = match (kind, value) {
            (_, Value::Null) | (Kind::Any | Kind::Reference(_), _) => return,
            (Kind::Object(_) | Kind::Map { .. }, Value::Object(fields)) => {
                for (name, value) in fields {
                    path.push(PathElement::field(name));
                    self.check_field(name, value, kind, schema, path, problems);
                    path.pop();
                }
                return;
            }
            (Kind::List { items, .. }, Value::Array(list)) => {
                self.check_items(list, items, schema, path, problems);
                return;
            }
            (Kind::Text { .. }, Value::String(_))
            | (Kind::Integer { .. } | Kind::Number, Value::Number(_))
            | (Kind::Boolean, Value::Bool(_))
            | (Kind::IntOrString | Kind::Quantity, Value::Number(_) | Value::String(_)) => return,
            (Kind::Object(_) | Kind::Map { .. }, _) => "map",
            (Kind::List { .. }, _) => "list",
            (Kind::Text { .. }, _) => "string",
            (Kind::Integer { .. } | Kind::Number, _) => "numeric (int or float)",
            (Kind::Boolean, _) => "boolean",
            (Kind::IntOrString | Kind::Quantity, _) => "number or string",
        };
        problems.push(format!("{}: expected {expected}, got {value}", path_text(path)));
    }

    fn check_field(
        &self,
        name: &str,
        value: &Value,
        kind: &'a Kind,
        schema: Option<&'a Schema>,
        path: &mut Vec<PathElement>,
        problems: &mut Vec<String>,
    ) {
        let (child, is_named) = self.field(schema, name);
        if let Kind::Object(object) = kind
            && !is_named
            && !object.keeps_unknown
        {
            problems.push(format!("{}: field not declared in schema", path_text(path)));
            return;
        }
        self.check(value, child, path, problems);
    }

    fn check_items(
        &self,
        list: &[Value],
        item_schema: &'a Schema,
        schema: Option<&'a Schema>,
        path: &mut Vec<PathElement>,
        problems: &mut Vec<String>,
    ) {
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let element = match self.items(schema).map(|items| self.element(items, item)) {
                None => PathElement::Index(index),
                Some(Ok(element)) => {
                    if !seen.insert(element.clone()) {
                        problems.push(format!("{}: duplicate entries for key {element}", path_text(path)));
                    }
                    element
                }
                Some(Err(why)) => {
                    problems.push(format!("{}: element {index}: {why}", path_text(path)));
                    continue;
                }
            };
            path.push(element);
            self.check(item, Some(item_schema), path, problems);
            path.pop();
        }
    }
}
