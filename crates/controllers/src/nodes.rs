//! A node that is not heard of any more is not ready: nobody knows what it does, and nothing new is given to it.
//!
//! A node elsewhere renews its lease. One whose lease has run out gets the conditions Unknown and the taint
//! `node.kubernetes.io/unreachable`, as kube-controller-manager's node lifecycle gives them (`pkg/controller/nodelifecycle`); when it is
//! Ready again, the taint goes. A lease is judged by when it was seen to change, never by the times in it, which another clock
//! wrote. A node without a lease is of this process and lives and dies with it.
//!
//! Its Pods are left alone: they may well run, and deleting them is for whoever knows that the machine is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Change, Client, PatchKind, Query, kinds};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::time;

/// Where the leases of nodes are.
const NAMESPACE: &str = "kube-node-lease";
/// What a lease says itself when it says nothing, as the kubelet's.
const USUAL_DURATION: Duration = Duration::from_secs(40);
/// Keeps Pods away.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The conditions that only the node itself knows.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Follows nodes and their leases.
pub(crate) async fn run(client: Client) {
    let mut leases = client.inform(&kinds::LEASES, Some(NAMESPACE.to_owned()), Query::none());
    let mut nodes = client.inform(&kinds::NODES, None, Query::none());
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let mut heard = Heard::default();
    loop {
        tokio::select! {
            change = leases.next() => match change {
                Some(Change::Applied(lease)) => heard.note(&lease, Instant::now()),
                Some(Change::Deleted(lease)) => heard.forget(name_of(&lease)),
                Some(Change::Synced) => {}
                None => return,
            },
            change = nodes.next() => match change {
                Some(Change::Applied(node)) => {
                    if let Some(patch) = without_taint(&node) {
                        told(client.patch(&kinds::NODES, None, name_of(&node), None, (PatchKind::Merge, &patch)).await);
                    }
                    known.insert(name_of(&node).to_owned(), Value::clone(&node));
                }
                Some(Change::Deleted(node)) => drop(known.remove(name_of(&node))),
                Some(Change::Synced) => {}
                None => return,
            },
            () = until(heard.next_deadline()) => {}
        }
        for name in heard.take_lost(Instant::now()) {
            if let Some(node) = known.get(&name) {
                mark(&client, node).await;
            }
        }
    }
}

/// Sleeps until then; for ever without a moment.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// When each node was heard of.
#[derive(Debug, Default)]
struct Heard {
    leases: BTreeMap<String, Lease>,
}

#[derive(Debug)]
struct Lease {
    renewed: Value,
    seen_at: Instant,
    duration: Duration,
    is_lost: bool,
}

impl Heard {
    fn note(&mut self, lease: &Value, now: Instant) {
        let spec = &lease["spec"];
        let seconds = spec["leaseDurationSeconds"].as_u64().filter(|seconds| *seconds > 0);
        let duration = seconds.map_or(USUAL_DURATION, Duration::from_secs);
        let entry = self.leases.entry(name_of(lease).to_owned()).or_insert_with(|| Lease {
            renewed: Value::Null,
            seen_at: now,
            duration,
            is_lost: false,
        });
        entry.duration = duration;
        // A lease that somebody else has changed is not renewed by that.
        if entry.renewed != spec["renewTime"] {
            *entry = Lease { renewed: spec["renewTime"].clone(), seen_at: now, duration, is_lost: false };
        }
    }

    fn forget(&mut self, name: &str) {
        self.leases.remove(name);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.leases.values().filter(|lease| !lease.is_lost);
        waiting.map(|lease| lease.seen_at + lease.duration).min()
    }

    /// Nodes that are lost since now; each is told once, until it is heard of again.
    fn take_lost(&mut self, now: Instant) -> Vec<String> {
        let run_out = self
            .leases
            .iter_mut()
            .filter(|(_, lease)| !lease.is_lost && lease.seen_at + lease.duration <= now);
        run_out
            .map(|(name, lease)| {
                lease.is_lost = true;
                name.clone()
            })
            .collect()
    }
}

async fn mark(client: &Client, node: &Value) {
    let name = name_of(node);
    tracing::warn!(node = name, "the node's lease was not renewed; it is not ready");
    let patch = unknown(node, &time::now());
    told(client.patch(&kinds::NODES, None, name, Some("status"), (PatchKind::Strategic, &patch)).await);
    if let Some(patch) = with_taint(node, &time::now()) {
        told(client.patch(&kinds::NODES, None, name, None, (PatchKind::Merge, &patch)).await);
    }
}

