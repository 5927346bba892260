//! The places of a run on disk, and how the living are told from the dead.
//!
//! A run has a directory `runs/ID` under the data directory and one under the run directory. Each holds a file
//! `lock` that podling keeps locked (flock(2)) for as long as it lives, and `run.json` with what is needed to clean
//! up. A directory whose lock is free belongs to a run that died: the kernel drops the lock with the process.
//!
//! Creating and claiming happen under the lock of `runs/.lock`, so that nobody takes a run for dead between
//! the making of its directory and the taking of its lock.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::input::{hex, random};
use crate::failure::Failure;
use crate::typed::Directories;

/// The subdirectory of both places that holds runs.
const RUNS: &str = "runs";

/// What is written down of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Name of its node; cgroups and interfaces follow from it.
    pub(crate) id: String,
    /// Its own data directory.
    pub(crate) data_dir: PathBuf,
    /// Its own run directory.
    pub(crate) run_dir: PathBuf,
    /// The image store.
    pub(crate) image_dir: PathBuf,
    /// UIDs and names of its Pods.
    pub(crate) pods: Vec<(String, String)>,
    /// The process.
    pub(crate) pid: u32,
}

/// The places of a run, held by this process. Dropping it lets the locks go; the files stay until
/// [`Place::remove`].
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) record: Record,
    /// Held, never read.
    _locks: Vec<File>,
}

impl Place {
    /// Makes the directories of a new run and takes their locks.
    pub(crate) fn create(directories: &Directories, pods: Vec<(String, String)>) -> Result<Place, Failure> {
        let id = hex(&random::<4>()?);
        let record = Record {
            data_dir: absolute(&directories.data_dir)?.join(RUNS).join(&id),
            run_dir: absolute(&directories.run_dir)?.join(RUNS).join(&id),
            image_dir: absolute(&directories.image_dir)?,
            pods,
            pid: std::process::id(),
            id,
        };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Failure::io("write", record.run_dir.join("run.json"))(error.into()))?;
        let mut place = Place { record, _locks: Vec::new() };
        match place.make(&text) {
            Ok(()) => Ok(place),
            Err(failure) => {
                // Of a run that cannot begin nothing stays; why it cannot is what matters.
                let _ = place.remove();
                Err(failure)
            }
        }
    }

    fn make(&mut self, record: &[u8]) -> Result<(), Failure> {
        for directory in self.record.directories() {
            let _guard = lock_all(directory.parent().unwrap_or(directory))?;
            make_directory(directory)?;
            self._locks.extend(try_lock(&directory.join("lock"))?);
            let file = directory.join("run.json");
            fs::write(&file, record).map_err(Failure::io("write", file))?;
        }
        Ok(())
    }

    /// The runs under these directories that died, claimed for this process so that nobody else cleans them up
    /// at the same time.
    pub(crate) fn claim_dead(directories: &Directories) -> Result<Vec<Place>, Failure> {
        let mut dead: Vec<Place> = Vec::new();
        for base in [&directories.run_dir, &directories.data_dir] {
            let runs = absolute(base)?.join(RUNS);
            let entries = match fs::read_dir(&runs) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::io("read the directory", runs)(error)),
            };
            let mut guard = None;
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if guard.is_none() {
                    guard = Some(lock_all(&runs)?);
                }
                claim(&entry.path(), directories, &mut dead)?;
            }
        }
        Ok(dead)
    }

    /// Removes the directories with all in them, and `runs` with the last of them. Goes on after an error.
    pub(crate) fn remove(self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for directory in self.record.directories() {
            let runs = directory.parent().unwrap_or(directory);
            // Without the lock only `runs` itself stays.
            let guard = lock_all(runs).map_err(|failure| failures.push(failure));
            if let Err(error) = linux::tree::remove(directory) {
                failures.push(Failure::io("remove the directory", directory)(error));
            }
            if guard.is_ok() {
                remove_if_last(runs);
            }
        }
        failures
    }
}

impl Record {
    /// Both directories of the run; the one with the sockets first.
    fn directories(&self) -> [&Path; 2] {
        [&self.run_dir, &self.data_dir]
    }
}

