//! Which node takes a Pod: kube-scheduler's filters, and its words when none does. Pure.
//!
//! NodeUnschedulable, NodeName, TaintToleration, NodeAffinity (with nodeSelector), NodePorts, NodeResourcesFit,
//! InterPodAffinity, PodTopologySpread: in this order, and a node is refused by the first that does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::pod::{Pod, Protocol};
use model::quantity::Quantity;
use model::resources::effective;
use serde_json::Value;

use super::preference::{self, Term};

/// NodePorts' refusal.
const NO_FREE_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

/// What a Pod takes of its node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Load {
    /// Nanos of each resource.
    requests: BTreeMap<String, i128>,
    /// Ports of the node.
    ports: BTreeSet<HostPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct HostPort {
    protocol: u8,
    port: u16,
    /// Every address without one.
    ip: Option<String>,
}

impl HostPort {
    fn collides(&self, other: &HostPort) -> bool {
        (self.protocol, self.port) == (other.protocol, other.port)
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }

    /// As Kubernetes writes it.
    fn words(&self) -> String {
        let protocol = ["TCP", "UDP", "SCTP"].get(usize::from(self.protocol)).unwrap_or(&"");
        format!("{}/{protocol}", self.port)
    }
}

/// What a Pod wants of a node.
pub(super) struct Needs<'p> {
    pub(super) load: Load,
    pod: &'p Value,
}

impl<'p> Needs<'p> {
    /// Reads a Pod; the error is for its owner.
    pub(super) fn of(pod: &'p Value) -> Result<Needs<'p>, String> {
        Ok(Needs { load: load(pod)?, pod })
    }
}

fn load(pod: &Value) -> Result<Load, String> {
    let mut bare = pod.clone();
    if let Some(metadata) = bare["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    bare["apiVersion"] = "v1".into();
    bare["kind"] = "Pod".into();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (pod, _) = model::manifest::stored(name, bare.to_string().as_bytes())
        .map_err(|problems| format!("the Pod cannot be read: {problems}"))?;
    let mut requests: BTreeMap<String, i128> =
        effective(&pod.spec).requests.iter().map(|(name, amount)| (name.clone(), amount.nanos())).collect();
    requests.retain(|_, nanos| *nanos > 0);
    Ok(Load { requests, ports: ports(&pod) })
}

fn ports(pod: &Pod) -> BTreeSet<HostPort> {
    let containers = pod.spec.all_containers().flat_map(|container| &container.ports);
    containers
        .filter_map(|port| {
            let number = if pod.spec.host_network { Some(port.container_port) } else { port.host_port };
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty() && ip != "0.0.0.0" && ip != "::");
            let protocol = match port.protocol {
                Protocol::Tcp => 0,
                Protocol::Udp => 1,
                Protocol::Sctp => 2,
            };
            Some(HostPort { protocol, port: number?, ip })
        })
        .collect()
}

impl Placed {
    fn new(node: &str, load: Load, pod: &Value) -> Placed {
        Placed {
            node: node.to_owned(),
            load,
            is_assumed: true,
            version: version(pod),
            pod: for_affinity(pod),
        }
    }
}

fn version(pod: &Value) -> Option<(String, i64)> {
    let metadata = &pod["metadata"];
    Some((metadata["uid"].as_str()?.to_owned(), metadata["generation"].as_i64()?))
}

fn for_affinity(pod: &Value) -> Value {
    serde_json::json!({
        "metadata": {"namespace": pod["metadata"]["namespace"], "labels": pod["metadata"]["labels"]},
        "spec": {"affinity": pod["spec"]["affinity"]},
    })
}

/// Nodes, and the Pods that they have.
#[derive(Default)]
pub(super) struct World {
    nodes: BTreeMap<String, Arc<Value>>,
    pods: BTreeMap<String, Placed>,
}

/// A Pod that has a node.
struct Placed {
    node: String,
    load: Load,
    /// Whether the API has not said so yet.
    is_assumed: bool,
    /// UID and generation, where it has one: while they are the same, so is what it takes.
    version: Option<(String, i64)>,
    /// For affinity: `metadata` and `spec.affinity` are looked at.
    pod: Value,
}

impl World {
    /// Takes a Pod that has a node; tells whether room may have become free.
    pub(super) fn set_pod(&mut self, key: String, pod: &Value) -> bool {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if node.is_empty() || has_ended {
            return self.pods.remove(&key).is_some();
        }
        if let Some(placed) = self.pods.get_mut(&key)
            && placed.version.is_some()
            && placed.version == version(pod)
            && placed.node == node
        {
            // Only its status or its labels are other than before, as happens often.
            placed.is_assumed = false;
            placed.pod = for_affinity(pod);
            return false;
        }
        // One that cannot be read was placed by somebody else; nothing is known of what it takes.
        let load = load(pod).unwrap_or_default();
        let before = self.pods.get(&key).map(|placed| placed.load.requests.clone());
        let takes_less = before.is_some_and(|before| {
            before.iter().any(|(name, old)| load.requests.get(name).is_none_or(|new| new < old))
        });
        self.place(key, Placed { is_assumed: false, ..Placed::new(node, load, pod) });
        takes_less
    }

