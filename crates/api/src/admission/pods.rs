//! What a new Pod gets beside its defaults: a ServiceAccount and its token, tolerations, a priority, limits; and its first
//! status. Kubernetes' admission plugins ServiceAccount, DefaultTolerationSeconds, Priority and LimitRanger.

use std::sync::Arc;

use apimachinery::group::GroupResource;
use apimachinery::status::Status;
use serde_json::{Value, json};

use super::pod_model;
use crate::api::Api;
use crate::call::Call;
use crate::fresh;
use crate::kinds::fill::{child, child_list, fill, has, items, text};
use crate::kinds::pod_defaults;
use crate::objects::metadata;
use crate::respond::Failure;

/// Where every program looks for its token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and seven seconds: the kubelet renews it early.
const TOKEN_SECONDS: i64 = 3607;
/// A mirror Pod of a static one gets nothing.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Completes a new Pod.
pub(super) async fn create(api: &Arc<Api>, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    for warning in pod_model::warnings(pod) {
        call.warnings.add(warning);
    }
    let is_mirror = pod.pointer("/metadata/annotations").is_some_and(|all| has(all, MIRROR));
    if !is_mirror {
        service_account(api, call, pod).await?;
    }
    let spec = child(pod, "spec");
    pod_defaults::spec(spec);
    pod_defaults::pod(spec);
    tolerations(spec);
    limits(api, pod)?;
    priority(api, call, pod)?;
    let class = pod_model::read(pod).ok().map(|read| model::resources::qos_class(&read.pod.spec).to_string());
    pod["status"] = json!({"phase": "Pending"});
    if let Some(class) = class {
        pod["status"]["qosClass"] = json!(class);
    }
    Ok(())
}

fn forbidden(call: &Call, pod: &Value, why: String) -> Failure {
    Status::forbidden(&GroupResource::new("", "pods"), named(call, pod), why).into()
}

fn named<'a>(call: &'a Call, pod: &'a Value) -> &'a str {
    if metadata::name(pod).is_empty() { call.name() } else { metadata::name(pod) }
}

async fn service_account(api: &Arc<Api>, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    let spec = child(pod, "spec");
    let asked = text(spec, "/serviceAccountName").or_else(|| text(spec, "/serviceAccount"));
    let name = asked.unwrap_or("default").to_owned();
    spec["serviceAccountName"] = json!(name);
    let namespace = call.namespace().to_owned();
    let Some(account) = api.awaited("serviceaccounts", &namespace, &name, name == "default").await? else {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(forbidden(call, pod, why));
    };
    let of_account = account.get("automountServiceAccountToken").and_then(Value::as_bool);
    let spec = child(pod, "spec");
    let of_pod = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    if of_pod.or(of_account).unwrap_or(true) {
        mount_token(spec)?;
    }
    let has_secrets =
        spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let Some(secrets) =
        account.get("imagePullSecrets").filter(|secrets| !secrets.is_null() && !has_secrets)
    {
        spec["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// Adds the volume with token, authority and namespace, and mounts it where nothing is mounted.
fn mount_token(spec: &mut Value) -> Result<(), Failure> {
    let is_free = |container: &Value| {
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        !mounts.into_iter().any(|mount| text(mount, "/mountPath") == Some(TOKEN_PATH))
    };
    let name = apimachinery::names::generated("kube-api-access-", &fresh::random()?);
    let mut is_mounted = false;
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            if is_free(container) {
                child_list(container, "volumeMounts")
                    .push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
                is_mounted = true;
            }
        }
    }
    if is_mounted {
        child_list(spec, "volumes").push(json!({
            "name": name,
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                    }]}},
                ],
                "defaultMode": 420,
            },
        }));
    }
    Ok(())
}

