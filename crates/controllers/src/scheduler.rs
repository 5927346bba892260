//! Gives each Pod a node, or says why none takes it.
//!
//! ```text
//!   Pods, Nodes ─► World ─► fit (pure) ─┬─ a node ─► pods/NAME/binding, event Scheduled
//!                    ▲                  └─ none ──► condition PodScheduled=False, event FailedScheduling
//!                    └──── anything that may have made room: those that found none are tried again
//! ```
//!
//! The rules are kube-scheduler's filters. With one node there is nothing to score: of several that fit, the one with the
//! most cpu left is taken.
//!
//! A binding is answered when it is on the medium, and the next Pod does not wait for that: what a Pod takes is assumed at once,
//! as kube-scheduler does, and given back when the binding was refused.

mod fit;
mod preference;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{Change, Client, PatchKind, Query, kinds};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::time::{now, now_micros};
use fit::{Load, Needs, World};

/// The scheduler that Pods name when they name none.
const NAME: &str = "default-scheduler";
/// Bindings that are under way at once; more Pods wait.
const BINDINGS: usize = 64;

/// Schedules until its task is aborted.
pub(crate) async fn run(client: Client) {
    let mut pods = client.inform(&kinds::PODS, None, Query::none());
    let mut nodes = client.inform(&kinds::NODES, None, Query::none());
    let mut scheduler = Scheduler::new(client);
    loop {
        let is_room = tokio::select! {
            Some(change) = pods.next() => scheduler.pod_changed(change),
            Some(change) = nodes.next() => scheduler.node_changed(change),
            Some(Ok(bound)) = scheduler.bindings.join_next() => scheduler.bound(&bound),
            else => return,
        };
        if is_room {
            scheduler.try_again();
        }
        scheduler.schedule().await;
    }
}

/// What became of a binding.
struct Bound {
    pod: Arc<Value>,
    refused: Option<client::Error>,
}

struct Scheduler {
    client: Client,
    world: World,
    /// Pods that want a node, by namespace and name.
    waiting: BTreeMap<String, Arc<Value>>,
    /// Those of them that are to be tried now.
    due: BTreeSet<String>,
    /// Those of them whose binding is under way.
    binding: BTreeSet<String>,
    bindings: JoinSet<Bound>,
    /// What those that found no node were told last.
    told: BTreeMap<String, String>,
    pods_synced: bool,
    nodes_synced: bool,
}

impl Scheduler {
    fn new(client: Client) -> Scheduler {
        Scheduler {
            client,
            world: World::default(),
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            binding: BTreeSet::new(),
            bindings: JoinSet::new(),
            told: BTreeMap::new(),
            pods_synced: false,
            nodes_synced: false,
        }
    }

    /// Takes a change in; tells whether somebody may find room now who found none before.
    fn pod_changed(&mut self, change: Change) -> bool {
        match change {
            Change::Applied(pod) => {
                let key = key(&pod);
                if wants_node(&pod) {
                    let is_same = self.waiting.get(&key).is_some_and(|old| old["spec"] == pod["spec"]);
                    if !is_same {
                        self.due.insert(key.clone());
                    }
                    self.waiting.insert(key, pod);
                    return false;
                }
                self.forget(&key);
                self.world.set_pod(key, &pod)
            }
            Change::Deleted(pod) => {
                let key = key(&pod);
                self.forget(&key);
                self.world.remove_pod(&key)
            }
            Change::Synced => {
                self.pods_synced = true;
                false
            }
        }
    }

    fn node_changed(&mut self, change: Change) -> bool {
        match change {
            Change::Applied(node) => self.world.set_node(node),
            Change::Deleted(node) => self.world.remove_node(&node),
            Change::Synced => {
                self.nodes_synced = true;
                false
            }
        }
    }

    fn forget(&mut self, key: &str) {
        self.waiting.remove(key);
        self.due.remove(key);
        self.told.remove(key);
    }

    fn try_again(&mut self) {
        self.due.extend(self.waiting.keys().cloned());
    }

