//! Pods: what `READY`, `STATUS` and `RESTARTS` say of all the states of all the containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::view::View;
use super::{AGE, Column, NAME, Printer, age};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    match (group, kind) {
        ("", "Pod") => Some(Printer { columns: PODS, cells: pod }),
        ("", "PodTemplate") => Some(Printer { columns: TEMPLATES, cells: template }),
        _ => None,
    }
}

const PODS: &[Column] = &[
    NAME,
    Column::new("Ready", "string", 0, "The aggregate readiness state of this pod for accepting traffic."),
    Column::new("Status", "string", 0, "The aggregate status of the containers in this pod."),
    Column::new(
        "Restarts",
        "string",
        0,
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    Column::new("IP", "string", 1, "podIP address allocated to the pod."),
    Column::new("Node", "string", 1, "NodeName indicates in which node this pod is scheduled."),
    Column::new(
        "Nominated Node",
        "string",
        1,
        "nominatedNodeName is set only when this pod preempts other pods.",
    ),
    Column::new(
        "Readiness Gates",
        "string",
        1,
        "If specified, all readiness gates will be evaluated for pod readiness.",
    ),
];

const TEMPLATES: &[Column] = &[
    NAME,
    Column::new("Containers", "string", 0, "Names of each container in the template."),
    Column::new("Images", "string", 0, "Images referenced by each container in the template."),
    Column::new("Pod Labels", "string", 0, "The labels for the pod template."),
];

/// A Pod that has ended is marked, so that `kubectl get` can leave it out.
pub(super) fn row_conditions(object: &Value) -> Option<Value> {
    let is_pod = object.get("kind").and_then(Value::as_str) == Some("Pod")
        && object.get("apiVersion").and_then(Value::as_str) == Some("v1");
    let (reason, message) = match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") if is_pod => ("Succeeded", "The pod has completed successfully."),
        Some("Failed") if is_pod => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// Restarts counted, and when the last one was.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last_at: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &View<'_>) {
        self.count += status.integer("/restartCount");
        self.last_at = self.last_at.max(status.moment("/lastState/terminated/finishedAt"));
    }

    fn text(self, now: Timestamp) -> String {
        match self.last_at {
            Some(last_at) if self.count != 0 => {
                format!("{} ({} ago)", self.count, age::since(Some(last_at), now))
            }
            _ => self.count.to_string(),
        }
    }
}

/// What the init containers' states say.
struct Initialization {
    ready: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
    /// Why the Pod is not yet initialized.
    reason: Option<String>,
}

fn pod(pod: &View<'_>) -> Vec<Value> {
    let init_containers = pod.list("/spec/initContainers");
    let is_sidecar = |name: &str| {
        init_containers
            .iter()
            .any(|container| container.text("/name") == name && container.text("/restartPolicy") == "Always")
    };
    let sidecars =
        init_containers.iter().filter(|container| container.text("/restartPolicy") == "Always").count();
    let total = pod.count("/spec/containers") + sidecars;
    let phase = pod.text("/status/phase");
    let mut reason = pod.text_or("/status/reason", phase).to_owned();
    let is_gated = pod.list("/status/conditions").iter().any(|condition| {
        condition.text("/type") == "PodScheduled" && condition.text("/reason") == "SchedulingGated"
    });
    if is_gated {
        reason = "SchedulingGated".to_owned();
    }
    let init = initialization(pod, &is_sidecar, init_containers.len());
    let (mut ready, mut restarts) = (init.ready, init.restarts);
    let is_initializing = init.reason.is_some();
    if let Some(init_reason) = init.reason {
        reason = init_reason;
    }
    if !is_initializing || pod.condition("Initialized") == Some("True") {
        restarts = init.sidecar_restarts;
        ready += main_containers(pod, &mut reason, &mut restarts);
    }
    if pod.is_deleted() {
        if pod.text("/status/reason") == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".to_owned();
        }
    }
    let ip = pod.text_or("/status/podIPs/0/ip", pod.text("/status/podIP"));
    vec![
        pod.name(),
        json!(format!("{ready}/{total}")),
        json!(reason),
        json!(restarts.text(pod.now)),
        pod.age(),
        json!(if ip.is_empty() { "<none>" } else { ip }),
        pod.cell_or("/spec/nodeName", "<none>"),
        pod.cell_or("/status/nominatedNodeName", "<none>"),
        json!(readiness_gates(pod)),
    ]
}

fn initialization(pod: &View<'_>, is_sidecar: &dyn Fn(&str) -> bool, total: usize) -> Initialization {
    let (restarts, sidecar_restarts) = (Restarts::default(), Restarts::default());
    let mut init = Initialization { ready: 0, restarts, sidecar_restarts, reason: None };
    for (index, status) in pod.list("/status/initContainerStatuses").iter().enumerate() {
        init.restarts.add(status);
        let is_sidecar = is_sidecar(status.text("/name"));
        if is_sidecar {
            init.sidecar_restarts.add(status);
        }
        let terminated = status.at("/state/terminated");
        let waiting = status.text("/state/waiting/reason");
        if status.has("/state/terminated") && terminated.integer("/exitCode") == 0 {
            continue;
        }
        if is_sidecar && status.boolean("/started") {
            init.ready += usize::from(status.boolean("/ready"));
            continue;
        }
        init.reason = Some(if status.has("/state/terminated") {
            format!("Init:{}", ended(&terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        });
        break;
    }
    init
}

/// How many are ready; the first container that says something of the Pod says it last.
fn main_containers(pod: &View<'_>, reason: &mut String, restarts: &mut Restarts) -> usize {
    let (mut ready, mut has_running) = (0, false);
    for status in pod.list("/status/containerStatuses").iter().rev() {
        restarts.add(status);
        let waiting = status.text("/state/waiting/reason");
        if !waiting.is_empty() {
            *reason = waiting.to_owned();
        } else if status.has("/state/terminated") {
            *reason = ended(&status.at("/state/terminated"));
        } else if status.boolean("/ready") && status.has("/state/running") {
            has_running = true;
            ready += 1;
        }
    }
    if reason == "Completed" && has_running {
        let is_ready = pod.condition("Ready") == Some("True");
        *reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
    }
    ready
}

fn ended(terminated: &View<'_>) -> String {
    match (terminated.text("/reason"), terminated.integer("/signal")) {
        ("", 0) => format!("ExitCode:{}", terminated.integer("/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &View<'_>) -> String {
    let gates = pod.list("/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let passed =
        gates.iter().filter(|gate| pod.condition(gate.text("/conditionType")) == Some("True")).count();
    format!("{passed}/{}", gates.len())
}

fn template(template: &View<'_>) -> Vec<Value> {
    let [names, images] = template.containers("/template/spec/containers");
    vec![template.name(), names, images, template.labels("/template/metadata/labels")]
}
