//! What a caller can rely on: conditions, atomicity, lists, watches, the end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use store::{
    Change, DataLock, Durability, Error, Event, ListError, ListRequest, Object, Operation, Options, Revision,
    Store, WatchError, Watcher,
};

use Durability::{Durable, Relaxed};

fn open(directory: &Path, options: &Options) -> Store {
    Store::open(DataLock::acquire(directory).unwrap(), options).unwrap()
}

fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Options::default());
    (directory, store)
}

fn keys(objects: &[Arc<Object>]) -> Vec<&str> {
    objects.iter().map(|object| &*object.key).collect()
}

fn list<'a>(prefix: &'a str) -> ListRequest<'a> {
    ListRequest { prefix, ..ListRequest::default() }
}

/// The changes that are there, as `+key`, `=key` and `-key`.
fn told(watcher: &mut Watcher) -> Vec<String> {
    let sign = |event: &Event| match event.change {
        Change::Put { previous: None, .. } => '+',
        Change::Put { .. } => '=',
        Change::Delete { .. } => '-',
    };
    watcher.try_next().unwrap().iter().map(|event| format!("{}{}", sign(event), event.key())).collect()
}

#[tokio::test]
async fn what_was_written_is_read_also_after_the_next_open() {
    let (directory, store) = fresh();
    let created = store.create("pods/a", *b"one", Durable).await.unwrap();
    assert_eq!((created.created, created.revision), (Revision::new(1), Revision::new(1)));
    let updated = store.update("pods/a", *b"two", created.revision, Relaxed).await.unwrap();
    assert_eq!((updated.created, updated.revision), (Revision::new(1), Revision::new(2)));
    assert_eq!(store.get("pods/a").unwrap(), updated);
    store.create("pods/b", *b"", Relaxed).await.unwrap();
    let gone = store.create("pods/c", *b"x", Relaxed).await.unwrap();
    assert_eq!(store.delete("pods/c", gone.revision, Durable).await.unwrap(), Revision::new(5));
    store.close().await.unwrap();
    assert!(matches!(store.create("pods/d", *b"", Durable).await, Err(Error::Closed)));

    let store = open(directory.path(), &Options::default());
    assert_eq!(store.get("pods/a").unwrap(), updated);
    assert_eq!(keys(&store.list(&list("pods/")).unwrap().objects), ["pods/a", "pods/b"]);
    // A store that was closed wastes no revision.
    assert_eq!(store.current_revision(), Revision::new(5));
    assert_eq!(store.create("pods/d", *b"", Durable).await.unwrap().revision, Revision::new(6));
}

#[tokio::test]
async fn a_condition_that_does_not_hold_says_what_was_found() {
    let (_directory, store) = fresh();
    let one = store.create("a", *b"1", Durable).await.unwrap().revision;
    let two = store.update("a", *b"2", one, Durable).await.unwrap().revision;
    let at = |result: Result<Arc<Object>, Error>| match result.unwrap_err() {
        Error::Exists { found, .. } => Some(found),
        Error::Conflict { found, .. } => found,
        other => panic!("{other}"),
    };
    assert_eq!(at(store.create("a", *b"3", Durable).await), Some(two));
    assert_eq!(at(store.update("a", *b"3", one, Durable).await), Some(two));
    assert_eq!(at(store.update("b", *b"3", one, Durable).await), None);
    assert!(
        matches!(store.delete("a", one, Durable).await, Err(Error::Conflict { found, .. }) if found == Some(two))
    );
    assert_eq!(&*store.get("a").unwrap().value, b"2");
    assert_eq!(store.current_revision(), two);
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all() {
    let (_directory, store) = fresh();
    let a = store.create("a", *b"1", Durable).await.unwrap().revision;
    let mut watcher = store.watch("", None).unwrap();
    let create = |key: &str| Operation::Create { key: key.into(), value: (*b"x").into() };
    let delete = Operation::Delete { key: "a".into(), expected: a };
    let absent = |key: &str| Operation::Check { key: key.into(), expected: None };

    let refused = store.transaction(vec![create("b"), delete.clone(), create("b")], Durable).await;
    assert!(matches!(refused, Err(Error::Exists { key, .. }) if &*key == "b"));
    let refused =
        store.transaction(vec![delete.clone(), absent("a"), create("a"), absent("a")], Durable).await;
    assert!(matches!(refused, Err(Error::Conflict { expected: None, found: Some(_), .. })));
    assert_eq!(store.current_revision(), a);
    assert!(told(&mut watcher).is_empty());

    let committed =
        store.transaction(vec![absent("b"), create("b"), delete, create("a")], Durable).await.unwrap();
    assert_eq!(committed.revision, Revision::new(a.get() + 3));
    assert_eq!(committed.objects.len(), 4);
    assert_eq!(told(&mut watcher), ["+b", "-a", "+a"]);
    // It is another object than before, and says so.
    assert_eq!(store.get("a").unwrap().created, committed.revision);
}

#[tokio::test]
async fn keys_and_values_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Options { value_limit_bytes: 3, ..Options::default() });
    for key in ["", "a\0b", &"k".repeat(1025)] {
        assert!(matches!(store.create(key, *b"", Durable).await, Err(Error::InvalidKey { .. })));
    }
    assert!(matches!(store.create("a", *b"1234", Durable).await, Err(Error::TooLarge { bytes: 4, .. })));
    store.create("k".repeat(1024), *b"123", Durable).await.unwrap();
}

