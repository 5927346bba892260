//! What must hold of objects of the kinds that are not Pods, as `pkg/apis/*/validation` has it.
//!
//! Types, unknown fields and required fields are checked before, from the schema; here is what a schema does not say.

use std::collections::HashSet;

use apimachinery::selector::LabelSelector;
use serde_json::Value;

use super::faults::Faults;
use super::fill::{has, text};

/// What a ConfigMap or Secret holds at most: 1 MiB.
const MOST_DATA_BYTES: usize = 1 << 20;

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn required(object: &Value, pointer: &str, faults: &mut Faults) {
    if object.pointer(pointer).is_none_or(|value| value.is_null() || value == "") {
        faults.required(pointer.trim_start_matches('/').replace('/', "."), "");
    }
}

fn immutable(new: &Value, old: &Value, pointer: &str, faults: &mut Faults) {
    let (new, old) = (new.pointer(pointer), old.pointer(pointer));
    if new != old {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        faults.invalid(path, new.unwrap_or(&Value::Null), "field is immutable");
    }
}

fn keys(object: &Value, field: &str, faults: &mut Faults) -> usize {
    let Some(data) = object.get(field).and_then(Value::as_object) else { return 0 };
    for key in data.keys() {
        let is_allowed = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if key.is_empty() || key.len() > 253 || !is_allowed || key == "." || key.starts_with("..") {
            faults.invalid(
                format!("{field}[{key}]"),
                &Value::String(key.clone()),
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            );
        }
    }
    data.values().filter_map(Value::as_str).map(str::len).sum()
}

/// `v1` ConfigMap.
pub(super) fn config_map(object: &Value, faults: &mut Faults) {
    let size = keys(object, "data", faults) + keys(object, "binaryData", faults);
    let texts = object.get("data").and_then(Value::as_object);
    let bytes = object.get("binaryData").and_then(Value::as_object);
    if let (Some(texts), Some(bytes)) = (texts, bytes) {
        for key in texts.keys().filter(|key| bytes.contains_key(*key)) {
            faults.invalid(
                format!("data[{key}]"),
                &Value::String(key.clone()),
                "duplicate of key present in binaryData",
            );
        }
    }
    if size > MOST_DATA_BYTES {
        faults.too_long("", MOST_DATA_BYTES);
    }
}

/// `v1` Secret.
pub(super) fn secret(object: &Value, faults: &mut Faults) {
    use base64::Engine as _;
    let size = keys(object, "data", faults);
    for (key, value) in object.get("data").and_then(Value::as_object).into_iter().flatten() {
        let decoded = value.as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text));
        if !matches!(decoded, Some(Ok(_)) | None) {
            faults.invalid(
                format!("data[{key}]"),
                &Value::String("<secret contents redacted>".to_owned()),
                "must be base64",
            );
        }
    }
    let needed: &[&str] = match text(object, "/type").unwrap_or_default() {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if object.get("data").is_none_or(|data| data.get(*key).is_none()) {
            faults.required(format!("data[{key}]"), "");
        }
    }
    if size > MOST_DATA_BYTES * 4 / 3 + 4 {
        faults.too_long("data", MOST_DATA_BYTES);
    }
}

/// What is immutable stays; a Secret's type always does.
pub(super) fn immutable_data(new: &Value, old: &Value, faults: &mut Faults) {
    immutable(new, old, "/type", faults);
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    if new.get("immutable") != Some(&Value::Bool(true)) {
        faults.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for field in ["data", "binaryData"] {
        if new.get(field) != old.get(field) {
            faults.forbidden(field, "field is immutable when `immutable` is set");
        }
    }
}

/// `v1` PersistentVolumeClaim.
pub(super) fn persistent_volume_claim(object: &Value, faults: &mut Faults) {
    if list(object, "/spec/accessModes").is_empty() {
        faults.required("spec.accessModes", "at least 1 access mode is required");
    }
    access_modes(object, faults);
    if object.pointer("/spec/resources/requests/storage").is_none() {
        faults.required("spec.resources[storage]", "");
    }
}

fn access_modes(object: &Value, faults: &mut Faults) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in list(object, "/spec/accessModes").iter().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            faults.unsupported("spec.accessModes", mode, &MODES);
        }
    }
}

