//! Removing a directory with all below it, assuming that a container had its way with the tree.
//!
//! Links are never followed, and a tree of any depth needs one pair of descriptors and no recursion, so that
//! 100,000 nested directories exhaust neither the stack nor the descriptors of the daemon, as
//! `std::fs::remove_dir_all` would.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes a directory with all below it. Nothing there is fine; a symbolic link in its place is not.
pub fn remove(path: &Path) -> io::Result<()> {
    match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(root) => empty(&root).and_then(|()| fs::remove_dir(path)),
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Empties `root` without recursion: a directory that is not empty is emptied of its files, and its
/// directories are moved up into `root`, where the next pass meets them.
fn empty(root: &OwnedFd) -> io::Result<()> {
    let mut moved: u64 = 0;
    loop {
        let mut directories = Vec::new();
        for name in names(root.as_fd())? {
            if !unlink(root.as_fd(), &name)? {
                directories.push(name);
            }
        }
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            let directory = rustix::fs::openat(root, &name, DIRECTORY, Mode::empty())?;
            for child in names(directory.as_fd())? {
                if !unlink(directory.as_fd(), &child)? {
                    move_up(&directory, &child, root, &mut moved)?;
                }
            }
            rustix::fs::unlinkat(root, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Moves a directory into `root` under a name that is free there.
fn move_up(from: &OwnedFd, name: &CStr, root: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let free = format!("removed-{moved}");
        match rustix::fs::renameat_with(from, name, root, &free, rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
    }
}

/// Removes a file or an empty directory; `false` for a directory that is not empty.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The entries of a directory. Collected first, because removing while reading may skip some.
fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("volumes");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("a/b/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn a_link_in_place_of_the_tree_is_an_error() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("volumes");
        std::os::unix::fs::symlink(outside.path(), &tree).unwrap();
        assert!(remove(&tree).is_err());
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_or_descriptor_limit_goes() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("volumes");
        fs::create_dir(&tree).unwrap();
        let mut here = rustix::fs::open(&tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&here, "removed-1", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "removed-1", DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn nothing_there_is_no_error() {
        remove(Path::new("/nonexistent/volumes")).unwrap();
    }
}
