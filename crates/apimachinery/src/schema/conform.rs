//! A value becomes what a built-in kind can hold: what Go's typed decoding does to it in kube-apiserver.
//!
//! Unknown fields go and are named; `null` is absence; quantities become canonical; a value of another type is refused
//! with the field's path. Whether the values make sense is not asked here.

use model::quantity::Quantity;
use serde_json::Value;

use super::prune::{push_field, push_index};
use super::{Definitions, Kind, Schema};

/// What was found beside the value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conformed {
    /// Paths of fields that were taken out because the kind does not have them.
    pub unknown: Vec<String>,
}

/// A value that the field at `path` cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongType {
    /// Of another type.
    #[error("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {expected}")]
    Type {
        /// Where it stands, such as `spec.containers[0].ports`.
        path: String,
        /// The type whose field it is, such as `Container`.
        holder: String,
        /// What stands there: `string`, `number`, `bool`, `array`, `object`.
        found: String,
        /// What could stand there, as Go names it.
        expected: String,
    },
    /// Not base64.
    #[error("{path}: illegal base64 data")]
    Base64 {
        /// Where it stands.
        path: String,
    },
    /// Not a point in time.
    #[error("{path}: parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse it")]
    Time {
        /// Where it stands.
        path: String,
        /// What stands there.
        text: String,
    },
    /// Not a quantity.
    #[error(
        "{path}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Quantity {
        /// Where it stands.
        path: String,
    },
}

/// Makes the value one of that schema.
pub fn conform(
    value: &mut Value,
    schema: &Schema,
    definitions: &Definitions,
) -> Result<Conformed, WrongType> {
    let mut walk = Walk { definitions, path: String::new(), conformed: Conformed::default() };
    walk.value(value, schema, "")?;
    Ok(walk.conformed)
}

struct Walk<'a> {
    definitions: &'a Definitions,
    path: String,
    conformed: Conformed,
}

