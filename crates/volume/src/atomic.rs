//! Files that change all at once: the kubelet's AtomicWriter, link by link.
//!
//! ```text
//! volume/
//!   ..2026_11_20_21_42_02.3735928559/   the files, never changed after they are written
//!     app.conf
//!   ..data -> ..2026_11_20_21_42_02.3735928559
//!   app.conf -> ..data/app.conf
//! ```
//!
//! A new set of files is written beside the old one, and one rename(2) of `..data` makes it the present one:
//! a reader sees all old files or all new ones. Whoever needs to notice changes watches `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use crate::{VolumeError, tree};

/// The link that makes a set of files the present one.
const DATA: &str = "..data";
/// Its successor until the rename.
const DATA_NEXT: &str = "..data_tmp";
/// What a reader other than the owner needs of a directory: with an fsGroup, reading and passing through.
const DIRECTORY_MODE: u32 = 0o755;
/// set-group-ID.
const SETGID: u32 = 0o2000;
/// What fsGroup adds to the mode of a file of a read-only volume, as the kubelet does.
const GROUP_READS: u32 = 0o440;

/// A file of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    /// UID; root when absent.
    pub(crate) owner: Option<u32>,
}

impl File {
    /// A file of root's.
    pub(crate) fn new(content: Vec<u8>, mode: u32) -> File {
        File { content, mode, owner: None }
    }
}

/// Makes `files` (by checked relative path) the content of the volume. Returns whether it was not so before.
pub(crate) fn write(
    volume: &Path,
    files: &BTreeMap<String, File>,
    fs_group: Option<u32>,
) -> Result<bool, VolumeError> {
    if tree::ensure_new_directory(volume)? {
        own_directory(volume, fs_group)?;
    }
    let old = present(volume)?;
    if let Some(old) = &old
        && holds(&volume.join(old), files, fs_group)
    {
        return Ok(false);
    }
    let new = new_directory(volume, fs_group)?;
    let written = write_files(&volume.join(&new), files, fs_group).and_then(|()| swap(volume, &new));
    if let Err(error) = written {
        // The set that could not be completed goes again; the first error is the one to tell.
        let _ = tree::remove(&volume.join(&new));
        return Err(error);
    }
    link_top_level(volume, files)?;
    if let Some(old) = old {
        tree::remove(&volume.join(old))?;
    }
    Ok(true)
}

/// Where `..data` leads, when it leads to a set of ours.
fn present(volume: &Path) -> Result<Option<String>, VolumeError> {
    let link = volume.join(DATA);
    match fs::read_link(&link) {
        Ok(target) => Ok(target
            .to_str()
            .filter(|name| name.starts_with("..") && !name.contains('/'))
            .map(str::to_owned)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(VolumeError::io("read the link", &link)(error)),
    }
}

/// Whether a set holds exactly these files. Anything that cannot be read counts as a difference.
fn holds(set: &Path, files: &BTreeMap<String, File>, fs_group: Option<u32>) -> bool {
    let mut found = BTreeSet::new();
    let mut directories = vec![(set.to_owned(), String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        let Ok(entries) = fs::read_dir(directory) else { return false };
        for entry in entries {
            let Ok(entry) = entry else { return false };
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
                return false;
            };
            if kind.is_dir() {
                directories.push((entry.path(), format!("{prefix}{name}/")));
            } else {
                found.insert(format!("{prefix}{name}"));
            }
        }
    }
    found.len() == files.len()
        && files.iter().all(|(path, file)| {
            let path_on_host = set.join(path);
            let is_same = |metadata: fs::Metadata| {
                metadata.is_file()
                    && metadata.permissions().mode() & 0o7777 == file_mode(file, fs_group)
                    && fs_group.is_none_or(|gid| metadata.gid() == gid)
                    && file.owner.is_none_or(|uid| metadata.uid() == uid)
            };
            found.contains(path)
                && fs::symlink_metadata(&path_on_host).is_ok_and(is_same)
                && fs::read(&path_on_host).is_ok_and(|content| content == file.content)
        })
}

/// Makes an empty directory for a new set, named by the time and a random number.
fn new_directory(volume: &Path, fs_group: Option<u32>) -> Result<String, VolumeError> {
    loop {
        let mut random = [0u8; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| VolumeError::io("draw a random name in", volume)(errno.into()))?;
        let time = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S");
        let name = format!("..{time}.{}", u32::from_ne_bytes(random));
        if tree::ensure_new_directory(&volume.join(&name))? {
            own_directory(&volume.join(&name), fs_group)?;
            return Ok(name);
        }
    }
}

fn write_files(set: &Path, files: &BTreeMap<String, File>, fs_group: Option<u32>) -> Result<(), VolumeError> {
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            let parent = set.join(&path[..end]);
            if tree::ensure_new_directory(&parent)? {
                own_directory(&parent, fs_group)?;
            }
        }
        let path = set.join(path);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        opened
            .and_then(|mut opened| opened.write_all(&file.content))
            .map_err(VolumeError::io("write the file", &path))?;
        if file.owner.is_some() || fs_group.is_some() {
            tree::set_owner(&path, file.owner, fs_group)?;
        }
        tree::set_mode(&path, file_mode(file, fs_group))?;
    }
    Ok(())
}

