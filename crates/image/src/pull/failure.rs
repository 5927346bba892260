//! Why a pull failed, as data: the Pod's status, retries and hints depend on it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::reference::Reference;
use crate::registry::{RegistryError, Status};

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullReason {
    /// The registry knows no such repository, tag or digest.
    #[error("the registry has no such image (is the name or tag right?)")]
    NotFound,
    /// The registry wants credentials, or does not tell strangers whether the image exists.
    #[error("the registry refuses access: the image does not exist or needs credentials")]
    Unauthorized,
    /// Too many pulls.
    #[error("the registry allows no more pulls for now")]
    RateLimited,
    /// No connection, or it broke.
    #[error("the registry cannot be reached")]
    Unreachable,
    /// What came is not what its digest says.
    #[error("the registry sent damaged contents")]
    DigestMismatch,
    /// There is no build for this machine.
    #[error("the image is not built for this machine")]
    WrongPlatform,
    /// The image is malformed, or uses what podling does not read.
    #[error("the image cannot be used")]
    Invalid,
    /// The registry failed, or speaks another protocol.
    #[error("the registry failed")]
    Registry,
    /// Credentials or registry settings of this machine or Pod cannot be used.
    #[error("the registry's settings or credentials here cannot be used")]
    Configuration,
    /// The local image store failed (disk full, for one).
    #[error("the image cannot be stored")]
    Store,
}

/// A pull that failed; nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot pull {reference}: {reason}")]
pub struct PullError {
    reference: String,
    reason: PullReason,
    #[source]
    source: Arc<dyn StdError + Send + Sync>,
}

impl PullError {
    /// What kind of failure it was.
    pub fn reason(&self) -> PullReason {
        self.reason
    }

    /// The reason of the container's waiting state. The kubelet has one for all failed pulls.
    pub fn kubernetes_reason(&self) -> &'static str {
        "ErrImagePull"
    }

    /// Whether the same pull may succeed later without anybody changing anything at this end.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.reason,
            PullReason::RateLimited
                | PullReason::Unreachable
                | PullReason::DigestMismatch
                | PullReason::Registry
        )
    }
}

/// A failure before the reference is put to it.
#[derive(Debug)]
pub(super) struct Cause {
    reason: PullReason,
    source: Arc<dyn StdError + Send + Sync>,
}

impl Cause {
    pub(super) fn of(self, reference: &Reference) -> PullError {
        PullError { reference: reference.to_string(), reason: self.reason, source: self.source }
    }

    pub(super) fn from_join(error: tokio::task::JoinError) -> Self {
        Self { reason: PullReason::Store, source: Arc::new(error) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(formatter)
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::WrongPlatform { .. } | Error::NoPlatform { .. } => PullReason::WrongPlatform,
            Error::Invalid { .. } | Error::Digest { .. } | Error::Json { .. } => PullReason::Invalid,
            error if error.is_digest_mismatch() => PullReason::DigestMismatch,
            error if error.is_disk_full() => PullReason::Store,
            Error::Layer { .. } => PullReason::Invalid,
            _ => PullReason::Store,
        };
        Self { reason, source: Arc::new(error) }
    }
}

impl From<RegistryError> for Cause {
    fn from(error: RegistryError) -> Self {
        Self { reason: reason(&error), source: Arc::new(error) }
    }
}

fn reason(error: &RegistryError) -> PullReason {
    use RegistryError as E;
    match error {
        E::Answer { status, code, .. } => {
            code.as_deref().and_then(of_code).unwrap_or_else(|| of_status(*status))
        }
        E::Connect { .. } | E::Broken { .. } | E::Silent { .. } => PullReason::Unreachable,
        E::Nonsense { .. } => PullReason::Registry,
        E::Damaged { .. } => PullReason::DigestMismatch,
        E::NoCredentials { .. } => PullReason::Unauthorized,
        E::Credentials(_) | E::Configuration { .. } => PullReason::Configuration,
        E::Everywhere { last, .. } => reason(last),
        E::Stopped => PullReason::Store,
    }
}

/// The codes of the distribution specification (spec.md, "Error Codes") that say more than the status.
fn of_code(code: &str) -> Option<PullReason> {
    match code {
        "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND" | "BLOB_UNKNOWN" | "MANIFEST_BLOB_UNKNOWN" => {
            Some(PullReason::NotFound)
        }
        "UNAUTHORIZED" | "DENIED" => Some(PullReason::Unauthorized),
        "TOOMANYREQUESTS" => Some(PullReason::RateLimited),
        _ => None,
    }
}

fn of_status(Status(status): Status) -> PullReason {
    match status {
        404 => PullReason::NotFound,
        401 | 403 => PullReason::Unauthorized,
        429 => PullReason::RateLimited,
        _ => PullReason::Registry,
    }
}

/// The failure that began it all: those after it are mostly layers that were told to stop.
#[derive(Default)]
pub(super) struct FirstFailure(Option<Cause>);

impl FirstFailure {
    pub(super) fn note(&mut self, cause: Cause) {
        self.0.get_or_insert(cause);
    }

    pub(super) fn into_result(self) -> Result<(), Cause> {
        self.0.map_or(Ok(()), Err)
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
