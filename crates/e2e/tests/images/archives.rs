//! `podling image load` and `save`: every kind of archive, and what is wrong with bad ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Podling, Signal, debian};

use crate::{image, listed, once};

/// Runs a program of this machine; its failure is the test's.
fn program(name: &str, words: &[&str], directory: &Path) {
    let status = Command::new(name).args(words).current_dir(directory).status().unwrap();
    assert!(status.success(), "{name} {words:?}: {status}");
}

/// busybox unpacked: its archive is an OCI layout and what `docker save` writes at once.
fn unpacked(podling: &Podling) -> PathBuf {
    let folder = podling.base().join("unpacked");
    fs::create_dir(&folder).unwrap();
    program("tar", &["-xf", debian::archive("busybox").to_str().unwrap()], &folder);
    folder
}

/// The image is there and a Pod of it runs.
fn assert_runs(podling: &Podling) {
    assert!(listed(podling, "busybox:latest").is_some());
    let finished = podling.run(&once("image: busybox, imagePullPolicy: Never, command: [echo, hello]"), &[]);
    assert_eq!((finished.code, finished.lines_of("app")), (0, vec!["hello"]), "{finished}");
}

#[test]
fn docker_save_archives_are_loaded() {
    let podling = Podling::new();
    let folder = unpacked(&podling);
    program("tar", &["-cf", "../docker.tar", "manifest.json", "blobs"], &folder);
    podling.load(&podling.base().join("docker.tar"));
    assert_runs(&podling);
}

#[test]
fn compressed_docker_save_archives_are_loaded() {
    let podling = Podling::new();
    let folder = unpacked(&podling);
    program("tar", &["-czf", "../docker.tar.gz", "manifest.json", "blobs"], &folder);
    podling.load(&podling.base().join("docker.tar.gz"));
    assert_runs(&podling);

    let podling = Podling::new();
    let folder = unpacked(&podling);
    program("tar", &["--zstd", "-cf", "../docker.tar.zst", "manifest.json", "blobs"], &folder);
    podling.load(&podling.base().join("docker.tar.zst"));
    assert_runs(&podling);
}

/// The archive is a pipe of which only half comes, until a bar is seen that says so.
#[test]
fn a_long_load_shows_how_far_it_is() {
    let podling = Podling::new();
    program("mkfifo", &["archive"], podling.base());
    let pipe = podling.base().join("archive");
    let whole = fs::read(debian::archive("nginx")).unwrap();
    let call = podling.prepare(["image".as_ref(), "load".as_ref(), pipe.as_os_str()]).on_terminal();
    let mut load = call.start();
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let (first, second) = whole.split_at(whole.len() / 2);
    writer.write_all(first).unwrap();
    load.wait_for_line("unpacking the archive");
    writer.write_all(second).unwrap();
    drop(writer);
    let finished = load.wait();
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stdout.contains(": loaded"), "{finished}");
}

#[test]
fn oci_archives_are_loaded() {
    let podling = Podling::new();
    let folder = unpacked(&podling);
    program("tar", &["-cf", "../oci.tar", "oci-layout", "index.json", "blobs"], &folder);
    podling.load(&podling.base().join("oci.tar"));
    assert_runs(&podling);
}

#[test]
fn oci_layout_folders_are_loaded() {
    let podling = Podling::new();
    let folder = unpacked(&podling);
    fs::remove_file(folder.join("manifest.json")).unwrap();
    podling.load(&folder);
    assert_runs(&podling);
}

#[test]
fn a_saved_image_is_the_same_elsewhere() {
    let (here, there) = (Podling::with_images(&["nginx"]), Podling::new());
    let archive = here.base().join("saved.tar");
    let saved = image(&here, &["save", "nginx", "--output", archive.to_str().unwrap()]);
    assert_eq!(saved.code, 0, "{saved}");
    there.load(&archive);
    let id = |podling| listed(podling, "nginx:latest").unwrap()["id"].clone();
    assert_eq!(id(&here), id(&there));
    let container = "image: nginx, imagePullPolicy: Never, command: [nginx, -t]";
    let finished = there.run(&once(container), &[]);
    assert_eq!(finished.code, 0, "{finished}");
}

#[test]
fn saving_what_is_not_there_leaves_no_file() {
    let podling = Podling::new();
    let archive = podling.base().join("saved.tar");
    let saved = image(&podling, &["save", "nowhere:1", "--output", archive.to_str().unwrap()]);
    saved.assert_failed(125, &["nowhere:1"]);
    let names: Vec<_> =
        fs::read_dir(podling.base()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("saved.tar")), "{names:?}");
}

#[test]
fn damaged_archives_are_refused_and_nothing_of_them_is_kept() {
    let podling = Podling::new();
    let whole = fs::read(debian::archive("busybox")).unwrap();
    let mut flipped = whole.clone();
    // In the middle of the layer, which is nearly all of the archive.
    flipped[whole.len() / 2] ^= 0x40;
    let noise: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let cases: [(&str, &[u8], &str); 5] = [
        ("cut.tar", &whole[..whole.len() / 2], "cut off"),
        ("flipped.tar", &flipped, "sha256:"),
        ("empty.tar", &[], "empty.tar"),
        ("noise.tar", &noise, "noise.tar"),
        ("text.tar", b"apiVersion: v1\nkind: Pod\n", "text.tar"),
    ];
    for (name, bytes, words) in cases {
        let path = podling.base().join(name);
        fs::write(&path, bytes).unwrap();
        image(&podling, &["load", path.to_str().unwrap()]).assert_failed(125, &[name, words]);
        assert!(listed(&podling, "busybox:latest").is_none(), "{name}");
    }
    image(&podling, &["load", "/nowhere.tar"]).assert_failed(125, &["/nowhere.tar"]);
    image(&podling, &["load", "/etc"]).assert_failed(125, &["/etc"]);
    podling.load(&debian::archive("busybox"));
    assert_runs(&podling);
}

/// The archive is a pipe of which only half comes, so the load is in the middle when it is killed.
#[test]
fn a_load_that_is_killed_leaves_nothing_to_be_seen() {
    let podling = Podling::new();
    let pipe = podling.base().join("archive");
    program("mkfifo", &["archive"], podling.base());
    let whole = fs::read(debian::archive("busybox")).unwrap();
    let load = podling.prepare(["image".as_ref(), "load".as_ref(), pipe.as_os_str()]).start();
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    // All but what fits into the pipe was read when this returns.
    writer.write_all(&whole[..whole.len() / 2]).unwrap();
    load.signal(Signal::KILL);
    assert_eq!(load.wait().code, -9);

    assert!(listed(&podling, "busybox:latest").is_none());
    let used = once("image: busybox, imagePullPolicy: Never, command: [echo, hello]");
    podling.run(&used, &[]).assert_failed(125, &["busybox"]);
    podling.load(&debian::archive("busybox"));
    assert_runs(&podling);
    let staging: Vec<_> = fs::read_dir(podling.image_dir().join("staging")).unwrap().collect();
    assert!(staging.is_empty(), "the killed load's files are still there: {staging:?}");
}
