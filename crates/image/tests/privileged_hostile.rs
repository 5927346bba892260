//! What a stranger may put into an archive: each is refused with its reason, and nothing is left, inside or outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use image::{Error, Images, LayerForm, Limits, Reference, Refusal, Silent, UnpackError};
use support::{FORMS, Layer, OpenLayer, Packing, TestImage, chain, contents, pack, store, tar_of};

/// Loads an image of one layer. A file beside the store stands for the host.
fn load(folder: &Path, store: &Images, layer: Vec<u8>) -> Result<Vec<image::Loaded>, Error> {
    let image = TestImage::new("hostile:1", vec![layer]);
    let path = folder.join("archive");
    fs::write(&path, tar_of(&image.docker_files())).unwrap();
    store.load(&path, &Silent)
}

/// Why a layer is refused: for the same reason whatever it is unpacked into.
fn refusal(layer: Layer) -> Refusal {
    let layer = layer.finish();
    let [one, other] = FORMS.map(|form| refusal_as(form, &layer));
    assert_eq!(one, other);
    one
}

fn refusal_as(form: LayerForm, layer: &[u8]) -> Refusal {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).with_layers(form);
    fs::write(folder.path().join("host"), "untouched").unwrap();
    let error = load(folder.path(), &store, layer.to_vec()).unwrap_err();
    assert_eq!(fs::read_to_string(folder.path().join("host")).unwrap(), "untouched");
    assert_eq!(contents(&store), Vec::<String>::new());
    let Error::Load { source, .. } = error else { panic!("{}", chain(&error)) };
    let Error::Layer { source: UnpackError::Refused { refusal, .. }, .. } = *source else {
        panic!("{}", chain(&*source))
    };
    refusal
}

/// Loads a layer in every form, and looks into each.
fn look_into(layer: Layer, look: impl Fn(&Path)) {
    let layer = layer.finish();
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).with_layers(form);
        load(folder.path(), &store, layer.clone()).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let found = store.find(&Reference::parse("hostile:1").unwrap()).unwrap().unwrap();
        look(&OpenLayer::open(&found.layers[0]));
    }
}

#[test]
fn names_and_links_that_lead_out_are_refused() {
    assert_eq!(refusal(Layer::new().file("../host", b"x")), Refusal::DotDot);
    assert_eq!(refusal(Layer::new().file("a/../../../host", b"x")), Refusal::DotDot);
    assert_eq!(refusal(Layer::new().directory("../../up/", 0o755)), Refusal::DotDot);
    assert_eq!(refusal(Layer::new().file("", b"x")), Refusal::NoName);
    assert_eq!(refusal(Layer::new().symlink(".", "/etc")), Refusal::RootKind);
    assert!(matches!(refusal(Layer::new().hard_link("a", "../../host")), Refusal::HardLinkOutside { .. }));
    assert!(matches!(refusal(Layer::new().hard_link("a", "/etc/passwd")), Refusal::HardLinkTarget { .. }));
    assert!(matches!(
        refusal(Layer::new().symlink("e", "/etc").hard_link("a", "e/passwd")),
        Refusal::HardLinkTarget { .. }
    ));
    assert!(matches!(
        refusal(Layer::new().directory("d/", 0o755).hard_link("a", "d")),
        Refusal::HardLinkKind { .. }
    ));
    assert!(matches!(
        refusal(Layer::new().file(".wh.w", b"").hard_link("a", "w")),
        Refusal::HardLinkKind { .. }
    ));
    assert_eq!(refusal(Layer::new().symlink("a", "")), Refusal::EmptyLink);
    assert_eq!(refusal(Layer::new().file("f", b"").file("f/below", b"")), Refusal::NotInDirectory);
    assert_eq!(refusal(Layer::new().symlink("loop", "loop").file("loop/x", b"")), Refusal::NotInDirectory);
    assert_eq!(
        refusal(Layer::new().symlink("out", "../../../../host-dir").file("out/x", b"")),
        Refusal::NotInDirectory
    );
}

#[test]
fn devices_and_unknown_types_are_refused_with_the_reason() {
    let device = refusal(Layer::new().raw(b'4', "sda1", "", 0o660, b""));
    assert_eq!(device, Refusal::Device { kind: "block", major: 8, minor: 1 });
    assert!(device.to_string().contains("device node (block 8:1)"), "{device}");
    assert_eq!(
        refusal(Layer::new().raw(b'3', "mem", "", 0o666, b"")),
        Refusal::Device { kind: "character", major: 8, minor: 1 }
    );
    assert_eq!(refusal(Layer::new().raw(b'Z', "z", "", 0o644, b"")), Refusal::Kind { flag: 'Z' });
    assert_eq!(refusal(Layer::new().owned_file("f", 0o644, 1 << 33, 0, b"")), Refusal::Owner { id: 1 << 33 });
}

