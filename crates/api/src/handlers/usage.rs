//! `metrics.k8s.io`: what Pods and nodes use now, as `kubectl top` asks. The nodes measure; nothing is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::resource::Verb;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::api::{Api, Node};
use crate::call::Call;
use crate::kinds::fill::text;
use crate::objects;
use crate::respond::{self, Body, Failure, Response, whole};
use crate::selection::Selection;

/// Between the two looks that make a rate, when nobody has looked before.
const APART: Duration = Duration::from_millis(250);

/// Answers with the usage of Pods or nodes.
pub(super) async fn answer(api: &Arc<Api>, call: &Call) -> Result<Response, Failure> {
    let selection = Selection::of(call)?;
    let mut items = Vec::new();
    for (name, node) in api.nodes() {
        let summary = match measured(node.as_ref()).await {
            Ok(summary) => summary,
            // One that is not reachable does not hide the others.
            Err(failure) => {
                tracing::warn!(node = name, why = failure.0.message, "a node's usage is unknown");
                continue;
            }
        };
        if call.kind.resource.kind == "NodeMetrics" {
            items.extend(of_node(api, &name, &summary)?);
        } else {
            items.extend(of_pods(api, call, &summary)?);
        }
    }
    items.retain(|item| selection.has(&call.kind, item));
    if call.verb == Verb::Get {
        let named = items.into_iter().find(|item| item["metadata"]["name"] == call.name());
        let item = named.ok_or_else(|| call.not_found())?;
        return Ok(respond::object(StatusCode::OK, &item, call.accepted.encoding));
    }
    let kind = &call.kind.resource;
    let list = json!({
        "kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": {}, "items": items,
    });
    Ok(respond::object(StatusCode::OK, &list, call.accepted.encoding))
}

/// A summary with rates; the first look at a node has none.
async fn measured(node: &dyn Node) -> Result<Value, Failure> {
    let summary = summary(node).await?;
    let has_rate = |cpu: &Value| cpu.get("usageNanoCores").is_some_and(Value::is_u64);
    let pods = summary.get("pods").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let containers = pods.iter().flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
    if has_rate(&summary["node"]["cpu"]) && containers.clone().all(|container| has_rate(&container["cpu"])) {
        return Ok(summary);
    }
    tokio::time::sleep(APART).await;
    self::summary(node).await
}

async fn summary(node: &dyn Node) -> Result<Value, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::internal("read the usage of a node", error);
    let request: Request<Body> =
        Request::get("/stats/summary").body(whole("")).map_err(|error| unreadable(&error))?;
    let answer =
        node.handle(request).await.into_body().collect().await.map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&answer.to_bytes()).map_err(|error| unreadable(&error))
}

fn usage(measured: &Value) -> Option<Value> {
    let cpu = measured.pointer("/cpu/usageNanoCores").and_then(Value::as_u64)?;
    let memory = measured.pointer("/memory/workingSetBytes").and_then(Value::as_u64)?;
    Some(json!({"cpu": format!("{cpu}n"), "memory": format!("{}Ki", memory / 1024)}))
}

fn time(measured: &Value) -> Value {
    measured.pointer("/cpu/time").cloned().unwrap_or_else(|| json!(crate::fresh::now()))
}

fn of_node(api: &Api, name: &str, summary: &Value) -> Result<Option<Value>, Failure> {
    let node = &summary["node"];
    let labels =
        api.read("nodes", "", name)?.and_then(|found| found.object.pointer("/metadata/labels").cloned());
    Ok(usage(node).map(|usage| {
        json!({
            "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {"name": name, "labels": labels, "creationTimestamp": crate::fresh::now()},
            "timestamp": time(node), "window": "10s", "usage": usage,
        })
    }))
}

fn of_pods(api: &Api, call: &Call, summary: &Value) -> Result<Vec<Value>, Failure> {
    let mut known: HashMap<(String, String), Value> = HashMap::new();
    for row in api.rows(&format!(
        "pods/{}",
        if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) }
    )) {
        let pod = objects::stored(&row.value, row.revision.get())?.object;
        let key = (objects::metadata::namespace(&pod).to_owned(), objects::metadata::name(&pod).to_owned());
        known.insert(key, pod.pointer("/metadata/labels").cloned().unwrap_or_default());
    }
    let pods = summary.get("pods").and_then(Value::as_array).into_iter().flatten();
    Ok(pods
        .filter_map(|pod| {
            let namespace = text(pod, "/podRef/namespace")?;
            let name = text(pod, "/podRef/name")?;
            let labels = known.get(&(namespace.to_owned(), name.to_owned()))?;
            let containers = pod["containers"].as_array().into_iter().flatten();
            let containers: Vec<Value> = containers
                .filter_map(|container| Some(json!({"name": container["name"], "usage": usage(container)?})))
                .collect();
            Some(json!({
                "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {
                    "name": name, "namespace": namespace, "labels": labels,
                    "creationTimestamp": crate::fresh::now(),
                },
                "timestamp": time(pod), "window": "10s", "containers": containers,
            }))
        })
        .collect())
}
