//! Everything that can be seen of a tree of files, for comparing two of them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use image::Digest;

/// What is seen of one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    /// Of everything but whiteouts, whose time nobody sees.
    mtime: Option<(i64, i64)>,
    /// Of directories too: how many directories are in them.
    links: u64,
    /// Length and contents of a file, or where a link leads.
    contents: Option<(u64, Digest)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of the names that this file has.
    same_as: PathBuf,
}

/// All names below `root`, and `root` itself as the empty one.
pub(crate) fn of(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(name) = waiting.pop() {
        let path = root.join(&name);
        let metadata =
            if name.as_os_str().is_empty() { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let metadata = metadata.unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(&path).unwrap().map(|entry| name.join(entry.unwrap().file_name())).collect();
            below.sort_by(|a, b| b.cmp(a));
            waiting.extend(below);
        }
        let contents = if kind.is_symlink() {
            Some(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else {
            kind.is_file().then(|| fs::read(&path).unwrap())
        };
        let is_whiteout = metadata.mode() & 0o170_000 == 0o020_000;
        let facts = Facts {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            device: metadata.rdev(),
            mtime: (!is_whiteout).then(|| (metadata.mtime(), metadata.mtime_nsec())),
            links: metadata.nlink(),
            contents: contents.map(|bytes| (metadata.len(), Digest::of(&bytes))),
            xattrs: xattrs(&path, kind.is_symlink()),
            same_as: first_names
                .entry((metadata.dev(), metadata.ino()))
                .or_insert_with(|| name.clone())
                .clone(),
        };
        found.insert(name, facts);
    }
    found
}

fn xattrs(path: &Path, is_symlink: bool) -> BTreeMap<Vec<u8>, Vec<u8>> {
    if is_symlink {
        return BTreeMap::new();
    }
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::listxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split_inclusive(|byte| *byte == 0);
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let name = CStr::from_bytes_with_nul(name).unwrap();
        let length = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name[..name.len() - 1].to_vec(), value(name))).collect()
}

/// The names of which two trees differ, and how.
pub(crate) fn differences(one: &BTreeMap<PathBuf, Facts>, other: &BTreeMap<PathBuf, Facts>) -> Vec<String> {
    let names: std::collections::BTreeSet<&PathBuf> = one.keys().chain(other.keys()).collect();
    let differing = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    differing.map(|name| format!("{}: {:?} / {:?}", name.display(), one.get(name), other.get(name))).collect()
}
