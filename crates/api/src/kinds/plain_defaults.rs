//! Kubernetes' defaults of the kinds that make no Pods.

use serde_json::{Value, json};

use super::fill::{child, drop_field, existing, fill, has, items, text};

/// `v1` Namespace: active, and known by its name as a label.
pub(crate) fn namespace(object: &mut Value) {
    if let Some(name) = text(object, "/metadata/name").map(str::to_owned) {
        child(child(object, "metadata"), "labels")["kubernetes.io/metadata.name"] = json!(name);
    }
    let spec = child(object, "spec");
    if !has(spec, "finalizers") && !has(&object["metadata"], "deletionTimestamp") {
        object["spec"]["finalizers"] = json!(["kubernetes"]);
    }
    fill(child(object, "status"), "phase", "Active");
}

/// `v1` Secret: texts become bytes.
pub(crate) fn secret(object: &mut Value) {
    use base64::Engine as _;
    if let Some(Value::Object(texts)) = drop_field(object, "stringData") {
        let data = child(object, "data");
        for (key, text) in texts {
            if let Some(text) = text.as_str() {
                data[key] = json!(base64::engine::general_purpose::STANDARD.encode(text));
            }
        }
    }
    if text(object, "/type").is_none() {
        object["type"] = json!("Opaque");
    }
}

/// `v1` Service, without its addresses, which are allocated.
pub(crate) fn service(object: &mut Value) {
    let spec = child(object, "spec");
    for port in items(spec, "ports") {
        fill(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        if port.get("targetPort").is_none_or(|target| {
            target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("")
        }) && !number.is_null()
        {
            port["targetPort"] = number;
        }
    }
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
    if text(spec, "/sessionAffinity") == Some("ClientIP") {
        let affinity = child(child(spec, "sessionAffinityConfig"), "clientIP");
        fill(affinity, "timeoutSeconds", 10800);
    } else {
        drop_field(spec, "sessionAffinityConfig");
    }
    let kind = text(spec, "/type").unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    if kind != "ExternalName" {
        fill(spec, "internalTrafficPolicy", "Cluster");
        fill(spec, "ipFamilies", json!(["IPv4"]));
        fill(spec, "ipFamilyPolicy", "SingleStack");
    }
    child(child(object, "status"), "loadBalancer");
}

/// `v1` Endpoints.
pub(crate) fn endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            fill(port, "protocol", "TCP");
        }
    }
}

/// `discovery.k8s.io/v1` EndpointSlice.
pub(crate) fn endpoint_slice(object: &mut Value) {
    for port in items(object, "ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}

/// `v1` PersistentVolume.
pub(crate) fn persistent_volume(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "persistentVolumeReclaimPolicy", "Retain");
    fill(spec, "volumeMode", "Filesystem");
    if let Some(path) = existing(spec, "hostPath") {
        fill(path, "type", "");
    }
    fill(child(object, "status"), "phase", "Pending");
}

/// `v1` PersistentVolumeClaim.
pub(crate) fn persistent_volume_claim(object: &mut Value) {
    fill(child(object, "spec"), "volumeMode", "Filesystem");
    fill(child(object, "status"), "phase", "Pending");
}

/// `storage.k8s.io/v1` StorageClass.
pub(crate) fn storage_class(object: &mut Value) {
    fill(object, "reclaimPolicy", "Delete");
    fill(object, "volumeBindingMode", "Immediate");
}

/// `scheduling.k8s.io/v1` PriorityClass.
pub(crate) fn priority_class(object: &mut Value) {
    fill(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// `v1` LimitRange: a maximum is the default limit, a default limit the default request.
pub(crate) fn limit_range(object: &mut Value) {
    for limit in items(child(object, "spec"), "limits") {
        if text(limit, "/type") != Some("Container") {
            continue;
        }
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            for (name, amount) in limit.get(from).and_then(Value::as_object).cloned().unwrap_or_default() {
                fill(child(limit, to), &name, amount);
            }
        }
    }
}

/// `v1` Node.
pub(crate) fn node(object: &mut Value) {
    child(object, "spec");
}

/// `networking.k8s.io/v1` NetworkPolicy.
pub(crate) fn network_policy(object: &mut Value) {
    let spec = child(object, "spec");
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            for port in items(rule, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }
    if !has(spec, "policyTypes") {
        let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

/// `rbac.authorization.k8s.io/v1` RoleBinding and ClusterRoleBinding.
pub(crate) fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = existing(object, "roleRef")
        && text(role, "/apiGroup").is_none()
    {
        role["apiGroup"] = json!(GROUP);
    }
    for subject in items(object, "subjects") {
        if text(subject, "/apiGroup").is_none() && matches!(text(subject, "/kind"), Some("User" | "Group")) {
            subject["apiGroup"] = json!(GROUP);
        }
    }
}

/// `rbac.authorization.k8s.io/v1` Role and ClusterRole: `rules` is shown even when it is empty.
pub(crate) fn role(object: &mut Value) {
    if !object.as_object().is_some_and(|object| object.contains_key("rules")) {
        object["rules"] = Value::Null;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_bytes() {
        let mut object = json!({"data": {"a": "MQ=="}, "stringData": {"b": "2"}});
        secret(&mut object);
        assert_eq!(object, json!({"data": {"a": "MQ==", "b": "Mg=="}, "type": "Opaque"}));
    }

    #[test]
    fn a_service_gets_its_ports_filled() {
        let mut object =
            json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}});
        service(&mut object);
        assert_eq!(
            object["spec"]["ports"],
            json!([
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"},
            ])
        );
        assert_eq!(object["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn a_limit_range_completes_itself() {
        let mut object = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        limit_range(&mut object);
        assert_eq!(
            object["spec"]["limits"][0],
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "1Mi"}})
        );
    }
}
