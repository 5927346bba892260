//! From a finished tree to the metadata of an image.
//!
//! Every inode's place must be known before any directory can be written, because directories name places. So the tree is
//! walked once to place everything, breadth first, and then written in that order: what a directory lists lies together.

use std::io;

use super::data::{Data, block_number};
use super::format::{
    self, BLOCK_BYTES, Dirent, DiskInode, INODE_BYTES, Layout, SLOT_BYTES, SUPERBLOCK_OFFSET, Superblock,
};
use super::tree::{Content, Id, Inode, ROOT, Tree};

/// Not yet placed. The first slot stays empty: an inode number of 0 means none to readdir(3).
const NOWHERE: u32 = 0;

/// An inode and its place.
struct Placed {
    id: Id,
    layout: Layout,
    xattr_bytes: usize,
    size_bytes: u64,
    /// The first of its own blocks, counted from the first of all directories' blocks.
    block: u32,
    links: u32,
}

struct Plan {
    placed: Vec<Placed>,
    /// The slot of each inode of the tree.
    slots: Vec<u32>,
    /// Blocks before the inodes.
    blocks: u32,
}

/// Writes everything but the contents of files behind those, and the superblock.
pub(super) fn write(tree: &Tree, mut data: Data, uuid: [u8; 16]) -> io::Result<()> {
    let plan = place(tree)?;
    let first_block = data.next_block()?;
    for placed in &plan.placed {
        let whole_blocks = match placed.layout {
            Layout::Plain => usize::MAX,
            Layout::Inline => placed.size_bytes as usize / BLOCK_BYTES,
        };
        for block in own_contents(tree, &plan, placed).take(whole_blocks) {
            data.next_block()?;
            data.append(&block)?;
        }
    }
    let metadata_block = data.next_block()?;
    let start = data.position();
    for placed in &plan.placed {
        let slot = plan.slots[placed.id as usize];
        data.skip_to(start + u64::from(slot) * SLOT_BYTES as u64)?;
        let inode = tree.get(placed.id);
        data.append(&disk_inode(inode, placed, slot, first_block).encode())?;
        data.append(&format::encode_xattrs(&inode.xattrs))?;
        if placed.layout == Layout::Inline
            && let Some(tail) = own_contents(tree, &plan, placed).last()
        {
            data.append(&tail)?;
        }
    }
    data.next_block()?;
    let superblock = Superblock {
        root: plan.slots[ROOT as usize] as u16,
        inodes: plan.placed.len() as u64,
        blocks: block_number(data.position())?,
        metadata_block,
        uuid,
    };
    data.finish(&superblock.encode(), SUPERBLOCK_OFFSET)
}

fn place(tree: &Tree) -> io::Result<Plan> {
    let mut plan = Plan { placed: Vec::new(), slots: vec![NOWHERE; tree.len()], blocks: 0 };
    let mut end = SLOT_BYTES as u64;
    place_inode(tree, ROOT, &mut plan, &mut end)?;
    let mut next = 0;
    while let Some(placed) = plan.placed.get(next) {
        next += 1;
        let Content::Directory { entries, .. } = &tree.get(placed.id).content else { continue };
        for id in entries.values() {
            if plan.slots[*id as usize] == NOWHERE {
                place_inode(tree, *id, &mut plan, &mut end)?;
            }
        }
    }
    Ok(plan)
}

/// Gives the inode `id` the next free slot behind `end`.
fn place_inode(tree: &Tree, id: Id, plan: &mut Plan, end: &mut u64) -> io::Result<()> {
    let inode = tree.get(id);
    let (size_bytes, links) = match &inode.content {
        Content::Directory { .. } => directory_size(tree, id),
        Content::File { size_bytes, .. } => (*size_bytes, inode.names),
        Content::Symlink(target) => (target.len() as u64, inode.names),
        Content::Fifo | Content::Whiteout => (0, inode.names),
    };
    let xattr_bytes = format::xattr_bytes(&inode.xattrs).ok_or(io::ErrorKind::InvalidData)?;
    let mut placed = Placed { id, layout: Layout::Plain, xattr_bytes, size_bytes, block: 0, links };
    let mut together = INODE_BYTES + xattr_bytes;
    if matches!(inode.content, Content::Directory { .. } | Content::Symlink(_)) {
        let tail = size_bytes as usize % BLOCK_BYTES;
        placed.block = plan.blocks;
        let mut blocks = size_bytes.div_ceil(BLOCK_BYTES as u64);
        // The kernel reads an inode, its attributes and its tail from one block.
        if tail > 0 && together + tail <= BLOCK_BYTES {
            (placed.layout, together, blocks) = (Layout::Inline, together + tail, blocks - 1);
        }
        plan.blocks = u32::try_from(blocks)
            .ok()
            .and_then(|blocks| plan.blocks.checked_add(blocks))
            .ok_or(io::ErrorKind::FileTooLarge)?;
    }
    let left = BLOCK_BYTES - *end as usize % BLOCK_BYTES;
    if together > left {
        // Attributes of more than a block may cross into the next; the inode itself must not.
        *end += if together <= BLOCK_BYTES || left < INODE_BYTES { left as u64 } else { 0 };
    }
    plan.slots[id as usize] =
        u32::try_from(*end / SLOT_BYTES as u64).map_err(|_| io::ErrorKind::FileTooLarge)?;
    *end = (*end + together as u64).next_multiple_of(SLOT_BYTES as u64);
    plan.placed.push(placed);
    Ok(())
}

