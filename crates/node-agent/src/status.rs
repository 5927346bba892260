//! `lifecycle::Status` as the API writes it, and the patch that brings a Pod's `status` there. Pure.
//!
//! The cause ("why is it not what I asked for?") stands in `status.message`, where `kubectl describe` shows it, unless
//! Kubernetes itself has a message there.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::status::{
    Condition, ContainerState, ContainerStatus, Phase, Terminated, VolumeMountStatus, WaitingReason,
};
use lifecycle::{Status, status};
use model::pod::Resources;
use model::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Conditions that only a node writes: one that it no longer tells is removed. DisruptionTarget is not among them: whoever
/// evicts or preempts a Pod writes it too, and a node that has written it keeps telling it.
const OF_THE_NODE: [&str; 3] =
    [status::ALL_CONTAINERS_RESTARTING, status::POD_RESIZE_IN_PROGRESS, status::POD_RESIZE_PENDING];

/// Fields that must go when they are not told any more.
const CLEARED: [&str; 9] = [
    "allocatedResources",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "initContainerStatuses",
    "message",
    "podIP",
    "podIPs",
    "reason",
    "resources",
];

/// The strategic merge patch that makes `status` of the Pod with that UID what is told here. Conditions of others, such
/// as readiness gates, stay.
pub(crate) fn patch(uid: &str, status: &Status, told_before: Option<&Status>) -> Value {
    let mut body = to_json(status);
    for field in CLEARED {
        if body.get(field).is_none() {
            body.insert(field.to_owned(), Value::Null);
        }
    }
    let told: BTreeSet<&str> = status.conditions.iter().map(|condition| condition.kind.as_str()).collect();
    let before = told_before.into_iter().flat_map(|before| &before.conditions);
    let forgotten = before.map(|condition| condition.kind.as_str()).chain(OF_THE_NODE);
    let removed: BTreeSet<&str> = forgotten.filter(|kind| !told.contains(kind)).collect();
    if let Some(Value::Array(conditions)) = body.get_mut("conditions") {
        conditions.extend(removed.into_iter().map(|kind| json!({"$patch": "delete", "type": kind})));
    }
    json!({"metadata": {"uid": uid}, "status": body})
}

/// Whether it only tells of the way to a start: more of it comes in a moment. A container that has begun to run does not
/// wait, unless others are being started beside it.
pub(crate) fn is_on_its_way(status: &Status, told_before: Option<&Status>) -> bool {
    let runs = |container: &ContainerStatus| matches!(container.state, ContainerState::Running { .. });
    let is_being_started = |container: &ContainerStatus| {
        matches!(container.state, ContainerState::Waiting { reason: WaitingReason::ContainerCreating, .. })
    };
    let ran = |name: &str| told_before.and_then(|before| before.container(name)).is_some_and(runs);
    let restarts = |status: &Status| containers(status).map(|container| container.restart_count).sum::<u32>();
    status.phase == Phase::Pending
        && told_before
            .is_none_or(|before| before.phase == Phase::Pending && restarts(before) == restarts(status))
        && (containers(status).any(is_being_started)
            || !containers(status).any(|container| runs(container) && !ran(&container.name)))
}

fn containers(status: &Status) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses)
}

/// `status`, without what is absent.
pub(crate) fn to_json(status: &Status) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |field: &str, value: Value| {
        body.insert(field.to_owned(), value);
    };
    put("observedGeneration", json!(status.observed_generation));
    put("phase", json!(status.phase.to_string()));
    put("conditions", status.conditions.iter().map(condition).collect());
    if let Some(message) = status.message.as_ref().or(status.cause.as_ref()) {
        put("message", json!(message));
    }
    if let Some(reason) = &status.reason {
        put("reason", json!(reason));
    }
    if let Some(ip) = status.host_ips.first() {
        put("hostIP", json!(ip));
        put("hostIPs", status.host_ips.iter().map(|ip| json!({"ip": ip})).collect());
    }
    if let Some(ip) = status.pod_ips.first() {
        put("podIP", json!(ip));
        put("podIPs", status.pod_ips.iter().map(|ip| json!({"ip": ip})).collect());
    }
    put("startTime", json!(seconds(status.start_time_wall_nanos)));
    for (field, list) in [
        ("initContainerStatuses", &status.init_container_statuses),
        ("containerStatuses", &status.container_statuses),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses),
    ] {
        if !list.is_empty() {
            put(field, list.iter().map(container).collect());
        }
    }
    put("qosClass", json!(status.qos_class.to_string()));
    if let Some(held) = &status.resources {
        put("resources", resources(held));
    }
    if !status.allocated_resources.is_empty() {
        put("allocatedResources", quantities(&status.allocated_resources));
    }
    body
}

