//! When a node collects images: when one came, whoever brought it, and when a Pod is gone, for that is when the disk fills
//! and when images fall out of use; and at the moment at which one that nobody uses becomes too old. Nothing polls. What
//! goes then is the image store's to decide (`image/src/collect.rs`), and never an image that a Pod of the node names: it may
//! be about to start, as all of them are after a reboot.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use image::{CollectionPolicy, Digest, Images, Reference, Scope};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::logs::Changes;
use crate::node::NodeShared;
use crate::perform::chain;

/// What happens within this time after a look waits for the next one: many Pods often go at once.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What a node's task of collecting is told.
pub(crate) struct Collector {
    policy: CollectionPolicy,
    begun_at: SystemTime,
    looks: Arc<Notify>,
}

impl Collector {
    pub(crate) fn new(policy: CollectionPolicy) -> Self {
        Self { policy, begun_at: SystemTime::now(), looks: Arc::default() }
    }

    /// Has the task look; nobody waits for what comes of it.
    pub(crate) fn look(&self) {
        self.looks.notify_one();
    }
}

/// Collects for as long as the node is there, if it does so at all. It looks for the first time when it is told to.
pub(crate) async fn work(node: Weak<NodeShared>) {
    let Some((looks, mut arrivals)) = node.upgrade().and_then(|node| begin(&node)) else { return };
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
        let begun = Instant::now();
        let of_look = Weak::clone(&node);
        let looked =
            tokio::task::spawn_blocking(move || of_look.upgrade().map(|node| look(&node, last))).await;
        match looked {
            Ok(Some(look)) => last = look,
            // The node is gone.
            Ok(None) => return,
            Err(panic) => {
                tracing::error!(%panic, "unused images are no longer collected");
                return;
            }
        }
        tokio::time::sleep_until(begun + BETWEEN_LOOKS).await;
    }
}

/// What the task waits for. None: this node collects nothing.
fn begin(node: &NodeShared) -> Option<(Arc<Notify>, Option<Changes>)> {
    let collector = node.collector.as_ref()?;
    let arrivals = watch(&node.images)
        .inspect_err(|error| tracing::warn!(%error, "images that somebody else brings are not heard of"));
    Some((Arc::clone(&collector.looks), arrivals.ok()))
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

/// Collects. That nothing more can go is told when it begins to be so, and not each time.
fn look(node: &NodeShared, before: Look) -> Look {
    let Some(collector) = &node.collector else { return before };
    let scope = Scope { spared: &|| spared(node), aged_from: collector.begun_at, is_trial: false };
    let collected = match node.images.collect(&collector.policy, &scope) {
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

/// The built-in image, and those of the node's Pods.
fn spared(node: &NodeShared) -> HashSet<Digest> {
    let find = |name: &str| node.images.find(&Reference::parse(name).ok()?).ok().flatten();
    let mut spared = HashSet::new();
    spared.extend(node.images.find_builtin(&crate::TOOLBOX).ok().flatten().map(|image| image.id));
    for context in node.pods() {
        let pod = context.pod();
        let ephemeral = pod.spec.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
        let containers = pod.spec.all_containers().chain(ephemeral);
        spared.extend(containers.filter_map(|container| find(&container.image)).map(|image| image.id));
        spared.extend(context.images());
    }
    spared
}
