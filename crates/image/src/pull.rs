//! `podling image pull`, and the images that Pods name: from a registry into the store, all of an image or nothing.
//!
//! Manifest and configuration are fetched first and say what layers there are; those that the store lacks are unpacked
//! while they are downloaded, three at a time. Whoever else pulls the same layer, in this process or another, waits for it
//! and does not download it again. Every byte is checked against the digest that led to it.
//!
//! The HTTP client and TLS come to life here, when something is pulled, and not before: starting podling must not pay.

mod failure;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::failure::{Cause, FirstFailure};
pub use self::failure::{PullError, PullReason};
use crate::archive::DOCUMENT_MAX_BYTES;
use crate::commit::{Config, NewImage, NewName};
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::{self, Expected, Work};
use crate::manifest::{self, Document};
use crate::pipe::{Piece, channel};
use crate::progress::Progress;
use crate::record::{Image, LayerRecord, runs_here};
use crate::reference::Reference;
use crate::staging::Session;
use crate::store::{Hold, Images};

const LAYERS_AT_ONCE: usize = 3;
const ACCEPT: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Registries (host and port) spoken to without TLS. Those on loopback always are.
    pub plain_http: Vec<String>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a registry may send nothing.
    pub read_timeout: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// A repository, and how to talk to its registry. All that a download needs: it may linger for an instant after the pull.
struct Remote {
    client: Client,
    reference: oci_client::Reference,
}

/// What the tasks of one pull share.
struct Pull {
    remote: Arc<Remote>,
    session: Session,
    progress: Arc<dyn Progress>,
    stop: AtomicBool,
    downloads: Semaphore,
    /// Layers may have been finished that no image has yet.
    has_loose_layers: AtomicBool,
}

impl Pull {
    /// Removes finished layers that no image came to use.
    fn drop_loose_layers(&self) -> Result<(), Error> {
        if self.has_loose_layers.swap(false, Ordering::Relaxed) {
            let lock = self.session.store().lock()?;
            self.session.store().collect_garbage(&self.session, &lock)?;
        }
        Ok(())
    }
}

/// An abandoned pull (its future was dropped) ends here, with its last task.
impl Drop for Pull {
    fn drop(&mut self) {
        if let Err(error) = self.drop_loose_layers() {
            tracing::warn!(%error, "cannot remove the layers of an abandoned pull; the next clean-up will");
        }
    }
}

