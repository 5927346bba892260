//! Which endpoints a Service has. Pure.
//!
//! As Kubernetes' endpointslice and endpoint controllers: a Pod that has an address and has not ended is an endpoint; it
//! is ready when its condition Ready is True and it is not terminating, or when the Service publishes it regardless.

use std::collections::BTreeMap;

use apimachinery::selector::LabelSelector;
use serde_json::{Map, Value, json};

/// Says whose slice it is.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Ours: the name that Kubernetes' own controller has, whose work this is.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Says of which Service a slice is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The same for Endpoints.
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const ENDPOINTS_MANAGER: &str = "endpoint-controller";
/// Kubernetes' default size of a slice.
const MOST_ENDPOINTS: usize = 100;

/// What the Service selects; none when its endpoints are not ours to make.
pub(super) fn selector(service: &Value) -> Option<LabelSelector> {
    let selector = service["spec"].get("selector").filter(|selector| !selector.is_null())?;
    if selector.as_object().is_none_or(Map::is_empty) || service["spec"]["type"] == "ExternalName" {
        return None;
    }
    LabelSelector::from_labels(selector).ok()
}

/// The Service that a slice is of.
pub(super) fn service_of(slice: &Value) -> Option<&str> {
    slice["metadata"]["labels"].get(SERVICE_NAME)?.as_str()
}

/// Whether Endpoints were made by us.
pub(super) fn is_ours(endpoints: &Value) -> bool {
    endpoints["metadata"]["labels"][ENDPOINTS_MANAGED_BY] == ENDPOINTS_MANAGER
}

/// Whether two states of a Pod make the same endpoints.
pub(super) fn is_same(before: &Value, after: &Value) -> bool {
    let matters = |pod: &Value| {
        (
            pod["metadata"]["uid"].clone(),
            pod["metadata"]["labels"].clone(),
            is_terminating(pod),
            address(pod).map(str::to_owned),
            is_ready(pod),
        )
    };
    matters(before) == matters(after)
}

/// Whether what is there says all that is wanted.
pub(super) fn says_the_same(found: &Value, wanted: &Value) -> bool {
    let same =
        |field: &str| found.get(field).unwrap_or(&Value::Null) == wanted.get(field).unwrap_or(&Value::Null);
    let labels = |object: &Value| object["metadata"]["labels"].clone();
    same("endpoints")
        && same("ports")
        && same("subsets")
        && same("addressType")
        && labels(found) == labels(wanted)
}

fn address(pod: &Value) -> Option<&str> {
    let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    pod["status"]["podIP"].as_str().filter(|ip| !ip.is_empty() && !has_ended)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn is_terminating(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

/// The slices that should be, by name.
pub(super) fn plan(service: &Value, pods: &[&Value]) -> BTreeMap<String, Value> {
    // Pods for which a named port is another number stand in slices of their own.
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    let mut sorted: Vec<&&Value> = pods.iter().filter(|pod| address(pod).is_some()).collect();
    sorted.sort_by_key(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    for pod in sorted {
        let ports = ports(service, pod);
        let key = Value::Array(ports.clone()).to_string();
        groups.entry(key).or_insert_with(|| (ports, Vec::new())).1.push(endpoint(service, pod));
    }
    if groups.is_empty() {
        // A Service that selects nobody has an empty slice, so that it is known to be looked after.
        groups.insert(String::new(), (Vec::new(), Vec::new()));
    }
    let mut slices = BTreeMap::new();
    for (index, (ports, endpoints)) in groups.into_values().enumerate() {
        let chunks: Vec<&[Value]> =
            if endpoints.is_empty() { vec![&[]] } else { endpoints.chunks(MOST_ENDPOINTS).collect() };
        for (part, chunk) in chunks.into_iter().enumerate() {
            let slice = slice(service, &format!("{index}/{part}"), &ports, chunk);
            slices.insert(slice["metadata"]["name"].as_str().unwrap_or_default().to_owned(), slice);
        }
    }
    slices
}

fn slice(service: &Value, part: &str, ports: &[Value], endpoints: &[Value]) -> Value {
    let (name, uid) = (service["metadata"]["name"].as_str().unwrap_or_default(), &service["metadata"]["uid"]);
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), json!(name));
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".to_owned(), json!(""));
    }
    let family = service["spec"]["ipFamilies"][0].as_str().unwrap_or("IPv4");
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{}", suffix(&format!("{uid}/{part}"))),
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// Five characters that are the same for the same text, of the alphabet of Kubernetes' generated names.
fn suffix(text: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a: the name need not be secret, only steady.
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        let letter = ALPHABET[(hash % ALPHABET.len() as u64) as usize];
        hash /= ALPHABET.len() as u64;
        char::from(letter)
    };
    (0..5).map(|_| next()).collect()
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let publishes_all = service["spec"]["publishNotReadyAddresses"] == true;
    let (serving, terminating) = (is_ready(pod), is_terminating(pod));
    let mut endpoint = json!({
        "addresses": [address(pod).unwrap_or_default()],
        "conditions": {
            "ready": publishes_all || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": target(pod),
    });
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = hostname;
    }
    endpoint
}

