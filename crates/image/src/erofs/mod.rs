//! A layer as one file: an EROFS image, written while its archive arrives.
//!
//! ```text
//!  block 0      superblock, written last: before it the file is no image
//!  block 1 ..   contents of regular files, in the archive's order, each from a block's beginning
//!  then         blocks of large directories
//!  then         inodes with their attributes, and behind them what is short: directories, symbolic links
//! ```
//! Creating the files of a layer is what takes most of the time of unpacking it, and removing them most of the time of a
//! removal; one file is written in one stream, renamed into place and removed at once. The kernel mounts it (crate
//! `linux`, `erofs`), [`read`] looks into it without.
//!
//! Names, links and attributes stay in memory until the archive has ended, since later entries may replace earlier ones;
//! contents never do. What a replaced file took remains in the image and is nobody's. The same archive always makes the
//! same image: what an archive says no time for is of the epoch.

mod data;
mod format;
mod image;
pub(crate) mod read;
mod tree;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use linux::erofs::Backing;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::data::Data;
use self::tree::{Content, Id, Inode, ROOT, Tree};
use crate::digest::Digest;
use crate::tar_reader::Entry;
use crate::unpack::{
    Destination, Failure, IMPLIED_DIRECTORY_MODE, LinkTarget, OPAQUE, Refusal, Target, is_kept,
};

/// Tries whether, and how, the kernel mounts an EROFS image that lies in `directory`. Nothing stays mounted or on disk.
pub fn probe_erofs(directory: &Path) -> io::Result<Backing> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    ErofsImage::new(file.try_clone()?, [0; 16]).finish()?;
    linux::erofs::mount(Path::new(&path)).map(|(_mount, backing)| backing)
}

/// A symbolic link's target must fit a path (symlink(2)).
const TARGET_MAX_BYTES: usize = 4095;

/// An image in the making.
pub(crate) struct ErofsImage {
    tree: Tree,
    data: Data,
    /// The directory of the previous entry: most entries stand beside each other. Forgotten when anything is replaced.
    last_parent: Option<(Vec<u8>, Id)>,
    uuid: [u8; 16],
}

/// A regular file whose contents are being written.
pub(crate) struct OpenFile {
    id: Id,
    /// Where its contents begin in the image.
    start: u64,
}

impl ErofsImage {
    /// Makes the file `path` for the layer `diff_id`.
    pub(crate) fn create(path: &Path, diff_id: &Digest) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        // By it overlayfs tells its layers apart.
        let hex = u128::from_str_radix(&diff_id.hex()[..32], 16).unwrap_or_default();
        Ok(Self::new(file, hex.to_be_bytes()))
    }

    /// Writes into `file`, which is empty.
    fn new(file: File, uuid: [u8; 16]) -> Self {
        Self {
            tree: Tree::new(IMPLIED_DIRECTORY_MODE as u16),
            data: Data::new(file),
            last_parent: None,
            uuid,
        }
    }

    /// The directory that `components` lead to, made if it is not there.
    fn parent(&mut self, components: &[&[u8]]) -> Result<Id, Failure> {
        if components.is_empty() {
            return Ok(ROOT);
        }
        let path = components.join(&b'/');
        if let Some((last, id)) = &self.last_parent
            && *last == path
        {
            return Ok(*id);
        }
        let id = match self.tree.directory_at(&path) {
            Ok(id) => id,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(components)?,
            Err(Errno::LOOP) => return Err(Refusal::NotInDirectory.into()),
            Err(error) => return Err(error.into()),
        };
        self.last_parent = Some((path, id));
        Ok(id)
    }

    fn make_parents(&mut self, components: &[&[u8]]) -> Result<Id, Failure> {
        let mut current = ROOT;
        for depth in 1..=components.len() {
            current = match self.tree.directory_at(&components[..depth].join(&b'/')) {
                Ok(id) => id,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directory(current, components[depth - 1])?,
                Err(Errno::LOOP) => return Err(Refusal::NotInDirectory.into()),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(current)
    }

    /// Makes a directory that the archive implies; opaque where it takes the place of a whiteout.
    fn make_directory(&mut self, parent: Id, name: &[u8]) -> Result<Id, Failure> {
        let there = self.tree.child(parent, name)?;
        let is_whiteout = there.is_some_and(|id| self.tree.get(id).is_whiteout());
        if is_whiteout {
            self.tree.remove(parent, name);
        } else if there.is_some() {
            // A file, or a link that leads nowhere: neither can hold an entry.
            return Err(Refusal::NotInDirectory.into());
        }
        let id = self.tree.add_directory(parent, name, IMPLIED_DIRECTORY_MODE as u16)?;
        if is_whiteout {
            self.tree.get_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
        }
        Ok(id)
    }

    /// Makes way for a new entry.
    fn clear(&mut self, parent: Id, name: &[u8]) -> Result<(), Failure> {
        if self.tree.child(parent, name)?.is_some() {
            self.last_parent = None;
            self.tree.remove(parent, name);
        }
        Ok(())
    }

    fn put(&mut self, target: &Target<'_>, content: Content, mode: u32) -> Result<Id, Failure> {
        let parent = self.parent(&target.parent)?;
        self.clear(parent, target.name)?;
        let inode = Inode {
            uid: target.uid,
            gid: target.gid,
            mtime: target.entry.mtime,
            ..Inode::new(content, mode as u16)
        };
        Ok(self.tree.add(parent, target.name, inode)?)
    }

    fn set_metadata(&mut self, id: Id, entry: &Entry, uid: u32, gid: u32) -> Result<(), Failure> {
        let inode = self.tree.get_mut(id);
        (inode.uid, inode.gid, inode.mode, inode.mtime) = (uid, gid, entry.mode as u16, entry.mtime);
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            check_xattr(name, value)?;
            inode.set_xattr(name, value);
        }
        match format::xattr_bytes(&inode.xattrs) {
            Some(_) => Ok(()),
            None => Err(Errno::NOSPC.into()),
        }
    }
}

