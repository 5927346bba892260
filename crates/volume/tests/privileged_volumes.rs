//! Volumes with owners and groups: needs root, works in temporary directories only.

#![expect(clippy::unwrap_used, reason = "functions beside tests are test code too")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use model::pod::{HostPathType, KeyToPath, KeyedObject, Medium, Meta, ObjectKind, Volume, VolumeSource};
use volume::{Context, Prepared, VolumeError};

const GROUP: u32 = 2345;

fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn object(kind: ObjectKind, content: &str) -> KeyedObject {
    KeyedObject {
        kind,
        meta: Meta { name: "it".into(), namespace: "default".into(), ..Default::default() },
        data: [("key".to_string(), content.as_bytes().to_vec())].into(),
        immutable: false,
    }
}

fn keyed(kind: ObjectKind, optional: bool) -> Volume {
    let items = vec![KeyToPath { key: "key".into(), path: "deep/file".into(), mode: Some(0o400) }];
    let source = VolumeSource::Object { kind, name: "it".into(), items, default_mode: 0o644, optional };
    Volume { name: "v".into(), source }
}

/// The Pod's two directories.
struct Directories {
    data: tempfile::TempDir,
    run: tempfile::TempDir,
}

impl Directories {
    fn new() -> Directories {
        require_root();
        Directories { data: tempfile::tempdir().unwrap(), run: tempfile::tempdir().unwrap() }
    }

    fn context<'a>(
        &'a self,
        fs_group: Option<u32>,
        objects: &'a dyn Fn(ObjectKind, &str) -> Option<KeyedObject>,
    ) -> Context<'a> {
        Context {
            data_dir: self.data.path(),
            run_dir: self.run.path(),
            fs_group,
            user: None,
            objects,
            downward: &|_| Ok("told".to_owned()),
            tokens: &|_| Some("token".to_owned()),
        }
    }
}

#[test]
fn empty_dir_belongs_to_the_fs_group_and_hands_it_on() {
    let directories = Directories::new();
    let volume = Volume {
        name: "v".into(),
        source: VolumeSource::EmptyDir { medium: Medium::Disk, size_limit: None },
    };
    let none = |_: ObjectKind, _: &str| None;
    let context = directories.context(Some(GROUP), &none);
    let Prepared::Directory { path } = volume::prepare(&volume, &context).unwrap() else { panic!() };
    assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o2777, GROUP));
    fs::write(path.join("file"), "kept").unwrap();
    assert_eq!(fs::metadata(path.join("file")).unwrap().gid(), GROUP);

    // Prepared again (a restarted node), it keeps what the containers made of it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    volume::prepare(&volume, &context).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "kept");

    assert!(volume::remove(directories.data.path(), directories.run.path()).is_empty());
    assert_eq!(fs::read_dir(directories.data.path()).unwrap().count(), 0);
}

#[test]
fn memory_becomes_a_tmpfs_for_the_shim_to_mount() {
    let directories = Directories::new();
    let volume = Volume {
        name: "v".into(),
        source: VolumeSource::EmptyDir { medium: Medium::Memory, size_limit: None },
    };
    let none = |_: ObjectKind, _: &str| None;
    let prepared = volume::prepare(&volume, &directories.context(Some(GROUP), &none)).unwrap();
    let Prepared::Tmpfs { path, size_limit_bytes, mode, gid } = prepared else { panic!() };
    assert!(path.is_dir() && path.starts_with(directories.run.path()));
    assert_eq!((size_limit_bytes, mode, gid), (None, 0o2777, Some(GROUP)));
}

#[test]
fn a_secret_is_reachable_by_root_alone_and_never_on_disk() {
    let directories = Directories::new();
    let secret = |kind, _: &str| Some(object(kind, "hush"));
    let prepared =
        volume::prepare(&keyed(ObjectKind::Secret, false), &directories.context(Some(GROUP), &secret))
            .unwrap();
    let file = prepared.path().join("deep/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "hush");
    assert_eq!((mode(&file), fs::metadata(&file).unwrap().gid()), (0o440, GROUP));
    assert_eq!(mode(&directories.run.path().join("volumes")), 0o700);
    assert_eq!(fs::read_dir(directories.data.path()).unwrap().count(), 0);
    assert!(volume::remove(directories.data.path(), directories.run.path()).is_empty());
    assert_eq!(fs::read_dir(directories.run.path()).unwrap().count(), 0);
}

#[test]
fn a_refresh_follows_the_object_and_tells_whether_it_changed() {
    let directories = Directories::new();
    let volume = keyed(ObjectKind::ConfigMap, true);
    let at = |content: Option<&'static str>| {
        move |kind: ObjectKind, _: &str| content.map(|content| object(kind, content))
    };
    let (first, second, gone) = (at(Some("1")), at(Some("2")), at(None));
    let path = volume::prepare(&volume, &directories.context(None, &first)).unwrap().path().to_owned();
    assert_eq!(mode(&path.join("deep/file")), 0o400);
    assert!(!volume::refresh(&volume, &directories.context(None, &first)).unwrap());
    assert!(volume::refresh(&volume, &directories.context(None, &second)).unwrap());
    assert_eq!(fs::read_to_string(path.join("deep/file")).unwrap(), "2");
    assert!(volume::refresh(&volume, &directories.context(None, &gone)).unwrap());
    assert!(!path.join("deep").exists());
}

#[test]
fn what_is_missing_is_named() {
    let directories = Directories::new();
    let none = |_: ObjectKind, _: &str| None;
    let context = directories.context(None, &none);
    let error = volume::prepare(&keyed(ObjectKind::Secret, false), &context).unwrap_err();
    assert_eq!(error.to_string(), "Secret \"it\" not found");
    assert_eq!(error.waits_for(), Some((ObjectKind::Secret, "it")));
    let missing = VolumeSource::HostPath { path: "/nonexistent/it".into(), kind: HostPathType::Directory };
    let error = volume::prepare(&Volume { name: "v".into(), source: missing }, &context).unwrap_err();
    assert!(matches!(error, VolumeError::HostPath { .. }));
    let claim = VolumeSource::Unsupported { kind: "persistentVolumeClaim".into() };
    let error = volume::prepare(&Volume { name: "v".into(), source: claim }, &context).unwrap_err();
    assert_eq!(
        error.to_string(),
        "volume \"v\" is a persistentVolumeClaim, which podling cannot provide yet"
    );
}