#[test]
fn absolute_and_climbing_symlinks_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .symlink("absolute", "/")
        .file("absolute/one", b"1")
        .symlink("climbing", "../../../../../../..")
        .file("climbing/two", b"2")
        .file("/three", b"3")
        // A directory replaced by a symbolic link, then written through: the link is followed inside only.
        .directory("data/", 0o755)
        .file("data/old", b"old")
        .symlink("data", "/srv")
        .directory("srv/", 0o755)
        .file("data/new", b"new")
        // And a link replaced by a file and by a directory: the link goes, not what it leads to.
        .symlink("conf", &outside.path().display().to_string())
        .directory("conf/", 0o755)
        .file("conf/inside", b"")
        .symlink("file", "/one")
        .file("file", b"own");
    look_into(layer, |layer| {
        let text = |name: &str| fs::read_to_string(layer.join(name)).unwrap();
        assert_eq!((text("one"), text("two"), text("three")), ("1".into(), "2".into(), "3".into()));
        assert_eq!((text("srv/new"), text("file")), ("new".into(), "own".into()));
        assert!(!layer.join("srv/old").exists());
        assert!(layer.join("conf/inside").exists());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    });
}

#[test]
fn whiteouts_speak_of_lower_layers_whatever_the_order() {
    use std::os::unix::fs::FileTypeExt;
    let layer = Layer::new()
        .file("before", b"kept")
        .file(".wh.before", b"")
        .file(".wh.after", b"")
        .file("after", b"kept")
        .file(".wh.dir", b"")
        .file("dir/inside", b"kept")
        .directory("dir2/", 0o755)
        .file("dir2/inside", b"kept")
        .file(".wh.dir2", b"");
    look_into(layer, |layer| {
        for name in ["before", "after", "dir/inside", "dir2/inside"] {
            assert_eq!(fs::read_to_string(layer.join(name)).unwrap(), "kept", "{name}");
        }
        for name in ["dir", "dir2"] {
            let mut value = [0; 8];
            let length =
                rustix::fs::lgetxattr(layer.join(name), "trusted.overlay.opaque", &mut value[..]).unwrap();
            assert_eq!(&value[..length], b"y", "{name} hides what is below and keeps its own");
        }
        assert!(!layer.join("before").symlink_metadata().unwrap().file_type().is_char_device());
    });
}

#[test]
fn bombs_are_stopped_by_limits() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { entries: 100, layer_bytes: 1 << 20, metadata_bytes: 64 << 10 };
        let store = store(folder.path()).with_limits(limits).with_layers(form);
        let refused = |archive: Vec<u8>| chain(&load(folder.path(), &store, archive).unwrap_err());
        let many = (0..101).fold(Layer::new(), |layer, number| layer.file(&format!("f{number}"), b""));
        let error = refused(many.finish());
        assert!(error.contains("more than the 100 entries"), "{error}");

        let long = (0..20).fold(Layer::new(), |layer, number| {
            layer.attributes(&[("user.long", &[0; 4000])]).file(&format!("f{number}"), b"")
        });
        let error = refused(long.finish());
        assert!(error.contains("more than the 65536 bytes"), "{error}");

        let error = refused(Layer::new().file("zeroes", &vec![0; 2 << 20]).finish());
        assert!(error.contains("more than the 1048576 bytes"), "{error}");

        // The contents lie behind the archive's end mark, packed a thousandfold.
        let mut behind = Layer::new().file("f", b"").finish();
        behind.resize(8 << 20, 0);
        let image = TestImage::new("hostile:1", vec![behind]);
        let path = folder.path().join("archive");
        fs::write(&path, tar_of(&image.oci_files(Packing::Gzip))).unwrap();
        let error = chain(&store.load(&path, &Silent).unwrap_err());
        assert!(error.contains("more than the 1048576 bytes"), "{error}");

        // A sparse file of a petabyte takes one block of the archive.
        let mut sparse = *tar::Header::new_gnu().as_bytes();
        sparse[156] = b'S';
        sparse[..1].copy_from_slice(b"s");
        sparse[124..136].copy_from_slice(b"00000000000\0");
        let mut header = tar::Header::from_byte_slice(&sparse).clone();
        header.as_gnu_mut().unwrap().set_real_size(1 << 50);
        header.set_cksum();
        let error = refused([&header.as_bytes()[..], &[0; 1024]].concat());
        assert!(error.contains("more than the 1048576 bytes"), "{error}");
        assert_eq!(contents(&store), Vec::<String>::new());
    }
}