/// A directory's length, and its links: two for itself and its parent, and one for each directory in it.
fn directory_size(tree: &Tree, id: Id) -> (u64, u32) {
    let entries = entries(tree, id);
    let links = entries.iter().filter(|(_, child)| tree.get(*child).is_directory()).count();
    let mut rest = entries.as_slice();
    let mut size_bytes = 0;
    loop {
        let (count, used) = format::fit_block(rest.iter().map(|(name, _)| *name));
        rest = &rest[count..];
        if rest.is_empty() || count == 0 {
            return (size_bytes + used as u64, links as u32);
        }
        size_bytes += BLOCK_BYTES as u64;
    }
}

/// The names of a directory in the format's order, `.` and `..` among them.
fn entries(tree: &Tree, id: Id) -> Vec<(&[u8], Id)> {
    let Content::Directory { parent, entries } = &tree.get(id).content else { return Vec::new() };
    let mut all: Vec<(&[u8], Id)> = Vec::with_capacity(entries.len() + 2);
    all.extend(entries.iter().map(|(name, id)| (&**name, *id)));
    for (name, id) in [(&b"."[..], id), (b"..", *parent)] {
        let place = all.partition_point(|(other, _)| *other < name);
        all.insert(place, (name, id));
    }
    all
}

/// The contents that the tree itself holds, in blocks of which only the last may be short: a directory's names, or where a
/// symbolic link leads.
fn own_contents<'a>(
    tree: &'a Tree,
    plan: &'a Plan,
    placed: &Placed,
) -> Box<dyn Iterator<Item = Vec<u8>> + 'a> {
    match &tree.get(placed.id).content {
        Content::Directory { .. } => {
            let all = entries(tree, placed.id);
            let mut done = 0;
            Box::new(std::iter::from_fn(move || {
                let rest = &all[done..];
                let (count, _) = format::fit_block(rest.iter().map(|(name, _)| *name));
                done += count;
                let dirents: Vec<Dirent<'_>> =
                    rest[..count].iter().map(|(name, id)| dirent(tree, plan, name, *id)).collect();
                (count > 0).then(|| format::encode_dirents(&dirents))
            }))
        }
        Content::Symlink(target) => Box::new(std::iter::once(target.to_vec())),
        Content::File { .. } | Content::Fifo | Content::Whiteout => Box::new(std::iter::empty()),
    }
}

fn dirent<'a>(tree: &Tree, plan: &Plan, name: &'a [u8], id: Id) -> Dirent<'a> {
    let file_type = match tree.get(id).content {
        Content::File { .. } => 1,
        Content::Directory { .. } => 2,
        Content::Whiteout => 3,
        Content::Fifo => 5,
        Content::Symlink(_) => 7,
    };
    Dirent { name, slot: u64::from(plan.slots[id as usize]), file_type }
}

fn disk_inode(inode: &Inode, placed: &Placed, slot: u32, first_block: u32) -> DiskInode {
    let (kind, block) = match inode.content {
        Content::Directory { .. } => (0o040_000, first_block + placed.block),
        Content::File { block, .. } => (0o100_000, block),
        Content::Symlink(_) => (0o120_000, first_block + placed.block),
        Content::Fifo => (0o010_000, 0),
        // The device number 0:0 stands where the first block would.
        Content::Whiteout => (0o020_000, 0),
    };
    DiskInode {
        layout: placed.layout,
        xattr_bytes: placed.xattr_bytes,
        mode: kind | inode.mode,
        size_bytes: placed.size_bytes,
        block,
        number: slot,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        links: placed.links,
    }
}
