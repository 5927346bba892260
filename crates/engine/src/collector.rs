//! When a node collects images: when one came, whoever brought it, and when a Pod is gone, for that is when the disk fills
//! and when images fall out of use; and at the moment at which one that nobody uses becomes too old. Nothing polls. What
//! goes then is the image store's to decide (`image/src/collect.rs`).

use std::sync::Arc;
use std::time::SystemTime;

use image::{CollectionPolicy, Images};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::Notify;

use crate::logs::Changes;
use crate::perform::chain;

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
    loop {
        let of_look = images.clone();
        let collected = tokio::task::spawn_blocking(move || collect(&of_look, &policy)).await;
        let next_due = collected.unwrap_or_default();
        tokio::select! {
            () = looks.notified() => {}
            () = until(next_due) => {}
            heard = next_arrival(arrivals.as_ref()) => {
                if let Err(error) = heard {
                    tracing::warn!(%error, "images that somebody else brings are no longer heard of");
                    arrivals = None;
                }
            }
        }
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

/// Collects, and says when that is due again.
fn collect(images: &Images, policy: &CollectionPolicy) -> Option<SystemTime> {
    let builtin = images.find_builtin(&crate::TOOLBOX).ok().flatten().map(|image| image.id);
    let collected = images
        .collect(policy, builtin.as_ref(), false)
        .inspect_err(|error| tracing::warn!(error = chain(error), "images cannot make room"))
        .ok()?;
    let freed_bytes = collected.pruned.freed_bytes;
    if freed_bytes < collected.wanted_bytes {
        tracing::warn!(
            used_percent = collected.used_percent,
            wanted_bytes = collected.wanted_bytes,
            freed_bytes,
            "the disk of the images fills, and unused images are not what fills it"
        );
    }
    for image in &collected.pruned.images {
        tracing::info!(image = %image.id, tags = ?image.tags, "removed an image that nobody uses");
    }
    collected.next_due
}
