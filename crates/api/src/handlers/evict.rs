//! Eviction, which asks the disruption budgets first, and binding of a Pod to a node.

use std::sync::Arc;

use apimachinery::selector::LabelSelector;
use apimachinery::status::{Cause, Status};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::delete;
use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fields::Manner;
use crate::fresh;
use crate::kinds::fill::{child, child_list, text};
use crate::objects::edit::{Edit, Part};
use crate::objects::{self, metadata};
use crate::respond::{self, Body, Failure, Response};

/// Evicts a Pod, if its budgets allow it.
pub(super) async fn evict(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let eviction = decode::object(call, &bytes)?;
    let pod = api.named(call)?.object;
    let is_over = matches!(text(&pod, "/status/phase"), Some("Failed" | "Pending" | "Succeeded"));
    if !is_over && !metadata::is_ending(&pod) {
        check_budgets(api, &pod)?;
    }
    let options = delete::parse(&eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({})))?;
    let is_dry_run = options.is_dry_run || call.is_dry_run()?;
    if !is_dry_run && !is_over {
        let edit = Edit { api, call, part: Part::Own, manner: Manner::Update };
        edit.perform(|old| Ok(as_target(old))).await?;
    }
    let options = objects::delete::DeleteOptions { is_dry_run, ..options };
    objects::delete::delete(api, call, call.namespace(), call.name(), &options).await?;
    let answer =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::object(StatusCode::CREATED, &answer, call.accepted.encoding))
}

/// The Pod with the condition that says why it goes.
fn as_target(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let conditions = child_list(child(&mut pod, "status"), "conditions");
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": fresh::now(),
    }));
    pod
}

/// A budget allows it when so many of its Pods stay ready as it wants.
fn check_budgets(api: &Api, pod: &Value) -> Result<(), Failure> {
    let namespace = metadata::namespace(pod);
    for row in api.rows(&format!("poddisruptionbudgets.policy/{namespace}/")) {
        let budget = objects::stored(&row.value, row.revision.get())?.object;
        let selector = LabelSelector::from_json(budget.pointer("/spec/selector"));
        let Ok(selector) = selector else { continue };
        if !selector.matches_object(pod) {
            continue;
        }
        let (mut all, mut healthy) = (0, 0);
        for row in api.rows(&format!("pods/{namespace}/")) {
            let other = objects::stored(&row.value, row.revision.get())?.object;
            if selector.matches_object(&other) {
                all += 1;
                healthy += i64::from(is_ready(&other));
            }
        }
        let wanted = wanted(&budget, all);
        if healthy - i64::from(is_ready(pod)) < wanted {
            let name = metadata::name(&budget);
            let cause = Cause {
                reason: "DisruptionBudget".to_owned(),
                message: format!(
                    "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
                ),
                field: String::new(),
            };
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            return Err(Status::too_many_requests(message, 0).because(vec![cause]).into());
        }
    }
    Ok(())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    !metadata::is_ending(pod) && ready.any(|condition| condition["status"] == "True")
}

/// How many of so many Pods must stay.
fn wanted(budget: &Value, all: i64) -> i64 {
    let amount = |value: &Value| match value {
        Value::String(text) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or(0);
            // Kubernetes rounds up, for both fields.
            (all * percent + 99) / 100
        }
        other => other.as_i64().unwrap_or(0),
    };
    match (budget.pointer("/spec/minAvailable"), budget.pointer("/spec/maxUnavailable")) {
        (Some(least), _) if !least.is_null() => amount(least),
        (_, Some(most)) if !most.is_null() => (all - amount(most)).max(0),
        _ => 0,
    }
}

/// Binds the Pod that the path names.
pub(super) async fn bind(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let binding = decode::object(call, &bytes)?;
    bound(api, call, &binding).await
}

/// Binds the Pod that the body names.
pub(super) async fn bind_named(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let binding = decode::object(call, &bytes)?;
    let about_pod = call.about("pods", metadata::name(&binding), "binding")?;
    bound(api, &about_pod, &binding).await
}

async fn bound(api: &Arc<Api>, call: &Call, binding: &Value) -> Result<Response, Failure> {
    let Some(node) = text(binding, "/target/name") else {
        let fault = apimachinery::field_error::FieldError::required("target.name", "");
        return Err(Status::invalid(&call.group_kind(), call.name(), &[fault]).into());
    };
    let uid = text(binding, "/metadata/uid");
    let edit = Edit { api, call, part: Part::Binding, manner: Manner::Update };
    edit.perform(|old| {
            let conflict = |why: String| Failure::from(Status::conflict(&call.group_resource(), call.name(), why));
            if metadata::is_ending(old) {
                return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", call.name())));
            }
            if let Some(found) = text(old, "/spec/nodeName") {
                return Err(conflict(format!("pod {} is already assigned to node {found:?}", call.name())));
            }
            if let Some(uid) = uid.filter(|uid| *uid != metadata::uid(old)) {
                return Err(conflict(format!("the UID in the precondition ({uid}) does not match the UID in record ({})", metadata::uid(old))));
            }
            let mut pod = old.clone();
            pod["spec"]["nodeName"] = json!(node);
            let conditions = child_list(child(&mut pod, "status"), "conditions");
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": fresh::now(),
            }));
            Ok(pod)
        })
        .await?;
    let answer =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::object(StatusCode::CREATED, &answer, call.accepted.encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_says_how_many_stay() {
        for (spec, expected) in [
            (json!({"minAvailable": 2}), 2),
            (json!({"minAvailable": "50%"}), 3),
            (json!({"maxUnavailable": 1}), 4),
            (json!({"maxUnavailable": "10%"}), 4),
            (json!({}), 0),
        ] {
            assert_eq!(wanted(&json!({"spec": spec}), 5), expected, "{spec}");
        }
    }
}
