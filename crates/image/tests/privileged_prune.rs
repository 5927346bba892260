//! Making room: which images go, and which never do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use image::{CollectionPolicy, Images, Prune, Reference, Scope, Silent};
use support::{Layer, TestImage, noise, store, tar_of};

const SHARED_BYTES: usize = 200_000;

fn test_image(name: &str) -> TestImage {
    let shared = Layer::new().file("shared", &noise(SHARED_BYTES)).finish();
    TestImage::new(name, vec![shared, Layer::new().file("own", name.as_bytes()).finish()])
}

/// Loads an image that was last used so many hours ago.
fn load(store: &Images, folder: &Path, name: &str, hours: u64) {
    let archive = folder.join("image.tar");
    fs::write(&archive, tar_of(&test_image(name).docker_files())).unwrap();
    store.load(&archive, &Silent).unwrap();
    let record = store.root().join(format!("images/{}.json", test_image(name).id().hex()));
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::open(record).unwrap().set_modified(then).unwrap();
}

fn pruned(store: &Images, which: Prune) -> Vec<String> {
    let would = store.prune(which, None, true).unwrap();
    let pruned = store.prune(which, None, false).unwrap();
    assert_eq!(would, pruned, "a trial tells what happens");
    pruned.images.into_iter().flat_map(|image| image.tags).collect()
}

#[test]
fn images_go_by_age_and_never_while_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (name, hours) in [("new:1", 1), ("old:1", 50), ("older:1", 90), ("held:1", 100)] {
        load(&store, folder.path(), name, hours);
    }
    let held = store.find(&Reference::parse("held:1").unwrap()).unwrap().unwrap();
    let hold = store.hold(&held).unwrap();
    assert_eq!(pruned(&store, Prune::Nameless), [""; 0]);
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(pruned(&store, Prune::Unused(day)), ["older:1", "old:1"]);
    drop(hold);
    assert_eq!(pruned(&store, Prune::Unused(day)), [""; 0], "it was used just now");
    // What two images share goes with the second.
    let first = store.prune(Prune::Unused(Duration::from_secs(60)), None, false).unwrap();
    assert!(first.images.len() == 1 && first.freed_bytes < SHARED_BYTES as u64, "{first:?}");
    assert_eq!(pruned(&store, Prune::UntilFree(1)), [""; 0]);
    let rest = store.prune(Prune::UntilFree(u64::MAX), None, false).unwrap();
    assert!(rest.images.len() == 1 && rest.freed_bytes > SHARED_BYTES as u64, "{rest:?}");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_tag_that_moved_leaves_an_image_that_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    load(&store, folder.path(), "app:1", 0);
    let archive = folder.path().join("other.tar");
    let mut other = test_image("other");
    other.name = "app:1".to_owned();
    fs::write(&archive, tar_of(&other.docker_files())).unwrap();
    store.load(&archive, &Silent).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    let inspected = store.inspect(test_image("app:1").id().as_str()).unwrap();
    assert_eq!((inspected.summary.tags.len(), inspected.layers.len()), (0, 2));
    assert!(inspected.layers[0].unpacked_bytes as usize >= SHARED_BYTES);
    let pruned = store.prune(Prune::Nameless, None, false).unwrap();
    assert_eq!(pruned.images.iter().map(|image| &image.id).collect::<Vec<_>>(), [&test_image("app:1").id()]);
    assert_eq!(store.list().unwrap().len(), 1);
}

/// The rules themselves are tested where they are, on disks of any size.
#[test]
fn a_collection_takes_what_was_used_longest_ago_and_spares_what_is_young_or_held() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (name, hours) in [("a:1", 3), ("b:1", 2), ("spared:1", 4), ("held:1", 5)] {
        load(&store, folder.path(), name, hours);
    }
    let held = store.find(&Reference::parse("held:1").unwrap()).unwrap().unwrap();
    let _hold = store.hold(&held).unwrap();
    let spared = test_image("spared:1").id();
    let policy = |high_percent, minimum_age| CollectionPolicy {
        high_percent,
        low_percent: 0,
        minimum_age,
        ..CollectionPolicy::default()
    };
    let names = |policy: &CollectionPolicy, is_trial: bool| {
        let scope =
            Scope { spared: &|| Some([spared.clone()].into()), aged_from: SystemTime::UNIX_EPOCH, is_trial };
        let collected = store.collect(policy, &scope).unwrap();
        assert!(collected.pruned.freed_bytes <= collected.wanted_bytes, "{collected:?}");
        collected.pruned.images.into_iter().flat_map(|image| image.tags).collect::<Vec<_>>()
    };
    assert_eq!(names(&policy(101, Duration::ZERO), false), [""; 0], "no disk is that full");
    assert_eq!(names(&policy(0, Duration::from_secs(3600)), false), [""; 0], "all of them came just now");
    assert_eq!(names(&policy(0, Duration::ZERO), true), ["a:1", "b:1"]);
    assert_eq!(names(&policy(0, Duration::ZERO), false), ["a:1", "b:1"]);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn a_removed_image_is_gone_at_once_and_its_trash_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    load(&store, folder.path(), "app:1", 0);
    let (removed, trash) = store.remove_to_trash("app:1").unwrap();
    assert!(removed.freed_bytes > 0 && !trash.is_empty());
    assert_eq!(store.list().unwrap(), []);
    let (path, lock) = (trash.path().to_owned(), trash.lock().unwrap());
    trash.hand_over();
    store.clean().unwrap();
    assert!(path.exists(), "whoever sweeps has the lock");
    assert_eq!(store.leftovers().unwrap(), [] as [std::path::PathBuf; 0]);
    // Nothing but trash is removed.
    let other = folder.path().join("staging/precious");
    fs::create_dir_all(&other).unwrap();
    for wrong in [other.as_path(), store.root()] {
        assert!(image::sweep(File::open(wrong).unwrap().as_fd()).is_err(), "{}", wrong.display());
        assert!(wrong.exists());
    }
    image::sweep(lock.as_fd()).unwrap();
    assert!(!path.exists());
}

#[test]
fn trash_whose_sweeper_was_killed_goes_with_the_next_work() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    load(&store, folder.path(), "app:1", 0);
    let (_, trash) = store.remove_to_trash("app:1").unwrap();
    let path = trash.path().to_owned();
    trash.hand_over();
    assert_eq!(store.leftovers().unwrap(), std::slice::from_ref(&path));
    load(&store, folder.path(), "other:1", 0);
    assert!(!path.exists());
}
