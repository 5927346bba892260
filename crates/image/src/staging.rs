//! A work place for one operation of one process: everything is built here and moved into the store when it is whole.
//!
//! The directory is locked while its maker lives. One whose lock is free was left by a process that was killed; whoever
//! begins the next operation removes it, together with finished layers that nobody came to name. The lock may be handed to
//! another process with the work that is left: removals do so, because giving space back takes longer than being gone.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use serde::Serialize;

use crate::error::Error;
use crate::store::{Images, StoreLock, flock, try_flock};
use crate::tree;

/// Numbers the sessions of this process.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// A locked staging directory. Dropping it removes whatever was not moved into the store.
pub(crate) struct Session {
    store: Images,
    path: PathBuf,
    /// The lock by which others know that the maker lives. None: another process has it and removes the directory.
    alive: Option<File>,
    next_name: AtomicU64,
    has_discarded: AtomicBool,
}

impl Session {
    /// Makes a work place, after removing what killed processes left.
    pub(crate) fn begin(store: &Images) -> Result<Self, Error> {
        let lock = store.lock()?;
        let stale = store.stale_staging()?;
        let session = Self::make(store)?;
        if !stale.is_empty() {
            for path in &stale {
                tracing::info!(path = %path.display(), "removing what a killed process left");
                session.discard(path)?;
            }
            store.collect_garbage(&session, &lock)?;
        }
        Ok(session)
    }

    fn make(store: &Images) -> Result<Self, Error> {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        // A process ID may come again while the directory of its former owner still stands: the time tells them apart.
        let nanoseconds = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
        let path = store.path("staging").join(format!("{}-{number}-{nanoseconds:x}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("make", &path))?;
        let alive = File::open(&path).map_err(Error::io("open", &path))?;
        flock(&alive, FlockOperation::LockExclusive).map_err(Error::io("lock", &path))?;
        Ok(Self {
            store: store.clone(),
            path,
            alive: Some(alive),
            next_name: AtomicU64::new(0),
            has_discarded: AtomicBool::new(false),
        })
    }

    /// A path in the work place that is not taken.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.path.join(self.next_name.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A new file in the work place.
    pub(crate) fn fresh_file(&self) -> Result<(PathBuf, File), Error> {
        let path = self.fresh_path();
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path);
        Ok((path.clone(), file.map_err(Error::io("make", &path))?))
    }

    /// Replaces `target` as a whole, by what is on the disk already: after a power cut it is the old or the new one.
    pub(crate) fn write(&self, target: &Path, bytes: &[u8]) -> Result<(), Error> {
        let (path, mut file) = self.fresh_file()?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(Error::io("write", target))?;
        rename(&path, target)
    }

    /// Makes sure that `target` holds `bytes`. What is there already is not written again.
    pub(crate) fn ensure(&self, target: &Path, bytes: &[u8]) -> Result<(), Error> {
        match fs::read(target) {
            Ok(there) if there == bytes => Ok(()),
            _ => self.write(target, bytes),
        }
    }

    /// Replaces `target` by `record`.
    pub(crate) fn write_record(&self, target: &Path, record: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec(record)
            .map_err(|e| Error::Json { what: target.display().to_string(), source: e })?;
        self.write(target, &text)
    }

    /// Takes `path` out of sight at once; its contents go when the session ends.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), Error> {
        self.has_discarded.store(true, Ordering::Relaxed);
        rename(path, &self.fresh_path())
    }

    /// The store that this is the work place of.
    pub(crate) fn store(&self) -> &Images {
        &self.store
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.alive.is_none() {
            return;
        }
        if let Err(error) = remove_tree(&self.path) {
            // Not lost: the next session finds it unlocked and tries again.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a staging directory");
        }
    }
}

/// What a removal took out of sight and has yet to give back to the file system, which takes a while where much is
/// cached, or where the file system tells the disk of each block that is free. Dropping it does so.
pub struct Trash(pub(crate) Session);

impl Trash {
    /// There is nothing to give back.
    pub fn is_empty(&self) -> bool {
        !self.0.has_discarded.load(Ordering::Relaxed)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A copy of the lock by which it is known not to be left over: what another process gives to [`sweep`], and keeps open
    /// until then.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        match &self.0.alive {
            Some(alive) => Ok(alive.try_clone()?.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Leaves it to another process that has a copy of the lock.
    pub fn hand_over(mut self) {
        self.0.alive = None;
    }
}

/// Gives back the trash that `lock` is the lock of: by it alone it is named, so nothing else is ever removed.
pub fn sweep(lock: BorrowedFd<'_>) -> Result<(), Error> {
    let link = format!("/proc/self/fd/{}", lock.as_raw_fd());
    let path = fs::read_link(&link).map_err(Error::io("follow", link))?;
    let staging = path.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "staging"));
    if !staging.is_some_and(|staging| staging.with_file_name("layer-locks").is_file()) {
        return Err(Error::invalid(path.display().to_string(), "it is no trash of an image directory"));
    }
    remove_tree(&path).map_err(Error::io("remove", path))
}

/// Puts on the disk which names `directory` has.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("write", directory))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("move contents to", to))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    tree::remove(File::open(parent)?, &CString::new(name.as_bytes())?)
}

impl Images {
    /// Staging directories whose makers are dead.
    fn stale_staging(&self) -> Result<Vec<PathBuf>, Error> {
        let staging = self.path("staging");
        let mut stale = Vec::new();
        for entry in fs::read_dir(&staging).map_err(Error::io("list", &staging))? {
            let path = entry.map_err(Error::io("list", &staging))?.path();
            match File::open(&path) {
                Ok(directory) => {
                    if try_flock(&directory, FlockOperation::NonBlockingLockShared)
                        .map_err(Error::io("lock", &path))?
                    {
                        stale.push(path);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
        }
        Ok(stale)
    }

    /// What killed processes left behind; the next load, pull or removal cleans it up, and so does `clean`.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        self.stale_staging()
    }

    /// Removes what killed processes left behind, and layers that no image uses.
    pub fn clean(&self) -> Result<(), Error> {
        let session = Session::begin(self)?;
        let lock: StoreLock = self.lock()?;
        self.collect_garbage(&session, &lock).map(drop)
    }
}
