//! What a cluster is made of beside workloads: nodes, namespaces, events, configuration, classes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::view::View;
use super::{AGE, Cells, Column, NAME, Printer, age};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    let (columns, cells): (&'static [Column], Cells) = match (group, kind) {
        ("", "Node") => (NODES, node),
        ("", "Namespace") => {
            (NAMESPACES, |object| vec![object.name(), json!(object.text("/status/phase")), object.age()])
        }
        ("" | "events.k8s.io", "Event") => (EVENTS, event),
        ("", "ConfigMap") => (CONFIG_MAPS, |object| {
            vec![object.name(), json!(object.count("/data") + object.count("/binaryData")), object.age()]
        }),
        ("", "Secret") => (SECRETS, |object| {
            let kind = json!(object.text("/type"));
            vec![object.name(), kind, json!(object.count("/data")), object.age()]
        }),
        ("", "ServiceAccount") => {
            (ACCOUNTS, |object| vec![object.name(), json!(object.count("/secrets")), object.age()])
        }
        ("coordination.k8s.io", "Lease") => {
            (LEASES, |object| vec![object.name(), json!(object.text("/spec/holderIdentity")), object.age()])
        }
        ("node.k8s.io", "RuntimeClass") => {
            (RUNTIME_CLASSES, |object| vec![object.name(), json!(object.text("/handler")), object.age()])
        }
        ("scheduling.k8s.io", "PriorityClass") => (PRIORITY_CLASSES, priority_class),
        ("apiregistration.k8s.io", "APIService") => (API_SERVICES, api_service),
        ("metrics.k8s.io", "NodeMetrics") => (METRICS, node_metrics),
        ("metrics.k8s.io", "PodMetrics") => (METRICS, pod_metrics),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

const NODES: &[Column] = &[
    NAME,
    Column::new("Status", "string", 0, "The status of the node"),
    Column::new("Roles", "string", 0, "The roles of the node"),
    AGE,
    Column::new("Version", "string", 0, "Kubelet Version reported by the node."),
    Column::new("Internal-IP", "string", 1, "List of addresses reachable to the node."),
    Column::new("External-IP", "string", 1, "List of addresses reachable to the node."),
    Column::new("OS-Image", "string", 1, "OS Image reported by the node from /etc/os-release."),
    Column::new("Kernel-Version", "string", 1, "Kernel Version reported by the node from 'uname -r'."),
    Column::new("Container-Runtime", "string", 1, "ContainerRuntime Version reported by the node."),
];

const NAMESPACES: &[Column] = &[NAME, Column::new("Status", "string", 0, "The status of the namespace"), AGE];

const EVENTS: &[Column] = &[
    Column::new(
        "Last Seen",
        "string",
        0,
        "The time at which the most recent occurrence of this event was recorded.",
    ),
    Column::new(
        "Type",
        "string",
        0,
        "Type of this event (Normal, Warning), new types could be added in the future",
    ),
    Column::new("Reason", "string", 0, "Why the transition into the object's current status was made."),
    Column::new("Object", "string", 0, "The object that this event is about."),
    Column::new("Subobject", "string", 1, "The part of the object that this event is about."),
    Column::new("Source", "string", 1, "The component reporting this event."),
    Column::new("Message", "string", 0, "A human-readable description of the status of this operation."),
    Column::new("First Seen", "string", 1, "The time at which the event was first recorded."),
    Column::new("Count", "string", 1, "The number of times this event has occurred."),
    Column::new("Name", "string", 1, "Name must be unique within a namespace."),
];

const CONFIG_MAPS: &[Column] =
    &[NAME, Column::new("Data", "string", 0, "Data contains the configuration data."), AGE];

const SECRETS: &[Column] = &[
    NAME,
    Column::new("Type", "string", 0, "Used to facilitate programmatic handling of secret data."),
    Column::new("Data", "string", 0, "Data contains the secret data."),
    AGE,
];

const ACCOUNTS: &[Column] = &[
    NAME,
    Column::new("Secrets", "string", 0, "Secrets that pods running using this ServiceAccount may use."),
    AGE,
];

const LEASES: &[Column] =
    &[NAME, Column::new("Holder", "string", 0, "The identity of the holder of a current lease."), AGE];

const RUNTIME_CLASSES: &[Column] = &[
    NAME,
    Column::new(
        "Handler",
        "string",
        0,
        "The underlying runtime and configuration that handles pods of this class.",
    ),
    AGE,
];

const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    Column::new("Value", "integer", 0, "The actual priority that pods receive when they have this class."),
    Column::new("Global-Default", "boolean", 0, "Whether this is the priority of pods without a class."),
    AGE,
    Column::new("PreemptionPolicy", "string", 0, "The policy for preempting pods with lower priority."),
];