fn condition(condition: &Condition) -> Value {
    // Times of probing have been of no use since Kubernetes 1.0; the field is there, as in the kubelet's.
    let mut body = json!({
        "type": condition.kind,
        "observedGeneration": condition.observed_generation,
        "status": if condition.status { "True" } else { "False" },
        "lastProbeTime": null,
        "lastTransitionTime": seconds(condition.last_transition_wall_nanos),
    });
    // Told as null too, so that a merge takes away what was there.
    body["reason"] = json!(condition.reason);
    body["message"] = json!(condition.message);
    body
}

fn container(container: &ContainerStatus) -> Value {
    let mut body = Map::new();
    let mut put = |field: &str, value: Value| {
        body.insert(field.to_owned(), value);
    };
    put("name", json!(container.name));
    put("state", state(&container.state));
    put(
        "lastState",
        container
            .last_state
            .as_ref()
            .map_or_else(|| json!({}), |last| json!({"terminated": terminated(last)})),
    );
    put("ready", json!(container.ready));
    put("restartCount", json!(container.restart_count));
    put("image", json!(container.image));
    put("imageID", json!(container.image_id));
    if let Some(id) = &container.container_id {
        put("containerID", json!(id));
    }
    put("started", json!(container.started));
    if !container.allocated_resources.is_empty() {
        put("allocatedResources", quantities(&container.allocated_resources));
    }
    put("resources", resources(&container.resources));
    if !container.volume_mounts.is_empty() {
        put("volumeMounts", container.volume_mounts.iter().map(mount).collect());
    }
    if let Some(user) = &container.user {
        let linux = json!({"uid": user.uid, "gid": user.gid, "supplementalGroups": user.supplemental_groups});
        put("user", json!({"linux": linux}));
    }
    if let Some(signal) = &container.stop_signal {
        put("stopSignal", json!(signal));
    }
    Value::Object(body)
}

fn state(state: &ContainerState) -> Value {
    match state {
        ContainerState::Waiting { reason, message } => {
            let mut waiting = json!({"reason": reason.as_str()});
            if let Some(message) = message {
                waiting["message"] = json!(message);
            }
            json!({"waiting": waiting})
        }
        ContainerState::Running { started_at_wall_nanos } => {
            json!({"running": {"startedAt": seconds(*started_at_wall_nanos)}})
        }
        ContainerState::Terminated(ended) => json!({"terminated": terminated(ended)}),
    }
}

fn terminated(ended: &Terminated) -> Value {
    let mut body = json!({"exitCode": ended.exit_code, "reason": ended.reason.as_str()});
    if let Some(signal) = ended.signal {
        body["signal"] = json!(signal);
    }
    if let Some(message) = &ended.message {
        body["message"] = json!(message);
    }
    body["startedAt"] = ended.started_at_wall_nanos.map_or(Value::Null, |at| json!(seconds(at)));
    body["finishedAt"] = json!(seconds(ended.finished_at_wall_nanos));
    if let Some(id) = &ended.container_id {
        body["containerID"] = json!(id);
    }
    body
}

fn mount(mount: &VolumeMountStatus) -> Value {
    let mut body = json!({"name": mount.name, "mountPath": mount.mount_path});
    if mount.read_only {
        body["readOnly"] = json!(true);
    }
    if let Some(recursive) = mount.recursive_read_only {
        body["recursiveReadOnly"] = json!(if recursive { "Enabled" } else { "Disabled" });
    }
    body
}

fn resources(resources: &Resources) -> Value {
    let mut body = Map::new();
    for (field, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        if !amounts.is_empty() {
            body.insert(field.to_owned(), quantities(amounts));
        }
    }
    Value::Object(body)
}

fn quantities(amounts: &BTreeMap<String, Quantity>) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.canonical()))).collect()
}

/// `metav1.Time`.
pub(crate) fn seconds(wall_nanos: i64) -> String {
    let second = wall_nanos.div_euclid(1_000_000_000);
    jiff::Timestamp::from_second(second).map_or_else(|_| String::new(), |at| at.to_string())
}

/// `metav1.MicroTime`.
pub(crate) fn micros(wall_nanos: i64) -> String {
    let micros = wall_nanos.div_euclid(1000);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| String::new(), |at| format!("{at:.6}"))
}

#[cfg(test)]
mod tests;
