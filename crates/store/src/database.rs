//! The file: SQLite in WAL mode, one table of rows with checksums, and the reserved revision. Only the writer has it, and only it
//! decides what is committed together; here is how.
//!
//! A commit with `synchronous=FULL` fsyncs the log, one with `NORMAL` leaves the log to the kernel and its fsync to
//! [`crate::syncer`]. Both may alternate on one connection: the log is a sequence whose frames are chained by checksums, so
//! what is on the medium is always a prefix of what was committed, and an fsync covers everything before it.
//! <https://www.sqlite.org/wal.html>, <https://www.sqlite.org/pragma.html#pragma_synchronous>

mod open;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::checksum;
use crate::object::{Object, Revision};

pub(crate) use open::{inspect, reserved_in, sync_directory};

/// The file's name in its directory.
pub(crate) const FILE: &str = "objects.db";
/// The row of `meta` that holds the last revision that may have been given.
pub(crate) const RESERVED: &str = "reserved";

/// The log is written back when it has grown so long; a reader of the file and a start have to read all of it.
const LOG_LIMIT_BYTES: u64 = 4 << 20;
/// A page and its frame, for each end of a row in the tree.
const ROW_OVERHEAD_BYTES: u64 = 2 * (PAGE_BYTES + 24);
const PAGE_BYTES: u64 = 4096;
/// Free pages are kept for what comes next, unless they are many and most of the file.
const FREE_PAGES: i64 = 1024;
/// How many free pages are given back at once, so that no write waits for long.
const VACUUM_PAGES: i64 = 1024;

/// A failed write, told apart by what it means for the next one.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The disk is full. The next one may succeed.
    NoSpace,
    /// The medium or the file is broken: what was handed to the kernel may be lost, and trying again would only seem to help
    /// (fsync(2) reports an error once).
    Medium(rusqlite::Error),
    /// Anything else. The next one may succeed.
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => WriteError::NoSpace,
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                WriteError::Medium(error)
            }
            _ => WriteError::Other(error),
        }
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    file: PathBuf,
    reserved: Revision,
    log_bytes: u64,
}

impl Database {
    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The last revision that may be given without another reservation.
    pub(crate) fn reserved(&self) -> Revision {
        self.reserved
    }

    /// Lets no later start give a revision up to `revision` again; on the medium when this returns.
    pub(crate) fn reserve(&mut self, revision: Revision) -> Result<(), WriteError> {
        self.connection.execute_batch("PRAGMA synchronous=FULL")?;
        let written = write_reserved(&self.connection, revision);
        self.connection.execute_batch("PRAGMA synchronous=NORMAL")?;
        written?;
        self.reserved = revision;
        self.log_bytes += ROW_OVERHEAD_BYTES;
        Ok(())
    }

    /// Commits what is to be in the rows of these keys, to the log and the kernel.
    pub(crate) fn write(&mut self, rows: &BTreeMap<Arc<str>, Option<Arc<Object>>>) -> Result<(), WriteError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            let mut delete = transaction.prepare_cached("DELETE FROM objects WHERE key = ?1")?;
            for (key, row) in rows {
                match row {
                    Some(object) => put.execute(params![
                        &*object.key,
                        &*object.value,
                        number(object.created),
                        number(object.revision),
                        sum(object),
                    ])?,
                    None => delete.execute(params![&**key])?,
                };
                let value_bytes = row.as_ref().map_or(0, |object| object.value.len() as u64);
                self.log_bytes += ROW_OVERHEAD_BYTES + value_bytes;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes the log back into the file when it is long, and gives free pages back when they are many.
    pub(crate) fn maintain(&mut self) -> Result<(), WriteError> {
        if self.log_bytes < LOG_LIMIT_BYTES {
            return Ok(());
        }
        self.checkpoint("PASSIVE")?;
        self.vacuum()
    }

    /// Leaves a file that says exactly which revision was given last, and no log.
    pub(crate) fn close(mut self, last: Revision) -> Result<(), WriteError> {
        self.reserve(last)?;
        self.checkpoint("TRUNCATE")?;
        self.connection.close().map_err(|(_, error)| error.into())
    }

    fn checkpoint(&mut self, mode: &str) -> Result<(), WriteError> {
        let (log_pages, written_pages): (i64, i64) =
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })?;
        // A backup that is being made keeps a part of the log; it is tried again after as much has been written.
        tracing::debug!(log_pages, written_pages, "wrote the log back");
        self.log_bytes = 0;
        Ok(())
    }

    fn vacuum(&mut self) -> Result<(), WriteError> {
        let pragma = |name: &str| self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        let (free_pages, pages): (i64, i64) = (pragma("freelist_count")?, pragma("page_count")?);
        if free_pages < FREE_PAGES || free_pages < pages / 2 {
            return Ok(());
        }
        // The statement gives a page back with each step.
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        tracing::debug!(free_pages, pages, "gave pages back");
        Ok(())
    }
}

const PUT: &str = "INSERT INTO objects (key, value, created, revision, checksum) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, created = excluded.created, \
     revision = excluded.revision, checksum = excluded.checksum";

/// Writes the reservation within whatever transaction there is.
pub(crate) fn write_reserved(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    let sum = checksum::of_row(RESERVED, b"", revision.get(), revision.get());
    connection.execute(
        "INSERT INTO meta (name, number, checksum) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET number = excluded.number, checksum = excluded.checksum",
        params![RESERVED, number(revision), sum.cast_signed()],
    )?;
    Ok(())
}

fn number(revision: Revision) -> i64 {
    revision.get().cast_signed()
}

fn sum(object: &Object) -> i64 {
    let Object { key, value, created, revision } = object;
    checksum::of_row(key, value, created.get(), revision.get()).cast_signed()
}