const API_SERVICES: &[Column] = &[
    NAME,
    Column::new("Service", "string", 0, "The reference to the service that hosts this API endpoint."),
    Column::new("Available", "string", 0, "Whether this service is available."),
    AGE,
];

const METRICS: &[Column] = &[
    NAME,
    Column::new("cpu", "string", 0, ""),
    Column::new("memory", "string", 0, ""),
    Column::new("Window", "string", 0, "window defines the time interval from which metrics were collected"),
];

fn node(node: &View<'_>) -> Vec<Value> {
    let mut status = match node.condition("Ready") {
        Some("True") => vec!["Ready"],
        Some(_) => vec!["NotReady"],
        None => vec!["Unknown"],
    };
    if node.boolean("/spec/unschedulable") {
        status.push("SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    let labels = node.object.pointer("/metadata/labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.push(role),
            None if key == "kubernetes.io/role" => {
                roles.extend(value.as_str().filter(|role| !role.is_empty()))
            }
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let addresses = node.list("/status/addresses");
        let found = addresses.iter().find(|address| address.text("/type") == kind);
        json!(found.map_or("<none>", |address| address.text("/address")))
    };
    vec![
        node.name(),
        json!(status.join(",")),
        json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }),
        node.age(),
        json!(node.text("/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        node.cell_or("/status/nodeInfo/osImage", "<unknown>"),
        node.cell_or("/status/nodeInfo/kernelVersion", "<unknown>"),
        node.cell_or("/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
    ]
}

/// Both groups have the same event under different names.
fn event(event: &View<'_>) -> Vec<Value> {
    let either = |one: &str, other: &str| event.text_or(one, event.text(other));
    let moment = |pointers: &[&str]| -> Option<Timestamp> {
        pointers.iter().find_map(|pointer| event.moment(pointer))
    };
    let first = moment(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let last = moment(&["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp"]).or(first);
    let count = ["/series/count", "/count", "/deprecatedCount"]
        .iter()
        .map(|pointer| event.integer(pointer))
        .find(|count| *count > 0)
        .unwrap_or(1);
    let object = match event.has("/involvedObject") {
        true => event.at("/involvedObject"),
        false => event.at("/regarding"),
    };
    let message = either("/message", "/note").trim();
    vec![
        json!(age::since(last, event.now)),
        json!(event.text("/type")),
        json!(event.text("/reason")),
        json!(format!("{}/{}", object.text("/kind").to_lowercase(), object.text("/name"))),
        json!(object.text("/fieldPath")),
        json!(source(event)),
        json!(message),
        json!(age::since(first, event.now)),
        json!(count),
        event.name(),
    ]
}

fn source(event: &View<'_>) -> String {
    let part = |old: &str, deprecated: &str, new: &str| {
        [old, deprecated, new]
            .iter()
            .map(|pointer| event.text(pointer))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let component = part("/source/component", "/deprecatedSource/component", "/reportingComponent");
    let component = if component.is_empty() { event.text("/reportingController") } else { component };
    match part("/source/host", "/deprecatedSource/host", "/reportingInstance") {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

fn priority_class(object: &View<'_>) -> Vec<Value> {
    vec![
        object.name(),
        json!(object.integer("/value")),
        json!(object.boolean("/globalDefault")),
        object.age(),
        json!(object.text_or("/preemptionPolicy", "PreemptLowerPriority")),
    ]
}

fn api_service(object: &View<'_>) -> Vec<Value> {
    let service = if object.has("/spec/service") {
        let service = object.at("/spec/service");
        format!("{}/{}", service.text("/namespace"), service.text("/name"))
    } else {
        "Local".to_owned()
    };
    let conditions = object.list("/status/conditions");
    let available = conditions.iter().find(|condition| condition.text("/type") == "Available");
    let available = available.map_or_else(
        || "Unknown".to_owned(),
        |condition| match condition.text("/status") {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", condition.text("/reason")),
        },
    );
    vec![object.name(), json!(service), json!(available), object.age()]
}

fn node_metrics(object: &View<'_>) -> Vec<Value> {
    vec![
        object.name(),
        json!(object.text("/usage/cpu")),
        json!(object.text("/usage/memory")),
        json!(object.text("/window")),
    ]
}

fn pod_metrics(object: &View<'_>) -> Vec<Value> {
    let sum = |resource: &str| {
        let nanos: i128 = object
            .list("/containers")
            .iter()
            .filter_map(|container| {
                let text = container.text(&format!("/usage/{resource}"));
                model::quantity::Quantity::parse(text).ok()
            })
            .map(|quantity| quantity.nanos())
            .sum();
        json!(model::quantity::Quantity::from_nanos(nanos).canonical())
    };
    vec![object.name(), sum("cpu"), sum("memory"), json!(object.text("/window"))]
}
