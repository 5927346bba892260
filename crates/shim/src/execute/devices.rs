//! Device nodes and links in /dev, and what hides or protects paths of /proc and /sys.
//!
//! Masks come from the host's /dev/null, opened and verified before the container's root is entered, never from
//! the container's own /dev (CVE-2025-31133).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::mount::{self, MountAttributes};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, makedev, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use super::attempt::Attempt;
use super::mounts::{attach_to, clone_tree, new_filesystem};
use super::paths::{ensure_directory_in, is_directory, open_exactly_in, split};
use crate::plan::{Device, DeviceKind};
use crate::protocol::{StartError, Step};

/// Makes a device node. One that is there already and is the same is fine.
pub(super) fn make(root: &OwnedFd, device: &Device) -> Result<(), StartError> {
    node(root, device).attempt(Step::Device, || format!("make the device {}", device.path.display()))
}

fn node(root: &OwnedFd, device: &Device) -> io::Result<()> {
    let (parent, name) = split(&device.path)?;
    let directory = ensure_directory_in(root, parent)?;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = makedev(device.major, device.minor);
    // The mode is meant as it is written.
    let umask = rustix::process::umask(Mode::empty());
    let made = mknodat(&directory, name, kind, Mode::from_raw_mode(device.mode & 0o7777), number);
    rustix::process::umask(umask);
    match made {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let found = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != kind || found.st_rdev != number {
                return Err(io::Error::other("something else is there already"));
            }
        }
        Err(error) => return Err(error.into()),
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Makes a symbolic link where nothing is yet.
pub(super) fn link(root: &OwnedFd, path: &Path, target: &Path) -> Result<(), StartError> {
    let make = || -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = ensure_directory_in(root, parent)?;
        match symlinkat(target, &directory, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    };
    make().attempt(Step::Device, || format!("link {} to {}", path.display(), target.display()))
}

/// Makes a path read-only by binding it onto itself. A missing one is fine.
pub(super) fn make_read_only(root: &OwnedFd, path: &Path) -> Result<(), StartError> {
    let protect = || -> io::Result<()> {
        let found = match open_exactly_in(root, path, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let tree = clone_tree(&found, true)?;
        let attributes = MountAttributes { set: mount::READ_ONLY, ..Default::default() };
        mount::set_attributes(tree.as_fd(), attributes, false)?;
        attach_to(&tree, &found)
    };
    protect().attempt(Step::Mask, || format!("make {} read-only", path.display()))
}

/// What is put over masked paths, made when first needed and used again.
#[derive(Debug, Default)]
pub(super) struct Covers {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Covers {
    /// Hides a path. A missing one is fine.
    pub(super) fn mask(&mut self, root: &OwnedFd, path: &Path) -> Result<(), StartError> {
        self.cover(root, path).attempt(Step::Mask, || format!("mask {}", path.display()))
    }

    fn cover(&mut self, root: &OwnedFd, path: &Path) -> io::Result<()> {
        let found = match open_exactly_in(root, path, OFlags::PATH) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            opened => opened?,
        };
        if is_directory(&found)? {
            return self.empty_directory_over(&found);
        }
        let null = match &self.null {
            Some(null) => null,
            None => self.null.insert(verified_null()?),
        };
        let mask = clone_tree(null, false)?;
        // A copy of a mount of the host keeps in touch with it unless told otherwise.
        let attributes =
            MountAttributes { set: mount::READ_ONLY, propagation: mount::PRIVATE, ..Default::default() };
        mount::set_attributes(mask.as_fd(), attributes, false)?;
        attach_to(&mask, &found)
    }

    /// One empty tmpfs serves all masked directories; a mount can be copied only once it is attached (Linux < 6.15).
    fn empty_directory_over(&mut self, found: &OwnedFd) -> io::Result<()> {
        if let Some(empty) = &self.empty {
            return attach_to(&clone_tree(empty, false)?, found);
        }
        let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let parameters = [("size", Some("0")), ("nr_inodes", Some("1")), ("mode", Some("755"))];
        let tree = new_filesystem("tmpfs", "tmpfs", parameters, attributes)?;
        attach_to(&tree, found)?;
        self.empty = Some(tree);
        Ok(())
    }
}

/// The host's /dev/null, in the caller's mount namespace, verified to be character device 1:3.
fn verified_null() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = openat(CWD, "/dev/null", flags, Mode::empty())?;
    let found = rustix::fs::fstat(&null)?;
    let is_null =
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == makedev(1, 3);
    if is_null { Ok(null) } else { Err(io::Error::other("the host's /dev/null is not the null device")) }
}
