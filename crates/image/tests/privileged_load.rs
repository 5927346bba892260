//! Every kind of archive, packed in every way, ends as the same layers; and leaves again as it came.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use image::{Images, Reference, Silent, Toolbox, user};
use support::{
    FORMS, Layer, OpenLayer, PACKINGS, Packing, TestImage, chain, contents, pack, read, store, tar_of,
    write_folder,
};

const CAPABILITY: &[u8] = b"\x01\x00\x00\x02\x0a\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

fn rich_image() -> TestImage {
    let long = format!("usr/share/{}/{}", "d".repeat(120), "n".repeat(90));
    let bottom = Layer::new()
        .directory("./", 0o755)
        .directory("etc/", 0o755)
        .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n")
        .file("etc/group", b"app:x:1001:\nextra:x:2000:app\n")
        .directory("gone/", 0o755)
        .file("gone/file", b"below")
        .directory("opaque/", 0o755)
        .file("opaque/below", b"below")
        .directory("usr/", 0o755)
        .directory("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/libc.so", b"through a link within the layer")
        .symlink("abs", "/usr/lib")
        .file("abs/abs.so", b"through an absolute link")
        .owned_file("usr/su", 0o4755, 12, 34, b"setuid")
        .attributes(&[
            ("security.capability", CAPABILITY),
            ("user.note", b"two\nlines"),
            ("trusted.overlay.redirect", b"/etc"),
        ])
        .owned_file("usr/ping", 0o755, 0, 0, b"capable")
        .owned_file(&long, 0o644, 0, 0, b"long")
        .hard_link("usr/ping2", "usr/ping")
        .raw(b'6', "fifo", "", 0o622, b"")
        .directory("tmp/", 0o1777)
        .file("twice", b"first")
        .file("twice", b"second");
    let top = Layer::new()
        .file(".wh.gone", b"")
        .directory("opaque/", 0o700)
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/above", b"above")
        .file("etc/group", b"app:x:1001:\nextra:x:2001:app\n")
        .file(".wh..wh.plnk", b"");
    TestImage::new("example.com/rich:1", vec![bottom.finish(), top.finish()])
}

fn check(store: &Images, image: &TestImage) {
    let found = store.find(&Reference::parse(&image.name).unwrap()).unwrap().expect("the name is found");
    assert_eq!(found.id, image.id());
    let config = found.config.config().as_ref().unwrap();
    assert_eq!(config.entrypoint().as_ref().unwrap(), &["/bin/app"]);
    assert_eq!(config.stop_signal().as_deref(), Some("SIGQUIT"));
    let [top, bottom] = found.layers.as_slice() else { panic!("two layers, top first") };
    assert!(top.as_os_str().len() - store.root().as_os_str().len() < 30, "paths of layers are short");
    let (top, bottom) = (OpenLayer::open(top), OpenLayer::open(bottom));

    let whiteout = top.join("gone").symlink_metadata().unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(attribute(&top.join("opaque"), "trusted.overlay.opaque").unwrap(), b"y");
    assert!(!top.join(".wh..wh.plnk").exists());

    assert_eq!(read(&bottom.join("usr/lib/libc.so")).unwrap(), "through a link within the layer");
    assert_eq!(read(&bottom.join("usr/lib/abs.so")).unwrap(), "through an absolute link");
    assert_eq!(fs::read_link(bottom.join("abs")).unwrap(), Path::new("/usr/lib"));
    assert_eq!(read(&bottom.join("twice")).unwrap(), "second");
    let su = bottom.join("usr/su").metadata().unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 12, 34, 1_600_000_000));
    assert_eq!(
        bottom.join("usr").metadata().unwrap().mtime(),
        1_600_000_000,
        "a directory's time, set after its contents"
    );
    assert_eq!(bottom.join("tmp").metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
    let ping = bottom.join("usr/ping");
    assert_eq!(attribute(&ping, "security.capability").unwrap(), CAPABILITY);
    assert_eq!(attribute(&ping, "user.note").unwrap(), b"two\nlines");
    assert_eq!(attribute(&ping, "trusted.overlay.redirect"), None, "a forged redirect is dropped");
    assert_eq!(ping.metadata().unwrap().ino(), bottom.join("usr/ping2").metadata().unwrap().ino());
    let fifo = bottom.join("fifo").symlink_metadata().unwrap();
    assert!(fifo.file_type().is_fifo() && fifo.mode() & 0o777 == 0o622);

    let app = user::resolve(&found.layers, "app").unwrap();
    assert_eq!((app.uid, app.gid, app.additional_gids.as_slice()), (1000, 1001, &[2001][..]));
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn every_archive_kind_and_packing_gives_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = rich_image();
    let mut archives = Vec::new();
    for outer in PACKINGS {
        archives.push((format!("docker {outer:?}"), pack(&tar_of(&image.docker_files()), outer)));
        for inner in PACKINGS {
            archives
                .push((format!("oci {outer:?} {inner:?}"), pack(&tar_of(&image.oci_files(inner)), outer)));
        }
    }
    for (number, (kind, archive)) in archives.iter().enumerate() {
        let path = folder.path().join("archive");
        fs::write(&path, archive).unwrap();
        for form in FORMS {
            let store = Images::open(&folder.path().join(format!("store-{number}-{form:?}"))).unwrap();
            let store = store.with_layers(form);
            let loaded =
                store.load(&path, &Silent).unwrap_or_else(|error| panic!("{kind}: {}", chain(&error)));
            assert_eq!((loaded.len(), loaded[0].already_present), (1, false), "{kind}");
            check(&store, &image);
            assert!(store.load(&path, &Silent).unwrap()[0].already_present);
        }
    }
    for inner in PACKINGS {
        let layout = folder.path().join(format!("layout-{inner:?}"));
        write_folder(&layout, &image.oci_files(inner));
        let store = Images::open(&folder.path().join(format!("store-{inner:?}"))).unwrap();
        store.load(&layout, &Silent).unwrap_or_else(|error| panic!("folder {inner:?}: {}", chain(&error)));
        check(&store, &image);
    }
}

