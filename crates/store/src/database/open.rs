//! Opening the file, making it when there is none, and looking at every part of it: what was written is what is read, or the
//! start ends with an error that says what is damaged. Nothing is repaired here, and nothing is changed before all was checked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{Database, FILE, PAGE_BYTES, RESERVED, write_reserved};
use crate::checksum;
use crate::error::OpenError;
use crate::memory::Objects;
use crate::object::{Object, Revision};

/// "podl", in the header of the file; file(1) and we know by it whose it is.
const APPLICATION_ID: i64 = 0x706f_646c;
/// The version of the tables, in the header of the file.
const VERSION: i64 = 1;
/// How many damaged rows are named.
const NAMED_ROWS: usize = 5;

const TABLES: &str = "
    CREATE TABLE objects (
        key TEXT PRIMARY KEY NOT NULL,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE meta (
        name TEXT PRIMARY KEY NOT NULL,
        number INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;";

/// What a file holds, all of it checked.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Every object.
    pub(crate) objects: Objects,
    /// The last revision that may have been given.
    pub(crate) reserved: Revision,
}

impl Database {
    /// Opens or makes the database in `directory`, and reads all of it. The log is given too, to be fsynced without a commit.
    pub(crate) fn open(directory: &Path) -> Result<(Self, File, Contents), OpenError> {
        let file = directory.join(FILE);
        make_file(directory, &file)?;
        let connection = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let at = |attempt| attempted(attempt, &file);
        if is_empty(&connection, &file)? {
            create(&connection).map_err(at("making"))?;
        }
        let contents = check(&connection, &file)?;
        connection.execute_batch(SETTINGS).map_err(at("setting up"))?;
        let log_path = directory.join(format!("{FILE}-wal"));
        // The log is there from the first write; writing the reservation anew is one, and shows that the file can be written.
        write_reserved(&connection, contents.reserved).map_err(at("writing"))?;
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(at("setting up"))?;
        let log = File::open(&log_path).map_err(|source| OpenError::Io {
            attempt: "opening",
            path: log_path,
            source,
        })?;
        let database =
            Self { connection, reserved: contents.reserved, log_bytes: super::LOG_LIMIT_BYTES / 2, file };
        Ok((database, log, contents))
    }
}

/// The log is written back by us, after the answers; what SQLite does by itself stands behind as a limit. Its cache is
/// small because nothing is read twice.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 8192;
    PRAGMA journal_size_limit = 8388608;
    PRAGMA cache_size = -1024;
    PRAGMA temp_store = MEMORY;";

/// The file with its rights, before SQLite can make one with others; the log gets the same ones from SQLite.
fn make_file(directory: &Path, file: &Path) -> Result<(), OpenError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { attempt: "making", path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(error(directory))?;
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => {}
        Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(other) => return Err(error(file)(other)),
    }
    // The names, too, have to survive a power cut.
    for directory in [Some(directory), directory.parent()].into_iter().flatten() {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Brings the names in a directory to the medium.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| OpenError::Io {
        attempt: "syncing",
        path: directory.to_owned(),
        source,
    })
}

fn connect(file: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    // Whoever has it has it alone, so no mutex inside SQLite is needed. A path is a path, not a URI.
    Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(attempted("opening", file))
}

/// A file as it was made, before SQLite or we wrote to it.
fn is_empty(connection: &Connection, file: &Path) -> Result<bool, OpenError> {
    let pages: i64 = pragma(connection, file, "page_count")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(attempted("reading", file))?;
    let application: i64 = pragma(connection, file, "application_id")?;
    Ok(pages <= 1 && tables == 0 && application == 0)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    // These two are fixed with the first page, the rest is one transaction: a start that was cut off leaves a file that is
    // empty, or one that is whole.
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; \
         PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {TABLES} \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    ))?;
    write_reserved(connection, Revision::ZERO)?;
    connection.execute_batch("COMMIT")
}

/// Opens a file that is not to be changed, and reads all of it.
pub(crate) fn inspect(file: &Path) -> Result<Contents, OpenError> {
    // SQLite would make a file that is not there only when told to, but its message would not say so.
    fs::metadata(file).map_err(|source| OpenError::Io {
        attempt: "reading",
        path: file.to_owned(),
        source,
    })?;
    check(&connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?, file)
}

