//! Kubernetes' defaults of a Pod's spec, written into the object as users of kubectl see them.
//!
//! The rules are those of `pkg/apis/core/v1/defaults.go`; Pod templates of workloads get the same. What the node makes
//! of a Pod is read by crate `model`, which knows the same defaults; here they only become visible.

use serde_json::{Value, json};

use super::fill::{child, existing, fill, has, items, text};

/// Fills a PodSpec.
pub(crate) fn spec(spec: &mut Value) {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    items(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            self::container(container);
            if host_network {
                items(container, "ports").for_each(|port| {
                    let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
                    if port.get("hostPort").is_none_or(|port| port.as_i64() == Some(0)) && !number.is_null() {
                        port["hostPort"] = number;
                    }
                });
            }
        }
    }
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    child(spec, "securityContext");
    fill(spec, "schedulerName", "default-scheduler");
    if let Some(context) = existing(spec, "securityContext")
        && let Some(policy) = existing(context, "seccompProfile")
        && !has(policy, "type")
    {
        policy["type"] = json!("");
    }
    // The old name of the field is kept equal, as `Convert_core_PodSpec_To_v1_PodSpec` does.
    let name = text(spec, "/serviceAccountName").or_else(|| text(spec, "/serviceAccount")).map(str::to_owned);
    if let Some(name) = name {
        spec["serviceAccountName"] = json!(name);
        spec["serviceAccount"] = json!(name);
    }
}

/// What only Pods get, not templates: requests of limits and links to Services.
pub(crate) fn pod(spec: &mut Value) {
    fill(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        items(spec, list).for_each(requests_of_limits);
    }
}

fn requests_of_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let requests = child(child(container, "resources"), "requests");
    for (name, limit) in limits {
        fill(requests, &name, limit);
    }
}

fn container(container: &mut Value) {
    let image = text(container, "/image").unwrap_or_default().to_owned();
    for port in items(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(source) = existing(variable, "valueFrom") {
            field_ref(source);
            if let Some(resource) = existing(source, "resourceFieldRef") {
                fill(resource, "divisor", "0");
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = existing(lifecycle, hook).and_then(|hook| existing(hook, "httpGet")) {
                http_get(get);
            }
        }
    }
    child(container, "resources");
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    if text(container, "/imagePullPolicy").is_none() {
        container["imagePullPolicy"] = json!(pull_policy(&image));
    }
}

/// An image without tag, or with `latest`, is asked for at every start.
fn pull_policy(image: &str) -> &'static str {
    let without_digest = image.split('@').next().unwrap_or_default();
    let name = without_digest.rsplit('/').next().unwrap_or_default();
    let has_digest = without_digest.len() != image.len();
    match name.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !has_digest => "Always",
        _ => "IfNotPresent",
    }
}

fn probe(probe: &mut Value) {
    if let Some(get) = existing(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = existing(probe, "grpc") {
        fill(grpc, "service", "");
    }
    for (field, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(field).is_none_or(|value| value.is_null() || value.as_i64() == Some(0)) {
            probe[field] = json!(default);
        }
    }
}

fn http_get(get: &mut Value) {
    if text(get, "/path").is_none() {
        get["path"] = json!("/");
    }
    if text(get, "/scheme").is_none() {
        get["scheme"] = json!("HTTP");
    }
}

fn field_ref(source: &mut Value) {
    if let Some(field) = existing(source, "fieldRef") {
        fill(field, "apiVersion", "v1");
    }
}

/// 0644, as JSON has no octal numbers.
const FILE_MODE: i64 = 0o644;
/// An hour.
const TOKEN_SECONDS: i64 = 3600;

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|volume| volume.keys().all(|key| key == "name")) {
        child(volume, "emptyDir");
    }
    for source in ["secret", "configMap", "projected"] {
        if let Some(source) = existing(volume, source) {
            fill(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(api) = existing(volume, "downwardAPI") {
        fill(api, "defaultMode", FILE_MODE);
        items(api, "items").for_each(downward_item);
    }
    if let Some(path) = existing(volume, "hostPath") {
        fill(path, "type", "");
    }
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        fill(claim, "volumeMode", "Filesystem");
    }
    if let Some(projected) = existing(volume, "projected") {
        for source in items(projected, "sources") {
            if let Some(token) = existing(source, "serviceAccountToken") {
                fill(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(api) = existing(source, "downwardAPI") {
                items(api, "items").for_each(downward_item);
            }
        }
    }
}

fn downward_item(item: &mut Value) {
    field_ref(item);
    if let Some(resource) = existing(item, "resourceFieldRef") {
        fill(resource, "divisor", "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_what_kubectl_shows() {
        let mut given = json!({
            "containers": [{
                "name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "readinessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            }],
            "volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}],
            "serviceAccountName": "builder",
        });
        spec(&mut given);
        pod(&mut given);
        assert_eq!(
            given,
            json!({
                "containers": [{
                    "name": "web", "image": "nginx",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "readinessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "env": [{
                        "name": "IP",
                        "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}},
                    }],
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "Always",
                }],
                "volumes": [
                    {"name": "a", "emptyDir": {}},
                    {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
                ],
                "serviceAccountName": "builder",
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "securityContext": {},
                "schedulerName": "default-scheduler",
                "serviceAccount": "builder",
                "enableServiceLinks": true,
            })
        );
    }

    #[test]
    fn the_tag_decides_when_to_pull() {
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/a/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }

    #[test]
    fn defaults_are_filled_once() {
        let mut once = json!({"containers": [{"name": "a", "image": "b:1"}]});
        spec(&mut once);
        let mut twice = once.clone();
        spec(&mut twice);
        assert_eq!(once, twice);
    }
}
