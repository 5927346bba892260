//! Finding and making paths in a root filesystem whose content nobody vouches for.
//!
//! Every path is resolved by openat2(2) with the root filesystem as the root, so that `..`, absolute and magic
//! links of an image or a volume end inside it, also while another container of the Pod renames things. What is
//! missing is made one component at a time, by name in a directory that is held open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// What a mount target is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Opens a path in the root filesystem, following its links inside of it.
pub(crate) fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Opens a path in the root filesystem that must not lead through any link: what is mounted there guards others.
pub(crate) fn open_exactly_in(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(root, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Opens (O_PATH) what is at `path`, making it and its parents when missing.
pub(crate) fn ensure_in(root: impl AsFd, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    match open_in(&root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match kind {
        Kind::Directory => ensure_directory_in(root, path),
        Kind::File => {
            let (parent, name) = split(path)?;
            let directory = ensure_directory_in(&root, parent)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            match openat(&directory, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            open_in(root, path, OFlags::PATH)
        }
    }
}

/// Opens (O_PATH) the directory at `path`, making it and its parents when missing.
pub(crate) fn ensure_directory_in(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut reached = PathBuf::from(".");
    let mut directory = open_in(&root, &reached, flags)?;
    for component in relative(path).components() {
        let Component::Normal(name) = component else { continue };
        reached.push(name);
        directory = match open_in(&root, &reached, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open_in(&root, &reached, flags)?
            }
            opened => opened?,
        };
    }
    Ok(directory)
}

/// Opens the part of a volume that a subPath names: beneath its root, through no link that leads out of it, and none
/// that is absolute (CVE-2021-25741). Links within it are followed, because every key of a configMap is one
/// (`key -> ..data/key`). Missing directories are made with the mode the kubelet gives them.
pub(crate) fn ensure_beneath(volume: impl AsFd, sub_path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| openat2(&volume, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut reached = PathBuf::from(".");
    let mut found = open(&reached)?;
    for component in sub_path.components() {
        match component {
            Component::CurDir => continue,
            Component::Normal(name) => {
                reached.push(name);
                found = match open(&reached) {
                    Err(Errno::NOENT) => {
                        match mkdirat(&found, name, Mode::from_raw_mode(0o750)) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(error) => return Err(error.into()),
                        }
                        open(&reached)?
                    }
                    opened => opened?,
                };
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a subPath is relative, without '..'",
                ));
            }
        }
    }
    Ok(found)
}

/// Makes a directory and its parents on the host, where paths are podling's own.
pub(crate) fn ensure_directory_on_host(path: &Path) -> io::Result<()> {
    // The usual case costs one call.
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => std::fs::create_dir_all(path),
        Err(error) => Err(error.into()),
    }
}

/// Whether an open file is a directory.
pub(crate) fn is_directory(file: impl AsFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

/// A path's directory and last component.
pub(crate) fn split(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no last component")),
    }
}

/// openat2 takes absolute paths from the root with RESOLVE_IN_ROOT; the empty one would be refused.
fn relative(path: &Path) -> &Path {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> (Self, OwnedFd) {
            let path = std::env::temp_dir().join(format!("podling-paths-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("root")).unwrap();
            std::fs::create_dir_all(path.join("outside")).unwrap();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, path.join("root"), flags, Mode::empty()).unwrap();
            (Self(path), root)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_target_behind_an_absolute_link_is_made_inside() {
        let (scratch, root) = Scratch::new("absolute");
        std::fs::create_dir_all(scratch.0.join("root/etc")).unwrap();
        symlink("/etc", scratch.0.join("root/link")).unwrap();
        ensure_in(&root, Path::new("/link/new/file"), Kind::File).unwrap();
        assert!(scratch.0.join("root/etc/new/file").is_file());
    }

    #[test]
    fn a_target_behind_dots_is_made_inside() {
        let (scratch, root) = Scratch::new("dots");
        symlink("../../outside", scratch.0.join("root/up")).unwrap();
        // The link's target does not exist inside of the root, and outside nothing may appear.
        assert!(ensure_in(&root, Path::new("/up/x"), Kind::Directory).is_err());
        assert!(!scratch.0.join("outside/x").exists());
    }

    #[test]
    fn a_sub_path_that_leads_out_of_its_volume_is_refused() {
        let (scratch, root) = Scratch::new("subpath");
        symlink(scratch.0.join("outside"), scratch.0.join("root/link")).unwrap();
        assert!(ensure_beneath(&root, Path::new("link")).is_err());
        assert!(ensure_beneath(&root, Path::new("link/x")).is_err());
        assert!(ensure_beneath(&root, Path::new("../outside")).is_err());
        symlink("../outside", scratch.0.join("root/up")).unwrap();
        assert!(ensure_beneath(&root, Path::new("up/made")).is_err());
        ensure_beneath(&root, Path::new("a/b")).unwrap();
        assert!(scratch.0.join("root/a/b").is_dir());
    }

    /// As the files of a configMap are: `key -> ..data/key`, `..data -> ..2026_11_20`.
    #[test]
    fn a_sub_path_through_links_of_its_own_volume_is_followed() {
        let (scratch, root) = Scratch::new("keys");
        std::fs::create_dir_all(scratch.0.join("root/..2026")).unwrap();
        std::fs::write(scratch.0.join("root/..2026/key"), "value").unwrap();
        symlink("..2026", scratch.0.join("root/..data")).unwrap();
        symlink("..data/key", scratch.0.join("root/key")).unwrap();
        let found = ensure_beneath(&root, Path::new("key")).unwrap();
        assert_eq!(rustix::fs::fstat(&found).unwrap().st_size, 5);
    }
}