/// A Pod has a name of its own below a Service that its `subdomain` names.
fn hostname(service: &Value, pod: &Value) -> Option<Value> {
    let spec = &pod["spec"];
    let hostname = spec.get("hostname").filter(|name| name.as_str().is_some_and(|name| !name.is_empty()))?;
    (spec["subdomain"] == service["metadata"]["name"]).then(|| hostname.clone())
}

fn target(pod: &Value) -> Value {
    let metadata = &pod["metadata"];
    json!({"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]})
}

/// The Service's ports as they are on this Pod; one whose name the Pod does not have is left out.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let list = service["spec"]["ports"].as_array().into_iter().flatten();
    list.filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = target_port(port, protocol, pod)?;
        let mut found =
            json!({"name": port["name"].as_str().unwrap_or_default(), "port": number, "protocol": protocol});
        if let Some(application) = port.get("appProtocol").filter(|value| !value.is_null()) {
            found["appProtocol"] = application.clone();
        }
        Some(found)
    })
    .collect()
}

fn target_port(port: &Value, protocol: &str, pod: &Value) -> Option<i64> {
    match &port["targetPort"] {
        Value::String(name) => {
            let lists = ["containers", "initContainers"].into_iter();
            let containers = lists.flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
            let mut declared =
                containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
            let is_it = |declared: &&Value| {
                declared["name"] == name.as_str()
                    && declared["protocol"].as_str().unwrap_or("TCP") == protocol
            };
            declared.find(is_it)?["containerPort"].as_i64()
        }
        Value::Number(number) => {
            number.as_i64().filter(|number| *number != 0).or_else(|| port["port"].as_i64())
        }
        _ => port["port"].as_i64(),
    }
}

/// Addresses for which the ports are the same.
#[derive(Default)]
struct Subset {
    ports: Vec<Value>,
    ready: Vec<Value>,
    not_ready: Vec<Value>,
}

/// The Service's Endpoints, for those who read no slices yet.
pub(super) fn endpoints(service: &Value, pods: &[&Value]) -> Value {
    let publishes_all = service["spec"]["publishNotReadyAddresses"] == true;
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    let mut sorted: Vec<&&Value> =
        pods.iter().filter(|pod| address(pod).is_some() && (publishes_all || !is_terminating(pod))).collect();
    sorted.sort_by_key(|pod| address(pod).unwrap_or_default().to_owned());
    for pod in sorted {
        let ports = ports(service, pod);
        let key = Value::Array(ports.clone()).to_string();
        let group = groups.entry(key).or_insert_with(|| Subset { ports, ..Subset::default() });
        let mut found = json!({"ip": address(pod).unwrap_or_default(), "nodeName": pod["spec"]["nodeName"], "targetRef": target(pod)});
        if let Some(hostname) = hostname(service, pod) {
            found["hostname"] = hostname;
        }
        if publishes_all || is_ready(pod) { group.ready.push(found) } else { group.not_ready.push(found) }
    }
    let subset = |Subset { ports, ready, not_ready }: Subset| {
        let mut subset = Map::new();
        for (field, list) in [("addresses", ready), ("notReadyAddresses", not_ready), ("ports", ports)] {
            if !list.is_empty() {
                subset.insert(field.to_owned(), Value::Array(list));
            }
        }
        Value::Object(subset)
    };
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(ENDPOINTS_MANAGED_BY.to_owned(), json!(ENDPOINTS_MANAGER));
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": service["metadata"]["name"],
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
        },
    });
    if !groups.is_empty() {
        object["subsets"] = groups.into_values().map(subset).collect();
    }
    object
}

#[cfg(test)]
mod tests;
