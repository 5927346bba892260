//! What can go wrong. What callers react to is the variant and its fields.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::object::Revision;

/// A write was refused or failed. Nothing of its transaction was done, except where the variant says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// To be created, but it is there.
    #[error("{key} cannot be created: it exists, at revision {found}")]
    Exists {
        /// The object's key.
        key: Arc<str>,
        /// The revision at which it is.
        found: Revision,
    },
    /// It is not as the caller believes.
    #[error(
        "{key} is not at revision {} but {}: read it again and repeat the change",
        at(expected),
        at(found)
    )]
    Conflict {
        /// The object's key.
        key: Arc<str>,
        /// The revision the caller has seen; none: that it was not there.
        expected: Option<Revision>,
        /// The revision at which it is; none: it is not there.
        found: Option<Revision>,
    },
    /// A key that cannot be.
    #[error("{key:?} is no key: a key has 1 to {limit_bytes} bytes and no NUL")]
    InvalidKey {
        /// What was given.
        key: Arc<str>,
        /// The longest key.
        limit_bytes: usize,
    },
    /// A value that is too large.
    #[error("{key} has {bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge {
        /// The object's key.
        key: Arc<str>,
        /// The size of its value.
        bytes: usize,
        /// The largest value.
        limit_bytes: usize,
    },
    /// The file system has no room for the write; later writes may succeed.
    #[error("writing to {} failed: no space is left; make room, then repeat the change", file.display())]
    NoSpace {
        /// The database.
        file: PathBuf,
    },
    /// The database could not commit the write.
    #[error("writing to {} failed", file.display())]
    Write {
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// What was handed to the kernel may not have reached the medium, so nothing can be promised any more. Whether the write
    /// is done shows after the next open.
    #[error(
        "{} takes no more writes because the medium failed ({reason}): check the disk and start the node again",
        file.display()
    )]
    Failed {
        /// The database.
        file: PathBuf,
        /// What failed first.
        reason: Arc<str>,
    },
    /// The store has been closed. Whether the write was done before shows after the next open.
    #[error("the store is closed")]
    Closed,
}

fn at(revision: &Option<Revision>) -> String {
    revision.map_or_else(|| "absent".to_owned(), |revision| revision.to_string())
}

/// A list cannot be given at the revision that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The history does not reach back so far.
    #[error(
        "revision {asked} has been compacted, the oldest that can be listed is {oldest}: list without a revision"
    )]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest revision at which a list can be given.
        oldest: Revision,
    },
    /// No change has had this revision yet.
    #[error("revision {asked} is in the future, the store is at {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The store's revision.
        current: Revision,
    },
}

/// A watch cannot begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The history does not reach back so far.
    #[error(
        "revision {asked} has been compacted, the oldest to watch from is {oldest}: list again, then watch from there"
    )]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest revision from which a watch can begin.
        oldest: Revision,
    },
    /// No change has had this revision yet.
    #[error("revision {asked} is in the future, the store is at {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The watcher was so slow that the history has left it behind. It will never be told anything again.
    #[error(
        "the watcher was too slow and missed changes since revision {reached}: list again, then watch from there"
    )]
    Lagged {
        /// The revision up to which it was told everything.
        reached: Revision,
    },
    /// The store has been closed, and everything before that was told.
    #[error("the store is closed")]
    Closed,
}

/// The store, or a backup of one, cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the data directory.
    #[error("{} is in use by process {}: stop it first, or use another data directory", directory.display(), holder(pid))]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Who holds it, when it could be read.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error("{attempt} {} failed", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{attempt} {} failed", file.display())]
    Database {
        /// What was tried.
        attempt: &'static str,
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// What is in the file is not what was written.
    #[error(
        "{} is damaged: {damage}; nothing was changed; bring back a backup with `podling restore FILE`",
        file.display()
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What is damaged.
        damage: String,
    },
    /// What is in a backup is not what was written.
    #[error("the backup {} is damaged: {damage}; nothing was changed; take another one", file.display())]
    DamagedBackup {
        /// The backup.
        file: PathBuf,
        /// What is damaged.
        damage: String,
    },
    /// A newer podling has written it.
    #[error(
        "{} has version {found} and this podling knows versions up to {known}: use the podling that wrote it",
        file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// The version in it.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// A file, but not one of ours.
    #[error("{} is neither a store of podling nor a backup of one", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// There is nothing to copy.
    #[error("there is no store in {}: no `podling serve` has had it as its data directory", directory.display())]
    NoStore {
        /// The data directory.
        directory: PathBuf,
    },
    /// A backup would take the place of a file that is there.
    #[error("{} exists; give the backup another name, or say --overwrite", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system has no room for a copy.
    #[error("writing {} failed: no space is left; make room, or choose another place", path.display())]
    NoSpace {
        /// The copy.
        path: PathBuf,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}
