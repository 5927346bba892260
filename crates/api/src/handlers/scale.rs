//! scale: the number of replicas of any kind that has one, as an `autoscaling/v1` Scale.

use std::sync::Arc;

use apimachinery::patch::{self, PatchKind};
use apimachinery::resource::Verb;
use apimachinery::selector::LabelSelector;
use apimachinery::status::Status;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fields::Manner;
use crate::kinds::fill::text;
use crate::objects::edit::{Edit, Part};
use crate::respond::{self, Body, Failure, Response};

/// Answers with the Scale of an object, after the change that is asked for.
pub(super) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    if call.verb == Verb::Get {
        let scale = scale_of(call, &api.named(call)?.object);
        return Ok(respond::object(StatusCode::OK, &scale, call.accepted.encoding));
    }
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let replaced = if call.verb == Verb::Update { Some(decode::object(call, &bytes)?) } else { None };
    let kind = PatchKind::of_media_type(body::media_type(&call.headers));
    let edit = Edit { api, call, part: Part::Own, manner: Manner::Update };
    let edited = edit
        .perform(|old| {
            let scale = scale_of(call, old);
            let new = match (&replaced, kind) {
                (Some(new), _) => new.clone(),
                (None, Some(PatchKind::Json)) => {
                    patch::apply_json_patch(&scale, &bytes).map_err(|error| error.to_status())?
                }
                // A Scale has no lists: both ways mean the same.
                (None, Some(PatchKind::Merge | PatchKind::StrategicMerge)) => {
                    patch::apply_merge_patch(&scale, &bytes).map_err(|error| error.to_status())?
                }
                _ => return Err(Status::unsupported_media_type(PatchKind::media_types(true)).into()),
            };
            scaled(call, old, &new)
        })
        .await?;
    let scale = scale_of(call, &edited.object);
    Ok(respond::object(StatusCode::OK, &scale, call.accepted.encoding))
}

/// Where the number of replicas stands.
fn replicas_at(call: &Call) -> String {
    let scale = call.kind.custom.as_ref().and_then(|custom| custom.scale.clone());
    scale.map_or_else(|| "/spec/replicas".to_owned(), |paths| paths.spec)
}

fn scale_of(call: &Call, object: &Value) -> Value {
    let paths = call.kind.custom.as_ref().and_then(|custom| custom.scale.clone());
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let (status, selector) = match &paths {
        Some(paths) => (
            number(&paths.status),
            paths.selector.as_deref().and_then(|at| text(object, at)).unwrap_or_default().to_owned(),
        ),
        None => (number("/status/replicas"), selector_text(object)),
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut answer = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&replicas_at(call))}, "status": {"replicas": status},
    });
    if !selector.is_empty() {
        answer["status"]["selector"] = json!(selector);
    }
    answer
}

fn selector_text(object: &Value) -> String {
    let selector = object.pointer("/spec/selector");
    // A ReplicationController has labels for a selector.
    let is_plain = object["kind"] == "ReplicationController";
    let parsed = match (is_plain, selector) {
        (true, Some(labels)) => LabelSelector::from_labels(labels),
        _ => LabelSelector::from_json(selector),
    };
    parsed.map(|selector| selector.to_string()).unwrap_or_default()
}

fn scaled(call: &Call, old: &Value, scale: &Value) -> Result<Value, Failure> {
    let version = text(scale, "/metadata/resourceVersion").filter(|version| *version != "0");
    if version.is_some_and(|version| Some(version) != text(old, "/metadata/resourceVersion")) {
        return Err(Status::modified(&call.group_resource(), call.name()).into());
    }
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let fault = apimachinery::field_error::FieldError::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        );
        let kind = apimachinery::group::GroupKind::new("autoscaling", "Scale");
        return Err(Status::invalid(&kind, call.name(), &[fault]).into());
    }
    let mut new = old.clone();
    let mut at = &mut new;
    let pointer = replicas_at(call);
    let mut fields = pointer.split('/').skip(1).peekable();
    while let Some(field) = fields.next() {
        if fields.peek().is_none() {
            at[field] = json!(replicas);
            break;
        }
        at = crate::kinds::fill::child(at, field);
    }
    Ok(new)
}
