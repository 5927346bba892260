//! What a ConfigMap or Secret gives to a volume: which key becomes which file, with which mode. Pure.

use std::collections::BTreeMap;

use model::pod::{KeyToPath, KeyedObject, ObjectKind};

use crate::VolumeError;
use crate::atomic::File;
use crate::written::check_path;

/// What a volume wants of a ConfigMap or Secret.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: ObjectKind,
    pub(crate) name: &'a str,
    /// Every key, when empty.
    pub(crate) items: &'a [KeyToPath],
    pub(crate) default_mode: u32,
    pub(crate) optional: bool,
}

/// The files that the object gives to the volume now.
pub(crate) fn files(
    volume: &str,
    wanted: &Wanted<'_>,
    objects: &dyn Fn(ObjectKind, &str) -> Option<KeyedObject>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    match objects(wanted.kind, wanted.name) {
        Some(object) => project(volume, &object, wanted.items, wanted.default_mode, wanted.optional),
        None if wanted.optional => Ok(BTreeMap::new()),
        None => Err(VolumeError::ObjectMissing { kind: wanted.kind, name: wanted.name.to_owned() }),
    }
}

/// The files of a volume: every key under its own name, or those that `items` lists under their paths.
fn project(
    volume: &str,
    object: &KeyedObject,
    items: &[KeyToPath],
    default_mode: u32,
    optional: bool,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let bad = |path: &str, why| VolumeError::BadPath { volume: volume.into(), path: path.into(), why };
    let mut files = BTreeMap::new();
    if items.is_empty() {
        for (key, content) in &object.data {
            check_path(key).map_err(|why| bad(key, why))?;
            files.insert(key.clone(), File::new(content.clone(), default_mode));
        }
    }
    for item in items {
        let path = item.path.trim_end_matches('/');
        check_path(path).map_err(|why| bad(&item.path, why))?;
        match object.data.get(&item.key) {
            Some(content) => {
                let mode = item.mode.unwrap_or(default_mode);
                files.insert(path.to_owned(), File::new(content.clone(), mode));
            }
            None if optional => {}
            None => {
                return Err(VolumeError::KeyMissing {
                    kind: object.kind,
                    name: object.meta.name.clone(),
                    key: item.key.clone(),
                    volume: volume.into(),
                });
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(keys: &[&str]) -> KeyedObject {
        KeyedObject {
            kind: ObjectKind::ConfigMap,
            meta: model::pod::Meta { name: "settings".into(), ..Default::default() },
            data: keys.iter().map(|key| (key.to_string(), key.as_bytes().to_vec())).collect(),
            immutable: false,
        }
    }

    fn item(key: &str, path: &str) -> KeyToPath {
        KeyToPath { key: key.into(), path: path.into(), mode: None }
    }

    #[test]
    fn without_items_every_key_is_a_file() {
        let files = project("v", &object(&["a", "b.conf"]), &[], 0o644, false).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b.conf"]);
        assert_eq!(files["a"].mode, 0o644);
    }

    #[test]
    fn items_choose_paths_and_modes() {
        let items = [item("a", "x/y"), KeyToPath { key: "a".into(), path: "z".into(), mode: Some(0o400) }];
        let files = project("v", &object(&["a", "b"]), &items, 0o640, false).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["x/y", "z"]);
        assert_eq!((files["x/y"].mode, files["z"].mode), (0o640, 0o400));
    }

    #[test]
    fn a_missing_key_is_an_error_unless_optional() {
        let error = project("v", &object(&["a"]), &[item("c", "c")], 0o644, false).unwrap_err();
        assert_eq!(error.waits_for(), Some((ObjectKind::ConfigMap, "settings")));
        assert_eq!(
            error.to_string(),
            "ConfigMap \"settings\" has no key \"c\", which volume \"v\" wants as a file"
        );
        assert!(project("v", &object(&["a"]), &[item("c", "c")], 0o644, true).unwrap().is_empty());
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        for path in
            ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "..data", "..data/x", "a/..", "nul\0"]
        {
            let result = project("v", &object(&["a"]), &[item("a", path)], 0o644, false);
            assert!(matches!(result, Err(VolumeError::BadPath { .. })), "{path:?}");
        }
        assert!(matches!(
            project("v", &object(&["../x"]), &[], 0o644, false),
            Err(VolumeError::BadPath { .. })
        ));
    }
}