/// The instant of the change.
fn swap(volume: &Path, new: &str) -> Result<(), VolumeError> {
    let next = volume.join(DATA_NEXT);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(VolumeError::io("remove the link", &next)(error));
        }
        _ => {}
    }
    symlink(new, &next).map_err(VolumeError::io("make the link", &next))?;
    let data = volume.join(DATA);
    fs::rename(&next, &data).map_err(VolumeError::io("replace the link", &data))
}

/// Makes the links that readers use, and removes those of files that are no longer there.
fn link_top_level(volume: &Path, files: &BTreeMap<String, File>) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = volume.join(name);
        match symlink(Path::new(DATA).join(name), &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(VolumeError::io("make the link", &link)(error));
            }
            _ => {}
        }
    }
    for entry in fs::read_dir(volume).map_err(VolumeError::io("read the directory", volume))? {
        let name = entry.map_err(VolumeError::io("read the directory", volume))?.file_name();
        let is_stale = name.to_str().is_some_and(|name| !name.starts_with("..") && !wanted.contains(name));
        if is_stale {
            let link = volume.join(&name);
            fs::remove_file(&link).map_err(VolumeError::io("remove the link", &link))?;
        }
    }
    Ok(())
}

/// Gives a directory its group and mode.
fn own_directory(path: &Path, fs_group: Option<u32>) -> Result<(), VolumeError> {
    let Some(gid) = fs_group else { return tree::set_mode(path, DIRECTORY_MODE) };
    tree::set_owner(path, None, Some(gid))?;
    tree::set_mode(path, DIRECTORY_MODE | SETGID)
}

fn file_mode(file: &File, fs_group: Option<u32>) -> u32 {
    if fs_group.is_some() { file.mode | GROUP_READS } else { file.mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |content: &str| File::new(content.into(), 0o640);
        entries.iter().map(|(path, content)| (path.to_string(), file(content))).collect()
    }

    fn read(volume: &Path, path: &str) -> Option<String> {
        fs::read_to_string(volume.join(path)).ok()
    }

    #[test]
    fn files_are_reached_through_the_links() {
        let base = tempfile::tempdir().unwrap();
        let volume = base.path().join("v");
        assert!(write(&volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert_eq!(read(&volume, "a").unwrap(), "1");
        assert_eq!(read(&volume, "d/b").unwrap(), "2");
        assert_eq!(fs::read_link(volume.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::read_link(volume.join("d")).unwrap(), Path::new("..data/d"));
        assert_eq!(fs::metadata(volume.join("a")).unwrap().permissions().mode() & 0o7777, 0o640);
    }

    #[test]
    fn the_same_files_again_change_nothing() {
        let base = tempfile::tempdir().unwrap();
        let volume = base.path().join("v");
        write(&volume, &files(&[("a", "1")]), None).unwrap();
        let before = fs::read_link(volume.join(DATA)).unwrap();
        assert!(!write(&volume, &files(&[("a", "1")]), None).unwrap());
        assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), before);
    }

    #[test]
    fn an_update_replaces_all_and_leaves_one_set() {
        let base = tempfile::tempdir().unwrap();
        let volume = base.path().join("v");
        write(&volume, &files(&[("a", "1"), ("gone", "1")]), None).unwrap();
        assert!(write(&volume, &files(&[("a", "2"), ("new/b", "2")]), None).unwrap());
        assert_eq!(read(&volume, "a").unwrap(), "2");
        assert_eq!(read(&volume, "new/b").unwrap(), "2");
        assert!(fs::symlink_metadata(volume.join("gone")).is_err());
        let sets = fs::read_dir(&volume)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir())
            .count();
        assert_eq!(sets, 1, "the old set is removed");
    }

    #[test]
    fn an_open_file_of_the_old_set_stays_readable() {
        use std::io::Read;
        let base = tempfile::tempdir().unwrap();
        let volume = base.path().join("v");
        write(&volume, &files(&[("a", "old")]), None).unwrap();
        let mut open = fs::File::open(volume.join("a")).unwrap();
        write(&volume, &files(&[("a", "new")]), None).unwrap();
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
    }
}