/// `v1` PersistentVolume.
pub(super) fn persistent_volume(object: &Value, faults: &mut Faults) {
    const OTHERS: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    if list(object, "/spec/accessModes").is_empty() {
        faults.required("spec.accessModes", "");
    }
    access_modes(object, faults);
    required(object, "/spec/capacity", faults);
    let spec = object.get("spec").and_then(Value::as_object).into_iter().flatten();
    match spec.filter(|(field, value)| !OTHERS.contains(&field.as_str()) && !value.is_null()).count() {
        0 => faults.required("spec", "must specify a volume type"),
        1 => {}
        _ => faults.forbidden("spec", "may not specify more than 1 volume type"),
    }
}

/// `v1` ReplicationController.
pub(super) fn replication_controller(object: &Value, faults: &mut Faults) {
    replicas(object, faults);
    let selector = object.pointer("/spec/selector").and_then(Value::as_object);
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
        return faults.required("spec.selector", "");
    };
    let labels = object.pointer("/spec/template/metadata/labels");
    if selector.iter().any(|(key, value)| labels.and_then(|labels| labels.get(key)) != Some(value)) {
        faults.invalid(
            "spec.template.metadata.labels",
            labels.unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        );
    }
    restart_policy(object, &["Always"], faults);
}

fn replicas(object: &Value, faults: &mut Faults) {
    if let Some(replicas) =
        object.pointer("/spec/replicas").filter(|value| value.as_i64().is_some_and(|n| n < 0))
    {
        faults.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
    }
}

fn restart_policy(object: &Value, allowed: &[&str], faults: &mut Faults) {
    let policy = text(object, "/spec/template/spec/restartPolicy").unwrap_or_default();
    if !allowed.contains(&policy) {
        faults.unsupported("spec.template.spec.restartPolicy", policy, allowed);
    }
}

/// Deployments, ReplicaSets, StatefulSets and DaemonSets.
pub(super) fn workload(object: &Value, faults: &mut Faults) {
    replicas(object, faults);
    let selector = object.pointer("/spec/selector").filter(|selector| selector.is_object());
    let Some(selector) = selector else { return faults.required("spec.selector", "") };
    let is_empty = selector.as_object().is_none_or(serde_json::Map::is_empty);
    if is_empty {
        faults.invalid("spec.selector", selector, "empty selector is invalid for deployment");
        return;
    }
    let labels = object.pointer("/spec/template/metadata/labels");
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
    let selects = LabelSelector::from_json(Some(selector)).is_ok_and(|selector| selector.matches(label));
    if !selects {
        faults.invalid(
            "spec.template.metadata.labels",
            labels.unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        );
    }
    restart_policy(object, &["Always"], faults);
}

/// The selector of a workload is for ever.
pub(super) fn selector_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    immutable(new, old, "/spec/selector", faults);
}

