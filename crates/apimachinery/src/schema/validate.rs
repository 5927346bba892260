//! Whether a custom object satisfies its schema, in the words of Kubernetes.
//!
//! The API server has these words from go-openapi (`spec.replicas in body should be less than or equal to 10`); clients
//! and their users know them. CEL rules (`x-kubernetes-validations`) are not evaluated, which creating such a
//! definition says in a warning.

use serde_json::Value;

use super::prune::{push_field, push_index};
use super::{Condition, Definitions, Kind, ListType, Rule, Schema, regular};
use crate::field_error::{FieldError, FieldErrorKind};

/// Everything that is wrong with a value that stands at `path`, which is empty for a whole object.
pub fn validate(value: &Value, schema: &Schema, definitions: &Definitions, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, schema, definitions, &mut path.to_owned(), &mut errors);
    errors
}

fn walk(
    value: &Value,
    schema: &Schema,
    definitions: &Definitions,
    path: &mut String,
    errors: &mut Vec<FieldError>,
) {
    if value.is_null() && schema.nullable {
        return;
    }
    let kind = &definitions.resolve(schema).kind;
    if let Some(expected) = expected(kind, value) {
        errors.push(wrong_type(path, expected, value));
        return;
    }
    for rule in &schema.rules {
        check(rule, value, path, errors);
    }
    match (kind, value) {
        (Kind::Object(object), Value::Object(members)) => {
            for (name, field) in &object.fields {
                let length = path.len();
                push_field(path, name);
                match members.get(name) {
                    Some(member) => walk(member, &field.schema, definitions, path, errors),
                    None if field.is_required => errors.push(FieldError::required(path.as_str(), "")),
                    None => {}
                }
                path.truncate(length);
            }
        }
        (Kind::Map { values, .. }, Value::Object(members)) => {
            for (name, member) in members {
                let length = path.len();
                push_field(path, name);
                walk(member, values, definitions, path, errors);
                path.truncate(length);
            }
        }
        (Kind::List { items, list_type, .. }, Value::Array(list)) => {
            duplicates(list, list_type, items, path, errors);
            for (index, item) in list.iter().enumerate() {
                let length = path.len();
                push_index(path, index);
                walk(item, items, definitions, path, errors);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// What the value should have been, when it is something else.
fn expected<'a>(kind: &'a Kind, value: &Value) -> Option<&'a str> {
    match (kind, value) {
        (Kind::Text { format: Some(format) }, Value::String(text)) => {
            (!has_format(format, text)).then_some(format)
        }
        (Kind::Text { format: None }, Value::String(_)) => None,
        (Kind::Text { .. }, _) => Some("string"),
        (Kind::Integer { .. }, value) => (!is_integer(value)).then_some("integer"),
        (Kind::Number, value) => (!value.is_number()).then_some("number"),
        (Kind::Boolean, value) => (!value.is_boolean()).then_some("boolean"),
        (Kind::IntOrString, value) => (!is_integer(value) && !value.is_string()).then_some("integer,string"),
        (Kind::Quantity, value) => (!value.is_number() && !value.is_string()).then_some("number,string"),
        (Kind::List { .. }, value) => (!value.is_array()).then_some("array"),
        (Kind::Map { .. } | Kind::Object(_), value) => (!value.is_object()).then_some("object"),
        (Kind::Reference(_) | Kind::Any, _) => None,
    }
}

/// A number without fraction, also when it is written `1.0`.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// The formats that Kubernetes checks and this crate knows; others are documentation.
fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => super::conform::is_base64(text),
        "uuid" => {
            let digits: Vec<char> = text.chars().filter(|letter| *letter != '-').collect();
            digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit)
        }
        _ => true,
    }
}