/// The status of a node of which nothing is known.
fn unknown(node: &Value, now: &str) -> Value {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |kind: &&str| {
        let found = conditions.iter().find(|condition| condition["type"] == **kind);
        let was_unknown = found.filter(|condition| condition["status"] == "Unknown");
        let transition = was_unknown.map_or(json!(now), |condition| condition["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": transition,
        })
    };
    json!({"status": {"conditions": CONDITIONS.iter().map(of).collect::<Vec<_>>()}})
}

/// A change of the taints of just this version of the node; none, when it has the taint.
fn with_taint(node: &Value, now: &str) -> Option<Value> {
    let mut taints = taints(node).to_vec();
    if taints.iter().any(is_ours) {
        return None;
    }
    taints.push(json!({"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": now}));
    Some(json!({"spec": {"taints": taints}}))
}

/// None, when the node has no such taint or is not ready.
fn without_taint(node: &Value) -> Option<Value> {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ready =
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let kept: Vec<&Value> = taints(node).iter().filter(|taint| !is_ours(taint)).collect();
    if !is_ready || kept.len() == taints(node).len() {
        return None;
    }
    // Whoever else changes them meanwhile is not overwritten; the next change of the node brings it here again.
    Some(
        json!({"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": kept}}),
    )
}

fn taints(node: &Value) -> &[Value] {
    node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_ours(taint: &Value) -> bool {
    taint["key"] == UNREACHABLE && taint["effect"] == "NoSchedule"
}

/// A node that is gone or was changed meanwhile needs nothing.
fn told(result: Result<Value, client::Error>) {
    match result {
        Ok(_) => {}
        Err(error) if error.is_conflict() || error.is_not_found() => {}
        Err(error) => tracing::warn!(%error, "cannot say that a node is not ready, or is again"),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(renewed: &str, seconds: u64) -> Value {
        json!({"metadata": {"name": "n"}, "spec": {"renewTime": renewed, "leaseDurationSeconds": seconds}})
    }

    #[test]
    fn a_lease_runs_out_unless_it_is_renewed() {
        let (mut heard, began) = (Heard::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        heard.note(&lease("1", 40), began);
        assert_eq!(heard.next_deadline(), Some(after(40)));
        heard.note(&lease("2", 40), after(30));
        assert_eq!(heard.take_lost(after(69)), Vec::<String>::new());
        assert_eq!(heard.take_lost(after(70)), ["n"]);
        // It is told once, and again after it was heard of.
        assert_eq!((heard.take_lost(after(99)).len(), heard.next_deadline()), (0, None));
        heard.note(&lease("3", 40), after(100));
        assert_eq!(heard.take_lost(after(140)), ["n"]);
        heard.forget("n");
        assert_eq!(heard.next_deadline(), None);
    }

    #[test]
    fn a_change_that_renews_nothing_may_shorten_a_lease() {
        let (mut heard, began) = (Heard::default(), Instant::now());
        heard.note(&lease("1", 40), began);
        heard.note(&lease("1", 1), began + Duration::from_secs(5));
        assert_eq!(heard.take_lost(began + Duration::from_secs(5)), ["n"]);
    }

    #[test]
    fn what_was_unknown_stays_so_since_then() {
        let node = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "a"},
            {"type": "DiskPressure", "status": "Unknown", "lastTransitionTime": "b"},
        ]}});
        let patch = unknown(&node, "now");
        let conditions = &patch["status"]["conditions"];
        assert_eq!(
            (&conditions[0]["status"], &conditions[0]["lastTransitionTime"]),
            (&json!("Unknown"), &json!("now"))
        );
        assert_eq!(conditions[2]["lastTransitionTime"], "b");
    }

    #[test]
    fn the_taint_comes_and_goes_beside_those_of_others() {
        let other = json!({"key": "work", "effect": "NoSchedule"});
        let mut node = json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": [other]}});
        let patch = with_taint(&node, "now").unwrap();
        assert_eq!(patch["spec"]["taints"].as_array().map(Vec::len), Some(2));
        node["spec"] = patch["spec"].clone();
        assert_eq!(with_taint(&node, "now"), None);
        assert_eq!(without_taint(&node), None, "it is not ready");
        node["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let patch = without_taint(&node).unwrap();
        assert_eq!(
            (&patch["spec"]["taints"], &patch["metadata"]["resourceVersion"]),
            (&json!([other]), &json!("7"))
        );
        node["spec"] = patch["spec"].clone();
        assert_eq!(without_taint(&node), None);
    }
}
