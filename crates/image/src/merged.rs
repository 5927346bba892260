//! Reading a file of an image as a container would see it, before anything is mounted.
//!
//! The layers are walked one component at a time, in directories with single-component openat(2), so that no symbolic link
//! is followed by the kernel; links are resolved here, against the merged root. Whiteouts and opaque directories are
//! respected.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::erofs::read::{Node, NodeKind, Reader};
use crate::unpack::OPAQUE;

/// As the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// One layer's part of a directory.
enum Part {
    Directory(OwnedFd),
    Erofs(Node),
}

/// One directory of the merged tree: its parts in the layers that contribute to it, top first.
type Directory = Vec<Rc<Part>>;

/// What one layer has at a name.
enum Found {
    Nothing,
    Whiteout,
    Directory { part: Part, is_opaque: bool },
    Link(OsString),
    File(Box<dyn Read>),
    Other,
}

enum Child {
    Nothing,
    Directory(Directory),
    Link(OsString),
    File(Box<dyn Read>),
    Other,
}

/// The regular file `path` of the image whose layers (top first) are given; `None` when there is none.
pub(crate) fn open(layers: &[PathBuf], path: &str) -> io::Result<Option<Box<dyn Read>>> {
    let root: Directory =
        layers.iter().map(|layer| open_layer(layer).map(Rc::new)).collect::<io::Result<_>>()?;
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

fn open_layer(layer: &Path) -> io::Result<Part> {
    let file = File::open(layer)?;
    if file.metadata()?.is_dir() {
        Ok(Part::Directory(file.into()))
    } else {
        Ok(Part::Erofs(Reader::root(file)?))
    }
}

fn child(directory: &Directory, name: &OsStr) -> io::Result<Child> {
    let mut parts: Directory = Vec::new();
    for layer in directory {
        let found = match &**layer {
            Part::Directory(directory) => in_directory(directory, name)?,
            Part::Erofs(directory) => in_erofs(directory, name)?,
        };
        match found {
            Found::Nothing => continue,
            Found::Directory { part, is_opaque } => {
                parts.push(Rc::new(part));
                if is_opaque {
                    break;
                }
            }
            // Whatever lies below a directory that is not one is hidden by it.
            _ if !parts.is_empty() => break,
            Found::Whiteout => return Ok(Child::Nothing),
            Found::Link(target) => return Ok(Child::Link(target)),
            Found::File(file) => return Ok(Child::File(file)),
            Found::Other => return Ok(Child::Other),
        }
    }
    Ok(if parts.is_empty() { Child::Nothing } else { Child::Directory(parts) })
}

fn in_directory(directory: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    let open = |flags| {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::empty())
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let part = open(OFlags::DIRECTORY)?;
            let is_opaque = is_opaque(&part);
            Found::Directory { part: Part::Directory(part), is_opaque }
        }
        FileType::CharacterDevice => Found::Whiteout,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            Found::Link(OsString::from_vec(target.into_bytes()))
        }
        FileType::RegularFile => Found::File(Box::new(File::from(open(OFlags::empty())?))),
        _ => Found::Other,
    })
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut value[..]).is_ok_and(|length| length == 1 && value == *b"y")
}

fn in_erofs(directory: &Node, name: &OsStr) -> io::Result<Found> {
    let Some(node) = directory.child(name.as_bytes())? else { return Ok(Found::Nothing) };
    Ok(match node.kind() {
        NodeKind::Directory => {
            let is_opaque = node.is_opaque()?;
            Found::Directory { part: Part::Erofs(node), is_opaque }
        }
        NodeKind::Whiteout => Found::Whiteout,
        NodeKind::Symlink => Found::Link(OsString::from_vec(node.link()?)),
        NodeKind::Regular => Found::File(Box::new(node.contents())),
        NodeKind::Other => Found::Other,
    })
}
