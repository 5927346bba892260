//! One repository of a registry, asked over the distribution protocol (github.com/opencontainers/distribution-spec):
//! its mirrors first, each request again when it may help, downloads from where they broke off.
//!
//! Own code over an HTTP client rather than a registry client from elsewhere: mirrors in order, resumption, what a
//! redirect may carry along, and the registry's own words are what pulling consists of. Contents are not trusted here;
//! whoever asked for a digest checks it, for manifests and documents already here, since another endpoint may have
//! the right ones.

mod answer;
mod certificates;
mod challenge;
mod connection;
mod credential_helper;
mod credentials;
mod hosts;
mod words;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::mpsc;

pub(crate) use self::answer::{RegistryError, Status};
use self::connection::Connection;
pub(crate) use self::connection::Timeouts;
pub(crate) use self::credentials::files_of_this_user;
use self::credentials::{Credential, Keyring};
pub use self::credentials::{Credentials, CredentialsError};
use crate::archive::DOCUMENT_MAX_BYTES;
use crate::digest::Digest;
use crate::pipe::Piece;
use crate::reference::Reference;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const ANYTHING: &str = "*/*";
/// A download that came this far since it last broke has earned its tries anew.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How to reach registries.
pub(crate) struct Access<'a> {
    pub(crate) hosts: &'a Path,
    pub(crate) pull_secrets: &'a [Credentials],
    pub(crate) credential_files: &'a [PathBuf],
    pub(crate) helper_path: Option<&'a OsStr>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry_delay: Duration,
}

/// A repository, and how to talk to its registry. All that a download needs: it may linger for an instant after the pull.
pub(crate) struct Repository {
    endpoints: Vec<Connection>,
    /// The endpoint that last gave something: the next request begins there.
    current: AtomicUsize,
    retry_delay: Duration,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Resolve,
    Contents,
}

