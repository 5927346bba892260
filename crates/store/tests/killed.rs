//! `kill -9` in the middle of writes: every write that was acknowledged is there, relaxed ones too, and revisions only grow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use store::{DataLock, Durability, Error, Options, Store};

const DIRECTORY: &str = "STORE_TEST_DIRECTORY";
const WRITERS: usize = 8;

fn open(directory: &Path) -> Store {
    Store::open(DataLock::acquire(directory).unwrap(), &Options::default()).unwrap()
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().unwrap())
}

/// Counts up its key for ever, and says so after each acknowledgement.
async fn count(store: Store, writer: usize) {
    let key = format!("counter/{writer}");
    let durability = if writer.is_multiple_of(2) { Durability::Durable } else { Durability::Relaxed };
    loop {
        let found = store.get(&key);
        let next = found.as_ref().map_or(0, |object| number(&object.value)) + 1;
        // Of different sizes, so that rows move between pages.
        let mut value = next.to_le_bytes().to_vec();
        value.resize(8 + (next as usize * 37) % 6000, 0);
        let written = match found {
            None => store.create(key.as_str(), value, durability).await,
            Some(object) => store.update(key.as_str(), value, object.revision, durability).await,
        };
        println!("acknowledged {writer} {next} {}", written.unwrap().revision);
    }
}

/// The process that is killed: this very binary, told to run only this.
#[test]
#[ignore = "runs for ever; started and killed by the test below"]
fn the_child_that_counts_until_it_is_killed() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&directory));
        let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(count(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// Killed also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut latest = 0;
    for round in 1..=4_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_child_that_counts_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .map(Killed)
            .unwrap();
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (mut seen, mut writers, mut is_killed) = (0, BTreeSet::new(), false);
        let before = latest;
        for line in lines {
            let line = line.unwrap();
            let Some(line) = line.strip_prefix("acknowledged ") else { continue };
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [writer, count, revision] = numbers[..] else { panic!("{line}") };
            assert!(revision > before, "revision {revision} was given before the kill too");
            latest = latest.max(revision);
            acknowledged.insert(writer, count);
            seen += 1;
            writers.insert(writer);
            // Durable writers are slower than relaxed ones by as much as the medium is slower than memory.
            if seen >= 150 * round && writers.len() == WRITERS && !std::mem::replace(&mut is_killed, true) {
                child.0.kill().unwrap();
            }
        }
        assert!(is_killed, "the child ended by itself after {seen} writes");
        drop(child);

        let store = open(directory.path());
        assert_eq!(acknowledged.len(), WRITERS);
        for (writer, count) in &acknowledged {
            let object = store.get(&format!("counter/{writer}")).unwrap();
            let found = number(&object.value);
            // One more may have been written and not yet told.
            assert!(
                found == *count || found == count + 1,
                "writer {writer}: {count} acknowledged, {found} found"
            );
        }
        assert!(store.current_revision().get() >= latest);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let closed: Result<(), Error> = runtime.block_on(store.close());
        closed.unwrap();
    }
}
