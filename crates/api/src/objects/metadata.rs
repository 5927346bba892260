//! Metadata that the server keeps, and what of it a writer may say.

use apimachinery::status::Status;
use serde_json::{Value, json};

use crate::call::Call;
use crate::fresh;
use crate::kinds::fill::{child, drop_field, has, keep, text};
use crate::respond::Failure;

/// What only the server writes.
const OF_THE_SERVER: [&str; 5] =
    ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "selfLink", "uid"];

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name").unwrap_or_default()
}

/// The namespace of an object; empty when it is in none.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace").unwrap_or_default()
}

/// The UID of an object.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

/// What keeps an object from being taken away.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Whether the object's end has begun.
pub(crate) fn is_ending(object: &Value) -> bool {
    text(object, "/metadata/deletionTimestamp").is_some()
}

/// What a body says of group, version and kind must be what the path says; what it does not say is filled in.
pub(crate) fn check_kind(object: &mut Value, group_version: &str, kind: &str) -> Result<(), Failure> {
    if let Some(found) = text(object, "/apiVersion")
        && found != group_version
    {
        let message = format!(
            "the API version in the data ({found}) does not match the expected API version ({group_version})"
        );
        return Err(Status::bad_request(message).into());
    }
    if let Some(found) = text(object, "/kind")
        && found != kind
    {
        let message = format!("the kind in the data ({found}) does not match the expected kind ({kind})");
        return Err(Status::bad_request(message).into());
    }
    object["apiVersion"] = json!(group_version);
    object["kind"] = json!(kind);
    Ok(())
}

/// The namespace of a body must be that of the path.
pub(crate) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), Failure> {
    let metadata = child(object, "metadata");
    if !call.kind.resource.is_namespaced() {
        drop_field(metadata, "namespace");
        return Ok(());
    }
    match text(metadata, "/namespace") {
        Some(found) if found != call.namespace() => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )
        .into()),
        _ => {
            metadata["namespace"] = json!(call.namespace());
            Ok(())
        }
    }
}

/// Gives a new object what only the server gives.
pub(crate) fn begin(call: &Call, object: &mut Value) -> Result<(), Failure> {
    let metadata = child(object, "metadata");
    if text(metadata, "/resourceVersion").is_some() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created").into());
    }
    for field in OF_THE_SERVER {
        drop_field(metadata, field);
    }
    drop_field(metadata, "resourceVersion");
    metadata["uid"] = json!(fresh::uid()?);
    metadata["creationTimestamp"] = json!(fresh::now());
    drop_field(metadata, "generation");
    if call.kind.strategy.counts_generation {
        metadata["generation"] = json!(1);
    }
    if let Some(finalizer) = call.kind.strategy.finalizer {
        let list = crate::kinds::fill::child_list(metadata, "finalizers");
        if !list.iter().any(|known| known == finalizer) {
            list.push(json!(finalizer));
        }
    }
    Ok(())
}

/// Keeps what a writer cannot change.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let (new, old) = (child(new, "metadata"), &old["metadata"]);
    for field in OF_THE_SERVER {
        keep(new, old, field);
    }
    for field in ["generation", "name", "namespace", "resourceVersion"] {
        keep(new, old, field);
    }
    if !has(new, "generateName") {
        keep(new, old, "generateName");
    }
}

/// Whether two objects differ in what their controllers act on.
pub(crate) fn is_another_spec(new: &Value, old: &Value) -> bool {
    let relevant = |object: &Value| {
        let fields = object.as_object().into_iter().flatten();
        let mut fields: Vec<(String, Value)> = fields
            .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields
    };
    relevant(new) != relevant(old)
}

/// Counts the generation up.
pub(crate) fn next_generation(object: &mut Value) {
    let metadata = child(object, "metadata");
    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0);
    metadata["generation"] = json!(generation + 1);
}