impl Walk<'_> {
    /// `holder` is the name of the type that has the field.
    fn value(&mut self, value: &mut Value, schema: &Schema, holder: &str) -> Result<(), WrongType> {
        let name = match &schema.kind {
            Kind::Reference(name) => name.rsplit('.').next().unwrap_or(name),
            _ => holder,
        };
        let definitions = self.definitions;
        match (&definitions.resolve(schema).kind, &mut *value) {
            (Kind::Any | Kind::Reference(_), _) => Ok(()),
            (Kind::Object(object), Value::Object(members)) => {
                members.retain(|_, member| !member.is_null());
                let mut is_known = true;
                for (key, member) in members.iter_mut() {
                    let length = self.path.len();
                    push_field(&mut self.path, key);
                    match object.fields.get(key) {
                        Some(field) => self.value(member, &field.schema, name)?,
                        None if object.keeps_unknown => {}
                        None => {
                            self.conformed.unknown.push(self.path.clone());
                            is_known = false;
                        }
                    }
                    self.path.truncate(length);
                }
                if !is_known {
                    members.retain(|key, _| object.fields.contains_key(key));
                }
                Ok(())
            }
            (Kind::Map { values, .. }, Value::Object(members)) => {
                for (key, member) in members.iter_mut() {
                    let length = self.path.len();
                    push_field(&mut self.path, key);
                    self.item(member, values, holder)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            (Kind::List { items, .. }, Value::Array(list)) => {
                for (index, item) in list.iter_mut().enumerate() {
                    let length = self.path.len();
                    push_index(&mut self.path, index);
                    self.item(item, items, holder)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            (kind, _) => self.scalar(value, kind, schema, holder),
        }
    }

    /// A `null` among the items is Go's zero value.
    fn item(&mut self, value: &mut Value, schema: &Schema, holder: &str) -> Result<(), WrongType> {
        if value.is_null() {
            *value = match &self.definitions.resolve(schema).kind {
                Kind::Text { .. } => Value::from(""),
                Kind::Quantity => Value::from("0"),
                Kind::Integer { .. } | Kind::IntOrString | Kind::Number => Value::from(0),
                Kind::Boolean => Value::from(false),
                Kind::Object(_) => Value::Object(serde_json::Map::new()),
                Kind::List { .. } | Kind::Map { .. } | Kind::Reference(_) | Kind::Any => Value::Null,
            };
            if value.is_null() {
                return Ok(());
            }
        }
        self.value(value, schema, holder)
    }

    fn scalar(&self, value: &mut Value, kind: &Kind, schema: &Schema, holder: &str) -> Result<(), WrongType> {
        let path = || self.path.clone();
        match (kind, &mut *value) {
            (Kind::Text { format }, Value::String(text)) => match format.as_deref() {
                Some("byte") if !is_base64(text) => Err(WrongType::Base64 { path: path() }),
                Some("date-time") if text.parse::<jiff::Timestamp>().is_err() => {
                    Err(WrongType::Time { path: path(), text: text.clone() })
                }
                _ => Ok(()),
            },
            (Kind::Integer { format }, Value::Number(number)) => {
                let fits = match format.as_deref() {
                    Some("int32") => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
                    _ => number.as_i64().is_some(),
                };
                if fits { Ok(()) } else { Err(self.wrong(value, kind, schema, holder)) }
            }
            (Kind::IntOrString, Value::Number(number)) if number.as_i64().is_some() => Ok(()),
            (Kind::Number, Value::Number(_))
            | (Kind::Boolean, Value::Bool(_))
            | (Kind::IntOrString, Value::String(_)) => Ok(()),
            (Kind::Quantity, Value::String(_) | Value::Number(_)) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let quantity = Quantity::parse(text.trim());
                let quantity = quantity.map_err(|_| WrongType::Quantity { path: path() })?;
                *value = Value::String(quantity.canonical());
                Ok(())
            }
            _ => Err(self.wrong(value, kind, schema, holder)),
        }
    }

    fn wrong(&self, value: &Value, kind: &Kind, schema: &Schema, holder: &str) -> WrongType {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if matches!(kind, Kind::Integer { .. }) => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let expected = self.go_type(schema);
        WrongType::Type { path: self.path.clone(), holder: holder.to_owned(), found, expected }
    }

    /// The type as Go's error names it.
    fn go_type(&self, schema: &Schema) -> String {
        match &schema.kind {
            Kind::Reference(name) => match &self.definitions.resolve(schema).kind {
                Kind::Object(_) | Kind::Any | Kind::Quantity | Kind::IntOrString => {
                    let parts: Vec<&str> = name.rsplitn(3, '.').collect();
                    match parts.as_slice() {
                        [kind, package, ..] => format!("{package}.{kind}"),
                        _ => name.clone(),
                    }
                }
                _ => self.go_type(self.definitions.resolve(schema)),
            },
            Kind::Text { format } if format.as_deref() == Some("byte") => "[]uint8".to_owned(),
            Kind::Text { .. } => "string".to_owned(),
            Kind::Integer { format } => format.clone().unwrap_or_else(|| "int64".to_owned()),
            Kind::Number => "float64".to_owned(),
            Kind::Boolean => "bool".to_owned(),
            Kind::IntOrString => "intstr.IntOrString".to_owned(),
            Kind::Quantity => "resource.Quantity".to_owned(),
            Kind::List { items, .. } => format!("[]{}", self.go_type(items)),
            Kind::Map { values, .. } => format!("map[string]{}", self.go_type(values)),
            Kind::Object(_) | Kind::Any => "map[string]interface {}".to_owned(),
        }
    }
}

/// Whether a text is base64 with padding, line breaks aside, as Go's `StdEncoding` reads it.
pub(super) fn is_base64(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = digits.iter().rev().take_while(|byte| **byte == b'=').count();
    let (data, _) = digits.split_at(digits.len() - padding);
    digits.len().is_multiple_of(4)
        && padding <= 2
        && data.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
