//! Whether the data directory is still there. Somebody who removes it, or moves it away, under a node that runs leaves one that
//! answers from memory and writes into files without a name: nothing of that outlives it, so it must not go on as if it did.
//!
//! inotify(7) tells that something happened to the directories, and a look at the files what it was. Nothing polls.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::failure::Failure;

/// What a node cannot be without.
const FILES: [&str; 2] = ["lock", "store/objects.db"];

#[expect(
    deprecated,
    reason = "its successor takes a borrowed descriptor; this one is owned, which is what makes the call sound"
)]
fn watched(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// The watch over a data directory.
pub(super) struct Presence {
    inotify: AsyncFd<OwnedFd>,
    data_dir: PathBuf,
}

impl Presence {
    /// Begins to watch; the store is open.
    pub(super) fn watch(data_dir: &Path) -> Result<Presence, Failure> {
        let begin = || -> io::Result<AsyncFd<OwnedFd>> {
            let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
            let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
            let in_it = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
            inotify::add_watch(&inotify, data_dir, itself)?;
            inotify::add_watch(&inotify, data_dir.join("store"), itself | in_it)?;
            watched(inotify)
        };
        let inotify = begin().map_err(Failure::io("watch", data_dir))?;
        Ok(Presence { inotify, data_dir: data_dir.to_owned() })
    }

    /// Completes when the directory is not there any more.
    pub(super) async fn lost(&self) -> Failure {
        while self.is_there() {
            if let Err(source) = self.changed().await {
                return Failure::io("watch", &self.data_dir)(source);
            }
        }
        Failure::DataGone { data_dir: self.data_dir.clone() }
    }

    fn is_there(&self) -> bool {
        FILES.iter().all(|file| self.data_dir.join(file).exists())
    }

    /// Waits until something has happened.
    async fn changed(&self) -> io::Result<()> {
        let mut guard = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut changes = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            match changes.next() {
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        guard.clear_ready();
        Ok(())
    }
}
