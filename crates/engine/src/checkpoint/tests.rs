//! The checkpoint on disk.

use std::path::Path;

use lifecycle::{Fact, Now, Policy};

use super::*;

fn pod() -> Pod {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n";
    model::manifest::parse("p.yaml", text.as_bytes()).unwrap().pods.remove(0)
}

fn begun() -> (Pod, Memory, Ledger) {
    let (pod, now) = (pod(), crate::clock::now());
    let (memory, ledger) =
        (Memory::new(&pod, Policy::default(), now), Ledger::new(&pod, Policy::default(), now));
    (pod, memory, ledger)
}

fn loaded(directory: &Path) -> Memory {
    Saved::load(directory).unwrap().unwrap().memory
}

#[test]
fn the_last_line_is_what_was_saved_last_also_when_the_file_was_begun_anew() {
    let (directory, (pod, mut memory, mut ledger)) = (tempfile::tempdir().unwrap(), begun());
    let mut checkpoint = Checkpoint::begin(directory.path(), &pod).unwrap();
    checkpoint.save(&memory, &ledger).unwrap();
    checkpoint.save(&memory, &ledger).unwrap();
    let path = directory.path().join("memory.jsonl");
    let one_line = path.metadata().unwrap().len();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1, "the same is not saved twice");
    let (mut longest, mut begun_anew) = (one_line, false);
    for grace in 0..2 * MAX_MEMORY_BYTES as u64 / one_line {
        let now: Now = crate::clock::now();
        let fact = Fact::StopRequested { grace_seconds: Some(1_000_000 - grace) };
        ledger.note(&pod, &fact, &now);
        memory.note(&pod, &fact, &now);
        checkpoint.save(&memory, &ledger).unwrap();
        let length = path.metadata().unwrap().len();
        begun_anew |= length < longest;
        longest = longest.max(length);
        if grace % 20 == 0 {
            assert_eq!(loaded(directory.path()), memory);
        }
    }
    assert!(begun_anew && longest <= MAX_MEMORY_BYTES as u64, "{longest}");
}

#[test]
fn a_daemon_that_died_while_it_wrote_is_gone_on_from_the_line_before() {
    let (directory, (pod, mut memory, ledger)) = (tempfile::tempdir().unwrap(), begun());
    assert!(Saved::load(directory.path()).unwrap().is_none());
    let mut checkpoint = Checkpoint::begin(directory.path(), &pod).unwrap();
    assert!(Saved::load(directory.path()).unwrap().is_none(), "nothing was begun yet");
    checkpoint.save(&memory, &ledger).unwrap();
    let path = directory.path().join("memory.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let mut cut = whole.clone();
    cut.extend_from_slice(&whole[..whole.len() / 2]);
    std::fs::write(&path, cut).unwrap();
    assert_eq!(loaded(directory.path()), memory);
    let mut checkpoint = Checkpoint::begin(directory.path(), &pod).unwrap();
    memory.note(&pod, &Fact::StopRequested { grace_seconds: None }, &crate::clock::now());
    checkpoint.save(&memory, &ledger).unwrap();
    assert_eq!(loaded(directory.path()), memory);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}
