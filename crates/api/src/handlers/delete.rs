//! delete and deletecollection.

use std::sync::Arc;

use apimachinery::status::Status;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::shape;
use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::kinds::Admission;
use crate::objects::delete::{self, DeleteOptions, Deleted, Propagation};
use crate::objects::{self, metadata};
use crate::respond::{self, Body, Failure, Response};
use crate::selection::Selection;
use crate::storage;

/// Ends the object that the path names.
pub(crate) async fn one(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let options = options(api, call, request).await?;
    let deleted = delete::delete(api, call, call.namespace(), call.name(), &options).await?;
    match deleted {
        Deleted::Begun(object) => shape::one(call, StatusCode::OK, object),
        // Pods are given back as they were at the end, as Kubernetes does.
        Deleted::Gone(object) if call.kind.strategy.admission == Admission::Pod => {
            shape::one(call, StatusCode::OK, object)
        }
        Deleted::Gone(object) => {
            let status =
                Status::deleted(&call.group_resource(), metadata::name(&object), metadata::uid(&object));
            Ok(respond::object(StatusCode::OK, &status.to_json(), call.accepted.encoding))
        }
    }
}

/// Ends all objects of a collection that are selected.
pub(crate) async fn collection(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let options = options(api, call, request).await?;
    let selection = Selection::of(call)?;
    let mut items = Vec::new();
    for row in api.rows(&call.kind.prefix(call.namespace())) {
        let stored = storage::decode(&row.value, row.revision.get())?;
        let object = objects::shown(&call.kind, stored);
        if !selection.has(&call.kind, &object) {
            continue;
        }
        let (namespace, name) = (metadata::namespace(&object), metadata::name(&object));
        match delete::delete(api, call, namespace, name, &options).await {
            Ok(Deleted::Begun(object) | Deleted::Gone(object)) => {
                items.push(objects::shown(&call.kind, object))
            }
            // Somebody else was faster.
            Err(failure) if failure.0.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let kind = &call.kind.resource;
    let list = json!({
        "kind": kind.list_kind, "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": api.store.current_revision().to_string()}, "items": items,
    });
    Ok(respond::object(StatusCode::OK, &list, call.accepted.encoding))
}

/// Reads `DeleteOptions` of the body, or of the query when there is no body.
async fn options(api: &Api, call: &Call, request: Request<Body>) -> Result<DeleteOptions, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let given = if bytes.is_empty() { from_query(call) } else { decode::delete_options(call, &bytes)? };
    let mut options = parse(&given)?;
    options.is_dry_run |= call.is_dry_run()?;
    Ok(options)
}

fn from_query(call: &Call) -> Value {
    let mut options = json!({});
    if let Some(seconds) = call.query.get("gracePeriodSeconds").and_then(|text| text.parse::<i64>().ok()) {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = call.query.get("propagationPolicy") {
        options["propagationPolicy"] = json!(policy);
    }
    if call.query.flag("orphanDependents") {
        options["orphanDependents"] = json!(true);
    }
    options
}

pub(super) fn parse(options: &Value) -> Result<DeleteOptions, Failure> {
    let invalid = |message: String| Failure::from(Status::bad_request(message));
    let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let propagation = match (text("/propagationPolicy").as_deref(), options.get("orphanDependents")) {
        (Some(""), None | Some(Value::Null)) | (None, None | Some(Value::Null)) => None,
        (Some("Orphan"), _) | (None, Some(Value::Bool(true))) => Some(Propagation::Orphan),
        (Some("Background"), _) | (None, Some(Value::Bool(false))) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (other, _) => {
            return Err(invalid(format!(
                "invalid deletion propagation policy {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\""
            )));
        }
    };
    let grace_seconds = match options.get("gracePeriodSeconds") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value.as_i64().ok_or_else(|| invalid("gracePeriodSeconds must be a whole number".to_owned()))?,
        ),
    };
    let dry_run = options.get("dryRun").and_then(Value::as_array).into_iter().flatten();
    Ok(DeleteOptions {
        grace_seconds,
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        propagation,
        is_dry_run: dry_run.into_iter().any(|value| value == "All"),
    })
}
