//! When log files may have grown: inotify(7), one instance for many directories, because the kernel gives a user but 128.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Something happened in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// In the directory of this number.
    In(i32),
    /// The kernel's queue ran over: perhaps in any.
    Anywhere,
}

impl Change {
    /// Whether it may be about the directory of this number.
    pub fn concerns(self, number: i32) -> bool {
        self == Change::Anywhere || self == Change::In(number)
    }
}

/// Directories of logs that are watched.
#[derive(Debug)]
pub struct Changes {
    inotify: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Changes> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        Ok(Changes { inotify: watched(inotify)? })
    }

    /// Watches a directory; the same one has the same number again.
    pub fn add(&self, directory: &Path) -> io::Result<i32> {
        let grows = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        self.watch(directory, grows)
    }

    /// Watches a directory for these events alone.
    pub(crate) fn watch(&self, directory: &Path, events: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(self.inotify.get_ref(), directory, events | WatchFlags::ONLYDIR)?)
    }

    fn remove(&self, number: i32) {
        // A directory that is gone has taken its watch along.
        let _ = inotify::remove_watch(self.inotify.get_ref(), number);
    }

    /// Waits until something happened, and tells each of it. Cancel-safe.
    pub async fn next(&self, mut each: impl FnMut(Change)) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut changes = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            let mut is_any = false;
            loop {
                match changes.next() {
                    Ok(change) => {
                        each(if change.wd() == -1 { Change::Anywhere } else { Change::In(change.wd()) });
                        is_any = true;
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            guard.clear_ready();
            if is_any {
                return Ok(());
            }
        }
    }
}

/// The descriptor as one that can be awaited.
#[expect(deprecated, reason = "its successor is unsafe only for types that may give away their descriptor")]
fn watched(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// Tells everybody who follows a log of this node that it may have grown; one task reads the kernel's events for all.
#[derive(Debug)]
pub(crate) struct Growth {
    changes: Arc<Changes>,
    followers: Arc<Mutex<Followers>>,
    reader: tokio::task::AbortHandle,
}

#[derive(Debug, Default)]
struct Followers {
    /// Whom to tell, by the directory's number and a number of their own.
    waiting: HashMap<i32, HashMap<u64, Arc<Notify>>>,
    next: u64,
}

/// One directory that somebody follows. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Watching {
    changes: Arc<Changes>,
    followers: Arc<Mutex<Followers>>,
    number: i32,
    own: u64,
    grown: Arc<Notify>,
}

impl Growth {
    /// Begins to listen.
    pub(crate) fn new() -> io::Result<Growth> {
        let changes = Arc::new(Changes::new()?);
        let followers = Arc::<Mutex<Followers>>::default();
        let reader = tokio::spawn(tell(Arc::clone(&changes), Arc::clone(&followers))).abort_handle();
        Ok(Growth { changes, followers, reader })
    }

    /// Follows a directory. What happens from now on is told, also when nobody waits at that moment.
    pub(crate) fn follow(&self, directory: &Path) -> io::Result<Watching> {
        let mut followers = lock(&self.followers);
        let number = self.changes.add(directory)?;
        let own = followers.next;
        followers.next += 1;
        let grown = Arc::<Notify>::default();
        followers.waiting.entry(number).or_default().insert(own, Arc::clone(&grown));
        let (changes, followers) = (Arc::clone(&self.changes), Arc::clone(&self.followers));
        Ok(Watching { changes, followers, number, own, grown })
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watching {
    /// Waits until something happened in the directory since the last call.
    pub(crate) async fn changed(&self) {
        self.grown.notified().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut followers = lock(&self.followers);
        let Some(others) = followers.waiting.get_mut(&self.number) else { return };
        others.remove(&self.own);
        if others.is_empty() {
            followers.waiting.remove(&self.number);
            // Under the lock: a follower that comes now adds the watch anew.
            self.changes.remove(self.number);
        }
    }
}

async fn tell(changes: Arc<Changes>, followers: Arc<Mutex<Followers>>) {
    loop {
        let told = changes.next(|change| {
            let followers = lock(&followers);
            for (_, others) in followers.waiting.iter().filter(|(number, _)| change.concerns(**number)) {
                others.values().for_each(|grown| grown.notify_one());
            }
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "cannot hear of changes of log files any more: followed logs stand still");
            return;
        }
    }
}

/// Entries are inserted and removed whole; a panic elsewhere leaves none half-changed.
fn lock(followers: &Mutex<Followers>) -> MutexGuard<'_, Followers> {
    followers.lock().unwrap_or_else(PoisonError::into_inner)
}