/// What setxattr(2) would answer.
fn check_xattr(name: &[u8], value: &[u8]) -> Result<(), Errno> {
    /// `XATTR_NAME_MAX`, and what the format has 16 bits for.
    const NAME_MAX_BYTES: usize = 255;
    const VALUE_MAX_BYTES: usize = u16::MAX as usize;
    if name == b"user." || name.contains(&0) || (name == b"security.capability" && !is_capability(value)) {
        return Err(Errno::INVAL);
    }
    if name.len() > NAME_MAX_BYTES {
        return Err(Errno::RANGE);
    }
    if value.len() > VALUE_MAX_BYTES {
        return Err(Errno::TOOBIG);
    }
    Ok(())
}

/// `struct vfs_cap_data` of the second revision, or `vfs_ns_cap_data` of the third (linux/capability.h).
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
}

impl Destination for ErofsImage {
    type File = OpenFile;

    fn set_root_metadata(&mut self, entry: &Entry, uid: u32, gid: u32) -> Result<(), Failure> {
        self.set_metadata(ROOT, entry, uid, gid)
    }

    fn directory(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        let parent = self.parent(&target.parent)?;
        let there = self.tree.child(parent, target.name)?;
        let id = match there.filter(|id| self.tree.get(*id).is_directory()) {
            Some(id) => id,
            None => {
                let is_whiteout = there.is_some_and(|id| self.tree.get(id).is_whiteout());
                self.clear(parent, target.name)?;
                let id = self.tree.add_directory(parent, target.name, 0)?;
                if is_whiteout {
                    self.tree.get_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
                }
                id
            }
        };
        self.set_metadata(id, target.entry, target.uid, target.gid)
    }

    fn create_file(&mut self, target: &Target<'_>) -> Result<OpenFile, Failure> {
        let block = self.data.next_block()?;
        let id = self.put(target, Content::File { block, size_bytes: 0 }, target.entry.mode)?;
        Ok(OpenFile { id, start: self.data.position() })
    }

    fn write(&mut self, _file: &mut OpenFile, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.data.append(bytes)?)
    }

    fn skip_to(&mut self, file: &mut OpenFile, offset_bytes: u64) -> Result<(), Failure> {
        Ok(self.data.skip_to(file.start + offset_bytes)?)
    }

    fn finish_file(&mut self, file: OpenFile, target: &Target<'_>) -> Result<(), Failure> {
        self.data.skip_to(file.start + target.entry.size_bytes)?;
        let end_bytes = self.data.position() - file.start;
        if let Content::File { size_bytes, .. } = &mut self.tree.get_mut(file.id).content {
            *size_bytes = end_bytes;
        }
        self.set_metadata(file.id, target.entry, target.uid, target.gid)
    }

    fn symlink(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        let link = target.entry.link.as_slice();
        if link.contains(&0) {
            return Err(Refusal::NulByte.into());
        }
        if link.len() > TARGET_MAX_BYTES {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.put(target, Content::Symlink(link.into()), 0o777).map(drop)
    }

    fn fifo(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        self.put(target, Content::Fifo, target.entry.mode).map(drop)
    }

    fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], target: &LinkTarget<'_>) -> Result<(), Failure> {
        let directory = target.directory_found(self.tree.directory_at(&target.directory))?;
        let id = self.tree.child(directory, target.name)?.ok_or_else(|| target.missing())?;
        if self.tree.get(id).is_directory() || self.tree.get(id).is_whiteout() {
            return Err(target.wrong_kind().into());
        }
        let parent = self.parent(parent)?;
        // A link onto itself is nothing to do; replacing would remove the only copy.
        if self.tree.child(parent, name)? == Some(id) {
            return Ok(());
        }
        self.clear(parent, name)?;
        // The target lay beneath the directory that this entry replaces.
        if self.tree.get(id).names == 0 {
            return Err(target.missing().into());
        }
        Ok(self.tree.link(parent, name, id)?)
    }

    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<(), Failure> {
        let parent = self.parent(parent)?;
        match self.tree.child(parent, name)? {
            Some(id) if self.tree.get(id).is_directory() => {
                self.tree.get_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
            }
            Some(_) => {}
            None => drop(self.tree.add(parent, name, Inode::new(Content::Whiteout, 0))?),
        }
        Ok(())
    }

    fn make_opaque(&mut self, directory: &[&[u8]]) -> Result<(), Failure> {
        let id = self.parent(directory)?;
        self.tree.get_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        image::write(&self.tree, self.data, self.uuid)
    }
}

#[cfg(test)]
mod tests;