/// Stops what is still under way when the pull fails or is abandoned.
struct StopOnDrop(Arc<Pull>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Images {
    /// Pulls `reference`, whether it is here already or not: a tag may have moved. Layers that are here are not fetched.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, PullError> {
        let result = self.pull_image(reference, options, progress).await;
        result.map_err(|cause| cause.of(reference))
    }

    async fn pull_image(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, Cause> {
        let client = client(reference, options)?;
        let store = self.clone();
        let session = blocking(move || Ok(Session::begin(&store)?)).await?;
        let pull = Arc::new(Pull {
            remote: Arc::new(Remote { client, reference: remote_reference(reference) }),
            session,
            progress,
            stop: AtomicBool::new(false),
            downloads: Semaphore::new(LAYERS_AT_ONCE),
            has_loose_layers: AtomicBool::new(false),
        });
        let _stop = StopOnDrop(Arc::clone(&pull));
        let remote_image = pull.remote.fetch_image(reference).await?;
        let layers = match self.pin_image(&remote_image.config.id)? {
            Some(hold) => Ok((vec![hold], Vec::new())),
            None => pull.fetch_layers(&remote_image.layers).await,
        };
        let (pull, reference) = (Arc::clone(&pull), reference.clone());
        blocking(move || pull.finish(&reference, &remote_image, layers)).await
    }
}

/// An image as its registry describes it.
struct RemoteImage {
    config: Config,
    manifest: Vec<u8>,
    /// What the reference led to: the index if there is one, else the manifest.
    target: Digest,
    layers: Vec<Arc<Expected>>,
}

impl Remote {
    async fn fetch_image(&self, reference: &Reference) -> Result<RemoteImage, Cause> {
        let what = reference.to_string();
        let (mut bytes, target) = self.fetch_manifest(&self.reference, reference.digest(), &what).await?;
        let mut parsed = manifest::parse(&what, &bytes)?;
        if let Document::Index(index) = &parsed {
            let entries: Vec<_> = index.manifests().iter().collect();
            let digest = manifest::digest(&what, manifest::choose(&what, &entries)?)?;
            let chosen = self.reference.clone_with_digest(digest.to_string());
            (bytes, _) = self.fetch_manifest(&chosen, Some(&digest), &what).await?;
            parsed = manifest::parse(&what, &bytes)?;
        }
        let Document::Manifest(parsed) = parsed else {
            return Err(Error::invalid(what, "its index leads to another index").into());
        };
        let config_digest = manifest::digest(&what, parsed.config())?;
        let config_bytes = self.fetch_document(&config_digest).await?;
        let config =
            Config::parse(&format!("the configuration of {what}"), config_bytes, Some(&config_digest))?;
        if !runs_here(config.parsed.os(), config.parsed.architecture()) {
            return Err(Error::WrongPlatform {
                name: reference.familiar(),
                image: crate::record::platform(config.parsed.os(), config.parsed.architecture(), None),
                host: crate::record::host_platform(),
            }
            .into());
        }
        let layers = manifest::expected_layers(&what, &parsed, &config)?;
        let layers = layers.into_iter().map(|(_, expected)| Arc::new(expected)).collect();
        Ok(RemoteImage { config, manifest: bytes, target, layers })
    }

    async fn fetch_manifest(
        &self,
        remote: &oci_client::Reference,
        expected: Option<&Digest>,
        what: &str,
    ) -> Result<(Vec<u8>, Digest), Cause> {
        let (bytes, _) = self.client.pull_manifest_raw(remote, &RegistryAuth::Anonymous, &ACCEPT).await?;
        let actual = Digest::of(&bytes);
        match expected {
            Some(expected) if *expected != actual => {
                let what = format!("the manifest of {what}");
                Err(Error::DigestMismatch { what, expected: expected.clone(), actual }.into())
            }
            _ => Ok((bytes.to_vec(), actual)),
        }
    }

    async fn fetch_document(&self, digest: &Digest) -> Result<Vec<u8>, Cause> {
        let mut stream = self.client.pull_blob_stream(&self.reference, digest.as_str()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(Cause::from_stream)?);
            if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
                return Err(Error::invalid(digest.to_string(), "a configuration of more than 8 MiB").into());
            }
        }
        Ok(bytes)
    }

    async fn download(&self, expected: &Expected, sender: &mpsc::Sender<Piece>) -> Result<(), Cause> {
        let blob = expected.blob.as_ref().unwrap_or(&expected.diff_id);
        let mut stream = self.client.pull_blob_stream(&self.reference, blob.as_str()).await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(Cause::from_stream)?;
            if sender.send(Piece::Bytes(Vec::from(chunk))).await.is_err() {
                return Ok(());
            }
        }
        let _ = sender.send(Piece::End).await;
        Ok(())
    }
}

