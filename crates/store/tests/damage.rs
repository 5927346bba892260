//! Damage is told with the file and what is damaged; backups are whole; a restore goes on where no client has been.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use store::{
    DataLock, Durability, Existing, OpenError, Options, Revision, Store, WatchError, restore, verify,
};

use Durability::{Durable, Relaxed};

fn try_open(directory: &Path) -> Result<Store, OpenError> {
    Store::open(DataLock::acquire(directory).unwrap(), &Options::default())
}

fn open(directory: &Path) -> Store {
    try_open(directory).unwrap()
}

/// Copies the store of a directory, from a thread of its own as another process would.
fn backup(directory: &Path, path: &Path) -> Result<store::Verified, OpenError> {
    store::backup(directory, path, Existing::Replace)
}

const MARK: &[u8] = b"a value that can be found in the file";

/// A closed store with two objects.
async fn written(directory: &Path) {
    let store = open(directory);
    store.create("pods/a", MARK.to_vec(), Durable).await.unwrap();
    store.create("pods/b", *b"b", Durable).await.unwrap();
    store.close().await.unwrap();
}

fn damage(directory: &Path) -> String {
    match try_open(directory).unwrap_err() {
        OpenError::Damaged { file, damage } => {
            assert_eq!(file, directory.join("store/objects.db"));
            damage
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_value_is_told_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    let file = directory.path().join("store/objects.db");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap();
    bytes[at + 3] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(damage(directory.path()), "1 of 2 objects are not what was written: pods/a");
    let message = try_open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("objects.db") && message.contains("podling restore"), "{message}");
    // And nothing was changed.
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_told_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    let file = directory.path().join("store/objects.db");
    let intact = fs::read(&file).unwrap();
    let mut told = 0;
    for at in (0..intact.len()).step_by(61) {
        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join("store")).unwrap();
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        fs::write(other.path().join("store/objects.db"), &bytes).unwrap();
        match try_open(other.path()) {
            Ok(store) => {
                // Free space within a page, or a counter that SQLite keeps for others.
                assert_eq!(&*store.get("pods/a").unwrap().value, MARK, "byte {at}");
                assert_eq!(&*store.get("pods/b").unwrap().value, b"b", "byte {at}");
                assert!(store.current_revision() >= Revision::new(2), "byte {at}");
            }
            Err(_) => told += 1,
        }
    }
    assert!(told > 0);
}

#[tokio::test]
async fn a_file_that_is_cut_or_no_database_is_told() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    let file = directory.path().join("store/objects.db");
    let intact = fs::read(&file).unwrap();
    fs::write(&file, &intact[..intact.len() / 2]).unwrap();
    assert!(!damage(directory.path()).is_empty());
    fs::write(&file, b"this is no database, and it is long enough not to be taken for an empty one").unwrap();
    assert!(damage(directory.path()).contains("not a database"));
}

#[tokio::test]
async fn a_database_of_somebody_else_or_of_a_newer_podling_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    let file = directory.path().join("store/objects.db");
    let change =
        |statement: &str| rusqlite::Connection::open(&file).unwrap().execute_batch(statement).unwrap();
    change("PRAGMA user_version = 2");
    assert!(matches!(try_open(directory.path()), Err(OpenError::Newer { found: 2, known: 1, .. })));
    change("PRAGMA application_id = 1");
    assert!(matches!(try_open(directory.path()), Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn a_start_that_was_cut_off_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("store")).unwrap();
    fs::write(directory.path().join("store/objects.db"), b"").unwrap();
    open(directory.path()).create("a", *b"", Durable).await.unwrap();
}

#[tokio::test]
async fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store.create("secrets/a", *b"", Relaxed).await.unwrap();
    let mode = |path: &str| data.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("store")], [0o700; 2]);
    assert_eq!([mode("lock"), mode("store/objects.db"), mode("store/objects.db-wal")], [0o600; 3]);
    backup(&data, &data.join("backup")).unwrap();
    assert_eq!(mode("backup"), 0o600);
}

