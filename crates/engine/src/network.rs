//! The node's network as the engine uses it: opened with the first Pod, called on threads that may block.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use model::pod::{Pod, Protocol};
use network::{AttachRequest, Attachment, HostPort, Network, NetworkConfig};

use crate::node::{NodeConfig, PodRange, Publish};

/// The machine's own address, as the Node object tells it; none without a way out.
pub fn host_address() -> Option<std::net::IpAddr> {
    network::host_address()
}

/// The network of a node; a node whose Pods all use the host's never opens it. All clones are of one network.
#[derive(Clone)]
pub(crate) struct NodeNetwork {
    run_dir: std::path::PathBuf,
    publish: Vec<Publish>,
    pod_range: Option<PodRange>,
    opened: Arc<Mutex<Option<Arc<Network>>>>,
}

/// Why the network refused; several reasons when several things could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// One reason.
    #[error(transparent)]
    One(#[from] network::Error),
    /// Several.
    #[error("{}", .0.iter().map(|error| crate::perform::chain(error)).collect::<Vec<_>>().join("; "))]
    Several(Vec<network::Error>),
    /// podling itself failed in it.
    #[error("podling itself failed in the network")]
    Panicked(#[source] tokio::task::JoinError),
}

impl NodeNetwork {
    pub(crate) fn new(config: &NodeConfig) -> NodeNetwork {
        NodeNetwork {
            run_dir: config.run_dir.clone(),
            publish: config.publish.clone(),
            pod_range: config.pod_range,
            opened: Arc::default(),
        }
    }

    /// Gives a Pod its address and its host ports.
    pub(crate) async fn attach(&self, pod: &Pod, netns: Arc<OwnedFd>) -> Result<Attachment, NetworkError> {
        let node = self.clone();
        let pod_uid = pod.meta.uid.clone();
        let host_ports = self.host_ports(pod);
        blocking(move || {
            let network = node.open()?;
            let request = AttachRequest { pod_uid: &pod_uid, netns: netns.as_fd(), host_ports };
            Ok(network.attach(&request)?)
        })
        .await
    }

    /// Remembers Pods that an earlier daemon attached, before the first new one comes. Opens the network, so that what that
    /// daemon claimed is this node's again. Errors tell of host ports that somebody else has by now.
    pub(crate) async fn restore(
        &self,
        attachments: Vec<Attachment>,
    ) -> Result<Vec<network::Error>, NetworkError> {
        let node = self.clone();
        blocking(move || {
            let network = node.open()?;
            Ok(attachments.into_iter().filter_map(|attachment| network.restore(attachment).err()).collect())
        })
        .await
    }

    /// Takes address and host ports back; a Pod that has none is no error.
    pub(crate) async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        let Some(network) = self.opened() else { return Ok(()) };
        let pod_uid = pod_uid.to_owned();
        blocking(move || network.detach(&pod_uid).map_err(NetworkError::Several)).await
    }

    /// Removes all of the node's network; there must be no Pod in it any more.
    pub(crate) async fn close(&self) -> Result<(), NetworkError> {
        let network = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(network) = network.and_then(Arc::into_inner) else { return Ok(()) };
        blocking(move || network.close().map_err(NetworkError::Several)).await
    }

    /// The node's own address, as Pods see it.
    pub(crate) fn host_ip(&self) -> String {
        self.opened().map_or_else(|| "127.0.0.1".to_owned(), |network| network.host_address().to_string())
    }

    fn opened(&self) -> Option<Arc<Network>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) -> Result<Arc<Network>, NetworkError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = &*opened {
            return Ok(Arc::clone(network));
        }
        let network = Arc::new(Network::open(NetworkConfig {
            run_dir: self.run_dir.clone(),
            claims_dir: network::CLAIMS_DIR.into(),
            pod_range: self.pod_range,
        })?);
        *opened = Some(Arc::clone(&network));
        Ok(network)
    }

    /// What the manifest's hostPorts and the command line's `-p` ask for.
    fn host_ports(&self, pod: &Pod) -> Vec<HostPort> {
        let of_manifest =
            pod.spec.all_containers().flat_map(|container| &container.ports).filter_map(|port| {
                Some(HostPort {
                    host_ip: port.host_ip.as_ref().and_then(|ip| ip.parse().ok()),
                    host_port: port.host_port?,
                    container_port: port.container_port,
                    protocol: match port.protocol {
                        Protocol::Tcp => network::Protocol::Tcp,
                        Protocol::Udp => network::Protocol::Udp,
                        Protocol::Sctp => network::Protocol::Sctp,
                    },
                })
            });
        let of_command_line = self.publish.iter().map(|publish| HostPort {
            host_ip: publish.host_ip,
            host_port: publish.host_port,
            container_port: publish.container_port,
            protocol: network::Protocol::Tcp,
        });
        of_manifest.chain(of_command_line).collect()
    }
}

/// The kernel's answers are waited for on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(NetworkError::Panicked(error)))
}
