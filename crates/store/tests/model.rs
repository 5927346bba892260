//! The store beside a plain map: whatever is asked of both, the answers are the same, now, for every revision of the past that the
//! history has, for every watcher, and after the next open.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use store::{
    Change, DataLock, Durability, ListRequest, Operation, Options, Revision, Store, WatchError, Watcher,
};

const HISTORY_EVENTS: usize = 30;

/// Value, creation, revision.
type Model = BTreeMap<String, (Vec<u8>, Revision, Revision)>;

#[derive(Debug, Clone)]
enum Step {
    /// For each: which key, what to do, and whether the condition shall hold.
    Transaction(Vec<(usize, Deed, bool)>, bool),
    Watch(usize),
    Read(usize),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Create,
    Update,
    Delete,
    Check,
}

const KEYS: [&str; 7] = ["a", "a/x", "a/y", "a/y/z", "b", "b/\u{fc}", "c"];
const PREFIXES: [&str; 5] = ["", "a", "a/", "a/y", "b/"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deed = prop_oneof![Just(Deed::Create), Just(Deed::Update), Just(Deed::Delete), Just(Deed::Check)];
    let one = (0..KEYS.len(), deed, prop::bool::weighted(0.85));
    let step = prop_oneof![
        8 => (prop::collection::vec(one, 1..4), any::<bool>()).prop_map(|(deeds, durable)| Step::Transaction(deeds, durable)),
        2 => (0..PREFIXES.len()).prop_map(Step::Watch),
        2 => (0..8_usize).prop_map(Step::Read),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..50)
}

/// A watcher and what it has been told, applied to what it began with.
struct Follower {
    watcher: Watcher,
    prefix: &'static str,
    view: BTreeMap<String, Vec<u8>>,
    /// Changes under the prefix since it was last read.
    unread: usize,
}

struct World {
    directory: tempfile::TempDir,
    store: Store,
    model: Model,
    past: BTreeMap<Revision, Model>,
    followers: Vec<Follower>,
    counter: u32,
}

fn open(directory: &tempfile::TempDir) -> Store {
    let options = Options { history_limit_events: HISTORY_EVENTS, ..Options::default() };
    Store::open(DataLock::acquire(directory.path()).unwrap(), &options).unwrap()
}

