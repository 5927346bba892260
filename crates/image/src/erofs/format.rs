//! EROFS on disk, as far as podling writes it (the kernel's fs/erofs/erofs_fs.h): pure, values to bytes and back.
//!
//! Of the format's choices these are taken: blocks of 4096 bytes, extended inodes (32-bit owners, times with
//! nanoseconds), uncompressed contents, attributes beside their inode. Every kernel since 5.4 reads that.

use std::io;

pub(super) const BLOCK_BYTES: usize = 4096;
const BLOCK_BITS: u8 = 12;
/// Inodes are addressed in units of this size, counted from the metadata's first block.
pub(super) const SLOT_BYTES: usize = 32;
pub(super) const INODE_BYTES: usize = 64;
pub(super) const SUPERBLOCK_BYTES: usize = 128;
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_MTIME`: an inode's time is that of its contents.
const COMPAT_MTIME: u32 = 2;
/// Bit 0 of an inode's format.
const EXTENDED: u16 = 1;
const DIRENT_BYTES: usize = 12;
const XATTR_HEADER_BYTES: usize = 12;
const XATTR_ENTRY_BYTES: usize = 4;
/// `i_xattr_icount` has 16 bits and counts units of four bytes after the header.
const XATTRS_MAX_BYTES: usize = XATTR_HEADER_BYTES + 4 * (u16::MAX as usize - 1);

pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) metadata_block: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    pub(super) fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        put(&mut bytes, 8, &COMPAT_MTIME.to_le_bytes());
        put(&mut bytes, 12, &[BLOCK_BITS]);
        put(&mut bytes, 14, &self.root.to_le_bytes());
        put(&mut bytes, 16, &self.inodes.to_le_bytes());
        put(&mut bytes, 36, &self.blocks.to_le_bytes());
        put(&mut bytes, 40, &self.metadata_block.to_le_bytes());
        put(&mut bytes, 48, &self.uuid);
        bytes
    }

    /// Refuses what podling did not write.
    pub(super) fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> io::Result<Self> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(damaged("it is no EROFS image"));
        }
        if bytes[12] != BLOCK_BITS || u32_at(bytes, 80) != 0 {
            return Err(damaged("its EROFS superblock is none of podling's"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[48..64]);
        Ok(Self {
            root: u16_at(bytes, 14),
            inodes: u64_at(bytes, 16),
            blocks: u32_at(bytes, 36),
            metadata_block: u32_at(bytes, 40),
            uuid,
        })
    }
}

/// Where an inode's contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `EROFS_INODE_FLAT_PLAIN`: blocks that follow each other.
    Plain,
    /// `EROFS_INODE_FLAT_INLINE`: the last, unfilled block stands behind the inode and its attributes.
    Inline,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskInode {
    pub(super) layout: Layout,
    /// Bytes of attributes behind the inode.
    pub(super) xattr_bytes: usize,
    /// Type and permissions, as in stat(2).
    pub(super) mode: u16,
    pub(super) size_bytes: u64,
    /// The first block of the contents.
    pub(super) block: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) links: u32,
}

impl DiskInode {
    pub(super) fn encode(&self) -> [u8; INODE_BYTES] {
        let layout = match self.layout {
            Layout::Plain => 0u16,
            Layout::Inline => 2,
        };
        let xattr_count = match self.xattr_bytes {
            0 => 0,
            bytes => ((bytes - XATTR_HEADER_BYTES) / 4 + 1) as u16,
        };
        let mut bytes = [0; INODE_BYTES];
        put(&mut bytes, 0, &(EXTENDED | layout << 1).to_le_bytes());
        put(&mut bytes, 2, &xattr_count.to_le_bytes());
        put(&mut bytes, 4, &self.mode.to_le_bytes());
        put(&mut bytes, 8, &self.size_bytes.to_le_bytes());
        put(&mut bytes, 16, &self.block.to_le_bytes());
        put(&mut bytes, 20, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.uid.to_le_bytes());
        put(&mut bytes, 28, &self.gid.to_le_bytes());
        put(&mut bytes, 32, &self.mtime.0.to_le_bytes());
        put(&mut bytes, 40, &self.mtime.1.to_le_bytes());
        put(&mut bytes, 44, &self.links.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; INODE_BYTES]) -> io::Result<Self> {
        let layout = match u16_at(bytes, 0) {
            1 => Layout::Plain,
            5 => Layout::Inline,
            _ => return Err(damaged("an inode of a kind that podling does not write")),
        };
        let xattr_bytes = match u16_at(bytes, 2) {
            0 => 0,
            count => XATTR_HEADER_BYTES + 4 * (usize::from(count) - 1),
        };
        Ok(Self {
            layout,
            xattr_bytes,
            mode: u16_at(bytes, 4),
            size_bytes: u64_at(bytes, 8),
            block: u32_at(bytes, 16),
            number: u32_at(bytes, 20),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            mtime: (u64_at(bytes, 32) as i64, u32_at(bytes, 40)),
            links: u32_at(bytes, 44),
        })
    }
}

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dirent<'a> {
    pub(super) name: &'a [u8],
    /// The slot of its inode.
    pub(super) slot: u64,
    /// `EROFS_FT_*`.
    pub(super) file_type: u8,
}

/// How many of the names, which are sorted, go into the next block, and how much of it they take.
pub(super) fn fit_block<'a>(names: impl Iterator<Item = &'a [u8]>) -> (usize, usize) {
    let (mut count, mut used) = (0, 0);
    for name in names {
        if used + DIRENT_BYTES + name.len() > BLOCK_BYTES {
            break;
        }
        (count, used) = (count + 1, used + DIRENT_BYTES + name.len());
    }
    (count, used)
}

/// A block of a directory: fixed parts first, then the names. It ends with the last name.
pub(super) fn encode_dirents(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut name_offset = entries.len() * DIRENT_BYTES;
    for entry in entries {
        block.extend_from_slice(&entry.slot.to_le_bytes());
        block.extend_from_slice(&(name_offset as u16).to_le_bytes());
        block.extend_from_slice(&[entry.file_type, 0]);
        name_offset += entry.name.len();
    }
    for entry in entries {
        block.extend_from_slice(entry.name);
    }
    block
}

pub(super) fn decode_dirents(block: &[u8]) -> io::Result<Vec<Dirent<'_>>> {
    let bad = || damaged("a directory whose names lie outside of it");
    let name_offset = |index: usize| {
        let at = index * DIRENT_BYTES + 8;
        Some(usize::from(u16::from_le_bytes(block.get(at..at + 2)?.try_into().ok()?)))
    };
    let count = name_offset(0).ok_or_else(bad)? / DIRENT_BYTES;
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let start = name_offset(index).ok_or_else(bad)?;
        let end = if index + 1 < count { name_offset(index + 1).ok_or_else(bad)? } else { block.len() };
        let name = block.get(start..end).ok_or_else(bad)?;
        // The last name of a block that is not the directory's last is followed by zeroes.
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let fixed = block.get(index * DIRENT_BYTES..(index + 1) * DIRENT_BYTES).ok_or_else(bad)?;
        entries.push(Dirent { name: &name[..length], slot: u64_at(fixed, 0), file_type: fixed[10] });
    }
    Ok(entries)
}

/// An extended attribute; the beginning of its name is a number on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Xattr {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

const XATTR_PREFIXES: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];

/// The bytes that attributes take behind their inode; `None` when they are too many, too long or of no known kind.
pub(super) fn xattr_bytes(xattrs: &[Xattr]) -> Option<usize> {
    if xattrs.is_empty() {
        return Some(0);
    }
    let mut bytes = XATTR_HEADER_BYTES;
    for xattr in xattrs {
        let (_, name) = split_name(&xattr.name)?;
        if name.is_empty() || name.len() > usize::from(u8::MAX) || xattr.value.len() > usize::from(u16::MAX) {
            return None;
        }
        bytes += (XATTR_ENTRY_BYTES + name.len() + xattr.value.len()).next_multiple_of(4);
    }
    (bytes <= XATTRS_MAX_BYTES).then_some(bytes)
}

fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)))
}

pub(super) fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    if xattrs.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; XATTR_HEADER_BYTES];
    for xattr in xattrs {
        let Some((index, name)) = split_name(&xattr.name) else { continue };
        bytes.extend_from_slice(&[name.len() as u8, index]);
        bytes.extend_from_slice(&(xattr.value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&xattr.value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

pub(super) fn decode_xattrs(bytes: &[u8]) -> io::Result<Vec<Xattr>> {
    let bad = || damaged("attributes that do not fit their inode");
    let mut rest = bytes.get(XATTR_HEADER_BYTES..).unwrap_or_default();
    let mut xattrs = Vec::new();
    while rest.len() >= XATTR_ENTRY_BYTES {
        let (name_bytes, value_bytes) = (usize::from(rest[0]), usize::from(u16_at(rest, 2)));
        let (_, prefix) = XATTR_PREFIXES.iter().find(|(index, _)| *index == rest[1]).ok_or_else(bad)?;
        let end = XATTR_ENTRY_BYTES + name_bytes + value_bytes;
        let body = rest.get(XATTR_ENTRY_BYTES..end).ok_or_else(bad)?;
        let (name, value) = body.split_at(name_bytes);
        xattrs.push(Xattr { name: [prefix, name].concat(), value: value.to_vec() });
        rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(xattrs)
}

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged layer: {what}"))
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}
