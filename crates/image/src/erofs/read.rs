//! Looking into an image without mounting it: for the few files of a layer that podling itself reads.
//!
//! The file is podling's own, yet nothing in it is trusted: every place is checked before it is read, and a directory that
//! leads in a circle ends with the path that is asked for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::format::{
    self, BLOCK_BYTES, DiskInode, INODE_BYTES, Layout, SLOT_BYTES, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET,
    Superblock, damaged,
};
use crate::unpack::OPAQUE;

/// An open image.
pub(crate) struct Reader {
    file: File,
    superblock: Superblock,
}

/// An inode of an image.
pub(crate) struct Node {
    image: Rc<Reader>,
    inode: DiskInode,
    /// Where it stands in the image.
    position: u64,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    Regular,
    Symlink,
    Whiteout,
    Other,
}

impl Reader {
    /// The root directory of the image in `file`.
    pub(crate) fn root(file: File) -> io::Result<Node> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        file.read_exact_at(&mut bytes, SUPERBLOCK_OFFSET)?;
        let superblock = Superblock::decode(&bytes)?;
        let root = u64::from(superblock.root);
        node(&Rc::new(Self { file, superblock }), root)
    }
}

fn node(image: &Rc<Reader>, slot: u64) -> io::Result<Node> {
    let start = u64::from(image.superblock.metadata_block) * BLOCK_BYTES as u64;
    let position = slot.checked_mul(SLOT_BYTES as u64).and_then(|offset| offset.checked_add(start));
    let position = position.ok_or_else(|| damaged("an inode outside of the image"))?;
    let mut bytes = [0; INODE_BYTES];
    image.file.read_exact_at(&mut bytes, position)?;
    Ok(Node { image: Rc::clone(image), inode: DiskInode::decode(&bytes)?, position })
}

impl Node {
    pub(crate) fn kind(&self) -> NodeKind {
        match self.inode.mode & 0o170_000 {
            0o040_000 => NodeKind::Directory,
            0o100_000 => NodeKind::Regular,
            0o120_000 => NodeKind::Symlink,
            0o020_000 => NodeKind::Whiteout,
            _ => NodeKind::Other,
        }
    }

    /// Whether a directory hides what the layers below have in it.
    pub(crate) fn is_opaque(&self) -> io::Result<bool> {
        let xattrs = self.xattrs()?;
        Ok(xattrs.iter().any(|xattr| xattr.name == OPAQUE.as_bytes() && xattr.value == b"y"))
    }

    fn xattrs(&self) -> io::Result<Vec<format::Xattr>> {
        let mut bytes = vec![0; self.inode.xattr_bytes];
        self.image.file.read_exact_at(&mut bytes, self.position + INODE_BYTES as u64)?;
        format::decode_xattrs(&bytes)
    }

    /// Where a symbolic link leads.
    pub(crate) fn link(&self) -> io::Result<Vec<u8>> {
        let mut target = Vec::new();
        self.contents().take(BLOCK_BYTES as u64).read_to_end(&mut target)?;
        Ok(target)
    }

    /// What a directory has at `name`.
    pub(crate) fn child(&self, name: &[u8]) -> io::Result<Option<Node>> {
        let mut contents = self.contents();
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        loop {
            block.clear();
            contents.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                return Ok(None);
            }
            let entries = format::decode_dirents(&block)?;
            if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
                return node(&self.image, entry.slot).map(Some);
            }
            // Names are sorted over all blocks.
            if entries.last().is_none_or(|last| last.name > name) {
                return Ok(None);
            }
        }
    }

    /// The bytes of a regular file, or the blocks of a directory.
    pub(crate) fn contents(&self) -> Contents {
        let block_bytes = BLOCK_BYTES as u64;
        let start = u64::from(self.inode.block) * block_bytes;
        let tail_bytes = match self.inode.layout {
            Layout::Plain => 0,
            Layout::Inline => self.inode.size_bytes % block_bytes,
        };
        let behind_inode = self.position + (INODE_BYTES + self.inode.xattr_bytes) as u64;
        let pieces = [(start, self.inode.size_bytes - tail_bytes), (behind_inode, tail_bytes)];
        Contents { image: Rc::clone(&self.image), pieces }
    }
}

/// Reads one inode's contents from their beginning to their end.
pub(crate) struct Contents {
    image: Rc<Reader>,
    /// What is left, as (position, length) in the image.
    pieces: [(u64, u64); 2],
}

impl Read for Contents {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some((position, left)) = self.pieces.iter_mut().find(|(_, left)| *left > 0) else { return Ok(0) };
        let wanted = (*left).min(out.len() as u64) as usize;
        let read = self.image.file.read_at(&mut out[..wanted], *position)?;
        if read == 0 && wanted > 0 {
            return Err(damaged("it is cut off"));
        }
        *position += read as u64;
        *left -= read as u64;
        Ok(read)
    }
}
