//! What keeps an `openAPIV3Schema` from being structural, in Kubernetes' words.
//!
//! The rules are those of apiextensions-apiserver's `pkg/apiserver/schema/validation.go` and
//! `pkg/apis/apiextensions/validation/validation.go`: every value has a type, nothing is shaped in two ways, and what
//! stands below `allOf`, `anyOf`, `oneOf` and `not` only restricts.

use serde_json::Value;

use super::{parse, regular, validate};
use crate::field_error::FieldError;
use crate::schema::Definitions;

/// Where a schema stands, which is how messages name it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Everything that is wrong with the schema at `path`.
pub(super) fn check(document: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !document.is_object() {
        errors.push(FieldError::required(path, "schemas are required"));
        return errors;
    }
    if document.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "object") {
        let found = document.get("type").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{path}.type"), found, "must be object at the root"));
    }
    schema(document, path, Level::Root, &mut errors);
    errors
}

fn schema(document: &Value, path: &str, level: Level, errors: &mut Vec<FieldError>) {
    let is_true = |key: &str| document.get(key).and_then(Value::as_bool) == Some(true);
    let is_int_or_string = is_true("x-kubernetes-int-or-string");
    let keeps_unknown = is_true("x-kubernetes-preserve-unknown-fields");
    match document.get("type").and_then(Value::as_str) {
        None | Some("") if !is_int_or_string && !keeps_unknown => {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Field => "must not be empty for specified object fields",
                Level::Item => "must not be empty for specified array items",
            };
            errors.push(FieldError::required(format!("{path}.type"), detail));
        }
        Some(kind) if is_int_or_string => {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.type"), kind, detail));
        }
        Some(kind) if !TYPES.contains(&kind) => {
            errors.push(FieldError::not_supported(format!("{path}.type"), kind, &TYPES));
        }
        _ => {}
    }
    if is_true("x-kubernetes-embedded-resource")
        && document.get("type").and_then(Value::as_str) != Some("object")
    {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(FieldError::invalid(format!("{path}.type"), document["type"].clone(), detail));
    }
    if level == Level::Root || is_true("x-kubernetes-embedded-resource") {
        metadata(document, path, errors);
    }
    forbidden(document, path, errors);
    list(document, path, errors);
    if let Some(pattern) = document.get("pattern").and_then(Value::as_str)
        && let Err(error) = regular::compile(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, detail));
    }
    let before = errors.len();
    children(document, path, errors);
    conditions(document, path, errors);
    if errors.len() == before
        && let Some(default) = document.get("default")
    {
        let shape = parse::custom(document);
        errors.extend(validate::validate(
            default,
            &shape,
            Definitions::builtin(),
            &format!("{path}.default"),
        ));
    }
}

/// What no schema may say, or not beside something else.
fn forbidden(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let has = |key: &str| document.get(key).is_some();
    let mut forbid = |field: &str, detail: &str| {
        errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
    };
    for (field, detail) in [
        ("$ref", "$ref is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("id", "id is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("additionalItems", "additionalItems is not supported"),
    ] {
        if has(field) {
            forbid(field, detail);
        }
    }
    if document.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
        forbid(
            "uniqueItems",
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    if has("properties") && has("additionalProperties") {
        forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
    }
    if document.get("additionalProperties").and_then(Value::as_bool) == Some(false) {
        forbid("additionalProperties", "additionalProperties cannot be set to false");
    }
    if document.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(false) {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(field, false, "must be true or undefined"));
    }
}

/// Every object has metadata, of a shape that is given; only its names may be restricted.
fn metadata(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(metadata) = document.get("properties").and_then(|properties| properties.get("metadata")) else {
        return;
    };
    let names = ["description", "properties", "type"];
    let is_restricted =
        metadata.as_object().is_some_and(|members| members.keys().any(|key| !names.contains(&key.as_str())));
    let fields = metadata.get("properties").and_then(Value::as_object).into_iter().flatten();
    if is_restricted || fields.into_iter().any(|(name, _)| name != "name" && name != "generateName") {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(format!("{path}.properties[metadata]"), detail));
    }
}

/// `items` and the extensions of lists.
fn list(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let is_array = text("type") == Some("array");
    match document.get("items") {
        None if is_array => errors.push(FieldError::required(format!("{path}.items"), "must be specified")),
        Some(Value::Array(_)) => {
            let detail = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(format!("{path}.items"), detail));
        }
        _ => {}
    }
    let at = format!("{path}.x-kubernetes-list-type");
    match text("x-kubernetes-list-type") {
        None => {}
        Some(_) if !is_array => {
            let found = document.get("type").cloned().unwrap_or_default();
            let detail = "must be array if x-kubernetes-list-type is specified";
            errors.push(FieldError::invalid(format!("{path}.type"), found, detail));
        }
        Some("atomic" | "set") => {}
        Some("map") => list_keys(document, path, errors),
        Some(other) => errors.push(FieldError::not_supported(at, other, &["atomic", "map", "set"])),
    }
}

/// The keys of a list of type map: fields of its items that are always there.
fn list_keys(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.x-kubernetes-list-map-keys");
    let keys = document.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(at, detail));
        return;
    };
    let items = document.get("items").unwrap_or(&Value::Null);
    if items.get("type").and_then(Value::as_str) != Some("object") {
        let found = items.get("type").cloned().unwrap_or_default();
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{path}.items.type"), found, detail));
        return;
    }
    let required = items.get("required").and_then(Value::as_array);
    for (index, key) in keys.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let name = key.as_str().unwrap_or_default();
        match items.get("properties").and_then(|properties| properties.get(name)) {
            None => {
                let detail = "entries must all be names of item properties";
                errors.push(FieldError::invalid(at, name, detail));
            }
            Some(field)
                if field.get("default").is_none() && !required.is_some_and(|all| all.contains(key)) =>
            {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.push(FieldError::required(format!("{path}.items.properties[{name}].default"), detail));
            }
            Some(_) => {}
        }
    }
}

fn children(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(properties) = document.get("properties").and_then(Value::as_object) {
        for (name, field) in properties {
            schema(field, &format!("{path}.properties[{name}]"), Level::Field, errors);
        }
    }
    if let Some(values @ Value::Object(_)) = document.get("additionalProperties") {
        schema(values, &format!("{path}.additionalProperties"), Level::Field, errors);
    }
    if let Some(items @ Value::Object(_)) = document.get("items") {
        schema(items, &format!("{path}.items"), Level::Item, errors);
    }
}

/// Below `allOf` and its kin stands no shape: no type, default, description or extension.
fn conditions(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in document.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            condition(inner, &format!("{path}.{key}[{index}]"), errors);
        }
    }
    if let Some(inner) = document.get("not") {
        condition(inner, &format!("{path}.not"), errors);
    }
}

fn condition(document: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["additionalProperties", "default", "description", "nullable", "title", "type"] {
        // `anyOf: [{type: integer}, {type: string}]` is how x-kubernetes-int-or-string is spelt out.
        if document.get(key).is_some() && key != "type" {
            let detail = "must be undefined to be structural";
            errors.push(FieldError::forbidden(format!("{path}.{key}"), detail));
        }
    }
    for (name, inner) in document.get("properties").and_then(Value::as_object).into_iter().flatten() {
        condition(inner, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(items) = document.get("items") {
        condition(items, &format!("{path}.items"), errors);
    }
    conditions(document, path, errors);
}
