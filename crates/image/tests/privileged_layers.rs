//! A layer as an EROFS image is the layer as a directory, and both are what `tar -x` makes: contents, modes, owners, times,
//! attributes, links. Every image passes `fsck.erofs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Images, LayerForm, Reference, Silent};
use proptest::prelude::*;
use support::{FORMS, Layer, OpenLayer, TestImage, chain, facts, noise, store, tar_of};

/// Loads an image of one layer and tells where the layer is, or why there is none.
fn load(folder: &Path, form: LayerForm, layer: &[u8]) -> Result<PathBuf, String> {
    let image = TestImage::new("layer:1", vec![layer.to_vec()]);
    let path = folder.join("archive");
    fs::write(&path, tar_of(&image.docker_files())).unwrap();
    let store = Images::open(&folder.join(format!("{form:?}"))).unwrap().with_layers(form);
    store.load(&path, &Silent).map_err(|error| chain(&error))?;
    let found = store.find(&Reference::parse("layer:1").unwrap()).unwrap().unwrap();
    assert_eq!(found.layers[0].is_dir(), form == LayerForm::Directory);
    if form == LayerForm::Erofs {
        check_image(&found.layers[0]);
    }
    Ok(found.layers[0].clone())
}

fn check_image(path: &Path) {
    let mut fsck = Command::new("fsck.erofs");
    // Reads every file, too; version 1.5 crashes on larger ones, also in images of mkfs.erofs.
    if path.metadata().unwrap().len() < 4 << 30 {
        fsck.arg("--extract");
    }
    let output = fsck.arg(path).output().expect("erofs-utils is installed");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
}

/// Both forms of a layer are the same tree, or are refused for the same reason; the tree, if there is one, is looked at.
fn compare(layer: &[u8], look: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    match FORMS.map(|form| load(folder.path(), form, layer)) {
        [Ok(directory), Ok(image)] => {
            let image = OpenLayer::open(&image);
            let differences = facts::differences(&facts::of(&directory), &facts::of(&image));
            assert!(differences.is_empty(), "{differences:#?}");
            look(&image);
        }
        [directory, image] => assert_eq!(directory, image),
    }
}

#[test]
fn what_tar_extracts_is_what_an_image_holds() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        set -e
        mkdir tree; cd tree
        mkdir -p a/b/c empty many; echo one > a/one; printf '' > a/b/none
        head -c 4096 /dev/urandom > block; head -c 4097 /dev/urandom > more; head -c 700000 /dev/urandom > large
        ln a/one a/b/same; ln -s /a/one absolute; ln -s ../../one a/b/c/climbing; ln -s "$(printf '%04000d' 7)" long
        mkfifo pipe; chmod 4755 block; chmod 1777 empty; chown -h 65534:70000 more absolute; chown 123456:7 a
        touch -d '1969-12-31 23:59:58.25 UTC' more; touch -d '2040-02-03 04:05:06.789 UTC' a/b
        setfattr -n user.note -v 'of a file' large; setfattr -n user.note -v 'of a directory' a
        for n in $(seq 3000); do echo "$n" > "many/a name that is rather long, number $n"; done
        truncate -s 3M hole; echo middle | dd of=hole bs=1 seek=1000000 conv=notrunc status=none
        name=$(printf '%0255d' 9); echo "$name" > "$name"
        cd ..
        tar --xattrs --xattrs-include='*' --format=pax --numeric-owner --sparse -C tree -cf layer.tar .
        mkdir out
        tar --xattrs --xattrs-include='*' --numeric-owner --same-owner -C out -xpf layer.tar
    "#;
    let output = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wanted = facts::of(&folder.path().join("out"));
    assert!(wanted.len() > 3000);
    compare(&fs::read(folder.path().join("layer.tar")).unwrap(), |image| {
        let differences = facts::differences(&wanted, &facts::of(image));
        assert!(differences.is_empty(), "{differences:#?}");
    });
}

