//! Removing a directory tree that a stranger built, however deep, with two descriptors and no recursion.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// Removes `name` below `parent`, whatever it is; symbolic links are removed, never followed.
///
/// Each directory found inside is first moved up beside the others: so depth costs neither stack nor descriptors, and no
/// path ever grows beyond one component.
pub(crate) fn remove(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let parent = parent.as_fd();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open_directory(parent, name)?;
    let mut moved = 0u64;
    let mut waiting = empty(&top, &top, &mut moved)?;
    while let Some(next) = waiting.pop() {
        let directory = open_directory(&top, &next)?;
        waiting.extend(empty(&directory, &top, &mut moved)?);
        rustix::fs::unlinkat(&top, &next, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn open_directory(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Unlinks the files of `directory` and moves its subdirectories into `top`; their new names are returned.
fn empty(directory: &OwnedFd, top: &OwnedFd, moved: &mut u64) -> io::Result<Vec<CString>> {
    let mut subdirectories = Vec::new();
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        let is_directory = match kind {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        if !is_directory {
            rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
            continue;
        }
        subdirectories.push(move_up(directory, &name, top, moved)?);
    }
    Ok(subdirectories)
}

fn move_up(directory: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<CString> {
    loop {
        *moved += 1;
        let unique = CString::new(format!(".removing-{moved}"))?;
        match rustix::fs::renameat_with(directory, name, top, &unique, rustix::fs::RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(unique),
            // A stranger may have chosen our name; the next number is free sooner or later.
            Err(rustix::io::Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_tree_deeper_than_any_path_and_a_link_out_of_it_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "stays").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join(".removing-1/x")).unwrap();
        std::os::unix::fs::symlink("..", tree.join("out")).unwrap();
        fs::write(tree.join(".removing-1/file"), "").unwrap();
        let mut deep: OwnedFd = File::open(&tree).unwrap().into();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&deep, "deeper", Mode::from_raw_mode(0o755)).unwrap();
            deep = open_directory(&deep, c"deeper").unwrap();
        }
        drop(deep);
        remove(File::open(folder.path()).unwrap(), c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "stays");
    }
}
