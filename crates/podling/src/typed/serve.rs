//! `podling serve` and `join` as they are typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::image::{Collection, Layers};
use super::{Directories, duration};

/// What a node is told, wherever its control plane is.
#[derive(Debug, Default, Args)]
pub(crate) struct Node {
    /// Addresses of Pods [default: a /24 that is free on this machine]
    #[arg(long, value_name = "CIDR")]
    pub(crate) pod_cidr: Option<String>,
    /// A label of the Node object; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Have this OCI runtime (crun, runc, or a path) create the containers instead of podling itself
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<PathBuf>,
    /// The longest delay between restarts of a container that fails, 1s to 5m [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) max_restart_delay: Option<Duration>,
    #[command(flatten)]
    pub(crate) collection: Collection,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

/// `podling serve`. What is not given here comes from the configuration file, and then from the defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    /// A configuration file in TOML: the same names as these flags
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the API listens [default: 127.0.0.1:6443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// What outlives a reboot: objects, keys, kubeconfig, volumes, logs [default: /var/lib/podling]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What a reboot clears: sockets, secrets; should be a tmpfs [default: /run/podling]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Images, shared by all runs and nodes of the machine [default: /var/lib/podling/images]
    #[arg(long, value_name = "DIR")]
    pub(crate) image_dir: Option<PathBuf>,
    /// Addresses of Services [default: 10.96.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<String>,
    /// Name of the Node object [default: the machine's host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// One more name or address in the server's certificate; may be repeated
    #[arg(long = "tls-name", value_name = "NAME")]
    pub(crate) tls_names: Vec<String>,
    /// How long an event is kept [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) event_ttl: Option<Duration>,
    /// How long a client may take for its handshake, for the headers of a request, and for a body
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, hide = true)]
    pub(crate) client_timeout: Option<Duration>,
    /// Only serve the API, and leave Pods to a machine that joins with DATA_DIR/node-kubeconfig
    #[arg(long)]
    pub(crate) no_node: bool,
    #[command(flatten)]
    pub(crate) node: Node,
}

/// `podling join`.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The control plane, its authority, and the certificate of system:node:NAME
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Where logs, exec and the like are served to the control plane [default: 0.0.0.0:10250]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) directories: Directories,
}