#[tokio::test]
async fn a_prefix_is_a_list_in_the_order_of_bytes() {
    let (_directory, store) = fresh();
    for key in ["pods/b", "pods/a/x", "pods/a", "podsx", "nodes/a", "pods/\u{e9}", "pods/a.b"] {
        store.create(key, *b"", Relaxed).await.unwrap();
    }
    let all = store.list(&list("pods/")).unwrap();
    assert_eq!(keys(&all.objects), ["pods/a", "pods/a.b", "pods/a/x", "pods/b", "pods/\u{e9}"]);
    assert_eq!((all.revision, all.remaining), (Revision::new(7), 0));
    let page = |start_after, limit| {
        let request = ListRequest { start_after, limit: Some(limit), ..list("pods/") };
        let page = store.list(&request).unwrap();
        (keys(&page.objects).join(" "), page.remaining)
    };
    assert_eq!(page(None, 2), ("pods/a pods/a.b".to_owned(), 3));
    assert_eq!(page(Some("pods/a.b"), 2), ("pods/a/x pods/b".to_owned(), 1));
    assert_eq!(page(Some("pods/b"), 2), ("pods/\u{e9}".to_owned(), 0));
    assert_eq!(page(Some("zzz"), 2), (String::new(), 0));
    assert_eq!(page(Some("a"), 1), ("pods/a".to_owned(), 4));
    assert_eq!(page(None, 0), (String::new(), 5));
    assert_eq!(store.list(&list("")).unwrap().objects.len(), 7);
}

#[tokio::test]
async fn pages_of_one_list_are_of_one_revision() {
    let (_directory, store) = fresh();
    for key in ["a1", "a2", "a3", "b"] {
        store.create(key, *key.as_bytes().first_chunk::<1>().unwrap(), Relaxed).await.unwrap();
    }
    let first = store.list(&ListRequest { limit: Some(1), ..list("a") }).unwrap();
    let a2 = store.get("a2").unwrap();
    store.update("a2", *b"new", a2.revision, Relaxed).await.unwrap();
    store.delete("a3", store.get("a3").unwrap().revision, Relaxed).await.unwrap();
    store.create("a4", *b"", Relaxed).await.unwrap();
    store.create("a0", *b"", Relaxed).await.unwrap();
    let rest = ListRequest { start_after: Some("a1"), at: Some(first.revision), ..list("a") };
    let rest = store.list(&rest).unwrap();
    assert_eq!(keys(&rest.objects), ["a2", "a3"]);
    assert_eq!(rest.objects[0], a2);
    assert_eq!(rest.revision, first.revision);
    let future = ListRequest { at: Some(Revision::new(99)), ..list("a") };
    assert!(matches!(store.list(&future), Err(ListError::Future { .. })));
}

#[tokio::test]
async fn a_watch_tells_what_its_prefix_has_and_goes_on_where_another_ended() {
    let (_directory, store) = fresh();
    let a = store.create("pods/a", *b"1", Durable).await.unwrap();
    let (list, mut watcher) = store.list_and_watch("pods/").unwrap();
    assert_eq!((list.objects.len(), list.revision), (1, a.revision));
    store.create("nodes/a", *b"", Durable).await.unwrap();
    let updated = store.update("pods/a", *b"2", a.revision, Durable).await.unwrap();
    let events = watcher.next().await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].change, Change::Put { object: updated.clone(), previous: Some(a.clone()) });
    assert!(!events[0].is_creation());
    store.delete("pods/a", updated.revision, Durable).await.unwrap();
    let events = watcher.next().await.unwrap();
    assert_eq!(events[0].change, Change::Delete { last: updated });
    assert_eq!(events[0].revision, Revision::new(4));
    assert!(watcher.try_next().unwrap().is_empty());

    let mut again = store.watch("pods/", Some(a.revision)).unwrap();
    assert_eq!(told(&mut again), ["=pods/a", "-pods/a"]);
    let mut everything = store.watch("", Some(Revision::ZERO)).unwrap();
    assert_eq!(told(&mut everything), ["+pods/a", "+nodes/a", "=pods/a", "-pods/a"]);
    assert!(matches!(store.watch("", Some(Revision::new(5))), Err(WatchError::Future { .. })));
}