#[tokio::test]
async fn a_store_in_use_is_locked_until_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = DataLock::acquire(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { pid, .. } if pid == Some(std::process::id())));
    let again = store.clone();
    store.close().await.unwrap();
    let next = open(directory.path());
    assert!(again.close().await.is_err());
    next.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_live_store_has_all_that_was_acknowledged_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("data"));
    for number in 0..200 {
        store.create(format!("before/{number:03}"), vec![7; 5000], Relaxed).await.unwrap();
    }
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            // Pairs, of which a backup has both or none.
            for number in 0..200 {
                let create =
                    |key: String| store::Operation::Create { key: key.into(), value: (*b"x").into() };
                let pair = vec![create(format!("pair/{number}/a")), create(format!("pair/{number}/b"))];
                store.transaction(pair, Relaxed).await.unwrap();
            }
        }
    });
    let path = directory.path().join("backup.db");
    let copying = (directory.path().join("data"), path.clone());
    let verified =
        tokio::task::spawn_blocking(move || backup(&copying.0, &copying.1)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(verified.objects >= 200 && (verified.objects - 200).is_multiple_of(2), "{verified:?}");
    assert_eq!(verify(&path).unwrap(), verified);
    // One file, and nothing beside it.
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // A later backup takes the place of the one before.
    assert_eq!(backup(&directory.path().join("data"), &path).unwrap().objects, 600);
    assert_eq!(verify(&path).unwrap().objects, 600);
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let error = backup(&data, &directory.path().join("early")).unwrap_err();
    assert!(matches!(error, OpenError::NoStore { .. }), "{error:?}");
    let _store = open(&data);
    let error = backup(&data, &directory.path().join("no/such/backup")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(!directory.path().join("no").exists());
    let taken = directory.path().join("taken");
    fs::write(&taken, "something else").unwrap();
    let error = store::backup(&data, &taken, Existing::Refuse).unwrap_err();
    assert!(matches!(error, OpenError::Exists { .. }), "{error:?}");
    assert_eq!(fs::read(&taken).unwrap(), b"something else");
    assert!(!directory.path().join("taken.part").exists());
}

#[tokio::test]
async fn a_restore_brings_the_objects_back_and_no_revision_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (data, path) = (directory.path().join("data"), directory.path().join("backup"));
    let store = open(&data);
    let kept = store.create("kept", *b"1", Durable).await.unwrap();
    backup(&data, &path).unwrap();
    let later = store.create("later", *b"", Durable).await.unwrap();
    store.close().await.unwrap();

    let lock = DataLock::acquire(&data).unwrap();
    let (verified, replaced) = restore(&lock, &path).unwrap();
    assert_eq!(verified.objects, 1);
    assert_eq!(replaced.unwrap(), data.join("store.replaced-1"));
    drop(lock);
    let store = open(&data);
    assert_eq!(store.get("kept").unwrap(), kept);
    assert_eq!(store.get("later"), None);
    assert!(store.current_revision() > later.revision);
    // Also a watcher that had seen everything has to list anew.
    let error = store.watch("", Some(later.revision)).unwrap_err();
    assert!(matches!(error, WatchError::Compacted { .. }), "{error:?}");
    assert!(store.create("new", *b"", Durable).await.unwrap().revision > later.revision);
    store.close().await.unwrap();
    // What was replaced is still a store.
    assert_eq!(verify(&data.join("store.replaced-1/objects.db")).unwrap().objects, 2);
}

#[tokio::test]
async fn a_damaged_store_is_restored_far_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let (data, path) = (directory.path().join("data"), directory.path().join("backup"));
    let store = open(&data);
    let kept = store.create("kept", *b"1", Durable).await.unwrap();
    backup(&data, &path).unwrap();
    store.close().await.unwrap();
    fs::write(data.join("store/objects.db"), b"x".repeat(10_000)).unwrap();
    try_open(&data).unwrap_err();
    for kept_as in ["store.replaced-1", "store.replaced-2"] {
        let lock = DataLock::acquire(&data).unwrap();
        let (_, replaced) = restore(&lock, &path).unwrap();
        assert_eq!(replaced.unwrap(), data.join(kept_as));
    }
    let store = open(&data);
    assert_eq!(store.get("kept").unwrap(), kept);
    assert!(store.current_revision().get() >= 1_000_000_000);
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let (data, path) = (directory.path().join("data"), directory.path().join("backup"));
    let store = open(&data);
    store.create("a", MARK.to_vec(), Durable).await.unwrap();
    backup(&data, &path).unwrap();
    store.create("b", *b"", Durable).await.unwrap();
    store.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let half = &bytes[..bytes.len() / 2];
    let lock = DataLock::acquire(&data).unwrap();
    assert!(matches!(restore(&lock, &path), Err(OpenError::DamagedBackup { file, .. }) if file == path));
    assert!(matches!(restore(&lock, &data.join("none")), Err(OpenError::Io { .. })));
    for (name, bytes) in [("empty", &b""[..]), ("text", b"This is no database at all."), ("half", half)] {
        fs::write(data.join(name), bytes).unwrap();
        let error = restore(&lock, &data.join(name)).unwrap_err();
        let is_told = match name {
            "half" => matches!(error, OpenError::DamagedBackup { .. }),
            _ => matches!(error, OpenError::Foreign { .. }),
        };
        assert!(is_told, "{name}: {error:?}");
    }
    drop(lock);
    assert!(open(&data).get("b").is_some());
}

#[tokio::test]
async fn the_log_is_written_back_and_space_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let length = |name: &str| fs::metadata(directory.path().join("store").join(name)).unwrap().len();
    let mut revisions = Vec::new();
    for number in 0..300 {
        let object = store.create(format!("big/{number}"), vec![1; 100_000], Relaxed).await.unwrap();
        revisions.push((object.key.clone(), object.revision));
    }
    let full = length("objects.db");
    assert!(full > 20_000_000, "{full}");
    assert!(length("objects.db-wal") < 16_000_000, "{}", length("objects.db-wal"));
    for (key, revision) in revisions {
        store.delete(key, revision, Relaxed).await.unwrap();
    }
    // More writes, so that the log grows long often enough.
    let mut object = store.create("small", vec![0; 50_000], Relaxed).await.unwrap();
    for _ in 0..1000 {
        object = store.update("small", vec![2; 50_000], object.revision, Relaxed).await.unwrap();
    }
    store.close().await.unwrap();
    assert!(length("objects.db") < full / 2, "{} of {full}", length("objects.db"));
}
