//! When a node collects images: when one came, whoever brought it, and when a Pod is gone, for that is when the disk fills
//! and when images fall out of use; and at the moment at which one that nobody uses becomes too old. Nothing polls. What
//! goes then is the image store's to decide (`image/src/collect.rs`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use image::{CollectionPolicy, Images};
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
    /// Begins, and looks for the first time.
    pub(crate) fn begin(images: Images, policy: CollectionPolicy) -> Self {
        let looks = Arc::<Notify>::default();
        let task = tokio::spawn(work(images, policy, Arc::clone(&looks))).abort_handle();
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

async fn work(images: Images, policy: CollectionPolicy, looks: Arc<Notify>) {
    let mut arrivals = watch(&images)
        .inspect_err(|error| tracing::warn!(%error, "images that somebody else brings are not heard of"))
        .ok();
    let mut lacks_room = false;
    loop {
        let (of_look, lacked_room) = (images.clone(), lacks_room);
        let looked = tokio::task::spawn_blocking(move || collect(&of_look, &policy, lacked_room)).await;
        let (begun, look) = (Instant::now(), looked.unwrap_or_default());
        lacks_room = look.lacks_room;
        tokio::select! {
            () = looks.notified() => {}
            () = until(look.next_due) => {}
            heard = next_arrival(arrivals.as_ref()) => {
                if let Err(error) = heard {
                    tracing::warn!(%error, "images that somebody else brings are no longer heard of");
                    arrivals = None;
                }
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
#[derive(Default)]
struct Look {
    /// Unused images are not what fills the disk.
    lacks_room: bool,
    /// When to look again though nothing happens.
    next_due: Option<SystemTime>,
}

/// Collects. That nothing more can go is told when it begins to be so, and not each time.
fn collect(images: &Images, policy: &CollectionPolicy, lacked_room: bool) -> Look {
    let builtin = images.find_builtin(&crate::TOOLBOX).ok().flatten().map(|image| image.id);
    let collected = match images.collect(policy, builtin.as_ref(), false) {
        Ok(collected) => collected,
        Err(error) => {
            tracing::warn!(error = chain(&error), "images cannot make room");
            return Look { lacks_room: lacked_room, next_due: None };
        }
    };
    for image in &collected.pruned.images {
        tracing::info!(image = %image.id, tags = ?image.tags, "removed an image that nobody uses");
    }
    let freed_bytes = collected.pruned.freed_bytes;
    let lacks_room = freed_bytes < collected.wanted_bytes;
    if lacks_room && !lacked_room {
        tracing::warn!(
            used_percent = collected.used_percent,
            wanted_bytes = collected.wanted_bytes,
            freed_bytes,
            "the disk of the images fills, and unused images are not what fills it"
        );
    }
    Look { lacks_room, next_due: collected.next_due }
}