#[test]
fn a_pipe_can_be_loaded_from() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let image = rich_image();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let archive = tar_of(&image.docker_files());
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &archive).unwrap());
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    store.load(Path::new(&path), &Silent).unwrap();
    feeder.join().unwrap();
    check(&store, &image);
}

#[test]
fn overlayfs_reads_the_layers_as_they_are_meant() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).with_layers(form);
        let image = rich_image();
        let path = folder.path().join("archive");
        fs::write(&path, tar_of(&image.oci_files(Packing::Gzip))).unwrap();
        store.load(&path, &Silent).unwrap();
        let found = store.find(&Reference::parse(&image.name).unwrap()).unwrap().unwrap();
        let bind = |layer: &Path, name: &str| {
            let how = if layer.is_dir() { "--bind" } else { "-t erofs -o ro" };
            format!("mkdir {0}/{name}; mount {how} {1} {0}/{name}", folder.path().display(), layer.display())
        };
        let script = format!(
            "set -e; {1}; {2}; mkdir {0}/m; mount -t overlay overlay -o lowerdir={0}/top:{0}/bottom {0}/m; \
             cd {0}/m; test ! -e gone; test ! -e opaque/below; cat opaque/above lib/libc.so; tail -n 1 etc/group",
            folder.path().display(),
            bind(&found.layers[0], "top"),
            bind(&found.layers[1], "bottom"),
        );
        // The mounts live and die with unshare's mount namespace.
        let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "abovethrough a link within the layerextra:x:2001:app\n");
    }
}

