//! Many writers of one object: whoever was told that a change is done finds it, once, also when the node was killed meanwhile.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use e2e::{Node, Podling, Wire};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/namespaces/default/configmaps/counter";
const WRITERS: usize = 6;
/// Changes of each writer in each of the two lives of the node.
const CHANGES: usize = 25;

/// What a writer was told of its changes.
#[derive(Default)]
struct Told {
    done: Vec<String>,
    /// Sent, and never answered: it may be done or not.
    unknown: Vec<String>,
    /// Others were faster.
    conflicts: usize,
}

/// Reads, adds a word and one to the counter, and writes; again, when somebody was faster.
fn change(wire: &Wire, word: &str, told: &mut Told) -> Result<(), ()> {
    loop {
        let mut connection = wire.connect_or_none().ok_or(())?;
        let mut map: Value = connection.try_request("GET", PATH, &[], b"").ok_or(())?.json();
        let count: usize =
            map["data"]["count"].as_str().and_then(|count| count.parse().ok()).unwrap_or_default();
        let words = map["data"]["words"].as_str().unwrap_or_default();
        map["data"] = json!({"count": (count + 1).to_string(), "words": format!("{words} {word}")});
        let headers = [("Content-Type", "application/json")];
        match connection.try_request("PUT", PATH, &headers, map.to_string().as_bytes()) {
            Some(reply) if reply.code == 200 => {
                told.done.push(word.to_owned());
                return Ok(());
            }
            Some(reply) => {
                reply.assert_refused("a change", 409, "Conflict");
                told.conflicts += 1;
            }
            None => {
                told.unknown.push(word.to_owned());
                return Err(());
            }
        }
    }
}

/// Lets all writers write, and `meanwhile` happen when half of it is done.
fn write(wire: &Wire, life: usize, changes: usize, meanwhile: impl FnOnce()) -> Told {
    let told = Mutex::new(Told::default());
    let ((half, is_half), done) = (channel(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (told, half, done) = (&told, half.clone(), &done);
            scope.spawn(move || {
                let mut mine = Told::default();
                for number in 0..changes {
                    if change(wire, &format!("{life}-{writer}-{number}"), &mut mine).is_err() {
                        break;
                    }
                    if done.fetch_add(1, Ordering::SeqCst) + 1 == WRITERS * CHANGES / 2 {
                        let _ = half.send(());
                    }
                }
                let mut told = told.lock().expect("the writers");
                told.done.extend(mine.done);
                told.unknown.extend(mine.unknown);
                told.conflicts += mine.conflicts;
            });
        }
        drop(half);
        // When they all ended before, what they were told says so.
        let _ = is_half.recv();
        meanwhile();
    });
    told.into_inner().expect("the writers")
}

/// Every change that was acknowledged is there once, and none is there that nobody made.
fn assert_kept(wire: &Wire, all: &[&Told]) {
    let map = wire.get(PATH);
    let words = map["data"]["words"].as_str().unwrap_or_default();
    let mut found: HashMap<&str, usize> = HashMap::new();
    for word in words.split_whitespace() {
        *found.entry(word).or_default() += 1;
    }
    assert_eq!(map["data"]["count"], found.len().to_string(), "a change was done twice or half");
    for word in all.iter().flat_map(|told| &told.done) {
        assert_eq!(found.remove(word.as_str()), Some(1), "{word} was acknowledged");
    }
    for (word, times) in found {
        let is_known = all.iter().any(|told| told.unknown.iter().any(|unknown| unknown == word));
        assert!(is_known && times == 1, "{word} is there {times} times");
    }
}

#[test]
fn no_change_is_lost_or_done_twice_also_when_the_node_is_killed() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let created = node.kubectl(["create", "configmap", "counter"]);
    assert!(created.status.success(), "{created:?}");
    let wire = Wire::of(&node.kubeconfig());
    let calm = write(&wire, 1, CHANGES, || ());
    assert_eq!((calm.done.len(), calm.unknown.len()), (WRITERS * CHANGES, 0));
    assert!(calm.conflicts > 0, "the writers did not meet");
    assert_kept(&wire, &[&calm]);

    // They go on until the node is not there any more.
    let killed = write(&wire, 2, usize::MAX, || node.kill());
    assert!(killed.done.len() >= WRITERS * CHANGES / 2, "{}", killed.done.len());
    node.restart(&["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    assert_kept(&wire, &[&calm, &killed]);
    let after = write(&wire, 3, CHANGES, || ());
    assert_kept(&wire, &[&calm, &killed, &after]);
    node.running().assert_quiet();
}