    /// A Pod takes its room on a node, before the API has said so.
    pub(super) fn assume(&mut self, key: String, node: &str, load: Load, pod: &Value) {
        self.place(key, Placed::new(node, load, pod));
    }

    /// What was assumed is not so; tells whether room has become free.
    pub(super) fn withdraw(&mut self, key: &str) -> bool {
        let is_assumed = self.pods.get(key).is_some_and(|placed| placed.is_assumed);
        is_assumed && self.pods.remove(key).is_some()
    }

    fn place(&mut self, key: String, placed: Placed) {
        self.pods.insert(key, placed);
    }

    pub(super) fn remove_pod(&mut self, key: &str) -> bool {
        self.pods.remove(key).is_some()
    }

    /// Takes a node; tells whether it is other than before in what matters here.
    pub(super) fn set_node(&mut self, node: Arc<Value>) -> bool {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let before = self.nodes.insert(name, Arc::clone(&node));
        before.is_none_or(|before| {
            before["spec"] != node["spec"]
                || before["metadata"]["labels"] != node["metadata"]["labels"]
                || before["status"]["allocatable"] != node["status"]["allocatable"]
        })
    }

    pub(super) fn remove_node(&mut self, node: &Value) -> bool {
        self.nodes.remove(node["metadata"]["name"].as_str().unwrap_or_default());
        // One message less, for those who wait.
        true
    }

    /// A node for it, or the sentence that says why there is none.
    pub(super) fn find(&self, needs: &Needs<'_>) -> Result<String, String> {
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut best: Option<(i128, &str)> = None;
        for (name, node) in &self.nodes {
            match self.refusals(name, node, needs) {
                refused if refused.is_empty() => {
                    let left = self.left(name, node, "cpu");
                    if best.is_none_or(|(most, _)| left > most) {
                        best = Some((left, name));
                    }
                }
                refused => {
                    for reason in refused {
                        *reasons.entry(reason).or_default() += 1;
                    }
                }
            }
        }
        best.map(|(_, name)| name.to_owned()).ok_or_else(|| {
            let holder = reasons.contains_key(NO_FREE_PORTS).then(|| self.port_holder(needs)).flatten();
            self.sentence(&reasons) + &holder.map(|holder| format!(" {holder}")).unwrap_or_default()
        })
    }

    /// Who has a port that the Pod wants: kube-scheduler does not say, and it is the first thing that one asks.
    fn port_holder(&self, needs: &Needs<'_>) -> Option<String> {
        needs.load.ports.iter().find_map(|port| {
            let holds = |placed: &Placed| placed.load.ports.iter().any(|other| other.collides(port));
            let (holder, placed) = self.pods.iter().find(|(_, placed)| holds(placed))?;
            Some(format!("Port {} of node {} is held by Pod {holder}.", port.words(), placed.node))
        })
    }

    /// Kubernetes' `FitError`.
    fn sentence(&self, reasons: &BTreeMap<String, usize>) -> String {
        let count = self.nodes.len();
        if count == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut sorted: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        sorted.sort();
        format!("0/{count} nodes are available: {}.", sorted.join(", "))
    }

