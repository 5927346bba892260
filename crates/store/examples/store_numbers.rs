//! How fast the store is, on this machine's disk: `cargo run --release -p store --example store_numbers [DIRECTORY]`.
//! Medians and the slowest of a hundred, so that what is promised in the documents can be measured again.

#![allow(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::time::{Duration, Instant};

use store::{DataLock, Durability, Existing, ListRequest, Options, Store, backup};

const VALUE_BYTES: usize = 4096;

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what:55} median {:8.3} ms   p99 {:8.3} ms", milliseconds(median), milliseconds(worst));
}

async fn commits(store: &Store, durability: Durability) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..1000 {
        let began = Instant::now();
        store.create(format!("{durability:?}/{number}"), vec![1; VALUE_BYTES], durability).await.unwrap();
        times.push(began.elapsed());
    }
    times
}

async fn throughput(store: &Store, writers: usize, durability: Durability) -> f64 {
    let each = 4000 / writers;
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    let key = format!("{writers}/{durability:?}/{writer}/{number}");
                    store.create(key, vec![2; VALUE_BYTES], durability).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (each * writers) as f64 / began.elapsed().as_secs_f64()
}

/// From the call of a write until the last of a thousand watchers was told.
async fn fan_out(store: &Store) -> Vec<Duration> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..1000 {
        let (mut watcher, sender) = (store.watch("fan/", None).unwrap(), sender.clone());
        tokio::spawn(async move {
            while let Ok(events) = watcher.next().await {
                let _ = sender.send((events.len(), Instant::now()));
            }
        });
    }
    let mut times = Vec::new();
    for number in 0..100 {
        let began = Instant::now();
        store.create(format!("fan/{number}"), vec![3; VALUE_BYTES], Durability::Durable).await.unwrap();
        let (mut told, mut last) = (0, began);
        while told < 1000 {
            let (events, at) = receiver.recv().await.unwrap();
            told += events;
            last = last.max(at);
        }
        times.push(last - began);
    }
    times
}

async fn writes(store: &Store) {
    for durability in [Durability::Durable, Durability::Relaxed] {
        let what = format!("one writer, {VALUE_BYTES} bytes, {durability:?}");
        told(&what, commits(store, durability).await);
    }
    for writers in [8, 64] {
        for durability in [Durability::Durable, Durability::Relaxed] {
            let per_second = throughput(store, writers, durability).await;
            println!("{:55} {per_second:.0} per second", format!("{writers} writers, {durability:?}"));
        }
    }
}

fn list(store: &Store) -> Duration {
    let began = Instant::now();
    let list = store.list(&ListRequest { prefix: "pods/", ..ListRequest::default() }).unwrap();
    assert_eq!(list.objects.len(), 5000);
    began.elapsed()
}

#[tokio::main]
async fn main() {
    let argument = std::env::args_os().nth(1).map(std::path::PathBuf::from);
    let directory = match argument {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let open = || Store::open(DataLock::acquire(directory.path()).unwrap(), &Options::default()).unwrap();
    let took = |what: &str, began: Instant| println!("{what:55} {:.1} ms", milliseconds(began.elapsed()));

    let began = Instant::now();
    let store = open();
    took("opening an empty store", began);
    writes(&store).await;
    told("one change told to 1,000 watchers", fan_out(&store).await);
    for number in 0..5000 {
        store
            .create(format!("pods/default/{number}"), vec![4; VALUE_BYTES], Durability::Relaxed)
            .await
            .unwrap();
    }
    told("list of 5,000", (0..100).map(|_| list(&store)).collect());
    let began = Instant::now();
    let verified = backup(directory.path(), &directory.path().join("backup"), Existing::Refuse).unwrap();
    took(&format!("backup of {} objects, checked", verified.objects), began);
    store.close().await.unwrap();
    let began = Instant::now();
    let store = open();
    took(&format!("opening {} objects, checked", store.statistics().objects), began);
}
