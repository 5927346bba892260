//! configMap and secret volumes: which key becomes which file, with which mode.
//!
//! [`project`] decides and is pure; [`write()`] looks the object up and hands the files to [`crate::atomic`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::pod::{KeyToPath, KeyedObject, ObjectKind, Volume, VolumeSource};

use crate::atomic::{self, File};
use crate::{Context, VolumeError, ensure_directory};

/// Writes the volume's files as the object has them now. Returns the directory and whether anything changed.
pub(crate) fn write(volume: &Volume, context: &Context<'_>) -> Result<(PathBuf, bool), VolumeError> {
    let VolumeSource::Object { kind, name, items, default_mode, optional } = &volume.source else {
        return Err(VolumeError::Unsupported {
            volume: volume.name.clone(),
            kind: "kind without keys".into(),
        });
    };
    let object = (context.objects)(*kind, name);
    if object.is_none() && !optional {
        return Err(VolumeError::ObjectMissing { kind: *kind, name: name.clone() });
    }
    let files = match &object {
        Some(object) => project(&volume.name, object, items, *default_mode, *optional)?,
        None => BTreeMap::new(),
    };
    let directory = match kind {
        ObjectKind::ConfigMap => ensure_directory(context.data_dir, "configmap", &volume.name)?,
        ObjectKind::Secret => ensure_directory(context.run_dir, "secret", &volume.name)?,
    };
    let changed = atomic::write(&directory, &files, context.fs_group)?;
    Ok((directory, changed))
}

/// The files of a volume: every key under its own name, or those that `items` lists under their paths.
pub(crate) fn project(
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
            check(key).map_err(|why| bad(key, why))?;
            files.insert(key.clone(), File { content: content.clone(), mode: default_mode });
        }
    }
    for item in items {
        let path = item.path.trim_end_matches('/');
        check(path).map_err(|why| bad(&item.path, why))?;
        match object.data.get(&item.key) {
            Some(content) => {
                let file = File { content: content.clone(), mode: item.mode.unwrap_or(default_mode) };
                files.insert(path.to_owned(), file);
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
    // One file cannot be another's directory. In sorted order such a pair may have others between, so every
    // ancestor is looked up.
    for path in files.keys() {
        let is_below_file = path.match_indices('/').any(|(end, _)| files.contains_key(&path[..end]));
        if is_below_file {
            return Err(bad(path, "another item is a file where this one needs a directory"));
        }
    }
    Ok(files)
}

/// Whether a relative path stays in the volume and out of the way of the `..data` links.
fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > 4095 || path.contains('\0') {
        return Err("it must have 1 to 4095 bytes, none of them NUL");
    }
    if path.starts_with('/') {
        return Err("it must be relative");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it must not contain empty parts, `.` or `..`");
    }
    if path.starts_with("..") {
        return Err("it must not begin with `..`");
    }
    Ok(())
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

    #[test]
    fn a_file_cannot_be_a_directory_too() {
        let items = [item("a", "x"), item("a", "x-1"), item("b", "x/y")];
        assert!(project("v", &object(&["a", "b"]), &items, 0o644, false).is_err());
    }
}
