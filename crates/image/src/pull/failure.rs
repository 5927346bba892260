//! Why a pull failed, as data: the Pod's status, retries and hints depend on it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use crate::error::Error;
use crate::reference::Reference;

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
    /// The local image store failed (disk full, for one).
    #[error("the image cannot be stored")]
    Store,
}

/// A pull that failed; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull {reference}: {reason}")]
pub struct PullError {
    reference: String,
    reason: PullReason,
    #[source]
    source: Box<dyn StdError + Send + Sync>,
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
    source: Box<dyn StdError + Send + Sync>,
}

impl Cause {
    pub(super) fn of(self, reference: &Reference) -> PullError {
        PullError { reference: reference.to_string(), reason: self.reason, source: self.source }
    }

    /// A failure in the middle of a blob: its digest was wrong at the end, or the connection broke.
    pub(super) fn from_stream(error: io::Error) -> Self {
        let is_digest = error.get_ref().is_some_and(|inner| inner.is::<DigestError>());
        let reason = if is_digest { PullReason::DigestMismatch } else { PullReason::Unreachable };
        Self { reason, source: error.into() }
    }

    pub(super) fn from_join(error: tokio::task::JoinError) -> Self {
        Self { reason: PullReason::Store, source: error.into() }
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
        Self { reason, source: error.into() }
    }
}

impl From<OciDistributionError> for Cause {
    fn from(error: OciDistributionError) -> Self {
        Self { reason: reason(&error), source: error.into() }
    }
}

fn reason(error: &OciDistributionError) -> PullReason {
    use OciDistributionError as E;
    match error {
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => PullReason::Unauthorized,
        E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => PullReason::NotFound,
        E::ServerError { code: 401 | 403, .. } => PullReason::Unauthorized,
        E::ServerError { code: 429, .. } => PullReason::RateLimited,
        E::DigestError(_) => PullReason::DigestMismatch,
        E::RegistryError { envelope, .. } => envelope
            .errors
            .iter()
            .map(|error| of_code(&error.code))
            .find(|r| *r != PullReason::Registry)
            .unwrap_or(PullReason::Registry),
        // An answer that is no HTTP, or a body that breaks off, is the network's or the registry's, not ours.
        E::RequestError(error) if error.is_builder() => PullReason::Invalid,
        E::RequestError(_) | E::IoError(_) => PullReason::Unreachable,
        _ => PullReason::Registry,
    }
}

fn of_code(code: &OciErrorCode) -> PullReason {
    match code {
        OciErrorCode::ManifestUnknown
        | OciErrorCode::NameUnknown
        | OciErrorCode::NotFound
        | OciErrorCode::BlobUnknown
        | OciErrorCode::ManifestBlobUnknown => PullReason::NotFound,
        OciErrorCode::Unauthorized | OciErrorCode::Denied => PullReason::Unauthorized,
        OciErrorCode::Toomanyrequests => PullReason::RateLimited,
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