#[test]
fn docker_save_with_linked_layers_and_indexes_of_many_platforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // docker save before version 25 writes the second of two equal layers as a symbolic link.
    let image = TestImage::new("linked:1", vec![Layer::new().file("a", b"a").finish(); 2]);
    let mut files = image.docker_files();
    files.retain(|(name, _)| name != "1/layer.tar");
    let mut link = tar::Builder::new(Vec::new());
    link.append_link(&mut tar::Header::new_gnu(), "1/layer.tar", "../0/layer.tar").unwrap();
    let link = link.into_inner().unwrap();
    // The link first, without the 1024 bytes that end an archive.
    let joined = [&link[..link.len() - 1024], &tar_of(&files)].concat();
    let path = folder.path().join("archive");
    fs::write(&path, joined).unwrap();
    store.load(&path, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)));

    let here = TestImage::new("many:1", vec![Layer::new().file("here", b"").finish()]);
    let there =
        TestImage::new("many:1", vec![Layer::new().file("there", b"").finish()]).architecture("s390x");
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for image in [&there, &here] {
        let manifest = image.manifest(Packing::Gzip, &mut files);
        let mut entry = support::descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": image.config["architecture"]});
        entries.push(entry);
        support::add_blob(&mut files, manifest);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes();
    let mut entry = support::descriptor("application/vnd.oci.image.index.v1+json", &index);
    entry["annotations"] = serde_json::json!({"io.containerd.image.name": "docker.io/library/many:1"});
    support::add_blob(&mut files, index);
    let top = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
    files.push(("index.json".to_owned(), top));
    fs::write(&path, tar_of(&files)).unwrap();
    let loaded = store.load(&path, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(loaded.iter().map(|image| &image.id).collect::<Vec<_>>(), [&here.id()]);
}

#[test]
fn an_image_for_another_machine_loads_and_is_refused_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let image =
        TestImage::new("foreign:1", vec![Layer::new().file("a", b"a").finish()]).architecture("s390x");
    let path = folder.path().join("archive");
    fs::write(&path, tar_of(&image.docker_files())).unwrap();
    store.load(&path, &Silent).unwrap();
    assert_eq!(store.list().unwrap()[0].platform, "linux/s390x");
    let error = store.find(&Reference::parse("foreign:1").unwrap()).unwrap_err();
    assert!(matches!(&error, image::Error::WrongPlatform { .. }));
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}

#[test]
fn what_was_saved_is_loaded_with_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let rich = rich_image();
    let other =
        TestImage::new("other:2", vec![rich.layers[0].clone(), Layer::new().file("x", b"x").finish()]);
    for (image, packing) in [(&rich, Packing::Zstd), (&other, Packing::Plain)] {
        let path = folder.path().join("archive");
        fs::write(&path, tar_of(&image.oci_files(packing))).unwrap();
        store.load(&path, &Silent).unwrap();
    }
    let saved = folder.path().join("saved");
    let names = [rich.name.clone(), other.name.clone()];
    store.save(&names, fs::File::create(&saved).unwrap(), &Silent).unwrap();

    let again = Images::open(&folder.path().join("again")).unwrap();
    let loaded = again.load(&saved, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(loaded.len(), 2);
    check(&again, &rich);
    let before: Vec<_> = store.list().unwrap().into_iter().map(|image| (image.id, image.tags)).collect();
    for image in again.list().unwrap() {
        assert!(before.contains(&(image.id, image.tags)));
    }
    // Removing both leaves nothing; what they share goes with the last.
    assert!(again.remove(&rich.name).unwrap().deleted.is_some());
    assert!(again.find(&Reference::parse(&other.name).unwrap()).unwrap().is_some());
    again.remove(&other.name).unwrap();
    assert_eq!(contents(&again), Vec::<String>::new());
}

#[test]
fn the_built_in_image_is_made_once_and_replaced_when_the_toolbox_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let made = |version: &str, applets: &[&str]| {
        let program = format!("#!program {version}");
        store.ensure_builtin(&Toolbox { version, program: program.as_bytes(), applets }).unwrap()
    };
    let first = made("one", &["sleep", "env"]);
    assert_eq!(first.id, made("one", &["sleep", "env"]).id);
    let layer = &first.layers[0];
    assert_eq!(read(&layer.join("bin/sleep")).unwrap(), "#!program one");
    assert_eq!(layer.join("bin/toolbox").metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(layer.join("tmp").metadata().unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(user::resolve(&first.layers, "nobody").unwrap().uid, 65534);
    let named = store.find(&Reference::parse(image::BUILTIN_NAME).unwrap()).unwrap().unwrap();
    assert_eq!(named.id, first.id);

    let hold = store.hold(&first).unwrap();
    let second = made("two", &["sleep"]);
    assert_ne!(first.id, second.id);
    assert!(layer.exists(), "a container still runs from it");
    drop(hold);
    made("three", &["sleep"]);
    assert!(!second.layers[0].exists());
    store.remove(first.id.as_str()).unwrap();
    assert!(!layer.exists());
}