#[tokio::test]
async fn a_waiting_watcher_is_woken_by_its_prefix_and_by_the_end() {
    let (_directory, store) = fresh();
    let mut watcher = store.watch("pods/", None).unwrap();
    let waiting = tokio::spawn(async move { (watcher.next().await.map(|events| events.len()), watcher) });
    store.create("nodes/a", *b"", Durable).await.unwrap();
    store.create("pods/a", *b"", Durable).await.unwrap();
    let (events, mut watcher) = waiting.await.unwrap();
    assert_eq!(events, Ok(1));
    let waiting = tokio::spawn(async move { watcher.next().await.map(|events| events.len()) });
    store.close().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(WatchError::Closed));
}

#[tokio::test]
async fn a_bookmark_moves_on_without_changes_of_its_prefix() {
    let (_directory, store) = fresh();
    let mut watcher = store.watch("pods/", None).unwrap();
    store.create("nodes/a", *b"", Durable).await.unwrap();
    assert_eq!(watcher.progress(), Revision::new(1));
    store.create("pods/a", *b"", Durable).await.unwrap();
    store.create("nodes/b", *b"", Durable).await.unwrap();
    // There is something that it has not been told.
    assert_eq!(watcher.progress(), Revision::new(1));
    assert_eq!(store.statistics().watched, Revision::new(1));
    assert_eq!(told(&mut watcher), ["+pods/a"]);
    assert_eq!(watcher.progress(), Revision::new(3));
    assert_eq!(store.statistics().watched, Revision::new(3));
}

#[tokio::test]
async fn the_history_is_bounded_and_a_slow_watcher_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Options { history_limit_events: 10, ..Options::default() });
    let mut slow = store.watch("a", None).unwrap();
    let mut quiet = store.watch("z", None).unwrap();
    for number in 0..20 {
        store.create(format!("a{number}"), *b"", Relaxed).await.unwrap();
    }
    assert_eq!(slow.try_next(), Err(WatchError::Lagged { reached: Revision::ZERO }));
    assert!(matches!(slow.next().await, Err(WatchError::Lagged { .. })));
    // Nothing under its prefix has changed, so it has missed nothing.
    assert!(quiet.try_next().unwrap().is_empty());
    assert_eq!(quiet.progress(), Revision::new(20));
    let oldest = Revision::new(10);
    assert_eq!(
        store.watch("a", Some(Revision::new(9))).unwrap_err(),
        WatchError::Compacted { asked: Revision::new(9), oldest }
    );
    assert_eq!(told(&mut store.watch("a", Some(oldest)).unwrap()).len(), 10);
    let then = ListRequest { at: Some(Revision::new(9)), ..list("a") };
    assert!(matches!(store.list(&then), Err(ListError::Compacted { .. })));
    assert_eq!(store.list(&ListRequest { at: Some(oldest), ..list("a") }).unwrap().objects.len(), 10);
    assert_eq!(store.statistics().history_events, 10);
}

#[tokio::test]
async fn the_history_is_bounded_by_bytes_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Options { history_limit_bytes: 100_000, ..Options::default() });
    let mut revision = store.create("a", vec![0; 30_000], Relaxed).await.unwrap().revision;
    for _ in 0..9 {
        revision = store.update("a", vec![1; 30_000], revision, Relaxed).await.unwrap().revision;
        assert!(store.statistics().history_bytes <= 100_000);
    }
    // An update holds what was before it, too.
    assert_eq!(store.statistics().history_events, 1);
    assert_eq!(store.statistics().objects_bytes, 30_001);
}

#[tokio::test]
async fn a_long_gap_is_told_in_pieces_and_in_order() {
    let (_directory, store) = fresh();
    let mut watcher = store.watch("a", None).unwrap();
    for number in 0..600 {
        store.create(format!("a{number:03}"), *b"", Relaxed).await.unwrap();
        store.create(format!("b{number:03}"), *b"", Relaxed).await.unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 600 {
        let events = watcher.next().await.unwrap();
        assert!(events.len() <= 256);
        let progress = watcher.progress();
        assert!(progress >= events.last().unwrap().revision);
        told.extend(events.iter().map(|event| event.key().to_string()));
    }
    let expected: Vec<_> = (0..600).map(|number| format!("a{number:03}")).collect();
    assert_eq!(told, expected);
    assert_eq!(watcher.progress(), store.current_revision());
}

#[tokio::test]
async fn a_watcher_that_is_gone_is_forgotten() {
    let (_directory, store) = fresh();
    let watchers: Vec<_> = (0..100).map(|_| store.watch("a", None).unwrap()).collect();
    assert_eq!(store.statistics().watchers, 100);
    drop(watchers);
    assert_eq!(store.statistics().watchers, 0);
    store.create("a", *b"", Durable).await.unwrap();
}

#[test]
fn a_store_needs_no_runtime_of_its_caller() {
    let (_directory, store) = fresh();
    assert_eq!(store.current_revision(), Revision::ZERO);
}