    async fn schedule(&mut self) {
        // Before all is known, nodes look emptier than they are.
        if !self.pods_synced || !self.nodes_synced {
            return;
        }
        // One that is being bound may be another Pod of the same name by now; it stays due until that is known.
        let (kept, due): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.due).into_iter().partition(|key| self.binding.contains(key));
        self.due = kept;
        // By priority, then the oldest first.
        let mut due: Vec<Arc<Value>> = due.iter().filter_map(|key| self.waiting.get(key).cloned()).collect();
        due.sort_by_cached_key(|pod| {
            let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
            (-pod["spec"]["priority"].as_i64().unwrap_or(0), created, key(pod))
        });
        for pod in due {
            if self.bindings.len() < BINDINGS {
                self.schedule_one(&pod).await;
            } else {
                self.due.insert(key(&pod));
            }
        }
    }

    async fn schedule_one(&mut self, pod: &Arc<Value>) {
        let found = match Needs::of(pod) {
            Ok(needs) => self.world.find(&needs).map(|node| (node, needs.load)),
            Err(why) => Err(why),
        };
        match found {
            Ok((node, load)) => self.begin_binding(pod, node, load),
            Err(why) => self.tell_why_not(pod, &why).await,
        }
    }

    /// The Pod takes its room, and is bound meanwhile.
    fn begin_binding(&mut self, pod: &Arc<Value>, node: String, load: Load) {
        let key = key(pod);
        self.world.assume(key.clone(), &node, load, pod);
        self.binding.insert(key);
        self.bindings.spawn(bind(self.client.clone(), Arc::clone(pod), node));
    }

    /// Takes in what became of a binding; tells whether room has become free.
    fn bound(&mut self, bound: &Bound) -> bool {
        let Bound { pod, refused } = bound;
        let key = key(pod);
        self.binding.remove(&key);
        let is_still_this =
            self.waiting.get(&key).is_some_and(|waiting| text(waiting, "uid") == text(pod, "uid"));
        // It is gone, or somebody else has bound it. Anything else is tried again when something changes, not at once.
        let is_over = refused.as_ref().is_none_or(|error| error.is_not_found() || error.is_conflict());
        if is_over && is_still_this {
            self.forget(&key);
        }
        refused.is_some() && self.world.withdraw(&key) && is_over
    }

    async fn tell_why_not(&mut self, pod: &Value, why: &str) {
        if self.told.insert(key(pod), why.to_owned()).as_deref() == Some(why) {
            return;
        }
        let (namespace, name) = (text(pod, "namespace"), text(pod, "name"));
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastProbeTime": null, "lastTransitionTime": now(),
        });
        let patch = json!({"metadata": {"uid": text(pod, "uid")}, "status": {"conditions": [condition]}});
        let body = (PatchKind::Strategic, &patch);
        let written = self.client.patch(&kinds::PODS, Some(namespace), name, Some("status"), body).await;
        if let Err(error) = written
            && !error.is_not_found()
        {
            tracing::warn!(namespace, name, %error, "cannot say why the Pod has no node");
        }
        tell(&self.client, pod, "Warning", "FailedScheduling", why).await;
    }
}

/// Binds a Pod, and tells.
async fn bind(client: Client, pod: Arc<Value>, node: String) -> Bound {
    let (namespace, name) = (text(&pod, "namespace"), text(&pod, "name"));
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"namespace": namespace, "name": name, "uid": text(&pod, "uid")},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let refused = client.create_below(&kinds::PODS, Some(namespace), name, "binding", &binding).await.err();
    match &refused {
        None => {
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            tell(&client, &pod, "Normal", "Scheduled", &message).await;
        }
        Some(error) if error.is_not_found() || error.is_conflict() => {}
        Some(error) => tracing::warn!(namespace, name, %error, "cannot bind the Pod"),
    }
    Bound { pod, refused }
}

async fn tell(client: &Client, pod: &Value, kind: &str, reason: &str, message: &str) {
    let (namespace, name) = (text(pod, "namespace"), text(pod, "name"));
    let nanos = jiff::Timestamp::now().as_nanosecond();
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{name}.{nanos:x}")},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": text(pod, "uid"),
            "resourceVersion": text(pod, "resourceVersion"),
        },
        "type": kind, "reason": reason, "message": message,
        "action": if reason == "Scheduled" { "Binding" } else { "Scheduling" },
        "eventTime": now_micros(), "firstTimestamp": null, "lastTimestamp": null,
        "source": {}, "reportingComponent": NAME, "reportingInstance": NAME,
    });
    if let Err(error) = client.create(&kinds::EVENTS, Some(namespace), &event).await {
        tracing::warn!(namespace, name, %error, "cannot write an event");
    }
}

/// A Pod that has no node, is ours to schedule, and is not held back.
fn wants_node(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let is_gated = spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    let scheduler = spec["schedulerName"].as_str().unwrap_or(NAME);
    spec["nodeName"].as_str().unwrap_or_default().is_empty()
        && pod["metadata"]["deletionTimestamp"].is_null()
        && scheduler == NAME
        && !is_gated
}

fn key(object: &Value) -> String {
    format!("{}/{}", text(object, "namespace"), text(object, "name"))
}

fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object["metadata"][field].as_str().unwrap_or_default()
}
