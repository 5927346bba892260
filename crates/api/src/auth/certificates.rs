//! The certificates of a node: its own authority, what the server shows, and what its clients show: the administrator, the
//! node, and the server itself where it calls nodes.
//!
//! ```text
//! DATA_DIR/pki/ca.pem          the authority: certificate and key, ten years
//!              apiserver.pem   what the server shows, for its names          ┐
//!              admin.pem       kubernetes-admin in system:masters             ├ a year, made anew after two thirds of it
//!              node.pem        system:node:NAME in system:nodes               │
//!              node-client.pem what nodes of other processes are shown       ┘
//! ```
//!
//! Each file has a certificate and its key, so that both change in one rename(2). They are made once and looked at with each start:
//! what cannot be used is told by name, and never replaced in silence, except what is only due.

mod authority;
mod files;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use super::pem_file;
use crate::user::User;
use authority::Authority;
use files::Pair;
use tls::Shown;

/// How long the authority lives.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long the others live.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Clocks of clients may be slow.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// A timer does not run while the machine sleeps, and the clock may be set; so it is looked at once a day.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// Who the server is where it calls a node, as kubeadm names it.
const NODE_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Names by which every API server inside a cluster is called.
const CLUSTER_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Something with a certificate does not work.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file system refused.
    #[error("{attempt} {} failed", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file does not have a certificate and its key.
    #[error("{} is damaged ({damage}): bring it back from a backup, or remove it to have it made anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: &'static str,
    },
    /// The authority is too old. Nothing that it has signed is valid any more.
    #[error(
        "the authority in {} expired at {at}: remove the directory {} to have all certificates made anew, \
         and give clients the new kubeconfig",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// A certificate of another authority.
    #[error("{} was not signed by the authority in ca.pem beside it: remove it to have it made anew", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// Certificates without their authority: making a new one would end them all.
    #[error("{} is missing, but certificates that it signed are there: bring it back, or remove them too", path.display())]
    NoAuthority {
        /// The authority's file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("making the certificate for {} failed", path.display())]
    Make {
        /// Its file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: rcgen::Error,
    },
    /// TLS does not take it.
    #[error("setting up TLS with the certificates in {} failed", directory.display())]
    Tls {
        /// Where they are.
        directory: PathBuf,
        /// What went wrong.
        #[source]
        source: rustls::Error,
    },
}

/// What the certificates are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The node's name.
    pub node: String,
    /// Names and addresses of the server, beside those it always has: the machine's name, addresses it listens on, the
    /// address of the Service `kubernetes`.
    pub server: Vec<String>,
}

/// A client's certificate and key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key, a secret.
    pub key_pem: String,
}

/// The certificates of a node, valid and renewed.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    names: Names,
    authority: Authority,
    server: Pair,
    admin: Pair,
    node: Pair,
    node_client: Pair,
    shown: Arc<Shown>,
}

impl Certificates {
    /// Reads the certificates in `DATA_DIR/pki`, and makes what is not there or due.
    ///
    /// # Errors
    /// What cannot be used, and what to do about it.
    pub fn ensure(directory: &Path, names: Names, now: Timestamp) -> Result<Self, CertificateError> {
        pem_file::make_directory(directory).map_err(|source| CertificateError::Io {
            attempt: "making",
            path: directory.to_owned(),
            source,
        })?;
        let authority = Authority::ensure(directory, now)?;
        let server = authority.ensure_server(&directory.join("apiserver.pem"), &server_names(&names), now)?;
        let admin =
            authority.ensure_client(&directory.join("admin.pem"), "kubernetes-admin", User::MASTERS, now)?;
        let node =
            authority.ensure_node(&directory.join("node.pem"), &names.node, super::bootstrap::NODES, now)?;
        let node_client =
            authority.ensure_client(&directory.join("node-client.pem"), NODE_CLIENT, User::MASTERS, now)?;
        let shown = Shown::new(&server).map_err(|source| tls_error(directory, source))?;
        let directory = directory.to_owned();
        let shown = Arc::new(shown);
        Ok(Self { directory, names, authority, server, admin, node, node_client, shown })
    }