/// `apps/v1` StatefulSet.
pub(super) fn stateful_set_update(new: &Value, old: &Value, faults: &mut Faults) {
    const MUTABLE: [&str; 8] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "status",
    ];
    let fixed = |object: &Value| {
        let spec = object.get("spec").and_then(Value::as_object).into_iter().flatten();
        spec.filter(|(field, _)| !MUTABLE.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    if fixed(new) != fixed(old) {
        faults.forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

/// `apps/v1` ControllerRevision.
pub(super) fn data_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    immutable(new, old, "/data", faults);
}

/// `batch/v1` Job.
pub(super) fn job(object: &Value, faults: &mut Faults) {
    for field in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        let value = object.pointer(&format!("/spec/{field}"));
        if let Some(value) = value.filter(|value| value.as_i64().is_some_and(|n| n < 0)) {
            faults.invalid(format!("spec.{field}"), value, "must be greater than or equal to 0");
        }
    }
    let policy = text(object, "/spec/template/spec/restartPolicy").unwrap_or_default();
    if !matches!(policy, "OnFailure" | "Never") {
        faults.required("spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\"");
    }
}

/// A Job's template is for ever.
pub(super) fn job_update(new: &Value, old: &Value, faults: &mut Faults) {
    for pointer in ["/spec/selector", "/spec/template", "/spec/completionMode"] {
        immutable(new, old, pointer, faults);
    }
}

/// `batch/v1` CronJob.
pub(super) fn cron_job(object: &Value, faults: &mut Faults) {
    let name = text(object, "/metadata/name").unwrap_or_default();
    if name.len() > 52 {
        faults.invalid(
            "metadata.name",
            &Value::String(name.to_owned()),
            "must be no more than 52 characters",
        );
    }
    required(object, "/spec/schedule", faults);
    let policy = text(object, "/spec/concurrencyPolicy").unwrap_or_default();
    if !["Allow", "Forbid", "Replace"].contains(&policy) {
        faults.unsupported("spec.concurrencyPolicy", policy, &["Allow", "Forbid", "Replace"]);
    }
    let policy = text(object, "/spec/jobTemplate/spec/template/spec/restartPolicy").unwrap_or_default();
    if !matches!(policy, "OnFailure" | "Never") {
        faults.required(
            "spec.jobTemplate.spec.template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        );
    }
}

/// `policy/v1` PodDisruptionBudget.
pub(super) fn disruption_budget(object: &Value, faults: &mut Faults) {
    if let Some(spec) = object.get("spec")
        && has(spec, "minAvailable")
        && has(spec, "maxUnavailable")
    {
        faults.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
}

/// `v1` Service.
pub(super) fn service(object: &Value, faults: &mut Faults) {
    const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let kind = text(object, "/spec/type").unwrap_or_default();
    if !TYPES.contains(&kind) {
        return faults.unsupported("spec.type", kind, &TYPES);
    }
    let is_headless = text(object, "/spec/clusterIP") == Some("None");
    if is_headless && kind != "ClusterIP" {
        faults.invalid(
            "spec.clusterIPs[0]",
            &Value::String("None".to_owned()),
            &format!("may not be set to 'None' for {kind} services"),
        );
    }
    if kind == "ExternalName" {
        required(object, "/spec/externalName", faults);
    }
    let affinity = text(object, "/spec/sessionAffinity").unwrap_or_default();
    if !["ClientIP", "None"].contains(&affinity) {
        faults.unsupported("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    }
    let ports = list(object, "/spec/ports");
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        faults.required("spec.ports", "");
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        service_port(port, &path, kind, faults);
        let name = text(port, "/name").unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            faults.required(format!("{path}.name"), "");
        } else if !name.is_empty() && !names.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
        if !numbers.insert((text(port, "/protocol"), port.get("port").and_then(Value::as_i64))) {
            faults.duplicate(path, &port.to_string());
        }
    }
}

fn service_port(port: &Value, path: &str, kind: &str, faults: &mut Faults) {
    const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
    const RANGE: &str = "must be between 1 and 65535, inclusive";
    let number = port.get("port").unwrap_or(&Value::Null);
    if !number.as_i64().is_some_and(|number| (1..=65535).contains(&number)) {
        faults.invalid(format!("{path}.port"), number, RANGE);
    }
    if let Some(target) = port.get("targetPort").and_then(Value::as_i64)
        && !(1..=65535).contains(&target)
    {
        faults.invalid(format!("{path}.targetPort"), &port["targetPort"], RANGE);
    }
    let protocol = text(port, "/protocol").unwrap_or_default();
    if !PROTOCOLS.contains(&protocol) {
        faults.unsupported(format!("{path}.protocol"), protocol, &PROTOCOLS);
    }
    if kind == "ClusterIP" && port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
        faults.forbidden(format!("{path}.nodePort"), "may not be used when `type` is 'ClusterIP'");
    }
}

/// `rbac.authorization.k8s.io/v1` RoleBinding and ClusterRoleBinding.
pub(super) fn role_binding(object: &Value, faults: &mut Faults) {
    let is_cluster = text(object, "/kind") == Some("ClusterRoleBinding");
    let allowed: &[&str] = if is_cluster { &["ClusterRole"] } else { &["ClusterRole", "Role"] };
    let kind = text(object, "/roleRef/kind").unwrap_or_default();
    if !allowed.contains(&kind) {
        faults.unsupported("roleRef.kind", kind, allowed);
    }
    required(object, "/roleRef/name", faults);
    for (index, subject) in list(object, "/subjects").iter().enumerate() {
        let path = format!("subjects[{index}]");
        if text(subject, "/name").is_none() {
            faults.required(format!("{path}.name"), "");
        }
        match text(subject, "/kind").unwrap_or_default() {
            "User" | "Group" => {}
            "ServiceAccount" => {
                if text(subject, "/namespace").is_none() {
                    faults.required(format!("{path}.namespace"), "");
                }
            }
            other => faults.unsupported(format!("{path}.kind"), other, &["Group", "ServiceAccount", "User"]),
        }
    }
}

/// What a binding binds is for ever.
pub(super) fn role_ref_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    if new.get("roleRef") != old.get("roleRef") {
        faults.invalid("roleRef", new.get("roleRef").unwrap_or(&Value::Null), "cannot change roleRef");
    }
}

/// `storage.k8s.io/v1` StorageClass.
pub(super) fn storage_class(object: &Value, faults: &mut Faults) {
    required(object, "/provisioner", faults);
    for (field, allowed) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        let value = object.get(field).and_then(Value::as_str).unwrap_or_default();
        if !allowed.contains(&value) {
            faults.unsupported(field, value, &allowed);
        }
    }
}