#[test]
fn contents_of_more_than_four_gigabytes_are_found_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    // A file of five gigabytes without one stored byte, and one behind it.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(b'S'));
    header.set_path("holes").unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.as_gnu_mut().unwrap().set_real_size(5 << 30);
    header.set_cksum();
    let layer = [&header.as_bytes()[..], &Layer::new().file("behind", &noise(5000)).finish()].concat();
    let path = load(folder.path(), LayerForm::Erofs, &layer).unwrap();
    let image = OpenLayer::open(&path);
    assert_eq!(image.join("holes").metadata().unwrap().len(), 5 << 30);
    assert_eq!(fs::read(image.join("behind")).unwrap(), noise(5000));
    let on_disk = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
    assert!(on_disk < 1 << 20, "holes take no room, the image takes {on_disk}");
}

#[test]
fn a_layer_that_an_image_has_twice_is_stacked_once() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).with_layers(form);
        let (one, two) = (Layer::new().file("a", b"1").finish(), Layer::new().file(".wh.a", b"").finish());
        let image = TestImage::new("twice:1", vec![one.clone(), two, one]);
        let path = folder.path().join("archive");
        fs::write(&path, tar_of(&image.docker_files())).unwrap();
        store.load(&path, &Silent).unwrap();
        let found = store.find(&Reference::parse("twice:1").unwrap()).unwrap().unwrap();
        assert_eq!(found.layers.len(), 2);
        assert_eq!(fs::read(OpenLayer::open(&found.layers[0]).join("a")).unwrap(), b"1");
    }
}

/// Of the directory that was replaced, nothing shall reach the one that is found at its path.
#[test]
fn the_time_of_a_replaced_directory_is_not_given_to_another() {
    let layer = Layer::new().directory("a/", 0o755).file("b/a/old", b"").symlink("b", "/").file("z", b"");
    compare(&layer.finish(), |image| {
        let time = std::os::unix::fs::MetadataExt::mtime(&image.join("a").metadata().unwrap());
        assert_eq!(time, 1_600_000_000);
    });
    // A path that leads in a circle by the time its directory's time is set.
    compare(&Layer::new().file("c/d/old", b"").symlink("c", "c").finish(), |_| {});
}

#[test]
fn what_is_implied_in_a_setgid_directory_is_roots() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o2755);
    header.set_gid(7);
    header.set_size(0);
    archive.append_data(&mut header, "a", &[][..]).unwrap();
    let layer = [
        &archive.into_inner().unwrap()[..512],
        &Layer::new().file("a/implied/file", b"").file("a/.wh.gone", b"").finish(),
    ];
    compare(&layer.concat(), |image| {
        let owner = std::os::unix::fs::MetadataExt::gid(&image.join("a/implied").metadata().unwrap());
        assert_eq!(owner, 0);
    });
}

/// One entry: its type, its name, where it links to, its mode, and how long its contents are.
type Line = (u8, String, String, u32, usize);

fn line() -> impl Strategy<Value = Line> {
    let part = prop_oneof![
        8 => "[abc]",
        1 => Just(".wh.a".to_owned()),
        1 => Just(".wh..wh..opq".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just("..".to_owned()),
        1 => "[!-~]{1,30}".prop_map(|name| name.replace('/', "-")),
        1 => (240..260_usize).prop_map(|length| "n".repeat(length)),
    ];
    let path = |most| prop::collection::vec(part.clone(), 0..most).prop_map(|parts| parts.join("/"));
    let kind = prop_oneof![4 => Just(b'0'), 4 => Just(b'5'), 2 => Just(b'1'), 2 => Just(b'2'), 1 => Just(b'6'), 1 => Just(b'3')];
    let length = prop_oneof![Just(0), 1..100_usize, Just(4096), 4000..9000_usize];
    (kind, path(4), path(4), 0..0o10000_u32, length)
}

fn archive(lines: &[Line]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (number, (kind, path, link, mode, length)) in lines.iter().enumerate() {
        let note = noise(number % 40);
        let mut records = vec![("path", path.as_bytes()), ("linkpath", link.as_bytes())];
        if mode % 5 == 0 {
            records.push(("SCHILY.xattr.user.note", &note[..]));
        }
        builder.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(*mode);
        header.set_uid(number as u64);
        header.set_gid(7);
        header.set_mtime(1_500_000_000 + number as u64);
        let length = if *kind == b'0' { *length } else { 0 };
        header.set_size(length as u64);
        header.set_cksum();
        builder.append(&header, &noise(length)[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_archive_is_the_same_in_both_forms(lines in prop::collection::vec(line(), 0..12)) {
        compare(&archive(&lines), |_| {});
    }
}
