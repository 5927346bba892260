//! The tree of a layer while its archive is read, in memory: what a directory on a file system would be, without one.
//!
//! Names are resolved as openat2(2) does it with the layer's root as the root: symbolic links, absolute or climbing, stay
//! inside. Contents of files are elsewhere; here is only where they begin.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::format::Xattr;

/// As the kernel's own limits (path_resolution(7)).
const PATH_MAX_BYTES: usize = 4096;
const NAME_MAX_BYTES: usize = 255;
const LINKS_MAX: usize = 40;

/// An inode's place in the tree's table.
pub(super) type Id = u32;

pub(super) const ROOT: Id = 0;

pub(super) struct Inode {
    pub(super) content: Content,
    /// Permissions, without the type.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    /// Names that lead here, of what is no directory.
    pub(super) names: u32,
    pub(super) xattrs: Vec<Xattr>,
}

pub(super) enum Content {
    Directory {
        parent: Id,
        entries: BTreeMap<Box<[u8]>, Id>,
    },
    /// A regular file: its first block, and its length.
    File {
        block: u32,
        size_bytes: u64,
    },
    Symlink(Box<[u8]>),
    Fifo,
    /// Hides what the layers below have at its name.
    Whiteout,
}

impl Inode {
    /// Owned by root, of no time: what the archive says follows.
    pub(super) fn new(content: Content, mode: u16) -> Self {
        Self { content, mode, uid: 0, gid: 0, mtime: (0, 0), names: 0, xattrs: Vec::new() }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory { .. })
    }

    pub(super) fn is_whiteout(&self) -> bool {
        matches!(self.content, Content::Whiteout)
    }

    pub(super) fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        match self.xattrs.iter_mut().find(|xattr| xattr.name == name) {
            Some(xattr) => xattr.value = value.to_vec(),
            None => self.xattrs.push(Xattr { name: name.to_vec(), value: value.to_vec() }),
        }
    }
}

pub(super) struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    /// A root directory with these permissions, and nothing in it.
    pub(super) fn new(mode: u16) -> Self {
        let content = Content::Directory { parent: ROOT, entries: BTreeMap::new() };
        Self { inodes: vec![Inode::new(content, mode)] }
    }

    pub(super) fn get(&self, id: Id) -> &Inode {
        &self.inodes[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Inode {
        &mut self.inodes[id as usize]
    }

    /// How many inodes there ever were: one more than the highest ID.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// The directory at `path`, its links followed.
    pub(super) fn directory_at(&self, path: &[u8]) -> Result<Id, Errno> {
        if path.len() >= PATH_MAX_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        let mut here = ROOT;
        let mut todo: Vec<&[u8]> = path.rsplit(|byte| *byte == b'/').collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let Content::Directory { parent, .. } = &self.get(here).content else {
                return Err(Errno::NOTDIR);
            };
            match name {
                b"" | b"." => continue,
                b".." => {
                    here = *parent;
                    continue;
                }
                _ => {}
            }
            let child = self.child(here, name)?.ok_or(Errno::NOENT)?;
            match &self.get(child).content {
                Content::Directory { .. } => here = child,
                Content::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    if target.starts_with(b"/") {
                        here = ROOT;
                    }
                    todo.extend(target.rsplit(|byte| *byte == b'/'));
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok(here)
    }

    /// What `name` of `directory` is; links are not followed.
    pub(super) fn child(&self, directory: Id, name: &[u8]) -> Result<Option<Id>, Errno> {
        if name.len() > NAME_MAX_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        match &self.get(directory).content {
            Content::Directory { entries, .. } => Ok(entries.get(name).copied()),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Adds a new inode at a free name.
    pub(super) fn add(&mut self, directory: Id, name: &[u8], inode: Inode) -> Result<Id, Errno> {
        let id = Id::try_from(self.inodes.len()).map_err(|_| Errno::NOSPC)?;
        self.inodes.push(inode);
        self.link(directory, name, id)?;
        Ok(id)
    }

    /// Adds an empty directory at a free name.
    pub(super) fn add_directory(&mut self, directory: Id, name: &[u8], mode: u16) -> Result<Id, Errno> {
        let content = Content::Directory { parent: directory, entries: BTreeMap::new() };
        self.add(directory, name, Inode::new(content, mode))
    }

    /// Gives an inode a further name, which is free.
    pub(super) fn link(&mut self, directory: Id, name: &[u8], id: Id) -> Result<(), Errno> {
        if name.len() > NAME_MAX_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        match &mut self.get_mut(directory).content {
            Content::Directory { entries, .. } => entries.insert(name.into(), id),
            _ => return Err(Errno::NOTDIR),
        };
        self.get_mut(id).names += 1;
        Ok(())
    }

    /// Takes a name away, with all that is below it.
    pub(super) fn remove(&mut self, directory: Id, name: &[u8]) {
        let Content::Directory { entries, .. } = &mut self.get_mut(directory).content else { return };
        let mut gone: Vec<Id> = entries.remove(name).into_iter().collect();
        while let Some(id) = gone.pop() {
            let inode = self.get_mut(id);
            inode.names -= 1;
            if let Content::Directory { entries, .. } = &mut inode.content {
                gone.extend(std::mem::take(entries).into_values());
            }
        }
    }
}
