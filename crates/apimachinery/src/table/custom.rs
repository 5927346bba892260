//! Custom objects: the `additionalPrinterColumns` of their CustomResourceDefinition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::{JsonPath, NotAPath};
use super::{NAME, age};

/// A column of a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomColumn {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: JsonPath,
}

/// All columns of a version: the name, and then its own, or the age when it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomColumns {
    columns: Vec<CustomColumn>,
}

/// A column that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAColumn {
    /// It has no name.
    #[error("additionalPrinterColumns[{index}].name is required")]
    Name {
        /// Which one.
        index: usize,
    },
    /// It has no type, or one that there is not.
    #[error("additionalPrinterColumns[{index}].type: must be one of boolean, date, integer, number, string")]
    Type {
        /// Which one.
        index: usize,
    },
    /// Its path cannot be read.
    #[error("additionalPrinterColumns[{index}].jsonPath")]
    Path {
        /// Which one.
        index: usize,
        /// Why.
        #[source]
        source: NotAPath,
    },
}

impl CustomColumns {
    /// Reads the list of a version; `None` and an empty list give the age.
    pub fn parse(columns: Option<&Value>) -> Result<CustomColumns, NotAColumn> {
        let listed = columns.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut parsed = Vec::new();
        for (index, column) in listed.iter().enumerate() {
            let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("name").is_empty() {
                return Err(NotAColumn::Name { index });
            }
            if !matches!(text("type"), "boolean" | "date" | "integer" | "number" | "string") {
                return Err(NotAColumn::Type { index });
            }
            let path =
                JsonPath::parse(text("jsonPath")).map_err(|source| NotAColumn::Path { index, source })?;
            parsed.push(CustomColumn {
                name: text("name").to_owned(),
                kind: text("type").to_owned(),
                format: text("format").to_owned(),
                description: text("description").to_owned(),
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
                path,
            });
        }
        if parsed.is_empty()
            && let Ok(path) = JsonPath::parse(".metadata.creationTimestamp")
        {
            let description = super::AGE.description.to_owned();
            let (name, kind) = ("Age".to_owned(), "date".to_owned());
            parsed.push(CustomColumn { name, kind, format: String::new(), description, priority: 0, path });
        }
        Ok(CustomColumns { columns: parsed })
    }

    pub(super) fn definitions(&self) -> Vec<Value> {
        let own = self.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        });
        std::iter::once(NAME.definition()).chain(own).collect()
    }

    pub(super) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
        let own = self.columns.iter().map(|column| match column.path.first(object) {
            None => Value::Null,
            Some(value) => cell(&column.kind, value, now),
        });
        std::iter::once(name).chain(own).collect()
    }
}

/// A value as a cell of that type; of another type it is not shown (`cellForJSONValue`).
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::String(text)) => json!(text),
        ("string", Value::Null) => Value::Null,
        ("string", value) => json!(value.to_string()),
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => json!(number),
            (None, Some(number)) => json!(number as i64),
            (None, None) => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(moment) => json!(age::since(Some(moment), now)),
            Err(_) => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}
