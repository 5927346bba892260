//! The directory that a layer is unpacked into, and what may be done in it.
//!
//! Parents are resolved by openat2(2) with RESOLVE_IN_ROOT: within one layer a symbolic link may stand for a directory
//! (`lib` → `usr/lib`), and an absolute one means the layer's own root. The last component is never followed. All
//! further calls name a single component below an open directory, so nothing can be swapped in between.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

use super::{Destination, Failure, IMPLIED_DIRECTORY_MODE, LinkTarget, OPAQUE, Refusal, Target, is_kept};
use crate::tar_reader::Entry;
use crate::tree;

pub(crate) struct LayerRoot {
    root: Rc<OwnedFd>,
    /// The directory of the previous entry: most entries stand beside each other. Forgotten when anything is replaced.
    last_parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Times of directories, set when their contents are complete: each by its path and its inode, since another
    /// directory may be there by then.
    directory_times: Vec<(Vec<u8>, u64, Timestamps)>,
    /// Regular files so far.
    files: usize,
}

/// So many files and directories are put on the disk one by one, which waits for nobody else's; for more, syncfs(2) is
/// faster.
const SYNCED_ALONE_MAX: usize = 64;

/// What the archive says no time for: the same archive makes the same layer whenever it is unpacked.
const EPOCH: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 0, tv_nsec: 0 },
};

/// What stood at a name before an entry took it.
#[derive(PartialEq, Eq)]
enum Before {
    Nothing,
    Whiteout,
    Directory,
}

