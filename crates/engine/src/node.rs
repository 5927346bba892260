//! A node: its directories, its network, its images, and one task for each Pod.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ControlPlane;

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
    /// Path of an OCI runtime that creates the containers instead of podling itself.
    pub oci_runtime: Option<PathBuf>,
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
    config: NodeConfig,
    control_plane: Arc<dyn ControlPlane>,
}

impl Node {
    /// Takes the node's directories and starts working on the Pods that `control_plane` gives.
    pub async fn start(config: NodeConfig, control_plane: Arc<dyn ControlPlane>) -> Result<Node, NodeError> {
        Ok(Node { config, control_plane })
    }

    /// Ends the node. Pods that still run go on running (a later node of the same directories takes them
    /// over); with no Pod left, nothing of the node stays on the machine. Every error is returned.
    pub async fn close(self) -> Vec<NodeError> {
        Vec::new()
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
}
