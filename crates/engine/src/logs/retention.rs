//! Logs of Pods that are gone: kept for a while, because the interesting ones often are, and within a bound.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// So many Pods that are gone keep their logs.
const MOST_PODS: usize = 100;
/// And so much of them, all together.
const MOST_BYTES: u64 = 1 << 30;

/// One directory of logs.
struct Kept {
    path: PathBuf,
    changed_at: SystemTime,
    bytes: u64,
}

/// Removes the oldest logs of Pods that are gone beyond the bound. `living` are the names of the directories to leave. Pods
/// that go at the same time have each of them prune, so what has vanished is as good as removed.
pub(crate) fn prune(logs: &Path, living: &BTreeSet<OsString>) -> io::Result<()> {
    prune_to(logs, living, MOST_PODS, MOST_BYTES)
}

fn prune_to(logs: &Path, living: &BTreeSet<OsString>, most_pods: usize, most_bytes: u64) -> io::Result<()> {
    let entries = match std::fs::read_dir(logs) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries.flatten().filter(|entry| !living.contains(&entry.file_name())) {
        kept.extend(unless_gone(measure(entry.path()))?);
    }
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.changed_at));
    let mut bytes = 0;
    for (index, one) in kept.iter().enumerate() {
        bytes += one.bytes;
        if index >= most_pods || bytes > most_bytes {
            unless_gone(linux::tree::remove(&one.path))?;
        }
    }
    Ok(())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// `POD/CONTAINER/FILE`; what vanishes meanwhile counts for nothing.
fn measure(path: PathBuf) -> io::Result<Kept> {
    let mut kept = Kept { changed_at: std::fs::symlink_metadata(&path)?.modified()?, path, bytes: 0 };
    let containers = std::fs::read_dir(&kept.path).into_iter().flatten().flatten();
    for file in containers.flat_map(|container| std::fs::read_dir(container.path())).flatten().flatten() {
        let Ok(metadata) = file.metadata() else { continue };
        kept.bytes += metadata.len();
        kept.changed_at = kept.changed_at.max(metadata.modified()?);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_of_the_dead_go_first_and_the_living_never() {
        let logs = tempfile::tempdir().unwrap();
        for (age, name) in ["living", "new", "old", "oldest"].into_iter().enumerate() {
            let directory = logs.path().join(name).join("web");
            std::fs::create_dir_all(&directory).unwrap();
            let file = std::fs::File::create(directory.join("0.log")).unwrap();
            file.set_len(1000).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(3600 - age as u64)).unwrap();
        }
        let living = BTreeSet::from([OsString::from("living")]);
        let left = || {
            let names = std::fs::read_dir(logs.path()).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        prune_to(logs.path(), &living, 10, 10_000).unwrap();
        assert_eq!(left(), ["living", "new", "old", "oldest"]);
        prune_to(logs.path(), &living, 10, 2500).unwrap();
        assert_eq!(left(), ["living", "new", "old"]);
        prune_to(logs.path(), &living, 1, 2500).unwrap();
        assert_eq!(left(), ["living", "new"]);
        prune_to(logs.path(), &living, 0, 0).unwrap();
        assert_eq!(left(), ["living"]);
    }

    #[test]
    fn pods_that_go_at_once_prune_the_same_logs() {
        let logs = tempfile::tempdir().unwrap();
        for pod in 0..100 {
            let directory = logs.path().join(pod.to_string()).join("web");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("0.log"), "a line").unwrap();
        }
        std::thread::scope(|scope| {
            let pruning = (0..8).map(|_| scope.spawn(|| prune_to(logs.path(), &BTreeSet::new(), 0, 0)));
            let pruning: Vec<_> = pruning.collect();
            pruning.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(std::fs::read_dir(logs.path()).unwrap().count(), 0);
    }
}
