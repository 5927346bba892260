//! A node: its directories, its network, its images, and one task for each Pod.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use image::Images;
use lifecycle::{Fact, Policy};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::allocations::Allocations;
use crate::control_plane::{ControlPlane, PodChange};
use crate::pod::{Input, PodContext, PodTask};

/// What a node is made of; nothing of it is shared with another node but the image directory.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Name of the node, unique on the machine; part of cgroup paths.
    pub name: String,
    /// What outlives a reboot: Pod volumes on disk, writable layers, logs, checkpoints.
    pub data_dir: PathBuf,
    /// What a reboot clears: sockets, exit records, secrets.
    pub run_dir: PathBuf,
    /// The image store, shared by all nodes of the machine.
    pub image_dir: PathBuf,
    /// Where `seccompProfile.localhostProfile` is looked up.
    pub seccomp_dir: PathBuf,
    /// Path of an OCI runtime that creates the containers instead of podling itself.
    pub oci_runtime: Option<PathBuf>,
    /// Whether the journal of a Pod stays when the Pod is gone.
    pub keep_journals: bool,
    /// Ports of the node that lead to ports of its Pods, beside what the Pods' hostPorts ask for.
    pub publish: Vec<Publish>,
}

/// `-p [IP:]HOST:CONTAINER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Address of the node.
    pub host_ip: Option<std::net::IpAddr>,
    /// Port of the node.
    pub host_port: u16,
    /// Port of the Pod.
    pub container_port: u16,
}

/// A running node.
pub struct Node {
    shared: Arc<NodeShared>,
    pods: tokio::task::JoinHandle<()>,
}

/// What the Pods of a node share.
pub(crate) struct NodeShared {
    pub(crate) config: NodeConfig,
    pub(crate) control_plane: Arc<dyn ControlPlane>,
    pub(crate) images: Images,
    pub(crate) policy: Policy,
    pub(crate) network: crate::network::NodeNetwork,
    pub(crate) allocations: Allocations,
    memory_bytes: OnceLock<u64>,
    cores: OnceLock<i64>,
}

impl NodeShared {
    /// Processors that the machine gives; asking reads the caller's cgroup.
    pub(crate) fn cores(&self) -> i64 {
        *self.cores.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64))
    }

    /// Memory of the machine.
    pub(crate) fn memory_bytes(&self) -> u64 {
        *self.memory_bytes.get_or_init(|| {
            let info = rustix::system::sysinfo();
            info.totalram as u64 * u64::from(info.mem_unit)
        })
    }
}

impl Node {
    /// Takes the node's directories and starts working on the Pods that `control_plane` gives.
    pub async fn start(config: NodeConfig, control_plane: Arc<dyn ControlPlane>) -> Result<Node, NodeError> {
        for directory in [&config.data_dir, &config.run_dir] {
            std::fs::create_dir_all(directory)
                .map_err(|source| NodeError::Directory { path: directory.clone(), source })?;
        }
        let images = Images::open(&config.image_dir)?;
        let shared = Arc::new(NodeShared {
            network: crate::network::NodeNetwork::new(&config),
            allocations: Allocations::new(crate::allocations::machine()),
            config,
            control_plane,
            images,
            policy: Policy::default(),
            memory_bytes: OnceLock::new(),
            cores: OnceLock::new(),
        });
        let pods = tokio::spawn(work(Arc::clone(&shared)));
        Ok(Node { shared, pods })
    }

    /// Ends the node. Pods that still run go on running (a later node of the same directories takes them
    /// over); with no Pod left, nothing of the node stays on the machine. Every error is returned.
    pub async fn close(self) -> Vec<NodeError> {
        self.pods.abort();
        let _ = self.pods.await;
        let mut errors = Vec::new();
        if let Err(error) = self.shared.network.close().await {
            errors.push(error.into());
        }
        if let Err(error) = crate::cgroups::remove_node(&self.shared.config.name) {
            errors.push(error.into());
        }
        errors
    }
}

/// Follows what the control plane wants, for as long as it wants anything.
async fn work(node: Arc<NodeShared>) {
    let mut changes = node.control_plane.watch_pods();
    let mut pods: HashMap<String, mpsc::Sender<Input>> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => take(&node, change, &mut pods, &mut tasks).await,
                None => break,
            },
            Some(ended) = tasks.join_next() => {
                if let Ok(uid) = ended {
                    pods.remove(&uid);
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Inputs that may wait for a Pod's task.
const QUEUE_LENGTH: usize = 64;

async fn take(
    node: &Arc<NodeShared>,
    change: PodChange,
    pods: &mut HashMap<String, mpsc::Sender<Input>>,
    tasks: &mut JoinSet<String>,
) {
    let (uid, input) = match change {
        PodChange::Delete { uid, grace_period_seconds } => {
            (uid, Input::Fact(Fact::StopRequested { grace_seconds: grace_period_seconds }))
        }
        PodChange::Apply(pod) => {
            let uid = pod.meta.uid.clone();
            if !pods.contains_key(&uid) {
                let (sender, inputs) = mpsc::channel(QUEUE_LENGTH);
                let context = Arc::new(PodContext::new(*pod, Arc::clone(node), sender.clone()));
                pods.insert(uid.clone(), sender);
                tasks.spawn(async move {
                    PodTask::new(context, inputs).run().await;
                    uid
                });
                return;
            }
            (uid, Input::PodChanged(Arc::from(pod)))
        }
        PodChange::DependencyChanged { uid } => (uid, Input::DependencyChanged),
        PodChange::Gates { uid, open } => (uid, Input::Gates(open)),
        PodChange::Synced => return,
    };
    if let Some(pod) = pods.get(&uid) {
        // A task that has just ended needs no input.
        let _ = pod.send(input).await;
    }
}

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A directory cannot be made or used.
    #[error("cannot use the directory {path}: check that it exists, is writable and not full")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image store cannot be used.
    #[error(transparent)]
    Images(#[from] image::Error),
    /// The node's network cannot be made or removed.
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    /// The node's cgroup cannot be removed.
    #[error(transparent)]
    Cgroup(#[from] linux::cgroup::CgroupError),
}
