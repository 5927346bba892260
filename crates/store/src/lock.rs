//! The lock on the data directory: one node at a time. flock(2) on a file that says who holds it; the kernel lets go of it when the
//! process ends, however it ends, so it is never stale.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::OpenError;

/// The store's directory in a data directory.
pub(crate) const STORE: &str = "store";

/// Held as long as it, or a clone of it, lives: whoever exchanges the store keeps the directory while no store is open.
#[derive(Debug, Clone)]
pub struct DataLock {
    directory: PathBuf,
    _file: Arc<File>,
}

impl DataLock {
    /// Takes the directory, making it (for its owner alone) when it is not there.
    ///
    /// # Errors
    /// [`OpenError::Locked`] names the process that has it.
    pub fn acquire(directory: &Path) -> Result<Self, OpenError> {
        let io = |attempt, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { attempt, path, source }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).map_err(io("making", directory))?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(OpenError::Locked { directory: directory.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io("locking", &path)(source)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(io("writing", &path))?;
        Ok(Self { directory: directory.to_owned(), _file: Arc::new(file) })
    }

    /// The directory that is locked.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the store is, a directory of its own, so that a restore can exchange it as a whole.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.join(STORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let lock = DataLock::acquire(&path).unwrap();
        let error = DataLock::acquire(&path).unwrap_err();
        assert!(matches!(error, OpenError::Locked { pid, .. } if pid == Some(std::process::id())));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        DataLock::acquire(&path).unwrap();
    }
}