impl Repository {
    pub(crate) fn new(reference: &Reference, access: &Access<'_>) -> Result<Self, RegistryError> {
        let mut credentials = access.pull_secrets.to_vec();
        credentials.extend(Credentials::of_files(access.credential_files)?);
        let keyring = Arc::new(Keyring { credentials, helper_path: access.helper_path.map(OsStr::to_owned) });
        let endpoints = hosts::endpoints(access.hosts, reference.registry())?.into_iter().map(|endpoint| {
            let (registry, repository) = (reference.registry(), reference.repository());
            Connection::new(endpoint, registry, repository, Arc::clone(&keyring), access.timeouts)
        });
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { endpoints, current: AtomicUsize::new(0), retry_delay: access.retry_delay })
    }

    /// The manifest or index that a tag stands for now.
    pub(crate) async fn resolve(&self, tag: &str) -> Result<Vec<u8>, RegistryError> {
        self.small(Need::Resolve, &format!("manifests/{tag}"), None).await
    }

    /// The manifest or index `digest`.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        self.small(Need::Contents, &format!("manifests/{digest}"), Some(digest)).await
    }

    /// A small blob, such as a configuration.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        self.small(Need::Contents, &format!("blobs/{digest}"), Some(digest)).await
    }

    async fn small(&self, need: Need, path: &str, digest: Option<&Digest>) -> Result<Vec<u8>, RegistryError> {
        let mut failures = Failures::default();
        for (index, connection) in self.asked_for(need) {
            match self.small_from(connection, path, digest).await {
                Ok(bytes) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(error) => failures.note(connection, error),
            }
        }
        Err(failures.into_error(self))
    }

    async fn small_from(
        &self,
        connection: &Connection,
        path: &str,
        digest: Option<&Digest>,
    ) -> Result<Vec<u8>, RegistryError> {
        let accept = if path.starts_with("manifests/") { MANIFESTS } else { ANYTHING };
        let mut failures = 0;
        loop {
            let attempt = async {
                let mut response = connection.get(path, accept, 0).await?;
                connection.body(&mut response, DOCUMENT_MAX_BYTES).await
            };
            let error = match attempt.await {
                Ok(bytes) => return checked(connection, bytes, digest),
                Err(error) => error,
            };
            failures += 1;
            self.wait(error, failures).await?;
        }
    }

    /// Sends the blob `digest`, of which `bytes` are expected, piece by piece. Goes on where it broke off, if need be at
    /// the next endpoint: the digest of the whole is checked by the reader.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        bytes: Option<u64>,
        sink: &mpsc::Sender<Piece<Bytes>>,
    ) -> Result<(), RegistryError> {
        let mut download = Download { path: format!("blobs/{digest}"), offset: 0, bytes, sink };
        let mut failures = Failures::default();
        for (index, connection) in self.asked_for(Need::Contents) {
            match self.blob_from(connection, &mut download).await {
                Err(RegistryError::Stopped) => return Ok(()),
                Err(error) => failures.note(connection, error),
                Ok(()) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
        Err(failures.into_error(self))
    }

    async fn blob_from(
        &self,
        connection: &Connection,
        download: &mut Download<'_>,
    ) -> Result<(), RegistryError> {
        let (mut failures, mut since) = (0, download.offset);
        loop {
            let Err(error) = download.go_on(connection).await else { return Ok(()) };
            if download.offset - since >= PROGRESS_BYTES {
                (failures, since) = (0, download.offset);
            }
            failures += 1;
            self.wait(error, failures).await?;
        }
    }

    /// The credential that opened the endpoint that last gave something.
    pub(crate) async fn accepted(&self) -> Option<Credential> {
        self.endpoints.get(self.first_asked())?.accepted().await
    }

    /// The endpoint that is asked first now, by its place.
    pub(crate) fn first_asked(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// What the endpoint at `place` gave was damaged: those after it are asked from now on. `false`: there are none.
    pub(crate) fn distrust(&self, place: usize) -> bool {
        self.current.fetch_max((place + 1).min(self.endpoints.len() - 1), Ordering::Relaxed);
        place + 1 < self.endpoints.len()
    }

    /// The endpoints to ask, from the one that last gave something. A tag is always asked for from the first.
    fn asked_for(&self, need: Need) -> impl Iterator<Item = (usize, &Connection)> {
        let first = if need == Need::Resolve { 0 } else { self.current.load(Ordering::Relaxed) };
        self.endpoints.iter().enumerate().skip(first).filter(move |(_, connection)| match need {
            Need::Resolve => connection.endpoint.can_resolve,
            Need::Contents => connection.endpoint.can_pull,
        })
    }

    async fn wait(&self, error: RegistryError, failures: u32) -> Result<(), RegistryError> {
        let Some(delay) = error.retry_after(failures, self.retry_delay) else { return Err(error) };
        tracing::debug!(%error, ?delay, "asking a registry again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// What the endpoints that were asked in vain said.
#[derive(Default)]
struct Failures {
    last: Option<RegistryError>,
    before: Vec<String>,
}

impl Failures {
    fn note(&mut self, connection: &Connection, error: RegistryError) {
        tracing::debug!(%error, host = connection.endpoint.host(), "an endpoint did not give what was asked for");
        self.before.extend(self.last.replace(error).map(|error| error.to_string()));
    }

    fn into_error(self, repository: &Repository) -> RegistryError {
        match self.last {
            Some(last) if self.before.is_empty() => last,
            Some(last) => RegistryError::Everywhere { last: Box::new(last), mirrors: self.before },
            None => {
                let host = repository.endpoints.last().map(|connection| connection.endpoint.host());
                let what = "nothing: its hosts.toml leaves nobody to pull from".to_owned();
                RegistryError::Nonsense { host: host.unwrap_or_default(), what }
            }
        }
    }
}

fn checked(
    connection: &Connection,
    bytes: Vec<u8>,
    digest: Option<&Digest>,
) -> Result<Vec<u8>, RegistryError> {
    match digest {
        Some(digest) if Digest::of(&bytes) != *digest => {
            Err(RegistryError::Damaged { host: connection.endpoint.host(), digest: digest.clone() })
        }
        _ => Ok(bytes),
    }
}

/// A blob on its way.
struct Download<'a> {
    path: String,
    offset: u64,
    bytes: Option<u64>,
    sink: &'a mpsc::Sender<Piece<Bytes>>,
}

impl Download<'_> {
    async fn go_on(&mut self, connection: &Connection) -> Result<(), RegistryError> {
        if self.offset > 0 && self.bytes == Some(self.offset) {
            // It broke after the last byte.
            let _ = self.sink.send(Piece::End).await;
            return Ok(());
        }
        let mut response = connection.get(&self.path, ANYTHING, self.offset).await?;
        let is_measured = response.content_length().is_some();
        // A server that does not know ranges begins anew.
        let mut skip = self.offset;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            if range.and_then(first_byte) != Some(self.offset) {
                let what = "another part of a blob than was asked for".to_owned();
                return Err(RegistryError::Nonsense { host: connection.endpoint.host(), what });
            }
            skip = 0;
        }
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| connection.failed(&error, self.progress()))? else {
                break;
            };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let fresh = chunk.slice(skipped as usize..);
            if fresh.is_empty() {
                continue;
            }
            self.offset += fresh.len() as u64;
            if self.sink.send(Piece::Bytes(fresh)).await.is_err() {
                return Err(RegistryError::Stopped);
            }
        }
        // A body without a length ends where its connection does; a whole one that is too short is the reader's to tell.
        if !is_measured && self.bytes.is_some_and(|bytes| self.offset < bytes) {
            let cause = "it ended too early".to_owned();
            return Err(RegistryError::Broken {
                host: connection.endpoint.host(),
                progress: self.progress(),
                cause,
            });
        }
        // A reader that is gone has a failure of its own to tell.
        let _ = self.sink.send(Piece::End).await;
        Ok(())
    }

    fn progress(&self) -> String {
        match self.bytes {
            Some(bytes) => format!(" after {} of {bytes} bytes", self.offset),
            None => format!(" after {} bytes", self.offset),
        }
    }
}

/// `bytes 100-199/200` begins at 100.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
