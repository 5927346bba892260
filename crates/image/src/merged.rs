//! Reading a file of an image as a container would see it, before anything is mounted.
//!
//! The layers are walked one component at a time with single-component openat(2), so that no symbolic link is followed by
//! the kernel; links are resolved here, against the merged root. Whiteouts and opaque directories are respected.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// As the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;
const OPAQUE: &str = "trusted.overlay.opaque";

/// One directory of the merged tree: its parts in the layers that contribute to it, top first.
type Directory = Vec<Rc<OwnedFd>>;

enum Child {
    Nothing,
    Directory(Directory),
    Link(OsString),
    File(File),
    Other,
}

/// The regular file `path` of the image whose layers (top first) are given; `None` when there is none.
pub(crate) fn open(layers: &[PathBuf], path: &str) -> io::Result<Option<File>> {
    let root: io::Result<Directory> = layers
        .iter()
        .map(|layer| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(Rc::new(rustix::fs::open(layer, flags, Mode::empty())?))
        })
        .collect();
    let root = root?;
    let mut trail: Vec<Directory> = vec![root.clone()];
    let mut todo: VecDeque<OsString> = path.split('/').map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            _ => {}
        }
        let Some(directory) = trail.last() else { return Ok(None) };
        match child(directory, &name)? {
            Child::Directory(directory) => trail.push(directory),
            Child::File(file) => return Ok(todo.is_empty().then_some(file)),
            Child::Link(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                if target.as_bytes().starts_with(b"/") {
                    trail = vec![root.clone()];
                }
                for part in target.as_bytes().rsplit(|byte| *byte == b'/') {
                    todo.push_front(OsStr::from_bytes(part).to_owned());
                }
            }
            Child::Nothing | Child::Other => return Ok(None),
        }
    }
    Ok(None)
}

fn child(directory: &Directory, name: &OsStr) -> io::Result<Child> {
    let mut parts: Directory = Vec::new();
    for layer in directory {
        let stat = match rustix::fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let part = rustix::fs::openat(layer, name, flags, Mode::empty())?;
                let opaque = is_opaque(&part);
                parts.push(Rc::new(part));
                if opaque {
                    break;
                }
            }
            // Whatever lies below a directory that is not one is hidden by it.
            _ if !parts.is_empty() => break,
            FileType::CharacterDevice => return Ok(Child::Nothing),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(layer, name, Vec::new())?;
                return Ok(Child::Link(OsString::from_vec(target.into_bytes())));
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return Ok(Child::File(rustix::fs::openat(layer, name, flags, Mode::empty())?.into()));
            }
            _ => return Ok(Child::Other),
        }
    }
    Ok(if parts.is_empty() { Child::Nothing } else { Child::Directory(parts) })
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut value[..]).is_ok_and(|length| length == 1 && value == *b"y")
}
