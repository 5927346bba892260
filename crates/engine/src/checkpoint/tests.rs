//! The checkpoint on disk.

use std::path::Path;

use lifecycle::{Fact, Policy};

use super::*;

fn pod() -> Pod {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n";
    model::manifest::parse("p.yaml", text.as_bytes()).unwrap().pods.remove(0)
}

fn last_line(directory: &Path) -> Memory {
    let text = std::fs::read_to_string(directory.join("memory.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn the_last_line_is_what_was_saved_last_also_when_the_file_was_begun_anew() {
    let (directory, pod) = (tempfile::tempdir().unwrap(), pod());
    let mut checkpoint = Checkpoint::create(directory.path(), &pod).unwrap();
    let mut memory = Memory::new(&pod, Policy::default(), crate::clock::now());
    checkpoint.save(&memory).unwrap();
    checkpoint.save(&memory).unwrap();
    let path = directory.path().join("memory.jsonl");
    let one_line = path.metadata().unwrap().len();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1, "the same is not saved twice");
    let (mut longest, mut begun_anew) = (one_line, false);
    for grace in 0..2 * MAX_MEMORY_BYTES as u64 / one_line {
        let now = crate::clock::now();
        memory.note(&pod, &Fact::StopRequested { grace_seconds: Some(1_000_000 - grace) }, &now);
        checkpoint.save(&memory).unwrap();
        let length = path.metadata().unwrap().len();
        begun_anew |= length < longest;
        longest = longest.max(length);
        assert_eq!(last_line(directory.path()), memory);
    }
    assert!(begun_anew && longest <= MAX_MEMORY_BYTES as u64, "{longest}");
}