    fn refusals(&self, name: &str, node: &Value, needs: &Needs<'_>) -> Vec<String> {
        let spec = &needs.pod["spec"];
        let tolerations = spec["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let one = |reason: &str| vec![reason.to_owned()];
        if node["spec"]["unschedulable"] == true && !preference::tolerates_unschedulable(tolerations) {
            return one("node(s) were unschedulable");
        }
        if let Some(taint) = preference::untolerated(node, tolerations) {
            return vec![format!("node(s) had untolerated taint {{{taint}}}")];
        }
        if !preference::is_wanted_node(spec, node) {
            return one("node(s) didn't match Pod's node affinity/selector");
        }
        let mine = &needs.load.ports;
        let is_taken = |port: &HostPort| {
            self.on(name).any(|placed| placed.load.ports.iter().any(|other| other.collides(port)))
        };
        if mine.iter().any(is_taken) {
            return one(NO_FREE_PORTS);
        }
        let lacking = self.lacking(name, node, &needs.load);
        if !lacking.is_empty() {
            return lacking;
        }
        self.affinity(node, needs).map(one).unwrap_or_default()
    }

    fn on(&self, node: &str) -> impl Iterator<Item = &Placed> {
        self.pods.values().filter(move |placed| placed.node == node)
    }

    /// How much of a resource is left.
    fn left(&self, name: &str, node: &Value, resource: &str) -> i128 {
        let taken: i128 = self.on(name).filter_map(|placed| placed.load.requests.get(resource)).sum();
        amount(node, resource) - taken
    }

    fn lacking(&self, name: &str, node: &Value, load: &Load) -> Vec<String> {
        let mut lacking = Vec::new();
        let most_pods = amount(node, "pods") / 1_000_000_000;
        if most_pods > 0 && self.on(name).count() as i128 >= most_pods {
            lacking.push("Too many pods".to_owned());
        }
        let insufficient =
            load.requests.iter().filter(|(resource, nanos)| **nanos > self.left(name, node, resource));
        lacking.extend(insufficient.map(|(resource, _)| format!("Insufficient {resource}")));
        lacking
    }

    /// Required affinity and anti-affinity between Pods, and hard topology spread; which of them does not hold.
    fn affinity(&self, node: &Value, needs: &Needs<'_>) -> Option<&'static str> {
        let spec = &needs.pod["spec"];
        let matches = |term: &Term| {
            let Some(domain) = preference::label(node, &term.topology_key) else { return false };
            self.pods.values().any(|placed| {
                let other = self.nodes.get(&placed.node);
                let is_here =
                    other.and_then(|other| preference::label(other, &term.topology_key)) == Some(domain);
                is_here && term.selects(&placed.pod)
            })
        };
        let wanted = preference::terms(&spec["affinity"]["podAffinity"], needs.pod);
        let has_domain = |term: &Term| preference::label(node, &term.topology_key).is_some();
        // The first Pod of a group that wants to be together may go anywhere.
        let is_first = |term: &Term| {
            term.selects(needs.pod) && !self.pods.values().any(|placed| term.selects(&placed.pod))
        };
        if !wanted.iter().all(|term| matches(term) || (has_domain(term) && is_first(term))) {
            return Some("node(s) didn't match pod affinity rules");
        }
        if preference::terms(&spec["affinity"]["podAntiAffinity"], needs.pod).iter().any(matches) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let is_unwelcome = self.pods.values().any(|placed| {
            let other = self.nodes.get(&placed.node);
            preference::terms(&placed.pod["spec"]["affinity"]["podAntiAffinity"], &placed.pod).iter().any(
                |term| {
                    let domain = preference::label(node, &term.topology_key);
                    domain.is_some()
                        && domain == other.and_then(|other| preference::label(other, &term.topology_key))
                        && term.selects(needs.pod)
                },
            )
        });
        if is_unwelcome {
            return Some("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        let hard = spec["topologySpreadConstraints"].as_array().into_iter().flatten();
        let mut hard = hard.filter(|constraint| constraint["whenUnsatisfiable"] == "DoNotSchedule");
        let lacks_key = |constraint: &Value| {
            let key = constraint["topologyKey"].as_str().unwrap_or_default();
            preference::label(node, key).is_none()
        };
        if hard.any(lacks_key) {
            return Some("node(s) didn't match pod topology spread constraints (missing required label)");
        }
        None
    }
}

/// What a node has, in nanos.
fn amount(node: &Value, resource: &str) -> i128 {
    let text = node["status"]["allocatable"][resource].as_str();
    text.and_then(|text| Quantity::parse(text).ok()).map_or(0, |quantity| quantity.nanos())
}

#[cfg(test)]
mod tests;