/// Only the reservation of a file that is not to be changed, whatever else is in it.
pub(crate) fn reserved_in(file: &Path) -> Result<Revision, OpenError> {
    reserved(&connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?, file)
}

/// Reads and checks everything.
fn check(connection: &Connection, file: &Path) -> Result<Contents, OpenError> {
    if pragma(connection, file, "application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign { file: file.to_owned() });
    }
    let found = pragma(connection, file, "user_version")?;
    if found > VERSION {
        return Err(OpenError::Newer { file: file.to_owned(), found, known: VERSION });
    }
    structure(connection, file)?;
    let reserved = reserved(connection, file)?;
    let objects = objects(connection, file)?;
    let latest = objects.values().map(|object| object.revision).max().unwrap_or_default();
    if latest > reserved {
        let damage = format!("an object has revision {latest}, but none after {reserved} was ever given");
        return Err(OpenError::Damaged { file: file.to_owned(), damage });
    }
    Ok(Contents { objects, reserved })
}

fn structure(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let at = || attempted("checking", file);
    let mut statement = connection.prepare("PRAGMA quick_check(5)").map_err(at())?;
    let findings: Vec<String> =
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(at())?;
    if findings == ["ok"] {
        return Ok(());
    }
    Err(OpenError::Damaged { file: file.to_owned(), damage: findings.join("; ").replace('\n', " ") })
}

/// The reservation, or damage when it is not there or not what was written.
fn reserved(connection: &Connection, file: &Path) -> Result<Revision, OpenError> {
    let row: Option<(i64, i64)> = connection
        .query_row("SELECT number, checksum FROM meta WHERE name = ?1", [RESERVED], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(attempted("reading", file))?;
    let valid = row.and_then(|(number, sum)| {
        let number = number.cast_unsigned();
        (checksum::of_row(RESERVED, b"", number, number) == sum.cast_unsigned()).then_some(number)
    });
    valid.map(Revision::new).ok_or_else(|| OpenError::Damaged {
        file: file.to_owned(),
        damage: "the row of the reserved revision is not what was written".to_owned(),
    })
}

fn objects(connection: &Connection, file: &Path) -> Result<Objects, OpenError> {
    let at = || attempted("reading", file);
    let mut statement = connection
        .prepare("SELECT key, value, created, revision, checksum FROM objects ORDER BY key")
        .map_err(at())?;
    let mut rows = statement.query([]).map_err(at())?;
    let (mut objects, mut damaged) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().map_err(at())? {
        match object(row).map_err(at())? {
            Ok(object) => objects.push((object.key.clone(), Arc::new(object))),
            Err(key) => damaged.push(key),
        }
    }
    if damaged.is_empty() {
        return Ok(objects.into_iter().collect());
    }
    let named = damaged.iter().take(NAMED_ROWS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if damaged.len() > NAMED_ROWS { " ..." } else { "" };
    let damage = format!("{} of {} objects are not what was written: {named}{more}", damaged.len(), {
        damaged.len() + objects.len()
    });
    Err(OpenError::Damaged { file: file.to_owned(), damage })
}

/// The object of a row; when its sum is wrong, only its key, as far as it can be read.
fn object(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Object, String>> {
    let (key, value) = (row.get_ref(0)?, row.get_ref(1)?);
    let (created, revision, sum): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (created, revision) = (created.cast_unsigned(), revision.cast_unsigned());
    let (Ok(key), Ok(value)) = (key.as_str(), value.as_blob()) else {
        return Ok(Err(String::from_utf8_lossy(key.as_bytes().unwrap_or_default()).into_owned()));
    };
    if checksum::of_row(key, value, created, revision) != sum.cast_unsigned() {
        return Ok(Err(key.to_owned()));
    }
    let (created, revision) = (Revision::new(created), Revision::new(revision));
    Ok(Ok(Object { key: key.into(), value: value.into(), created, revision }))
}

fn pragma(connection: &Connection, file: &Path, name: &str) -> Result<i64, OpenError> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).map_err(attempted("reading", file))
}

/// What SQLite finds out about damage while it works is told like what we find.
fn attempted(attempt: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> OpenError {
    let file = file.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { file, damage: source.to_string() }
        }
        _ => OpenError::Database { attempt, file, source },
    }
}