#[test]
fn cut_and_flipped_archives_fail_clearly_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let layers = vec![
        Layer::new().file("a", &support::noise(20_000)).file("b", b"b").finish(),
        Layer::new().file("c", &support::noise(10_000)).finish(),
    ];
    let image = TestImage::new("broken:1", layers);
    let path = folder.path().join("archive");
    for (kind, archive) in [
        ("docker", tar_of(&image.docker_files())),
        ("docker in zstd", pack(&tar_of(&image.docker_files()), Packing::Zstd)),
        ("oci of gzip", tar_of(&image.oci_files(Packing::Gzip))),
        ("oci of gzip in gzip", pack(&tar_of(&image.oci_files(Packing::Gzip)), Packing::Gzip)),
    ] {
        for part in 1..20 {
            let cut = archive.len() * part / 20;
            fs::write(&path, &archive[..cut]).unwrap();
            let error = store.load(&path, &Silent).map(drop).expect_err(&format!("{kind} cut at {cut}"));
            assert!(chain(&error).len() > 60, "{}", chain(&error));
            assert_eq!(contents(&store), Vec::<String>::new(), "{kind} cut at {cut}");
        }
        for position in (0..archive.len()).step_by(1 + archive.len() / 60) {
            let mut flipped = archive.clone();
            flipped[position] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            match store.load(&path, &Silent) {
                Err(_) => assert_eq!(contents(&store), Vec::<String>::new(), "{kind} flipped at {position}"),
                // Padding, times of the outer archive, or a name: the contents are still those of the digests.
                Ok(loaded) => {
                    for image in loaded {
                        store.remove(image.id.as_str()).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_image_archive_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let path = folder.path().join("file");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        chain(&store.load(&path, &Silent).unwrap_err())
    };
    assert!(message(b"apiVersion: v1\n").contains("it is no image archive"));
    assert!(message(&support::noise(3000)).contains("it is no image archive"));
    assert!(message(&[0xfd, b'7', b'z', b'X', b'Z', 0]).contains("xz"));
    assert!(message(&Layer::new().file("etc/hostname", b"x").finish()).contains("docker export"));
    assert!(message(&tar_of(&[("manifest.json".into(), b"[]".to_vec())])).contains("no image"));
    assert!(
        message(&tar_of(&[("index.json".into(), b"{}".to_vec())])).contains("index.json is not the JSON")
    );
    assert!(message(&tar_of(&[("manifest.json".into(), vec![b'['; 100_000])])).contains("manifest.json"));
    let absent = chain(&store.load(&folder.path().join("absent"), &Silent).unwrap_err());
    assert!(absent.contains("cannot open"), "{absent}");
    assert_eq!(contents(&store), Vec::<String>::new());
}

const CHILD_STORE: &str = "PODLING_TEST_FULL_DISK";

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "set -e; mkdir {0}/disk; mount -t tmpfs -o size=3m none {0}/disk; exec \"$0\" --exact full_disk_child --ignored --nocapture",
        folder.path().display()
    );
    // The file system lives and dies with unshare's mount namespace.
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_STORE, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "the body of a_full_disk_is_told_and_nothing_is_left, inside a mount namespace"]
fn full_disk_child() {
    let Some(folder) = std::env::var_os(CHILD_STORE) else { panic!("only its parent runs this test") };
    let folder = Path::new(&folder);
    let store = Images::open(&folder.join("disk/store")).unwrap();
    let free = || rustix::fs::statvfs(folder.join("disk")).unwrap().f_bfree;
    let before = free();
    // The copy of the archive fits, the layer beside it does not; or the copy does not fit either.
    for length in [1_800_000, 5_000_000] {
        let error =
            load(folder, &store, Layer::new().file("big", &support::noise(length)).finish()).unwrap_err();
        assert!(error.is_disk_full(), "{}", chain(&error));
        assert!(chain(&error).contains("No space left on device"), "{}", chain(&error));
        assert_eq!(contents(&store), Vec::<String>::new());
    }
    assert_eq!(free(), before, "every block is given back");
    load(folder, &store, Layer::new().file("small", b"fits").finish()).unwrap();
}
