//! Power cuts: the log without its unsynced end, cut off at every frame, within frames, and with garbage where the medium
//! had begun to write. What was acknowledged as durable is there, what is there is a state that once was, and no revision that
//! anybody has seen is given again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use store::{DataLock, Durability, ListRequest, Operation, Options, Revision, Store};

const WAL_HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + 4096;

/// The first write of a store reserves a thousand revisions after its own.
const FIRST_BLOCK_END: Revision = Revision::new(1002);

type State = BTreeMap<String, Vec<u8>>;

fn open(directory: &Path) -> Store {
    // Nothing is brought to the medium behind the test's back.
    let options = Options { relaxed_sync_timeout: Duration::from_secs(3600), ..Options::default() };
    Store::open(DataLock::acquire(directory).unwrap(), &options).unwrap()
}

fn state(store: &Store) -> State {
    let list = store.list(&ListRequest::default()).unwrap();
    list.objects.iter().map(|object| (object.key.to_string(), object.value.to_vec())).collect()
}

/// What the machine would have on its medium at some moment, at best.
struct Moment {
    database: Vec<u8>,
    log: Vec<u8>,
    /// So much of the log was synced.
    synced_bytes: usize,
    /// How many of the states had been reached, and how many of these durably.
    reached: usize,
    durable: usize,
    given: Revision,
}

impl Moment {
    async fn reopened(&self, log: &[u8], states: &[State]) {
        // Hundreds of stores are opened; in memory, because their own fsyncs are of no interest.
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let files = directory.path().join("store");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("objects.db"), &self.database).unwrap();
        fs::write(files.join("objects.db-wal"), log).unwrap();
        let store = open(directory.path());
        let found = state(&store);
        let possible = &states[self.durable..=self.reached];
        assert!(possible.contains(&found), "{} bytes of the log: no state that was", log.len());
        assert!(store.current_revision() >= self.given, "{} < {}", store.current_revision(), self.given);
        let next = store.create("next", *b"", Durability::Durable).await.unwrap();
        assert!(next.revision > self.given);
        store.close().await.unwrap();
    }

    async fn check(&self, states: &[State]) {
        for end in self.ends() {
            let kept = &self.log[..end];
            self.reopened(kept, states).await;
            // The medium wrote some of what follows, or said it was longer than what it wrote.
            let garbage =
                [kept, &self.log[end..].iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>()].concat();
            self.reopened(&garbage, states).await;
            self.reopened(&[kept, &vec![0; self.log.len() - end]].concat(), states).await;
        }
    }

    /// Every end of a frame after what was synced, and the middle of every frame.
    fn ends(&self) -> Vec<usize> {
        let frames = (self.log.len() - WAL_HEADER_BYTES) / FRAME_BYTES;
        let ends = (0..=frames).flat_map(|frame| {
            let end = WAL_HEADER_BYTES + frame * FRAME_BYTES;
            [end, end + FRAME_BYTES / 2]
        });
        ends.filter(|end| *end >= self.synced_bytes && *end <= self.log.len()).collect()
    }
}

#[tokio::test]
async fn a_power_cut_takes_nothing_durable_and_gives_no_revision_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let file = |name: &str| directory.path().join("store").join(name);
    let mut model = State::new();
    let mut states = Vec::new();
    let (mut durable, mut synced_bytes) = (0, 0);
    let mut moments = Vec::new();

    // Nearly all of the first block of revisions, so that another is reserved below.
    store.create("first", *b"", Durability::Durable).await.unwrap();
    let many = (0..990).map(|number| format!("many/{number:03}"));
    let many: Vec<_> = many.map(|key| Operation::Create { key: key.into(), value: (*b"").into() }).collect();
    model.insert("first".to_owned(), Vec::new());
    model.extend(many.iter().map(|operation| (operation.key().to_string(), Vec::new())));
    store.transaction(many, Durability::Durable).await.unwrap();
    states.push(model.clone());

    for step in 0..24_usize {
        let durability = if step % 4 == 1 { Durability::Durable } else { Durability::Relaxed };
        let key = format!("key/{}", step % 5);
        let (before, log_before) =
            (store.current_revision(), fs::read(file("objects.db-wal")).unwrap().len());
        let value = vec![u8::try_from(step).unwrap(); 1000 + 700 * (step % 4)];
        match store.get(&key) {
            None => {
                store.create(key.as_str(), value.clone(), durability).await.unwrap();
                model.insert(key, value);
            }
            Some(object) if step % 3 == 0 => {
                store.delete(key.as_str(), object.revision, durability).await.unwrap();
                model.remove(&key);
            }
            Some(object) => {
                store.update(key.as_str(), value.clone(), object.revision, durability).await.unwrap();
                model.insert(key, value);
            }
        }
        states.push(model.clone());
        let log = fs::read(file("objects.db-wal")).unwrap();
        if before < FIRST_BLOCK_END && store.current_revision() >= FIRST_BLOCK_END {
            // The next block was reserved before this write: one page, and synced with everything before it.
            (durable, synced_bytes) = (states.len() - 2, log_before + FRAME_BYTES);
        }
        if durability == Durability::Durable {
            (durable, synced_bytes) = (states.len() - 1, log.len());
        }
        if step % 8 == 4 {
            let database = fs::read(file("objects.db")).unwrap();
            let (reached, given) = (states.len() - 1, store.current_revision());
            moments.push(Moment { database, log, synced_bytes, reached, durable, given });
        }
    }
    assert!(store.current_revision() > FIRST_BLOCK_END, "the first block was to be used up");
    let lost: usize = moments.iter().map(|moment| moment.reached - moment.durable).sum();
    assert!(lost > 0, "something was to be lost");
    for moment in moments {
        moment.check(&states).await;
    }
}

#[tokio::test]
async fn relaxed_writes_reach_the_medium_without_anybody_asking() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { relaxed_sync_timeout: Duration::from_millis(1), ..Options::default() };
    let store = Store::open(DataLock::acquire(directory.path()).unwrap(), &options).unwrap();
    store.create("a", *b"1", Durability::Relaxed).await.unwrap();
    // The writer serves on after its timer.
    while store.statistics().unsynced {
        tokio::task::yield_now().await;
    }
    store.create("b", *b"2", Durability::Durable).await.unwrap();
    assert!(!store.statistics().unsynced);
}
