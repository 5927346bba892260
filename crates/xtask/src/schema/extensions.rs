//! The table of extensions (extensions.txt) put into the definitions.
//!
//! The schemas of `k8s-openapi` do not say how lists merge, which mappings are replaced as a whole, and which defaults are
//! part of a list's key. Every row must fit a definition, so that the table cannot outlive what it speaks of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const TABLE: &str = include_str!("extensions.txt");

/// Adds the extensions of the table to the definitions.
pub(super) fn add(definitions: &mut BTreeMap<String, Value>) -> Result<(), String> {
    let mut full_name = String::new();
    for (index, line) in TABLE.lines().enumerate() {
        let failed = |cause: String| format!("extensions.txt:{}: {cause}", index + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(row) = line.strip_prefix("  ") else {
            full_name =
                if line.starts_with("io.k8s.") { line.to_owned() } else { format!("io.k8s.api.{line}") };
            continue;
        };
        let definition = definitions
            .get_mut(&full_name)
            .ok_or_else(|| failed(format!("there is no definition {full_name}")))?;
        let (field, extensions) =
            row.split_once(' ').ok_or_else(|| failed("a row is a field and its extensions".to_owned()))?;
        let extensions = extensions.split_whitespace();
        if let Some(is_required) = extensions.clone().find_map(|one| one.strip_prefix("required=")) {
            require(definition, field, is_required == "true");
        }
        let target = match field {
            "=" => definition,
            field => definition
                .get_mut("properties")
                .and_then(|properties| properties.get_mut(field))
                .ok_or_else(|| failed(format!("{full_name} has no field {field}")))?,
        };
        for extension in extensions.filter(|one| !one.starts_with("required=")) {
            put(target, extension).map_err(failed)?;
        }
    }
    Ok(())
}

/// Says whether an object is valid without the field.
pub(super) fn require(definition: &mut Value, field: &str, is_required: bool) {
    let mut names = match definition.get("required").and_then(Value::as_array) {
        Some(names) => names.clone(),
        None => Vec::new(),
    };
    names.retain(|name| name != field);
    if is_required {
        names.push(json!(field));
    }
    match definition.as_object_mut() {
        Some(definition) if names.is_empty() => drop(definition.remove("required")),
        Some(definition) => drop(definition.insert("required".to_owned(), Value::Array(names))),
        None => {}
    }
}

/// `list=map(name)` becomes `x-kubernetes-list-type` and `x-kubernetes-list-map-keys` of the schema.
fn put(schema: &mut Value, extension: &str) -> Result<(), String> {
    let (kind, value) = extension.split_once('=').ok_or("an extension is `kind=value`")?;
    let (value, keys) = match value.strip_suffix(')').and_then(|value| value.split_once('(')) {
        Some((value, keys)) if kind != "default" => (value, keys.split(',').collect()),
        _ => (value, Vec::new()),
    };
    let added = match (kind, value, keys.as_slice()) {
        ("list", "atomic" | "set", []) => vec![("x-kubernetes-list-type", json!(value))],
        ("list", "map", [_, ..]) => {
            vec![("x-kubernetes-list-map-keys", json!(keys)), ("x-kubernetes-list-type", json!(value))]
        }
        ("map", "atomic" | "granular", []) => vec![("x-kubernetes-map-type", json!(value))],
        ("patch", "merge" | "retainKeys" | "replace", []) => {
            vec![("x-kubernetes-patch-strategy", json!(value))]
        }
        ("patch", "merge" | "merge,retainKeys", [key]) => {
            vec![("x-kubernetes-patch-merge-key", json!(key)), ("x-kubernetes-patch-strategy", json!(value))]
        }
        ("default", _, []) => vec![(
            "default",
            serde_json::from_str(value).map_err(|error| format!("`{value}` is not JSON: {error}"))?,
        )],
        _ => return Err(format!("`{extension}` is no extension")),
    };
    for (name, value) in added {
        schema[name] = value;
    }
    Ok(())
}
