//! Following real files in a temporary directory.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::console::Role;

struct World {
    directory: tempfile::TempDir,
    logs: Logs,
    printed: Vec<String>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            directory: tempfile::tempdir().unwrap(),
            logs: Logs::new().unwrap(),
            printed: Vec::new(),
        };
        let member =
            Member { uid: "u".into(), name: "web".into(), label: "web".into(), role: Role::Main, index: 0 };
        let path = world.path();
        world.logs.follow("default/p", &member, 0, &path).unwrap();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("web/0.log")
    }

    fn append(&self, text: &str) {
        let mut file = File::options().append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, suffix: &str) {
        let path = self.path();
        fs::rename(&path, path.with_file_name(format!("0.log.{suffix}"))).unwrap();
    }

    fn read(&mut self) -> bool {
        let printed = &mut self.printed;
        let print = |line: &Line<'_>| {
            printed.push(String::from_utf8_lossy(line.text).into_owned());
            Ok(())
        };
        self.logs.read(print).unwrap()
    }

    fn finish(&mut self) {
        let printed = &mut self.printed;
        let print = |line: &Line<'_>| {
            printed.push(String::from_utf8_lossy(line.text).into_owned());
            Ok(())
        };
        self.logs.finish("u", Some("web"), print).unwrap();
    }
}

#[tokio::test]
async fn lines_are_printed_when_they_are_complete() {
    let mut world = World::new();
    world.append("t stdout F one\nt stdout F tw");
    world.logs.changed().await.unwrap();
    world.read();
    assert_eq!(world.printed, ["one"]);
    world.append("o\n");
    world.logs.changed().await.unwrap();
    world.read();
    assert_eq!(world.printed, ["one", "two"]);
}

#[tokio::test]
async fn rotation_loses_no_line() {
    let mut world = World::new();
    world.append("t stdout F one\n");
    world.logs.changed().await.unwrap();
    world.read();
    // Two rotations before anybody looks.
    world.append("t stdout F two\n");
    world.rotate("20261120-214202");
    world.append("t stdout F three\n");
    world.rotate("20261120-214203");
    world.append("t stdout F four\n");
    world.logs.changed().await.unwrap();
    world.read();
    assert_eq!(world.printed, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn an_end_prints_everything_also_without_an_event() {
    let mut world = World::new();
    world.append("t stdout F one\nt stdout P no end");
    world.finish();
    assert_eq!(world.printed, ["one", "no end"]);
    assert!(world.logs.followers.is_empty());
}

#[tokio::test]
async fn a_flood_is_read_in_turns() {
    let mut world = World::new();
    world.append(&"t stdout F 0123456789012345678901234567890123456789\n".repeat(60_000));
    world.logs.changed().await.unwrap();
    assert!(world.read(), "there is more than one turn");
    while world.read() {}
    assert_eq!(world.printed.len(), 60_000);
}