/// How a StorageClass provisions is for ever.
pub(super) fn storage_class_update(new: &Value, old: &Value, faults: &mut Faults) {
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        if new.get(field) != old.get(field) {
            faults.forbidden(field, "updates to this field are forbidden.");
        }
    }
}

/// `node.k8s.io/v1` RuntimeClass.
pub(super) fn runtime_class(object: &Value, faults: &mut Faults) {
    required(object, "/handler", faults);
}

/// A RuntimeClass's handler is for ever.
pub(super) fn handler_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    immutable(new, old, "/handler", faults);
}

/// `scheduling.k8s.io/v1` PriorityClass.
pub(super) fn priority_class(object: &Value, faults: &mut Faults) {
    /// `HighestUserDefinablePriority`.
    const HIGHEST: i64 = 1_000_000_000;
    let is_system = text(object, "/metadata/name").is_some_and(|name| name.starts_with("system-"));
    let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
    if value > HIGHEST && !is_system {
        faults.forbidden("value", &format!("maximum allowed value of a user defined priority is {HIGHEST}"));
    }
}

/// A PriorityClass's value is for ever.
pub(super) fn value_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    if new.get("value") != old.get("value") {
        faults.forbidden("value", "may not be changed in an update.");
    }
}

/// `discovery.k8s.io/v1` EndpointSlice.
pub(super) fn endpoint_slice(object: &Value, faults: &mut Faults) {
    const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
    match text(object, "/addressType") {
        None => faults.required("addressType", ""),
        Some(found) if !TYPES.contains(&found) => faults.unsupported("addressType", found, &TYPES),
        Some(_) => {}
    }
}

/// An EndpointSlice's address type is for ever.
pub(super) fn address_type_is_immutable(new: &Value, old: &Value, faults: &mut Faults) {
    immutable(new, old, "/addressType", faults);
}
