//! Images that another engine has: Podman's real store, filled by podman itself, and Docker's layout, made by hand, since
//! its daemon cannot run beside tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{Digest, Engine, Images, Reference, Silent};
use serde_json::json;
use support::{Layer, OpenLayer, TestImage, chain, contents, noise, store, tar_of};

fn test_image(name: &str) -> TestImage {
    let bottom = Layer::new()
        .directory("usr", 0o755)
        .directory("usr/lib", 0o755)
        .symlink("lib", "usr/lib")
        .file("usr/lib/noise", &noise(100_000))
        .owned_file("owned", 0o4755, 7, 8, b"setuid")
        .hard_link("again", "owned")
        .file("gone", b"gone")
        .file("empty", b"")
        .finish();
    let top = Layer::new().file(".wh.gone", b"").file("usr/lib/top", b"top").finish();
    TestImage::new(name, vec![bottom, top])
}

fn take_over(store: &Images, engine: Engine, root: &Path, wanted: &[&str]) -> Result<Vec<String>, String> {
    let wanted: Vec<Reference> = wanted.iter().map(|name| Reference::parse(name).unwrap()).collect();
    let taken = store.take_over(engine, root, &wanted, &Silent).map_err(|error| chain(&error))?;
    let mut names: Vec<String> =
        taken.iter().flat_map(|image| image.references.iter().map(Reference::familiar)).collect();
    names.sort();
    Ok(names)
}

fn assert_whole(store: &Images, name: &str) {
    let image = store.get(name).unwrap();
    assert_eq!(image.id, test_image(name).id());
    assert_eq!(fs::read_to_string(OpenLayer::open(&image.layers[0]).join("usr/lib/top")).unwrap(), "top");
    let bottom = OpenLayer::open(&image.layers[1]);
    assert_eq!(fs::read(bottom.join("usr/lib/noise")).unwrap(), noise(100_000));
}

/// Podman in a store of its own.
struct Podman(PathBuf);

impl Podman {
    fn call(&self, words: &[&str]) -> String {
        fs::create_dir_all(&self.0).unwrap();
        let (graph, run, config) = (self.0.join("storage"), self.0.join("run"), self.0.join("storage.conf"));
        let text = format!("[storage]\ndriver = \"overlay\"\ngraphroot = {graph:?}\nrunroot = {run:?}\n");
        fs::write(&config, text).unwrap();
        let output = Command::new("podman")
            .arg("--tmpdir")
            .arg(self.0.join("tmp"))
            .args(words)
            .env("CONTAINERS_STORAGE_CONF", config)
            .output()
            .expect("this test needs Debian's package podman");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "podman {words:?}: {text}");
        text
    }
}

impl Drop for Podman {
    /// Its driver mounts the store's directory over itself.
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.join("storage/overlay"), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn podmans_images_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let podman = Podman(folder.path().join("podman"));
    let archive = folder.path().join("image.tar");
    for name in ["one.example/app:1", "two.example/app:2"] {
        fs::write(&archive, tar_of(&test_image(name).docker_files())).unwrap();
        podman.call(&["load", "--input", archive.to_str().unwrap()]);
    }
    let root = podman.0.join("storage");
    assert_eq!(
        take_over(&store, Engine::Podman, &root, &["two.example/app:2"]).unwrap(),
        ["two.example/app:2"]
    );
    assert_whole(&store, "two.example/app:2");
    assert!(store.get("one.example/app:1").is_err());
    assert_eq!(
        take_over(&store, Engine::Podman, &root, &[]).unwrap(),
        ["one.example/app:1", "two.example/app:2"]
    );
    assert_whole(&store, "one.example/app:1");
    let error = take_over(&store, Engine::Podman, &root, &["absent:1"]).unwrap_err();
    assert!(error.contains("absent:1"), "{error}");
    for name in ["one.example/app:1", "two.example/app:2"] {
        store.remove(name).unwrap();
    }

    // A file that was changed in Podman's store is noticed, and nothing is kept.
    let changed: Vec<PathBuf> = fs::read_dir(root.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("diff/usr/lib/noise"))
        .filter(|path| path.exists())
        .collect();
    let mut bytes = fs::read(&changed[0]).unwrap();
    bytes[5000] ^= 1;
    fs::write(&changed[0], &bytes).unwrap();
    let error = take_over(&store, Engine::Podman, &root, &[]).unwrap_err();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(contents(&store), Vec::<String>::new());
    fs::write(&changed[0], &bytes[..200]).unwrap();
    let error = take_over(&store, Engine::Podman, &root, &[]).unwrap_err();
    assert!(error.contains("shorter"), "{error}");
    // Nor is one followed that leads out of the layer.
    fs::remove_file(&changed[0]).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &changed[0]).unwrap();
    take_over(&store, Engine::Podman, &root, &[]).unwrap_err();
    assert_eq!(contents(&store), Vec::<String>::new());
}

/// A layer as Docker keeps it: its files unpacked, the rest in `tar-split.json.gz`.
fn split(archive: &[u8], files: &Path, rest: &Path) {
    let segment = |bytes: &[u8]| json!({"type": 2, "payload": STANDARD.encode(bytes)}).to_string() + "\n";
    let (mut lines, mut at) = (String::new(), 0);
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let (start, size) = (entry.raw_file_position() as usize, entry.size() as usize);
        fs::create_dir_all(files.join(&path).parent().unwrap()).unwrap();
        fs::write(files.join(&path), &archive[start..start + size]).unwrap();
        lines += &segment(&archive[at..start]);
        lines +=
            &(json!({"type": 1, "name": path, "size": size, "payload": "AAAAAAAAAAA="}).to_string() + "\n");
        at = start + size;
    }
    lines += &segment(&archive[at..]);
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(rest).unwrap(), flate2::Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn dockers_images_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let (store, root) = (store(folder.path()), folder.path().join("docker"));
    let image = test_image("app:1");
    let image_root = root.join("image/overlay2");
    let id = image.id();
    fs::create_dir_all(image_root.join("imagedb/content/sha256")).unwrap();
    fs::write(image_root.join("imagedb/content/sha256").join(id.hex()), image.config_bytes()).unwrap();
    let digest = Digest::of(b"as the registry had it");
    let names = json!({"Repositories": {"app": {
        "app:1": id.as_str(), "app:also": id.as_str(), format!("app@{digest}"): id.as_str(),
    }}});
    fs::write(image_root.join("repositories.json"), names.to_string()).unwrap();
    let mut chain_id: Option<Digest> = None;
    for (number, layer) in image.layers.iter().enumerate() {
        let diff_id = Digest::of(layer);
        let next = match &chain_id {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id,
        };
        let folder = image_root.join("layerdb/sha256").join(next.hex());
        let files = root.join(format!("overlay2/cache{number}/diff"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&files).unwrap();
        fs::write(folder.join("cache-id"), format!("cache{number}")).unwrap();
        split(layer, &files, &folder.join("tar-split.json.gz"));
        chain_id = Some(next);
    }
    assert_eq!(take_over(&store, Engine::Docker, &root, &[]).unwrap(), ["app:1", "app:also"]);
    assert_whole(&store, "app:1");
    assert_eq!(store.get("app:1").unwrap().repo_digest, Some(format!("docker.io/library/app@{digest}")));
    let error = take_over(&store, Engine::Docker, folder.path(), &[]).unwrap_err();
    assert!(error.contains("repositories.json"), "{error}");
}
