//! The Node object: what the machine is, that it is there, and that it is alive.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Change, Client, PatchKind, Query, kinds};
use serde_json::{Value, json};

use crate::status::{micros, seconds};

/// What the Node object says; whoever starts the node has looked.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// `metadata.name`.
    pub name: String,
    /// The machine's host name, `kubernetes.io/hostname`.
    pub hostname: String,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// `status.addresses` of type InternalIP.
    pub internal_ips: Vec<String>,
    /// `spec.podCIDR`.
    pub pod_cidr: Option<String>,
    /// `status.capacity` and `status.allocatable`: quantities by resource.
    pub capacity: BTreeMap<String, String>,
    /// `status.nodeInfo`.
    pub info: BTreeMap<String, String>,
    /// Whether Pods can have users of their own (`hostUsers: false`).
    pub user_namespaces: bool,
    /// Where the node serves logs and exec, if over the network.
    pub node_api_port: Option<u16>,
    /// Now, in nanoseconds since 1970.
    pub started_wall_nanos: i64,
}

/// Makes the Node, or brings the one of that name up to date.
pub(crate) async fn ensure_node(client: &Client, facts: &NodeFacts) -> Result<(), client::Error> {
    let node = node(facts);
    match client.create(&kinds::NODES, None, &node).await {
        Ok(_) => {}
        Err(error) if error.is_conflict() => {
            let patch = json!({"metadata": {"labels": node["metadata"]["labels"]}});
            client.patch(&kinds::NODES, None, &facts.name, None, (PatchKind::Merge, &patch)).await?;
        }
        Err(error) => return Err(error),
    }
    write_status(client, facts).await
}

async fn write_status(client: &Client, facts: &NodeFacts) -> Result<(), client::Error> {
    let patch = json!({"status": status(facts)});
    client.patch(&kinds::NODES, None, &facts.name, Some("status"), (PatchKind::Strategic, &patch)).await?;
    Ok(())
}

fn node(facts: &NodeFacts) -> Value {
    let info = |field: &str| facts.info.get(field).cloned().unwrap_or_default();
    let mut labels = facts.labels.clone();
    for (label, value) in [
        ("kubernetes.io/hostname", facts.hostname.clone()),
        ("kubernetes.io/os", info("operatingSystem")),
        ("kubernetes.io/arch", info("architecture")),
    ] {
        labels.insert(label.to_owned(), value);
    }
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": facts.name, "labels": labels},
        "spec": {},
    });
    if let Some(cidr) = &facts.pod_cidr {
        node["spec"] = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
    }
    node
}

fn status(facts: &NodeFacts) -> Value {
    let now = seconds(facts.started_wall_nanos);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let ips = facts.internal_ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip}));
    let addresses: Vec<Value> = ips.chain([json!({"type": "Hostname", "address": facts.hostname})]).collect();
    let mut status = json!({
        "capacity": facts.capacity,
        "allocatable": facts.capacity,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "podling is ready to run Pods"),
        ],
        "addresses": addresses,
        "nodeInfo": facts.info,
        "features": {"supplementalGroupsPolicy": true},
        "runtimeHandlers": [{
            "name": "",
            "features": {"recursiveReadOnlyMounts": true, "userNamespaces": facts.user_namespaces},
        }],
    });
    if let Some(port) = facts.node_api_port {
        status["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    }
    status
}

/// Says again that the node is ready when the control plane has given it up: it was away for a while, and is not now.
pub(crate) async fn keep_ready(client: Client, facts: NodeFacts) {
    let own = Query::none().with("fieldSelector", format!("metadata.name={}", facts.name));
    let mut changes = client.inform(&kinds::NODES, None, own);
    while let Some(change) = changes.next().await {
        if let Change::Applied(node) = change
            && is_given_up(&node)
            && let Err(error) = write_status(&client, &facts_of_now(&facts)).await
        {
            // The next word of the control plane, at the latest that it is back, brings it here again.
            tracing::warn!(%error, "cannot say that the node is ready again");
        }
    }
}

/// The node is ready since now, and not since its start.
fn facts_of_now(facts: &NodeFacts) -> NodeFacts {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    NodeFacts { started_wall_nanos: now, ..facts.clone() }
}

fn is_given_up(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown")
}

/// How long a lease holds without being renewed, as the kubelet's.
const LEASE_SECONDS: u64 = 40;
/// Where Kubernetes looks for it.
const LEASES_NAMESPACE: &str = "kube-node-lease";

/// Renews the node's lease for as long as the node is alive.
pub(crate) async fn heartbeat(client: Client, node: String, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&client, &node).await {
            tracing::warn!(%error, "cannot renew the node's lease");
        }
    }
}

async fn renew(client: &Client, node: &str) -> Result<(), client::Error> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let now = micros(i64::try_from(now).unwrap_or(i64::MAX));
    let spec = json!({"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now});
    let patch = json!({"spec": spec});
    let namespace = Some(LEASES_NAMESPACE);
    match client.patch(&kinds::LEASES, namespace, node, None, (PatchKind::Merge, &patch)).await {
        Err(error) if error.is_not_found() => {}
        renewed => return renewed.map(drop),
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": LEASES_NAMESPACE},
        "spec": spec,
    });
    client.create(&kinds::LEASES, namespace, &lease).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_says_what_schedulers_and_people_look_for() {
        let facts = NodeFacts {
            name: "n1".to_owned(),
            hostname: "host".to_owned(),
            labels: BTreeMap::new(),
            internal_ips: vec!["10.0.0.1".to_owned()],
            pod_cidr: Some("10.201.0.0/24".to_owned()),
            capacity: BTreeMap::from([("cpu".to_owned(), "2".to_owned())]),
            info: BTreeMap::from([("architecture".to_owned(), "amd64".to_owned())]),
            user_namespaces: true,
            node_api_port: None,
            started_wall_nanos: 0,
        };
        assert_eq!(node(&facts)["metadata"]["labels"]["kubernetes.io/arch"], "amd64");
        assert_eq!(node(&facts)["spec"]["podCIDRs"][0], "10.201.0.0/24");
        let status = status(&facts);
        assert_eq!(status["allocatable"]["cpu"], "2");
        assert_eq!(status["conditions"][3]["type"], "Ready");
        assert_eq!(status["addresses"][0], json!({"type": "InternalIP", "address": "10.0.0.1"}));
        assert!(status.get("daemonEndpoints").is_none());
        assert_eq!(status["runtimeHandlers"][0]["features"]["userNamespaces"], true);
    }
}
