//! When a node collects images: when one came, whoever brought it, and when a Pod is gone, for that is when the disk fills
//! and when images fall out of use; and at the moment at which one that nobody uses becomes too old. Nothing polls. What
//! goes then is the image store's to decide (`image/src/collect.rs`), and never an image that a Pod of the node names: it may
//! be about to start, as all of them are after a reboot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use image::{CollectionPolicy, Digest, Images, Scope};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::logs::Changes;
use crate::perform::chain;

/// What happens within this time after a look waits for the next one: many Pods often go at once.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A task that collects for as long as this lives.
pub(crate) struct Collector {
    looks: Arc<Notify>,
    task: tokio::task::AbortHandle,
}

impl Collector {
    /// Begins; it looks for the first time when it is told to. `spared` says which images stay, though nobody uses them; when
    /// that is not known any more, nothing goes.
    pub(crate) fn begin(
        images: Images,
        policy: CollectionPolicy,
        spared: impl Fn() -> Option<HashSet<Digest>> + Send + Sync + 'static,
    ) -> Self {
        let looks = Arc::<Notify>::default();
        let collection = Collection { images, policy, begun_at: SystemTime::now(), spared: Box::new(spared) };
        let task = tokio::spawn(work(Arc::new(collection), Arc::clone(&looks))).abort_handle();
        Self { looks, task }
    }

    /// Has it look; nobody waits for what comes of it.
    pub(crate) fn look(&self) {
        self.looks.notify_one();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(collection: Arc<Collection>, looks: Arc<Notify>) {
    let mut arrivals = watch(&collection.images)
        .inspect_err(|error| tracing::warn!(%error, "images that somebody else brings are not heard of"))
        .ok();
    let mut last = Look::default();
    loop {
        tokio::select! {
            () = looks.notified() => {}
            () = until(last.next_due) => {}
            heard = next_arrival(arrivals.as_ref()) => {
                if let Err(error) = heard {
                    tracing::warn!(%error, "images that somebody else brings are no longer heard of");
                    arrivals = None;
                }
            }
        }
        let (begun, of_look) = (Instant::now(), Arc::clone(&collection));
        match tokio::task::spawn_blocking(move || of_look.look(last)).await {
            Ok(look) => last = look,
            Err(panic) => {
                tracing::error!(%panic, "unused images are no longer collected");
                return;
            }
        }
        tokio::time::sleep_until(begun + BETWEEN_LOOKS).await;
    }
}

fn watch(images: &Images) -> std::io::Result<Changes> {
    let arrivals = Changes::new()?;
    arrivals.watch(&images.image_directory(), WatchFlags::MOVED_TO)?;
    Ok(arrivals)
}

async fn next_arrival(arrivals: Option<&Changes>) -> std::io::Result<()> {
    match arrivals {
        Some(arrivals) => arrivals.next(|_| {}).await,
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<SystemTime>) {
    match instant {
        // One that has passed meanwhile is no reason to wait.
        Some(instant) => {
            tokio::time::sleep(instant.duration_since(SystemTime::now()).unwrap_or_default()).await
        }
        None => std::future::pending().await,
    }
}

/// What a look came to.
#[derive(Default, Clone, Copy)]
struct Look {
    /// Unused images are not what fills the disk.
    lacks_room: bool,
    /// When to look again though nothing happens.
    next_due: Option<SystemTime>,
}

/// What is collected, and what never.
struct Collection {
    images: Images,
    policy: CollectionPolicy,
    begun_at: SystemTime,
    spared: Box<dyn Fn() -> Option<HashSet<Digest>> + Send + Sync>,
}

impl Collection {
    /// Collects. That nothing more can go is told when it begins to be so, and not each time.
    fn look(&self, before: Look) -> Look {
        let scope = Scope { spared: &self.spared, aged_from: self.begun_at, is_trial: false };
        let collected = match self.images.collect(&self.policy, &scope) {
            Ok(collected) => collected,
            Err(error) => {
                tracing::warn!(error = chain(&error), "images cannot make room");
                return Look { next_due: None, ..before };
            }
        };
        for image in &collected.pruned.images {
            tracing::info!(image = %image.id, tags = ?image.tags, "removed an image that nobody uses");
        }
        let freed_bytes = collected.pruned.freed_bytes;
        let lacks_room = freed_bytes < collected.wanted_bytes;
        if lacks_room && !before.lacks_room {
            tracing::warn!(
                used_percent = collected.used_percent,
                wanted_bytes = collected.wanted_bytes,
                freed_bytes,
                "the disk of the images fills, and unused images are not what fills it"
            );
        }
        Look { lacks_room, next_due: collected.next_due }
    }
}
