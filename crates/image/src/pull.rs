//! `podling image pull`, and the images that Pods name: from a registry into the store, all of an image or nothing.
//!
//! Manifest and configuration are fetched first and say what layers there are; those that the store lacks are unpacked
//! while they are downloaded, three at a time. Whoever else pulls the same layer, in this process or another, waits for it
//! and does not download it again. Every byte is checked against the digest that led to it.
//!
//! What a registry is asked, and how, is `registry`'s. The HTTP client and TLS come to life here, when something is pulled, and not before: starting podling must not pay.

mod failure;
mod flight;
mod queue;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::failure::{Cause, FirstFailure};
pub use self::failure::{PullError, PullReason};
use self::queue::Queue;
use crate::access::PulledWith;
use crate::commit::{Config, NewImage, NewName};
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::{self, Expected, Work};
use crate::manifest::{self, Document};
use crate::pipe::{Piece, channel};
use crate::progress::Progress;
use crate::record::{Image, LayerRecord, runs_here};
use crate::reference::Reference;
use crate::registry::{Access, Credentials, Repository, Timeouts, files_of_this_user};
use crate::staging::Session;
use crate::store::{Hold, Images};

/// Of one image. All pulls of a process together have a limit too, in `flight`.
const LAYERS_AT_ONCE: usize = 3;

/// How to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullOptions {
    /// Where `HOST/hosts.toml` says how to reach a registry and its mirrors.
    pub hosts: PathBuf,
    /// Credentials that come before those of this machine, such as a Pod's.
    pub pull_secrets: Vec<Credentials>,
    /// Files with credentials, in Docker's format; those that are not there are passed over.
    pub credential_files: Vec<PathBuf>,
    /// Where credential helpers are looked for, instead of in `PATH`.
    pub helper_path: Option<OsString>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a registry may send nothing.
    pub read_timeout: Duration,
    /// How long to wait before a request is made for the second time; doubles with each further one.
    pub retry_delay: Duration,
}

impl Default for PullOptions {
    /// Without any files of this machine.
    fn default() -> Self {
        Self {
            hosts: PathBuf::from("/nonexistent"),
            pull_secrets: Vec::new(),
            credential_files: Vec::new(),
            helper_path: None,
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
            retry_delay: Duration::from_millis(500),
        }
    }
}

impl PullOptions {
    /// Where the registries' settings are when nothing else is said.
    pub const DEFAULT_HOSTS: &'static str = "/etc/podling/certs.d";

    /// With the settings and credentials of this machine and user, where the environment says that they are:
    /// `PODLING_CERTS_D`, `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR`, `HOME`.
    pub fn of_this_machine() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            hosts: variable("PODLING_CERTS_D").unwrap_or_else(|| PathBuf::from(Self::DEFAULT_HOSTS)),
            credential_files: files_of_this_user(variable),
            ..Self::default()
        }
    }

    fn repository(&self, reference: &Reference) -> Result<Repository, Cause> {
        let access = Access {
            hosts: &self.hosts,
            pull_secrets: &self.pull_secrets,
            credential_files: &self.credential_files,
            helper_path: self.helper_path.as_deref(),
            timeouts: Timeouts { connect: self.connect_timeout, read: self.read_timeout },
            retry_delay: self.retry_delay,
        };
        Ok(Repository::new(reference, &access)?)
    }
}

/// What the tasks of one pull share.
struct Pull {
    repository: Arc<Repository>,
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
    /// Who pulls the same in the same way at the same time waits for the first one's result.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, PullError> {
        flight::join(self, reference, options, progress).await
    }

    async fn pull_image(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, Cause> {
        let repository = options.repository(reference)?;
        let store = self.clone();
        let session = blocking(move || Ok(Session::begin(&store)?)).await?;
        let pull = Arc::new(Pull {
            repository: Arc::new(repository),
            session,
            progress,
            stop: AtomicBool::new(false),
            downloads: Semaphore::new(LAYERS_AT_ONCE),
            has_loose_layers: AtomicBool::new(false),
        });
        let _stop = StopOnDrop(Arc::clone(&pull));
        let remote_image = RemoteImage::fetch(&pull, reference).await?;
        let layers = match self.pin_image(&remote_image.config.id)? {
            Some(hold) => Ok((vec![hold], Vec::new())),
            None => pull.fetch_layers(&remote_image.layers).await,
        };
        let pulled_with = pulled_with(&pull.repository, &options.pull_secrets).await;
        let (pull, reference) = (Arc::clone(&pull), reference.clone());
        blocking(move || pull.finish(&reference, &remote_image, layers, pulled_with)).await
    }
}

/// Which of a Pod's credentials the registry accepted. None: no credentials, or this machine's, which all Pods here have.
async fn pulled_with(repository: &Repository, pull_secrets: &[Credentials]) -> Vec<PulledWith> {
    let Some(accepted) = repository.accepted().await else { return Vec::new() };
    let holders = pull_secrets.iter().filter(|credentials| credentials.has(&accepted));
    let of_holder = |credentials: &Credentials| PulledWith {
        holder: credentials.holder().map(str::to_owned),
        fingerprint: accepted.fingerprint(),
    };
    holders.map(of_holder).collect()
}