fn values(model: &Model, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let under = model.iter().filter(|(key, _)| key.starts_with(prefix));
    under.map(|(key, (value, _, _))| (key.clone(), value.clone())).collect()
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let past = BTreeMap::from([(Revision::ZERO, Model::new())]);
        Self { directory, store, model: Model::new(), past, followers: Vec::new(), counter: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Transaction(deeds, durable) => self.transaction(deeds, durable).await,
            Step::Watch(prefix) => {
                let prefix = PREFIXES[prefix];
                let (list, watcher) = self.store.list_and_watch(prefix).unwrap();
                let view = list.objects.iter().map(|object| (object.key.to_string(), object.value.to_vec()));
                self.followers.push(Follower { watcher, prefix, view: view.collect(), unread: 0 });
            }
            Step::Read(index) => {
                if index < self.followers.len() && !self.followers[index].read(&self.model) {
                    self.followers.remove(index);
                }
            }
            Step::Reopen => self.reopen().await,
        }
        self.compare();
    }

    async fn transaction(&mut self, deeds: Vec<(usize, Deed, bool)>, durable: bool) {
        let mut after = self.model.clone();
        let mut revision = self.store.current_revision();
        let (mut operations, mut holds, mut changes) = (Vec::new(), true, Vec::new());
        for (key, deed, right) in deeds {
            let key = KEYS[key];
            let found = after.get(key).map(|(_, _, revision)| *revision);
            // Of a right condition what is there; of a wrong one what never is.
            let expected = if right { found } else { Some(Revision::new(u64::MAX / 4)) };
            self.counter += 1;
            let value = self.counter.to_le_bytes().to_vec();
            let next = Revision::new(revision.get() + 1);
            let operation = match deed {
                Deed::Create => {
                    holds &= found.is_none();
                    Operation::Create { key: key.into(), value: value.as_slice().into() }
                }
                Deed::Update => {
                    holds &= right && found.is_some();
                    let expected = expected.unwrap_or(Revision::ZERO);
                    Operation::Update { key: key.into(), value: value.as_slice().into(), expected }
                }
                Deed::Delete => {
                    holds &= right && found.is_some();
                    Operation::Delete { key: key.into(), expected: expected.unwrap_or(Revision::ZERO) }
                }
                Deed::Check => {
                    holds &= right;
                    Operation::Check { key: key.into(), expected }
                }
            };
            operations.push(operation);
            match deed {
                Deed::Check => continue,
                Deed::Delete => drop(after.remove(key)),
                Deed::Create | Deed::Update => {
                    let created = after.get(key).map_or(next, |(_, created, _)| *created);
                    after.insert(key.to_owned(), (value, created, next));
                }
            }
            revision = next;
            changes.push((key, revision, after.clone()));
        }
        let durability = if durable { Durability::Durable } else { Durability::Relaxed };
        let result = self.store.transaction(operations, durability).await;
        assert_eq!(result.is_ok(), holds, "{result:?}");
        let Ok(committed) = result else { return };
        assert_eq!(committed.revision, revision);
        for (key, revision, model) in changes {
            self.past.insert(revision, model);
            for follower in self.followers.iter_mut().filter(|follower| key.starts_with(follower.prefix)) {
                follower.unread += 1;
            }
        }
        self.model = after;
    }

    async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        for mut follower in self.followers.drain(..) {
            // What was told before the end is told, and then the end.
            while follower.watcher.try_next().is_ok() {}
            let end = follower.watcher.try_next().unwrap_err();
            assert!(matches!(end, WatchError::Closed | WatchError::Lagged { .. }), "{end}");
        }
        self.store = open(&self.directory);
        self.past.retain(|revision, _| *revision == self.store.current_revision());
        self.past.insert(self.store.current_revision(), self.model.clone());
    }

    fn compare(&self) {
        for prefix in PREFIXES {
            let list = self.store.list(&ListRequest { prefix, ..ListRequest::default() }).unwrap();
            let found: Model = list.objects.iter().map(|object| row(object)).collect();
            let expected: Model = self
                .model
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(found, expected);
        }
        let compacted = self.store.statistics().compacted;
        for (revision, model) in self.past.range(compacted..) {
            for prefix in PREFIXES {
                for (start_after, limit) in [(None, usize::MAX), (Some("a/x"), 2)] {
                    let request =
                        ListRequest { prefix, start_after, limit: Some(limit), at: Some(*revision) };
                    let list = self.store.list(&request).unwrap();
                    let mut expected = values(model, prefix);
                    expected.retain(|key, _| start_after.is_none_or(|after| key.as_str() > after));
                    let all = expected.len();
                    let expected: BTreeMap<_, _> = expected.into_iter().take(limit).collect();
                    let found: BTreeMap<_, _> = list
                        .objects
                        .iter()
                        .map(|object| (object.key.to_string(), object.value.to_vec()))
                        .collect();
                    assert_eq!(
                        (found, list.remaining),
                        (expected.clone(), all - expected.len()),
                        "at {revision}"
                    );
                }
            }
        }
    }
}

fn row(object: &store::Object) -> (String, (Vec<u8>, Revision, Revision)) {
    (object.key.to_string(), (object.value.to_vec(), object.created, object.revision))
}

impl Follower {
    /// Reads all there is; false when it has fallen behind, which it may only after so many changes.
    fn read(&mut self, model: &Model) -> bool {
        let mut told = 0;
        loop {
            let events = match self.watcher.try_next() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => events,
                Err(WatchError::Lagged { .. }) => {
                    assert!(self.unread > 0, "it was told everything and has nothing to lag behind");
                    return false;
                }
                Err(other) => panic!("{other}"),
            };
            for event in events {
                told += 1;
                let before = self.view.get(&**event.key()).cloned();
                assert_eq!(event.previous().map(|object| object.value.to_vec()), before, "{event:?}");
                match &event.change {
                    Change::Put { object, .. } => {
                        self.view.insert(object.key.to_string(), object.value.to_vec());
                    }
                    Change::Delete { last } => {
                        self.view.remove(&*last.key);
                    }
                }
            }
        }
        assert_eq!(told, self.unread);
        assert_eq!(self.view, values(model, self.prefix));
        self.unread = 0;
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_with_a_past(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            while let Some(mut follower) = world.followers.pop() {
                follower.read(&world.model);
            }
        });
    }
}
