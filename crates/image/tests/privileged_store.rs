//! Many processes and one store: the same image at once, kill -9 in the middle, removal while in use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use image::{Error, Images, Progress, Reference, Silent};
use support::{Layer, OpenLayer, TestImage, chain, contents, noise, store, tar_of};

const CHILD: &str = "PODLING_TEST_STORE";

fn image() -> TestImage {
    let layer = |seed: u8| Layer::new().file("seed", &[seed]).file("noise", &noise(3 << 20)).finish();
    TestImage::new("shared:1", vec![layer(1), layer(2), layer(3)])
}

fn reference() -> Reference {
    Reference::parse("shared:1").unwrap()
}

fn write_archive(folder: &Path) {
    fs::write(folder.join("archive"), tar_of(&image().docker_files())).unwrap();
}

/// A process of this test program that runs the ignored test `name`; killed and reaped when the test ends.
struct Process(Child);

impl Process {
    fn start(name: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--ignored", "--nocapture"]).env(CHILD, folder);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads what it says until the line `wanted` comes.
    fn wait_for(&mut self, wanted: &str) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        let found = lines.any(|line| line.unwrap().contains(wanted));
        assert!(found, "the child ended without saying {wanted:?}");
    }

    fn finish(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child_folder() -> std::path::PathBuf {
    std::env::var_os(CHILD).expect("only its parent runs this test").into()
}

#[test]
fn two_processes_and_two_threads_load_the_same_image_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write_archive(folder.path());
    let mut children =
        [Process::start("load_child", folder.path()), Process::start("load_child", folder.path())];
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| store.load(&folder.path().join("archive"), &Silent).unwrap());
        }
    });
    for child in &mut children {
        assert!(child.finish());
    }
    let found = store.find(&reference()).unwrap().unwrap();
    assert_eq!(found.layers.len(), 3);
    assert_eq!(fs::read(OpenLayer::open(&found.layers[0]).join("seed")).unwrap(), [3]);
    let names = contents(&store);
    // One name, one image, and of each layer a record, its contents and a blob; the configuration's blob.
    assert_eq!(names.len(), 1 + 1 + 3 * 3 + 1, "{names:#?}");
    store.remove("shared:1").unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[test]
#[ignore = "the body of a child process of the test above"]
fn load_child() {
    let folder = child_folder();
    Images::open(&folder.join("store")).unwrap().load(&folder.join("archive"), &Silent).unwrap();
}

/// Stops for ever once some bytes of the second layer are unpacked, after saying so.
struct StopInTheMiddle;

impl Progress for StopInTheMiddle {
    fn begin(&self, what: &str, _total_bytes: Option<u64>) -> u64 {
        u64::from(what.starts_with("layer"))
    }

    fn advance(&self, _step: u64, _bytes: u64) {
        println!("in the middle");
        let _ = std::io::stdin().read(&mut [0]);
    }

    fn done(&self, _step: u64) {}
}

#[test]
fn a_load_killed_in_the_middle_leaves_nothing_visible_and_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write_archive(folder.path());
    let mut child = Process::start("stopping_child", folder.path());
    child.wait_for("in the middle");
    assert!(store.find(&reference()).unwrap().is_none());
    assert_eq!(store.leftovers().unwrap().len(), 0, "its maker lives");
    store.clean().unwrap();
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 1, "the living are left alone");
    drop(child);

    assert!(store.find(&reference()).unwrap().is_none());
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.leftovers().unwrap().len(), 1);
    // The next writer cleans up, whatever it does.
    store.load(&folder.path().join("archive"), &Silent).unwrap();
    assert_eq!(store.leftovers().unwrap().len(), 0);
    assert!(store.find(&reference()).unwrap().is_some());
    store.remove("shared:1").unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[test]
fn a_load_waits_for_a_killed_one_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write_archive(folder.path());
    let mut child = Process::start("stopping_child", folder.path());
    child.wait_for("in the middle");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.load(&folder.path().join("archive"), &Silent));
        // Whether it already waits for the layer or comes later, the child's death sets it free.
        drop(child);
        waiting.join().unwrap().unwrap();
    });
    store.clean().unwrap();
    assert_eq!(contents(&store).len(), 1 + 1 + 3 * 3 + 1);
}

#[test]
#[ignore = "the body of a child process of the tests above"]
fn stopping_child() {
    let folder = child_folder();
    let store = Images::open(&folder.join("store")).unwrap();
    let _ = store.load(&folder.join("archive"), &StopInTheMiddle);
}

#[test]
fn an_image_in_use_stays_and_its_holder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write_archive(folder.path());
    store.load(&folder.path().join("archive"), &Silent).unwrap();
    let mut child = Process::start("holding_child", folder.path());
    child.wait_for("holding");
    assert!(store.list().unwrap()[0].in_use);
    let error = store.remove("shared:1").unwrap_err();
    let Error::InUse { holders, .. } = &error else { panic!("{}", chain(&error)) };
    assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [child.0.id()]);
    assert!(error.to_string().contains("holding_child"), "{error}");
    assert!(store.find(&reference()).unwrap().is_some());
    // A second name can go, since the image stays.
    store.tag("shared:1", &Reference::parse("shared:2").unwrap()).unwrap();
    assert_eq!(store.remove("shared:2").unwrap().untagged, ["docker.io/library/shared:2"]);

    let image = store.find(&reference()).unwrap().unwrap();
    drop(child);
    let removed = store.remove("shared:1").unwrap();
    assert!(removed.deleted.is_some() && removed.freed_bytes > 18 << 20);
    assert!(matches!(store.hold(&image), Err(Error::NotFound { .. })), "what is gone cannot be held");
}

#[test]
#[ignore = "the body of a child process of the test above"]
fn holding_child() {
    let store = Images::open(&child_folder().join("store")).unwrap();
    let hold = store.hold(&store.find(&reference()).unwrap().unwrap()).unwrap();
    // Only the descriptor is kept, as a shim would.
    let _fd = hold.into_fd();
    println!("holding");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn names_and_ids_are_resolved_and_missing_ones_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write_archive(folder.path());
    store.load(&folder.path().join("archive"), &Silent).unwrap();
    let id = image().id();
    for name in ["shared:1", "docker.io/library/shared:1", id.as_str(), id.hex(), &id.hex()[..12]] {
        assert_eq!(store.get(name).unwrap().id, id, "{name}");
    }
    assert!(matches!(store.get("shared:2"), Err(Error::NotFound { .. })));
    assert!(matches!(store.get("not a name"), Err(Error::Reference(_))));
    assert!(store.find(&Reference::parse("absent").unwrap()).unwrap().is_none());
    assert!(matches!(Images::open(Path::new("/tmp/a:b")), Err(Error::BadRoot { .. })));
    // An ID takes all its names with it.
    store.tag(&id.hex()[..12], &Reference::parse("other").unwrap()).unwrap();
    assert_eq!(store.list().unwrap()[0].tags, ["other:latest", "shared:1"]);
    assert_eq!(store.remove(id.as_str()).unwrap().untagged.len(), 2);
    assert_eq!(contents(&store), Vec::<String>::new());
}
