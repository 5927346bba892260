//! Concurrent writers and readers: no update is lost, and everything looks as if it had happened one after the other, at some
//! moment between its call and its answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::{Change, DataLock, Durability, Error, Operation, Options, Revision, Store};

const WRITERS: usize = 8;
const INCREMENTS: usize = 60;

fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(DataLock::acquire(directory.path()).unwrap(), &Options::default()).unwrap();
    (directory, store)
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// Something that was done, with the moments of its call and its answer.
#[derive(Debug, Clone, Copy)]
struct Done {
    called: u64,
    answered: u64,
    revision: Revision,
    value: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

async fn increments(store: Store, clock: Arc<AtomicU64>, durability: Durability) -> Vec<Done> {
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let (mut done, mut written) = (Vec::new(), 0);
    while written < INCREMENTS {
        let called = tick();
        let found = store.get("counter").unwrap();
        let value = number(&found.value);
        done.push(Done { called, answered: tick(), revision: found.revision, value, kind: Kind::Read });
        let called = tick();
        match store.update("counter", (value + 1).to_le_bytes(), found.revision, durability).await {
            Ok(object) => {
                let (revision, value) = (object.revision, number(&object.value));
                done.push(Done { called, answered: tick(), revision, value, kind: Kind::Write });
                written += 1;
            }
            Err(Error::Conflict { found: Some(newer), .. }) => assert!(newer > found.revision),
            Err(other) => panic!("{other}"),
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_are_linearizable() {
    let (_directory, store) = fresh();
    let zero = store.create("counter", 0_u64.to_le_bytes(), Durability::Durable).await.unwrap();
    let mut watcher = store.watch("counter", Some(zero.revision)).unwrap();
    let clock = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let durability = if writer % 2 == 0 { Durability::Durable } else { Durability::Relaxed };
            tokio::spawn(increments(store.clone(), clock.clone(), durability))
        })
        .collect();
    let mut history = Vec::new();
    for writer in writers {
        history.extend(writer.await.unwrap());
    }

    let total = (WRITERS * INCREMENTS) as u64;
    assert_eq!(number(&store.get("counter").unwrap().value), total);

    // Writes in the order of their revisions count up by one: none was lost, none happened twice.
    let mut writes: Vec<_> = history.iter().filter(|done| done.kind == Kind::Write).collect();
    writes.sort_by_key(|done| done.revision);
    assert_eq!(writes.iter().map(|done| done.value).collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());

    // Whatever was called after something was answered sees it.
    history.sort_by_key(|done| done.answered);
    let mut answered = history.clone().into_iter().peekable();
    let mut by_call = history;
    by_call.sort_by_key(|done| done.called);
    let mut latest = zero.revision;
    for done in by_call {
        while let Some(earlier) = answered.next_if(|earlier| earlier.answered < done.called) {
            latest = latest.max(earlier.revision);
        }
        match done.kind {
            Kind::Read => assert!(done.revision >= latest, "{done:?} is older than {latest}"),
            Kind::Write => assert!(done.revision > latest, "{done:?} is older than {latest}"),
        }
    }

    // And a watcher was told each value once, in order.
    let mut told = Vec::new();
    while told.len() < total as usize {
        for event in watcher.next().await.unwrap() {
            let Change::Put { object, .. } = &event.change else { panic!("{event:?}") };
            told.push(number(&object.value));
        }
    }
    assert_eq!(told, (1..=total).collect::<Vec<_>>());
}

/// Money is moved between accounts; whoever lists them sees all of it, whenever they look.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_is_never_seen_in_part() {
    let (_directory, store) = fresh();
    let accounts = ["account/a", "account/b", "account/c"];
    for account in accounts {
        store.create(account, 100_u64.to_le_bytes(), Durability::Relaxed).await.unwrap();
    }
    let transfer = |from: &'static str, to: &'static str| {
        let store = store.clone();
        async move {
            let mut moved = 0;
            while moved < 50 {
                let (source, target) = (store.get(from).unwrap(), store.get(to).unwrap());
                let (have, has) = (number(&source.value), number(&target.value));
                if have == 0 {
                    break;
                }
                let put = |key: &'static str, value: u64, expected| Operation::Update {
                    key: key.into(),
                    value: value.to_le_bytes().into(),
                    expected,
                };
                let both = vec![put(from, have - 1, source.revision), put(to, has + 1, target.revision)];
                match store.transaction(both, Durability::Relaxed).await {
                    Ok(_) => moved += 1,
                    Err(Error::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    };
    let transfers = [
        tokio::spawn(transfer("account/a", "account/b")),
        tokio::spawn(transfer("account/b", "account/c")),
        tokio::spawn(transfer("account/c", "account/a")),
    ];
    let request = store::ListRequest { prefix: "account/", ..store::ListRequest::default() };
    let mut looked = 0_u32;
    while !transfers.iter().all(tokio::task::JoinHandle::is_finished) {
        let list = store.list(&request).unwrap();
        assert_eq!(list.objects.iter().map(|object| number(&object.value)).sum::<u64>(), 300);
        looked += 1;
        tokio::task::yield_now().await;
    }
    assert!(looked > 0);
    for transfer in transfers {
        transfer.await.unwrap();
    }
}