    /// When the next of them is due.
    pub fn due_at(&self) -> Timestamp {
        let all = [&self.server, &self.admin, &self.node, &self.node_client];
        all.map(Pair::due_at).into_iter().min().unwrap_or(Timestamp::MAX)
    }

    /// Makes anew what is due. Connections that are made from then on are shown the new certificate.
    ///
    /// # Errors
    /// As [`Certificates::ensure`]; what was there goes on to be used.
    pub fn renew(&mut self, now: Timestamp) -> Result<(), CertificateError> {
        let fresh = Self::ensure(&self.directory, self.names.clone(), now)?;
        self.shown.replace(&fresh.server).map_err(|source| tls_error(&self.directory, source))?;
        let shown = Arc::clone(&self.shown);
        *self = Self { shown, ..fresh };
        Ok(())
    }

    /// What a server needs: TLS 1.2 and newer, HTTP/2 and HTTP/1.1, and client certificates of this authority; none is
    /// allowed, for clients with tokens, and one of somebody else is refused.
    ///
    /// # Errors
    /// When rustls does not take the authority.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        tls::server_config(&self.authority, Arc::clone(&self.shown))
            .map_err(|source| tls_error(&self.directory, source))
    }

    /// What the server needs to call nodes of other processes, which show a certificate of this authority for their name.
    ///
    /// # Errors
    /// When rustls does not take the certificates.
    pub fn node_client_config(&self) -> Result<ClientConfig, CertificateError> {
        tls::client_config(&self.authority, &self.node_client)
            .map_err(|source| tls_error(&self.directory, source))
    }

    /// The authority's certificate: `ca.crt` of the ConfigMap `kube-root-ca.crt`, and of clients.
    pub fn authority_pem(&self) -> &str {
        &self.authority.pair.certificate_pem
    }

    /// The same in DER.
    pub fn authority_der(&self) -> &CertificateDer<'static> {
        &self.authority.pair.certificate
    }

    /// The administrator: may do everything.
    pub fn admin(&self) -> Client {
        self.admin.client()
    }

    /// The node.
    pub fn node(&self) -> Client {
        self.node.client()
    }
}

/// What a node needs that serves logs and exec by itself: its own certificate for its name, and clients of the same authority.
///
/// # Errors
/// When rustls does not take the certificates.
pub fn node_server_config(authority_pem: &str, node: &Client) -> Result<ServerConfig, rustls::Error> {
    tls::node_server_config(authority_pem, node)
}

/// Renews certificates when they are due, and tells each time. Ends never; to be dropped.
pub async fn keep_renewed(
    certificates: &tokio::sync::Mutex<Certificates>,
    mut renewed: impl FnMut(&Certificates),
) -> std::convert::Infallible {
    loop {
        let wait = {
            let certificates = certificates.lock().await;
            let left = certificates.due_at().duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default().min(LONGEST_SLEEP)
        };
        tokio::time::sleep(wait).await;
        let mut certificates = certificates.lock().await;
        if Timestamp::now() < certificates.due_at() {
            continue;
        }
        match certificates.renew(Timestamp::now()) {
            Ok(()) => renewed(&certificates),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "certificates could not be renewed"
                );
                drop(certificates);
                // A third of their life is left; a full disk may be made free until then.
                tokio::time::sleep(LONGEST_SLEEP / 24).await;
            }
        }
    }
}

/// Every name of the server, each once.
fn server_names(names: &Names) -> Vec<String> {
    let mut all: Vec<String> = CLUSTER_NAMES.iter().map(|name| (*name).to_owned()).collect();
    for name in names.server.iter().chain([&names.node]) {
        if !name.is_empty() && !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

fn tls_error(directory: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Tls { directory: directory.to_owned(), source }
}

impl std::fmt::Debug for Client {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}
