//! A work place for one operation of one process: everything is built here and moved into the store when it is whole.
//!
//! The directory is locked while its maker lives. One whose lock is free was left by a process that was killed; whoever
//! begins the next operation removes it, together with finished layers that nobody came to name.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// The lock by which others know that the maker lives.
    _alive: File,
    next_name: AtomicU64,
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
        Ok(Self { store: store.clone(), path, _alive: alive, next_name: AtomicU64::new(0) })
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

    /// Replaces `target` as a whole.
    pub(crate) fn write(&self, target: &Path, bytes: &[u8]) -> Result<(), Error> {
        let (path, mut file) = self.fresh_file()?;
        file.write_all(bytes).map_err(Error::io("write", target))?;
        rename(&path, target)
    }

    /// Replaces `target` by `record`.
    pub(crate) fn write_record(&self, target: &Path, record: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec(record)
            .map_err(|e| Error::Json { what: target.display().to_string(), source: e })?;
        self.write(target, &text)
    }

    /// Takes `path` out of sight at once; its contents go when the session ends.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), Error> {
        rename(path, &self.fresh_path())
    }

    /// The store that this is the work place of.
    pub(crate) fn store(&self) -> &Images {
        &self.store
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            // Not lost: the next session finds it unlocked and tries again.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a staging directory");
        }
    }
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