/// Claims one directory if its run is dead. A run that has a directory in both places is one entry.
fn claim(directory: &Path, directories: &Directories, dead: &mut Vec<Place>) -> Result<(), Failure> {
    let Some(lock) = try_lock(&directory.join("lock"))? else { return Ok(()) };
    let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(known) = dead.iter_mut().find(|place| place.record.id == id) {
        known._locks.push(lock);
        return Ok(());
    }
    let read = fs::read(directory.join("run.json")).ok();
    let record = read.and_then(|text| serde_json::from_slice(&text).ok());
    // One that died before it could write its record has made nothing but the directory.
    let record = match record {
        Some(record) => record,
        None => Record {
            data_dir: absolute(&directories.data_dir)?.join(RUNS).join(&id),
            run_dir: absolute(&directories.run_dir)?.join(RUNS).join(&id),
            image_dir: absolute(&directories.image_dir)?,
            pods: Vec::new(),
            pid: 0,
            id,
        },
    };
    dead.push(Place { record, _locks: vec![lock] });
    Ok(())
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::io("find", path))
}

/// Makes a directory and its parents, for root alone.
fn make_directory(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Failure::io("make the directory", path))
}

/// The lock under which runs are created, claimed and removed. Makes `runs` when it is missing: the last run to
/// end removes it, also while this one waits for its lock, and a lock on a removed file is none.
fn lock_all(runs: &Path) -> Result<File, Failure> {
    let path = runs.join(".lock");
    loop {
        make_directory(runs)?;
        let file = match open_lock(&path) {
            Err(Failure::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            opened => opened?,
        };
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| Failure::io("lock", &path)(errno.into()))?;
        let held = file.metadata().map_err(Failure::io("look at", &path))?;
        match fs::metadata(&path) {
            Ok(named) if named.ino() == held.ino() => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::io("look at", &path)(error));
            }
            _ => {}
        }
    }
}

/// Removes `runs`, whose lock is held, unless another run is in it. A refusal is no error: somebody uses it.
fn remove_if_last(runs: &Path) {
    let is_last =
        fs::read_dir(runs).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == ".lock"));
    if is_last && fs::remove_file(runs.join(".lock")).is_ok() {
        let _ = fs::remove_dir(runs);
    }
}

/// The lock of a run, if nobody has it.
fn try_lock(path: &Path) -> Result<Option<File>, Failure> {
    let file = open_lock(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Failure::io("lock", path)(errno.into())),
    }
}

fn open_lock(path: &Path) -> Result<File, Failure> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(Failure::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(base: &Path) -> Directories {
        Directories { data_dir: base.join("data"), run_dir: base.join("run"), image_dir: base.join("images") }
    }

    #[test]
    fn the_living_are_not_claimed_and_the_dead_are_claimed_once() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        assert!(Place::claim_dead(&directories).unwrap().is_empty());
        let place = Place::create(&directories, vec![("uid".into(), "default/web".into())]).unwrap();
        let record = place.record.clone();
        assert!(Place::claim_dead(&directories).unwrap().is_empty(), "it lives");
        drop(place);
        let dead = Place::claim_dead(&directories).unwrap();
        assert_eq!(dead.len(), 1, "its two directories are one run");
        assert_eq!(dead[0].record, record);
        assert!(Place::claim_dead(&directories).unwrap().is_empty(), "it is being cleaned up");
    }

    #[test]
    fn nothing_of_a_run_that_cannot_begin_is_left() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        fs::write(&directories.data_dir, "no directory").unwrap();
        Place::create(&directories, Vec::new()).unwrap_err();
        assert_eq!(fs::read_dir(&directories.run_dir).unwrap().count(), 0);
    }

    #[test]
    fn nothing_of_a_removed_run_is_left() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        let place = Place::create(&directories, Vec::new()).unwrap();
        let record = place.record.clone();
        fs::create_dir_all(record.data_dir.join("pods/x")).unwrap();
        assert!(place.remove().is_empty());
        assert!(!record.data_dir.exists() && !record.run_dir.exists());
        assert_eq!(fs::read_dir(base.path().join("data")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(base.path().join("run")).unwrap().count(), 0);
    }

    #[test]
    fn a_run_that_died_before_its_record_is_cleaned_up_too() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        fs::create_dir_all(directories.data_dir.join("runs/deadbeef")).unwrap();
        let dead = Place::claim_dead(&directories).unwrap();
        assert_eq!(dead[0].record.id, "deadbeef");
        for place in dead {
            assert!(place.remove().is_empty());
        }
        assert!(!directories.data_dir.join("runs/deadbeef").exists());
    }
}