fn wrong_type(path: &str, expected: &str, value: &Value) -> FieldError {
    let found = match value {
        // A format is broken by a text, which is then shown itself.
        Value::String(text) if !matches!(expected, "integer" | "number" | "boolean" | "array" | "object") => {
            text.as_str()
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!("{} must be of type {expected}: \"{found}\"", in_body(path));
    FieldError::type_invalid(path, found, detail)
}

/// How go-openapi names a place.
fn in_body(path: &str) -> String {
    if path.is_empty() { "in body".to_owned() } else { format!("{path} in body") }
}

fn check(rule: &Rule, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match rule {
        Rule::OneOf(values) => {
            if !values.contains(value) {
                errors.push(unsupported(path, value, values));
            }
        }
        Rule::Unique => {
            if let Value::Array(items) = value
                && items.iter().enumerate().any(|(index, item)| items[..index].contains(item))
            {
                let detail = format!("{} shouldn't contain duplicates", in_body(path));
                errors.push(FieldError::invalid(path, value.clone(), detail));
            }
        }
        Rule::Items(..) | Rule::Properties(..) | Rule::Length(..) => size(rule, value, path, errors),
        Rule::AllOf(_) | Rule::AnyOf(_) | Rule::OnlyOneOf(_) | Rule::Not(_) => {
            if let Some(detail) = broken_junction(rule, value) {
                let detail = format!("{} {detail}", in_body(path));
                errors.push(FieldError::invalid(path, shown(value), detail));
            }
        }
        Rule::Pattern(_) | Rule::Minimum(..) | Rule::Maximum(..) | Rule::MultipleOf(_) => {
            if let Some(detail) = broken_scalar(rule, value) {
                errors.push(FieldError::invalid(path, value.clone(), format!("{} {detail}", in_body(path))));
            }
        }
    }
}

/// A mapping is not repeated in a message; its parts are.
fn shown(value: &Value) -> Value {
    if value.is_object() || value.is_array() { Value::String(String::new()) } else { value.clone() }
}

fn broken_scalar(rule: &Rule, value: &Value) -> Option<String> {
    match (rule, value.as_f64(), value.as_str()) {
        (Rule::Pattern(pattern), _, Some(text)) => {
            let matches = regular::compile(pattern).is_ok_and(|regex| regex.is_match(text));
            (!matches).then(|| format!("should match '{pattern}'"))
        }
        (Rule::Minimum(least, true), Some(number), _) => {
            (number <= *least).then(|| format!("should be greater than {least}"))
        }
        (Rule::Minimum(least, false), Some(number), _) => {
            (number < *least).then(|| format!("should be greater than or equal to {least}"))
        }
        (Rule::Maximum(most, true), Some(number), _) => {
            (number >= *most).then(|| format!("should be less than {most}"))
        }
        (Rule::Maximum(most, false), Some(number), _) => {
            (number > *most).then(|| format!("should be less than or equal to {most}"))
        }
        (Rule::MultipleOf(factor), Some(number), _) => {
            let quotient = number / factor;
            (quotient.fract() != 0.0).then(|| format!("should be a multiple of {factor}"))
        }
        _ => None,
    }
}

/// Lengths of texts, lists and mappings.
fn size(rule: &Rule, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (least, most, actual, words) = match (rule, value) {
        (Rule::Length(least, most), Value::String(text)) => (least, most, text.chars().count(), "chars long"),
        (Rule::Items(least, most), Value::Array(items)) => (least, most, items.len(), "items"),
        (Rule::Properties(least, most), Value::Object(members)) => (least, most, members.len(), "properties"),
        _ => return,
    };
    let count = actual as u64;
    if let Some(most) = most.filter(|most| count > *most) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        errors.push(match value {
            Value::String(_) => FieldError::too_long(path, most),
            _ => FieldError::too_many(path, actual, most),
        });
    }
    if let Some(least) = least.filter(|least| count < *least) {
        let verb = if value.is_string() { "be" } else { "have" };
        let detail = format!("{} should {verb} at least {least} {words}", in_body(path));
        errors.push(FieldError::invalid(path, shown(value), detail));
    }
}

fn unsupported(path: &str, value: &Value, supported: &[Value]) -> FieldError {
    let texts: Vec<String> =
        supported.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    FieldError::not_supported(path, value.clone(), &texts)
}

fn broken_junction(rule: &Rule, value: &Value) -> Option<&'static str> {
    let count = |conditions: &[Condition]| conditions.iter().filter(|one| holds(one, value)).count();
    match rule {
        Rule::AllOf(all) => (count(all) < all.len()).then_some("must validate all the schemas (allOf)"),
        Rule::AnyOf(any) => (count(any) == 0).then_some("must validate at least one schema (anyOf)"),
        Rule::OnlyOneOf(one) => match count(one) {
            0 => Some("must validate one and only one schema (oneOf). Found none valid"),
            1 => None,
            _ => Some("must validate one and only one schema (oneOf). Found more than one valid"),
        },
        Rule::Not(not) => holds(not, value).then_some("must not validate the schema (not)"),
        _ => None,
    }
}

fn holds(condition: &Condition, value: &Value) -> bool {
    let has_type = match condition.types.as_deref() {
        Some("integer") => is_integer(value),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    let mut errors = Vec::new();
    for rule in &condition.rules {
        check(rule, value, "", &mut errors);
    }
    let fields = match value {
        Value::Object(members) => {
            condition.required.iter().all(|name| members.contains_key(name))
                && condition
                    .fields
                    .iter()
                    .all(|(name, inner)| members.get(name).is_none_or(|member| holds(inner, member)))
                && condition
                    .values
                    .as_ref()
                    .is_none_or(|inner| members.values().all(|member| holds(inner, member)))
        }
        _ => true,
    };
    let items = match (value, &condition.items) {
        (Value::Array(items), Some(inner)) => items.iter().all(|item| holds(inner, item)),
        _ => true,
    };
    has_type && errors.is_empty() && fields && items
}

/// Items of a set, or of a map by its keys, that stand twice.
fn duplicates(
    list: &[Value],
    list_type: &ListType,
    items: &Schema,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let identity = |item: &Value| -> Option<Value> {
        match list_type {
            ListType::Atomic => None,
            ListType::Set => Some(item.clone()),
            ListType::Map { keys } => {
                let mut identity = serde_json::Map::new();
                for key in keys {
                    let default = match &items.kind {
                        Kind::Object(object) => {
                            object.fields.get(key).and_then(|field| field.schema.default.clone())
                        }
                        _ => None,
                    };
                    if let Some(part) = item.get(key).cloned().or(default) {
                        identity.insert(key.clone(), part);
                    }
                }
                Some(Value::Object(identity))
            }
        }
    };
    let mut seen = std::collections::HashSet::new();
    for (index, item) in list.iter().enumerate() {
        if let Some(found) = identity(item)
            && !seen.insert(found.to_string())
        {
            errors.push(FieldError {
                kind: FieldErrorKind::Duplicate,
                field: format!("{path}[{index}]"),
                value: Some(found),
                detail: String::new(),
            });
        }
    }
}
