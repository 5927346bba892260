//! Layers that stay mounted when the Pods that used them are gone, for as long as the node works and the store has them.
//!
//! What containers read of a mounted layer is in the page cache of that mount, and goes with its last copy. Pods take copies
//! of the node's mounts (crate `shim`, `mounted`), so the next Pod of an image finds what an earlier one has read.
//!
//! One thread has the mounts, in a mount namespace of its own: nothing is mounted on the machine, and nothing is left of it
//! when the node ends, however it ends. When a layer leaves the store its mount goes too, and gives back the space.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linux::mount_namespace::{self, OwnRoot};
use rustix::fs::CWD;
use rustix::fs::inotify::WatchFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsmount,
    fsopen, move_mount, unmount,
};
use shim::mounted::{self, Holder, Stranded};
use tokio::sync::{mpsc, oneshot};

use crate::logs::Changes;

/// Orders that may wait for the thread.
const QUEUE_LENGTH: usize = 64;

/// What the thread is asked for.
enum Order {
    /// Mount these, and say when that is done.
    Keep(Vec<PathBuf>, oneshot::Sender<()>),
    /// Something left the store.
    Review,
    /// Let all of them go, say when that is done, and end.
    End(oneshot::Sender<()>),
}

/// A layer that is mounted.
struct Mounted {
    inode: u64,
    target: PathBuf,
}

/// By the layer's path in the store.
type Kept = Arc<Mutex<HashMap<PathBuf, Mounted>>>;

/// The layers that a node keeps mounted.
pub(crate) struct KeptLayers {
    orders: mpsc::Sender<Order>,
    kept: Kept,
    watcher: tokio::task::AbortHandle,
}

impl KeptLayers {
    /// Keeps layers out of the directory `layers`. Only the thread itself sees something mounted at `place`. None: it is not
    /// to be had, which costs time but nothing else.
    pub(crate) fn begin(layers: &Path, place: &Path) -> Option<Self> {
        let begun = Self::watch_and_begin(layers, place);
        begun.inspect_err(warn_of_none).ok()
    }

    fn watch_and_begin(layers: &Path, place: &Path) -> io::Result<Self> {
        let changes = Changes::new()?;
        changes.watch(layers, WatchFlags::MOVED_FROM | WatchFlags::DELETE)?;
        let (orders, inbox) = mpsc::channel(QUEUE_LENGTH);
        let kept = Kept::default();
        let (of_thread, place) = (Arc::clone(&kept), place.to_owned());
        std::thread::Builder::new().name("kept-layers".to_owned()).spawn(move || {
            match Keeper::begin(place, of_thread) {
                Ok(keeper) => keeper.work(inbox),
                Err(error) => warn_of_none(&error),
            }
        })?;
        let watcher = tokio::spawn(watch(changes, orders.clone())).abort_handle();
        Ok(Self { orders, kept, watcher })
    }

    /// Has the layers mounted when it returns, if that is to be had; else the Pod mounts them itself.
    pub(crate) async fn keep(&self, layers: &[PathBuf]) {
        let missing: Vec<_> = {
            let kept = lock(&self.kept);
            // A directory is not mounted.
            let is_missing = |layer: &&PathBuf| !kept.contains_key(*layer) && !layer.is_dir();
            layers.iter().filter(is_missing).cloned().collect()
        };
        let (done, is_done) = oneshot::channel();
        if !missing.is_empty() && self.orders.send(Order::Keep(missing, done)).await.is_ok() {
            // Without an answer the thread has ended, and has said why.
            let _ = is_done.await;
        }
    }