/// An image as its registry describes it.
struct RemoteImage {
    config: Config,
    manifest: Vec<u8>,
    /// What the reference led to: the index if there is one, else the manifest.
    target: Digest,
    layers: Arc<[Arc<Expected>]>,
}

impl RemoteImage {
    /// The registry always says what the reference leads to, and whether we may have it; what is behind that and here
    /// already is not asked for again.
    async fn fetch(pull: &Pull, reference: &Reference) -> Result<Self, Cause> {
        let (repository, store) = (&pull.repository, pull.session.store());
        let what = reference.to_string();
        let mut bytes = match reference.digest() {
            Some(digest) => repository.manifest(digest).await?,
            None => repository.resolve(reference.tag().unwrap_or("latest")).await?,
        };
        let target = Digest::of(&bytes);
        let mut parsed = manifest::parse(&what, &bytes)?;
        if let Document::Index(index) = &parsed {
            let entries: Vec<_> = index.manifests().iter().collect();
            let digest = manifest::digest(&what, manifest::choose(&what, &entries)?)?;
            bytes = match store.document(&digest)? {
                Some(bytes) => bytes,
                None => repository.manifest(&digest).await?,
            };
            parsed = manifest::parse(&what, &bytes)?;
        }
        let Document::Manifest(parsed) = parsed else {
            return Err(Error::invalid(what, "its index leads to another index").into());
        };
        let config_digest = manifest::digest(&what, parsed.config())?;
        let config_bytes = match store.document(&config_digest)? {
            Some(bytes) => bytes,
            None => repository.document(&config_digest).await?,
        };
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
        Ok(Self { config, manifest: bytes, target, layers })
    }
}

impl Pull {
    async fn fetch_layers(
        self: &Arc<Self>,
        layers: &Arc<[Arc<Expected>]>,
    ) -> Result<(Vec<Hold>, Vec<LayerRecord>), Cause> {
        self.has_loose_layers.store(true, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        let sizes: Vec<_> = layers.iter().map(|expected| expected.blob_bytes.unwrap_or(0)).collect();
        let queue = Arc::new(Queue::largest_first(&sizes));
        for _ in 0..layers.len() {
            let (pull, layers, queue) = (Arc::clone(self), Arc::clone(layers), Arc::clone(&queue));
            tasks.spawn(async move { pull.fetch_next(&layers, &queue).await });
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

    /// Fetches the layer whose turn it is when there is room for one more; there are as many calls as layers.
    async fn fetch_next(
        self: Arc<Self>,
        layers: &[Arc<Expected>],
        queue: &Queue,
    ) -> Result<(usize, (Hold, LayerRecord)), Cause> {
        let pull = Arc::clone(&self);
        let _permit = pull.downloads.acquire().await.map_err(|_| Error::Stopped)?;
        let _permit_of_all = flight::DOWNLOADS.acquire().await.map_err(|_| Error::Stopped)?;
        let index = queue.next().ok_or(Error::Stopped)?;
        Ok((index, self.fetch_layer(Arc::clone(&layers[index])).await?))
    }

    async fn fetch_layer(self: Arc<Self>, expected: Arc<Expected>) -> Result<(Hold, LayerRecord), Cause> {
        let runtime = Handle::current();
        blocking(move || {
            let why = Arc::new(std::sync::Mutex::new(None));
            let open = || {
                let (sender, reader) = channel();
                // The download begins only when the layer is really missing, after any wait for another process.
                let (repository, why, expected) =
                    (Arc::clone(&self.repository), Arc::clone(&why), Arc::clone(&expected));
                runtime.spawn(async move {
                    let blob = expected.blob.as_ref().unwrap_or(&expected.diff_id);
                    if let Err(error) = repository.blob(blob, expected.blob_bytes, &sender).await {
                        let cause = Cause::from(error);
                        let error = io::Error::other(cause.to_string());
                        *failure::locked(&why) = Some(cause);
                        // A reader that is gone has a failure of its own to tell.
                        let _ = sender.send(Piece::Failed(error)).await;
                    }
                });
                Ok(reader)
            };
            let work = Work { session: &self.session, progress: &*self.progress, stop: &self.stop };
            loop {
                let place = self.repository.first_asked();
                match layer::ensure(&work, &expected, open) {
                    Err(error) if error.is_digest_mismatch() && self.repository.distrust(place) => {
                        tracing::warn!(%error, "a mirror sent damaged contents; asking the next");
                    }
                    // The download's own failure says more than "the stream ended".
                    result => {
                        let cause =
                            |error: Error| failure::locked(&why).take().unwrap_or_else(|| error.into());
                        return result.map_err(cause);
                    }
                }
            }
        })
        .await
    }

    fn finish(
        &self,
        reference: &Reference,
        remote: &RemoteImage,
        layers: Result<(Vec<Hold>, Vec<LayerRecord>), Cause>,
        pulled_with: Vec<PulledWith>,
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
            pulled_with: pulled_with.clone(),
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(Cause::from_join)?
}