impl LayerRoot {
    /// Makes the directory `path`.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(IMPLIED_DIRECTORY_MODE))?;
        let mut made = Self { root: Rc::new(root), last_parent: None, directory_times: Vec::new(), files: 0 };
        made.set_time_at_the_end(b".".to_vec(), &Rc::clone(&made.root), EPOCH)?;
        Ok(made)
    }

    /// The directory that `components` lead to, made if it is not there.
    fn parent(&mut self, components: &[&[u8]]) -> Result<Rc<OwnedFd>, Failure> {
        if components.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        let path = components.join(&b'/');
        if let Some((last, fd)) = &self.last_parent
            && *last == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.open_in_root(&path) {
            Ok(fd) => Rc::new(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(components)?,
            Err(Errno::LOOP) => return Err(Refusal::NotInDirectory.into()),
            Err(error) => return Err(error.into()),
        };
        self.last_parent = Some((path, Rc::clone(&fd)));
        Ok(fd)
    }

    fn make_parents(&mut self, components: &[&[u8]]) -> Result<Rc<OwnedFd>, Failure> {
        let mut current = Rc::clone(&self.root);
        for depth in 1..=components.len() {
            let path = components[..depth].join(&b'/');
            current = match self.open_in_root(&path) {
                Ok(fd) => Rc::new(fd),
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let name = c_name(components[depth - 1])?;
                    let is_whiteout = match stat_kind(&current, &name)? {
                        None => false,
                        Some(FileType::CharacterDevice) => true,
                        // A file, or a link that leads nowhere: neither can hold an entry.
                        Some(_) => return Err(Refusal::NotInDirectory.into()),
                    };
                    if is_whiteout {
                        rustix::fs::unlinkat(&current, &name, AtFlags::empty())?;
                    }
                    rustix::fs::mkdirat(&current, &name, Mode::from_raw_mode(0o700))?;
                    let made = open_child(&current, &name)?;
                    // Not the group of a setgid directory that it is made in.
                    rustix::fs::fchown(&made, Some(Uid::ROOT), Some(Gid::ROOT))?;
                    rustix::fs::fchmod(&made, Mode::from_raw_mode(IMPLIED_DIRECTORY_MODE))?;
                    if is_whiteout {
                        set_opaque(&made)?;
                    }
                    self.set_time_at_the_end(path, &made, EPOCH)?;
                    Rc::new(made)
                }
                Err(Errno::LOOP) => return Err(Refusal::NotInDirectory.into()),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(current)
    }

    fn set_time_at_the_end(
        &mut self,
        path: Vec<u8>,
        directory: &OwnedFd,
        times: Timestamps,
    ) -> rustix::io::Result<()> {
        let inode = rustix::fs::fstat(directory)?.st_ino;
        self.directory_times.push((path, inode, times));
        Ok(())
    }

    fn open_in_root(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // A rename or mount elsewhere on the machine raced with a `..` of a symbolic link: openat2(2), EAGAIN.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Makes way for a new entry. A directory stays when `keep_directory`, as a directory entry only renews it.
    fn clear(&mut self, parent: &OwnedFd, name: &CString, keep_directory: bool) -> Result<Before, Failure> {
        match stat_kind(parent, name)? {
            None => Ok(Before::Nothing),
            Some(FileType::Directory) if keep_directory => Ok(Before::Directory),
            Some(kind) => {
                self.last_parent = None;
                tree::remove(parent, name)?;
                Ok(if kind == FileType::CharacterDevice { Before::Whiteout } else { Before::Nothing })
            }
        }
    }
}

impl Destination for LayerRoot {
    type File = OwnedFd;

    fn set_root_metadata(&mut self, entry: &Entry, uid: u32, gid: u32) -> Result<(), Failure> {
        set_metadata(&self.root, entry, uid, gid)?;
        Ok(self.set_time_at_the_end(b".".to_vec(), &Rc::clone(&self.root), times(entry))?)
    }

    fn directory(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        let parent = self.parent(&target.parent)?;
        let name = c_name(target.name)?;
        let before = self.clear(&parent, &name, true)?;
        if before != Before::Directory {
            rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700))?;
        }
        let directory = open_child(&parent, &name)?;
        if before == Before::Whiteout {
            set_opaque(&directory)?;
        }
        set_metadata(&directory, target.entry, target.uid, target.gid)?;
        let mut path = target.parent.join(&b'/');
        path.push(b'/');
        path.extend_from_slice(target.name);
        Ok(self.set_time_at_the_end(path, &directory, times(target.entry))?)
    }

    fn create_file(&mut self, target: &Target<'_>) -> Result<OwnedFd, Failure> {
        let parent = self.parent(&target.parent)?;
        let name = c_name(target.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        match rustix::fs::openat(&parent, &name, flags, mode) {
            Err(Errno::EXIST) => {
                self.clear(&parent, &name, false)?;
                Ok(rustix::fs::openat(&parent, &name, flags, mode)?)
            }
            result => Ok(result?),
        }
    }

    fn write(&mut self, file: &mut OwnedFd, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match rustix::io::write(&*file, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn skip_to(&mut self, file: &mut OwnedFd, offset_bytes: u64) -> Result<(), Failure> {
        rustix::fs::seek(&*file, rustix::fs::SeekFrom::Start(offset_bytes))?;
        Ok(())
    }

    /// The metadata last of all, since writing would clear setuid and capabilities and set the times.
    fn finish_file(&mut self, file: OwnedFd, target: &Target<'_>) -> Result<(), Failure> {
        if target.entry.sparse.is_some() {
            rustix::fs::ftruncate(&file, target.entry.size_bytes)?;
        }
        set_metadata(&file, target.entry, target.uid, target.gid)?;
        rustix::fs::futimens(&file, &times(target.entry))?;
        self.files += 1;
        if self.files <= SYNCED_ALONE_MAX {
            rustix::fs::fsync(&file)?;
        }
        Ok(())
    }

    fn symlink(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        let parent = self.parent(&target.parent)?;
        let name = c_name(target.name)?;
        let link = c_name(&target.entry.link)?;
        self.clear(&parent, &name, false)?;
        rustix::fs::symlinkat(&link, &parent, &name)?;
        chown_entry(&parent, &name, target)?;
        rustix::fs::utimensat(&parent, &name, &times(target.entry), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn fifo(&mut self, target: &Target<'_>) -> Result<(), Failure> {
        let parent = self.parent(&target.parent)?;
        let name = c_name(target.name)?;
        self.clear(&parent, &name, false)?;
        rustix::fs::mknodat(&parent, &name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        chown_entry(&parent, &name, target)?;
        // Safe although it would follow a link: the name was made by the call above in a directory nobody else sees.
        rustix::fs::chmodat(&parent, &name, Mode::from_raw_mode(target.entry.mode), AtFlags::empty())?;
        rustix::fs::utimensat(&parent, &name, &times(target.entry), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], target: &LinkTarget<'_>) -> Result<(), Failure> {
        let last = c_name(target.name)?;
        let source = target.directory_found(self.open_in_root(&target.directory))?;
        let stat = match rustix::fs::statat(&source, &last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(target.missing().into()),
            Err(error) => return Err(error.into()),
        };
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(target.wrong_kind().into());
        }
        let parent = self.parent(parent)?;
        let name = c_name(name)?;
        // A link onto itself is nothing to do; replacing would remove the only copy.
        let same = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino));
        if same {
            return Ok(());
        }
        self.clear(&parent, &name, false)?;
        match rustix::fs::linkat(&source, &last, &parent, &name, AtFlags::empty()) {
            // The target lay beneath the directory that this entry replaces.
            Err(Errno::NOENT) => Err(target.missing().into()),
            result => Ok(result?),
        }
    }

    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<(), Failure> {
        let parent = self.parent(parent)?;
        let name = c_name(name)?;
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                set_opaque(&open_child(&parent, &name)?)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let device = makedev(0, 0);
                rustix::fs::mknodat(&parent, &name, FileType::CharacterDevice, Mode::empty(), device)?;
                let (uid, gid) = (Some(Uid::ROOT), Some(Gid::ROOT));
                Ok(rustix::fs::chownat(&parent, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_opaque(&mut self, directory: &[&[u8]]) -> Result<(), Failure> {
        set_opaque(&self.parent(directory)?)
    }

    /// Sets the times of directories, now that nothing changes them any more; an entry that came later wins. Then all of
    /// it is on the disk.
    fn finish(self) -> io::Result<()> {
        let is_small = self.files.max(self.directory_times.len()) <= SYNCED_ALONE_MAX;
        for (path, inode, times) in &self.directory_times {
            match self.open_in_root(path) {
                Ok(directory) if rustix::fs::fstat(&directory)?.st_ino == *inode => {
                    rustix::fs::futimens(&directory, times)?;
                    if is_small {
                        rustix::fs::fsync(&directory)?;
                    }
                }
                // A later entry replaced the directory.
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !is_small {
            rustix::fs::syncfs(&self.root)?;
        }
        Ok(())
    }
}

/// The only character devices in a layer are whiteouts, since others are refused.
fn stat_kind(parent: &OwnedFd, name: &CString) -> Result<Option<FileType>, Failure> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn c_name(name: &[u8]) -> Result<CString, Failure> {
    CString::new(name).map_err(|_| Refusal::NulByte.into())
}

fn open_child(parent: &OwnedFd, name: &CString) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn set_opaque(directory: impl AsFd) -> Result<(), Failure> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}

fn chown_entry(parent: &OwnedFd, name: &CString, target: &Target<'_>) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(target.uid), Gid::from_raw(target.gid));
    Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn set_metadata(fd: &OwnedFd, entry: &Entry, uid: u32, gid: u32) -> Result<(), Failure> {
    // The owner first: chown(2) clears setuid bits and capabilities.
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        if is_kept(name) {
            match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                // The image store's file system may have no user attributes (tmpfs before Linux 6.6): not worth a refusal.
                Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
                result => result?,
            }
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}