    /// Lets all of them go.
    pub(crate) async fn close(&self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::End(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for KeptLayers {
    fn drop(&mut self) {
        // With it goes the last sender, and so the thread.
        self.watcher.abort();
    }
}

fn warn_of_none(error: &io::Error) {
    tracing::warn!(%error, "cannot keep layers mounted: each Pod that runs alone reads its image anew");
}

/// Has the thread look again when layers go. Should that not be heard any more, it ends: else their space would never come
/// back.
async fn watch(changes: Changes, orders: mpsc::Sender<Order>) {
    loop {
        let heard = changes.next(|_| {}).await;
        let order = match &heard {
            Ok(()) => Order::Review,
            Err(error) => {
                tracing::warn!(%error, "layers are no longer kept mounted: cannot hear which leave the store");
                Order::End(oneshot::channel().0)
            }
        };
        if orders.send(order).await.is_err() || heard.is_err() {
            return;
        }
    }
}

/// The thread's part.
struct Keeper {
    place: PathBuf,
    proof: OwnRoot,
    /// Numbers the mounts: a hint that is too old leads to nothing rather than to another layer.
    next: u64,
    kept: Kept,
}

impl Keeper {
    fn begin(place: PathBuf, kept: Kept) -> io::Result<Self> {
        let proof = mount_namespace::enter_own()?;
        attach(&tmpfs()?, &place)?;
        Ok(Self { place, proof, next: 0, kept })
    }

    fn work(mut self, mut inbox: mpsc::Receiver<Order>) {
        while let Some(order) = inbox.blocking_recv() {
            match order {
                Order::Keep(layers, done) => {
                    for layer in layers {
                        match self.keep(&layer) {
                            Ok(Ok(())) => {}
                            // It left the store a moment ago, or the Pod will tell why it cannot be mounted.
                            Ok(Err(error)) => {
                                tracing::debug!(%error, layer = %layer.display(), "cannot keep a layer mounted");
                            }
                            Err(Stranded) => {
                                tracing::error!(
                                    "layers are no longer kept mounted: a mount namespace cannot be left"
                                );
                                return;
                            }
                        }
                    }
                    // Who asked may be gone.
                    let _ = done.send(());
                }
                Order::Review => self.let_go(is_there),
                Order::End(done) => {
                    self.let_go(|_, _| false);
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn keep(&mut self, layer: &Path) -> Result<io::Result<()>, Stranded> {
        if lock(&self.kept).contains_key(layer) {
            return Ok(Ok(()));
        }
        let mount = match mounted::copy(layer, self.proof)? {
            Some(copy) => Ok(copy),
            None => linux::erofs::mount(layer).map(|(mount, _)| mount),
        };
        Ok(mount.and_then(|mount| self.put(&mount, layer)))
    }

    fn put(&mut self, mount: &OwnedFd, layer: &Path) -> io::Result<()> {
        let inode = fs::metadata(layer)?.ino();
        let target = self.place.join(self.next.to_string());
        self.next += 1;
        fs::create_dir(&target)?;
        attach(mount, &target)?;
        lock(&self.kept).insert(layer.to_owned(), Mounted { inode, target: target.clone() });
        mounted::note(layer, &target, Holder::Node)
    }

    /// Unmounts all but those that stay.
    fn let_go(&self, stays: impl Fn(&Path, u64) -> bool) {
        lock(&self.kept).retain(|layer, mounted| {
            let stays = stays(layer, mounted.inode);
            if !stays {
                // Both fail only when it is gone already.
                let _ = unmount(&mounted.target, UnmountFlags::DETACH);
                let _ = fs::remove_dir(&mounted.target);
            }
            stays
        });
    }
}

/// Whether the store still has the layer that was mounted, and not another in its place.
fn is_there(layer: &Path, inode: u64) -> bool {
    fs::metadata(layer).is_ok_and(|metadata| metadata.ino() == inode)
}

/// Directories to mount layers at.
fn tmpfs() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Entries are put in and taken out whole; a panic elsewhere leaves none half-changed.
fn lock(kept: &Mutex<HashMap<PathBuf, Mounted>>) -> MutexGuard<'_, HashMap<PathBuf, Mounted>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
