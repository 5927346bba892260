//! What can go wrong between a caller and a shim.

use std::path::PathBuf;

use crate::{Key, StartError};

/// What went wrong between a caller and a shim, or in what the shim was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, container or exec could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The spec asks for what cannot be planned.
    #[error("the OCI spec of {key} cannot be carried out: {reason}")]
    Spec {
        /// Whose spec.
        key: Key,
        /// What is wrong with it.
        reason: String,
    },
    /// The shim could not be started or reached.
    #[error("cannot {attempt} the shim of {}", pod_dir.display())]
    Shim {
        /// What was attempted.
        attempt: &'static str,
        /// Whose shim.
        pod_dir: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The shim went away before it answered.
    #[error("the shim of {} went away before it answered (see shim.log there)", pod_dir.display())]
    Gone {
        /// Whose shim.
        pod_dir: PathBuf,
    },
    /// The shim speaks another version of the protocol, or nonsense.
    #[error("the shim of {} speaks an unknown protocol: {reason}", pod_dir.display())]
    Protocol {
        /// Whose shim.
        pod_dir: PathBuf,
        /// What was not understood.
        reason: String,
    },
    /// The shim was started by an older podling that could not do this.
    #[error(
        "cannot {attempt} in {}: its shim was started by an older podling (protocol {has}, needed is {needed}) and lives \
         as long as its Pod; delete the Pod and make it anew to use this",
        pod_dir.display()
    )]
    TooOld {
        /// What was attempted.
        attempt: &'static str,
        /// Whose shim.
        pod_dir: PathBuf,
        /// What it speaks.
        has: u32,
        /// What would be needed.
        needed: u32,
    },
    /// An act on something that exists failed.
    #[error("cannot {attempt} {key}: {reason}")]
    Act {
        /// What was attempted, like "signal".
        attempt: &'static str,
        /// On what.
        key: Key,
        /// Why not.
        reason: String,
        /// The kernel's error number, if the kernel refused.
        errno: Option<i32>,
    },
}
