//! Copies of a store: made while it is in use, checked, and brought back.
//!
//! A backup is one file, an SQLite database without a log. It is made beside the node that has the store, by another process, so it
//! can be made of a node that hangs. It appears under its name only when it is whole, checked and on the medium. A restore exchanges the directory of the store as a whole, in one step; what was there before is kept beside it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::database::{self, FILE, sync_directory, write_reserved};
use crate::error::OpenError;
use crate::lock::{DataLock, STORE};
use crate::object::Revision;

/// How far a restore goes ahead when it cannot be known which revisions were given after the backup. etcd advises the same.
const LEAP_REVISIONS: u64 = 1_000_000_000;
/// What every SQLite database begins with. <https://www.sqlite.org/fileformat.html#magic_header_string>
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a backup holds, after all of it was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many objects.
    pub objects: usize,
    /// No revision after it had been given when the backup was made.
    pub revision: Revision,
}

/// What becomes of a file that has the name of a backup already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and there is no backup.
    Refuse,
    /// The backup takes its place, in one step.
    Replace,
}

/// Copies the store of a data directory into a file, whether a node uses it or not: everything that was acknowledged before is in
/// it, and no transaction in part. Writers do not wait for it.
///
/// # Errors
/// When the file could not be written, or is not what it should be; nothing is under the name then, or what was there before.
pub fn backup(directory: &Path, path: &Path, existing: Existing) -> Result<Verified, OpenError> {
    let source = directory.join(STORE).join(FILE);
    if !source.exists() {
        return Err(OpenError::NoStore { directory: directory.to_owned() });
    }
    if existing == Existing::Refuse && path.symlink_metadata().is_ok() {
        return Err(OpenError::Exists { path: path.to_owned() });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!("{name}.part"));
    let result = copy_to(&source, &part).and_then(|()| verify(&part)).and_then(|verified| {
        appear(&part, path, existing)?;
        Ok(verified)
    });
    if result.is_err() {
        // The error says what matters; a part that is left behind is replaced by the next attempt.
        let _ = fs::remove_file(&part);
    }
    result
}

/// Gives a file that is whole its name.
fn appear(part: &Path, path: &Path, existing: Existing) -> Result<(), OpenError> {
    let flags = match existing {
        Existing::Refuse => RenameFlags::NOREPLACE,
        Existing::Replace => RenameFlags::empty(),
    };
    renameat_with(CWD, part, CWD, path, flags).map_err(|error| match error {
        Errno::EXIST => OpenError::Exists { path: path.to_owned() },
        other => io_error("making", path)(other.into()),
    })?;
    // A bare name has an empty parent.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Reads all of a backup.
///
/// # Errors
/// [`OpenError::DamagedBackup`] says what is not as it was written, [`OpenError::Foreign`] that it is no backup at all.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    let mut head = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if head == *MAGIC => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(io_error("reading", path)(error));
        }
        _ => return Err(OpenError::Foreign { file: path.to_owned() }),
    }
    let contents = database::inspect(path).map_err(|error| match error {
        OpenError::Damaged { file, damage } => OpenError::DamagedBackup { file, damage },
        other => other,
    })?;
    Ok(Verified { objects: contents.objects.len(), revision: contents.reserved })
}

fn copy_to(source: &Path, part: &Path) -> Result<(), OpenError> {
    let at = |attempt, file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Database { attempt, file, source }
    };
    let written = |attempt| {
        move |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => OpenError::NoSpace { path: part.to_owned() },
            _ => at(attempt, part)(error),
        }
    };
    remove(part)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(part).map_err(io_error("making", part))?;
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(source, flags | OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(at("opening", source))?;
    let mut to = Connection::open_with_flags(part, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(at("opening", part))?;
    to.execute_batch("PRAGMA synchronous = OFF").map_err(at("setting up", part))?;
    // One step is one read transaction of the source, so the copy is of one moment. In WAL mode nobody waits for a reader.
    let step = Backup::new(&from, &mut to).and_then(|backup| backup.step(-1));
    match step.map_err(written("writing"))? {
        StepResult::Done => {}
        other => {
            let source_error = io::Error::other(format!("the database is {other:?}"));
            return Err(io_error("copying", source)(source_error));
        }
    }
    // The copy says that it has a log, like its source; a backup is one file.
    to.execute_batch("PRAGMA journal_mode = DELETE").map_err(written("finishing"))?;
    to.close().map_err(|(_, error)| written("closing")(error))?;
    File::open(part).and_then(|file| file.sync_all()).map_err(io_error("syncing", part))
}

/// Puts a backup in the place of the store in the locked directory, whatever state that one is in; no store may be open there.
/// Revisions go on after every one that can have been given, so that no client takes an old object for the one it knows, and every
/// watcher has to list anew, also one that had seen everything. Tells where the store that was replaced is kept, when there was one.
///
/// # Errors
/// The store is as it was before, unless everything was done.
pub fn restore(lock: &DataLock, backup: &Path) -> Result<(Verified, Option<PathBuf>), OpenError> {
    let verified = verify(backup)?;
    let (store, fresh) = (lock.store(), lock.directory().join("store.new"));
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("removing", &fresh)(error));
        }
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&fresh).map_err(io_error("making", &fresh))?;
    copy_to(backup, &fresh.join(FILE))?;
    let leap = verified.revision.plus(LEAP_REVISIONS);
    // The store that is replaced tells how far it went, as long as that one row of it can be read.
    let revision = database::reserved_in(&store.join(FILE))
        .map_or(leap, |replaced| replaced.max(verified.revision).plus(1));
    set_reserved(&fresh.join(FILE), revision)?;
    sync_directory(&fresh)?;
    let replaced = exchange(lock.directory(), &fresh, &store)?;
    Ok((Verified { revision, ..verified }, replaced))
}

fn set_reserved(file: &Path, revision: Revision) -> Result<(), OpenError> {
    let at = |source| OpenError::Database { attempt: "writing", file: file.to_owned(), source };
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
    connection.execute_batch("PRAGMA synchronous = EXTRA").map_err(at)?;
    write_reserved(&connection, revision).map_err(at)?;
    connection.close().map_err(|(_, error)| at(error))
}

/// One rename(2), so that there is a whole store at every moment.
fn exchange(directory: &Path, fresh: &Path, store: &Path) -> Result<Option<PathBuf>, OpenError> {
    if !store.exists() {
        fs::rename(fresh, store).map_err(io_error("renaming", fresh))?;
        sync_directory(directory)?;
        return Ok(None);
    }
    renameat_with(CWD, fresh, CWD, store, RenameFlags::EXCHANGE)
        .map_err(|error| io_error("exchanging", fresh)(error.into()))?;
    let kept = (1_u32..)
        .map(|number| directory.join(format!("store.replaced-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| fresh.to_owned());
    fs::rename(fresh, &kept).map_err(io_error("renaming", fresh))?;
    sync_directory(directory)?;
    Ok(Some(kept))
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}

fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { attempt, path, source }
}