/// A Pod stays on a node that is not ready for five minutes, if it does not say otherwise.
fn tolerations(spec: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let list = child_list(spec, "tolerations");
        let tolerates = |toleration: &Value| {
            let of = text(toleration, "/key");
            (of.is_none() || of == Some(key))
                && matches!(text(toleration, "/effect"), None | Some("NoExecute"))
        };
        if !list.iter().any(tolerates) {
            list.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

fn priority(api: &Arc<Api>, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    let class = text(&pod["spec"], "/priorityClassName").map(str::to_owned);
    let (name, value, preemption) = match class {
        // These two are built in.
        Some(name) if name == "system-node-critical" => (Some(name), 2_000_001_000, None),
        Some(name) if name == "system-cluster-critical" => (Some(name), 2_000_000_000, None),
        Some(name) => {
            let Some(class) = api.read("priorityclasses.scheduling.k8s.io", "", &name)? else {
                return Err(forbidden(call, pod, format!("no PriorityClass with name {name} was found")));
            };
            let value = class.object.get("value").and_then(Value::as_i64).unwrap_or(0);
            (Some(name), value, text(&class.object, "/preemptionPolicy").map(str::to_owned))
        }
        None => match default_class(api)? {
            Some(class) => {
                let value = class.get("value").and_then(Value::as_i64).unwrap_or(0);
                let preemption = text(&class, "/preemptionPolicy").map(str::to_owned);
                (Some(metadata::name(&class).to_owned()), value, preemption)
            }
            None => (None, 0, None),
        },
    };
    let spec = child(pod, "spec");
    if let Some(found) = spec.get("priority").and_then(Value::as_i64)
        && found != value
    {
        let why = format!(
            "the integer value of priority ({found}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(call, pod, why));
    }
    if let Some(name) = name {
        spec["priorityClassName"] = json!(name);
    }
    spec["priority"] = json!(value);
    fill(spec, "preemptionPolicy", preemption.as_deref().unwrap_or("PreemptLowerPriority"));
    Ok(())
}

fn default_class(api: &Api) -> Result<Option<Value>, Failure> {
    for row in api.rows("priorityclasses.scheduling.k8s.io/") {
        let class = crate::objects::stored(&row.value, row.revision.get())?.object;
        if class.get("globalDefault") == Some(&Value::Bool(true)) {
            return Ok(Some(class));
        }
    }
    Ok(None)
}

/// LimitRanges of the namespace give containers without requests and limits theirs.
fn limits(api: &Api, pod: &mut Value) -> Result<(), Failure> {
    let namespace = metadata::namespace(pod).to_owned();
    for row in api.rows(&format!("limitranges/{namespace}/")) {
        let range = crate::objects::stored(&row.value, row.revision.get())?.object;
        let all = range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten();
        for limit in all.filter(|limit| text(limit, "/type") == Some("Container")) {
            for list in ["initContainers", "containers"] {
                for container in items(child(pod, "spec"), list) {
                    complete(child(container, "resources"), limit);
                }
            }
        }
    }
    Ok(())
}

/// What a container has of its own stays.
fn complete(resources: &mut Value, limit: &Value) {
    for (from, to) in [("default", "limits"), ("defaultRequest", "requests")] {
        for (name, amount) in limit.get(from).and_then(Value::as_object).into_iter().flatten() {
            fill(child(resources, to), name, amount.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": TOKEN_PATH}]}],
        });
        mount_token(&mut spec).map_err(|failure| failure.0).expect("random bytes");
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
        let name = &spec["volumes"][0]["name"];
        assert_eq!(&spec["containers"][0]["volumeMounts"][0]["name"], name);
        assert_eq!(&spec["initContainers"][0]["volumeMounts"][0]["name"], name);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_pod_tolerates_its_node_for_five_minutes() {
        let mut spec = json!({"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]});
        tolerations(&mut spec);
        assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!(spec["tolerations"][1]["key"], "node.kubernetes.io/unreachable");
        let mut all = json!({"tolerations": [{"operator": "Exists"}]});
        tolerations(&mut all);
        assert_eq!(all["tolerations"].as_array().map(Vec::len), Some(1));
    }
}