impl Pull {
    async fn fetch_layers(
        self: &Arc<Self>,
        layers: &[Arc<Expected>],
    ) -> Result<(Vec<Hold>, Vec<LayerRecord>), Cause> {
        self.has_loose_layers.store(true, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for (index, expected) in layers.iter().enumerate() {
            let (pull, expected) = (Arc::clone(self), Arc::clone(expected));
            tasks.spawn(async move { pull.fetch_layer(expected).await.map(|pinned| (index, pinned)) });
        }
        let mut first_failure = FirstFailure::default();
        let mut done = Vec::with_capacity(layers.len());
        while let Some(joined) = tasks.join_next().await {
            match joined.map_err(Cause::from_join).and_then(|result| result) {
                Ok(layer) => done.push(layer),
                Err(cause) => {
                    self.stop.store(true, Ordering::Relaxed);
                    first_failure.note(cause);
                }
            }
        }
        first_failure.into_result()?;
        done.sort_by_key(|(index, _)| *index);
        Ok(done.into_iter().map(|(_, pinned)| pinned).unzip())
    }

    async fn fetch_layer(self: Arc<Self>, expected: Arc<Expected>) -> Result<(Hold, LayerRecord), Cause> {
        let pull = Arc::clone(&self);
        let _permit = pull.downloads.acquire().await.map_err(|_| Error::Stopped)?;
        let runtime = Handle::current();
        blocking(move || {
            let why = Arc::new(std::sync::Mutex::new(None));
            let open = || {
                let (sender, reader) = channel();
                // The download begins only when the layer is really missing, after any wait for another process.
                let (remote, why, expected) =
                    (Arc::clone(&self.remote), Arc::clone(&why), Arc::clone(&expected));
                runtime.spawn(async move {
                    if let Err(cause) = remote.download(&expected, &sender).await {
                        let error = io::Error::other(cause.to_string());
                        *failure::locked(&why) = Some(cause);
                        // A reader that is gone has a failure of its own to tell.
                        let _ = sender.send(Piece::Failed(error)).await;
                    }
                });
                Ok(reader)
            };
            let work = Work { session: &self.session, progress: &*self.progress, stop: &self.stop };
            let result = layer::ensure(&work, &expected, open);
            // The download's own failure says more than "the stream ended".
            result.map_err(|error| failure::locked(&why).take().unwrap_or_else(|| error.into()))
        })
        .await
    }

    fn finish(
        &self,
        reference: &Reference,
        remote: &RemoteImage,
        layers: Result<(Vec<Hold>, Vec<LayerRecord>), Cause>,
    ) -> Result<Image, Cause> {
        let store = self.session.store();
        let (_holds, records) = match layers {
            Ok(layers) => layers,
            Err(cause) => {
                self.drop_loose_layers()?;
                return Err(cause);
            }
        };
        let manifest = Digest::of(&remote.manifest);
        let name = |reference: Reference| NewName {
            manifest: Some(manifest.clone()),
            target: Some(remote.target.clone()),
            ..NewName::plain(reference)
        };
        let mut names = vec![name(reference.clone()), name(reference.with_digest(remote.target.clone()))];
        names.dedup_by(|a, b| a.reference == b.reference);
        let new =
            NewImage { config: &remote.config, layers: &records, manifest: Some(&remote.manifest), names };
        let _hold = store.commit_image(&self.session, new)?;
        self.has_loose_layers.store(false, Ordering::Relaxed);
        let gone = || Error::NotFound { name: reference.to_string(), store: store.root().to_owned() };
        Ok(store.find(reference)?.ok_or_else(gone)?)
    }
}

fn remote_reference(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
    match reference.digest() {
        Some(digest) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
        None => {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            oci_client::Reference::with_tag(registry, repository, tag)
        }
    }
}

fn client(reference: &Reference, options: &PullOptions) -> Result<Client, Cause> {
    // The first provider of the process stays; a second installation is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = reference.registry().to_owned();
    let host = registry.split(':').next().unwrap_or_default().to_owned();
    let is_near = is_loopback(&registry);
    let is_plain = is_near || options.plain_http.contains(&registry);
    let config = ClientConfig {
        protocol: if is_plain { ClientProtocol::HttpsExcept(vec![registry]) } else { ClientProtocol::Https },
        connect_timeout: Some(options.connect_timeout),
        read_timeout: Some(options.read_timeout),
        user_agent: concat!("podling/", env!("CARGO_PKG_VERSION")),
        platform_resolver: None,
        // A proxy from the environment is never asked for loopback, as in Go's programs. The client has no switch for that;
        // naming a proxy that is not used for this host replaces those of the environment.
        http_proxy: is_near.then(|| "http://127.0.0.1:9".to_owned()),
        no_proxy: is_near.then_some(host),
        ..ClientConfig::default()
    };
    Ok(Client::try_from(config)?)
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(Cause::from_join)?
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_loopback_goes_without_tls_unasked() {
        assert!(is_loopback("localhost:5000") && is_loopback("127.0.0.1") && is_loopback("127.9.9.9:80"));
        assert!(
            !is_loopback("docker.io")
                && !is_loopback("10.0.0.1:5000")
                && !is_loopback("localhost.example.com")
        );
    }
}
