//! What is written is read again, by our own reader; the kernel's and `fsck.erofs`' opinion is asked in
//! `tests/privileged_layers.rs`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::ErofsImage;
use super::format::{self, Dirent, DiskInode, INODE_BYTES, Layout, Xattr};
use super::read::{Node, NodeKind, Reader};
use crate::unpack::{Limits, OPAQUE, unpack};

/// The root of the image that is made of the archive.
fn image(archive: tar::Builder<Vec<u8>>) -> Node {
    let file = tempfile::tempfile().unwrap();
    written(archive, &file);
    Reader::root(file).unwrap()
}

fn written(archive: tar::Builder<Vec<u8>>, file: &File) {
    let image = ErofsImage::new(file.try_clone().unwrap(), [7; 16]);
    unpack(&archive.into_inner().unwrap()[..], image, &Limits::default()).unwrap();
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, contents: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o640);
    header.set_uid(70_000);
    header.set_mtime(1 << 33);
    archive.append_data(&mut header, name, contents).unwrap();
}

fn bytes(node: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    node.contents().read_to_end(&mut bytes).unwrap();
    bytes
}

fn walk(root: &Node, path: &str) -> Option<Node> {
    let mut parts = path.split('/');
    let first = root.child(parts.next()?.as_bytes()).unwrap()?;
    parts.try_fold(first, |node, part| node.child(part.as_bytes()).unwrap())
}

#[test]
fn files_of_every_length_are_found_again() {
    let lengths = [0, 1, 4095, 4096, 4097, 600_000];
    let contents = |length: usize| (0..length).map(|index| (index * 31 + length) as u8).collect::<Vec<u8>>();
    let mut archive = tar::Builder::new(Vec::new());
    for length in lengths {
        add(&mut archive, &format!("a/b/{length}"), &contents(length));
    }
    let root = image(archive);
    for length in lengths {
        let file = walk(&root, &format!("a/b/{length}")).unwrap();
        assert_eq!(file.kind(), NodeKind::Regular);
        assert!(bytes(&file) == contents(length), "{length}");
    }
    assert!(walk(&root, "a/c").is_none() && walk(&root, "a/b/2").is_none());
}

#[test]
fn directories_of_any_size_are_searched() {
    for count in [1, 100, 169, 170, 171, 40_000] {
        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..count {
            add(&mut archive, &format!("-d/{number:012}"), b"");
        }
        let root = image(archive);
        for number in [0, count / 2, count - 1] {
            assert!(walk(&root, &format!("-d/{number:012}")).is_some(), "{number} of {count}");
        }
        assert!(walk(&root, &format!("-d/{count:012}")).is_none());
        assert_eq!(walk(&root, "-d/..").unwrap().kind(), NodeKind::Directory);
    }
}

#[test]
fn the_same_archive_makes_the_same_image() {
    let make = || {
        let mut archive = tar::Builder::new(Vec::new());
        add(&mut archive, "implied/file", b"contents");
        let mut file = tempfile::tempfile().unwrap();
        written(archive, &file);
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(make() == make());
    assert_eq!(make().len() % 4096, 0);
}

#[test]
fn whiteouts_and_opaque_directories_are_what_overlayfs_reads() {
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, ".wh.gone", b"");
    add(&mut archive, "d/.wh..wh..opq", b"");
    let root = image(archive);
    assert_eq!(walk(&root, "gone").unwrap().kind(), NodeKind::Whiteout);
    assert!(walk(&root, "d").unwrap().is_opaque().unwrap());
    assert!(!root.is_opaque().unwrap());
}

#[test]
fn what_is_no_image_or_cut_off_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    assert!(Reader::root(file.try_clone().unwrap()).is_err());
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "file", &[1; 10_000]);
    written(archive, &file);
    let whole = file.metadata().unwrap().len();
    let root = Reader::root(file.try_clone().unwrap()).unwrap();
    file.set_len(whole / 2).unwrap();
    assert!(root.child(b"file").is_err());
    // A file without its superblock was not finished.
    file.write_all_at(&[0; 128], 1024).unwrap();
    assert!(Reader::root(file).is_err());
}

#[test]
fn inodes_names_and_attributes_survive_their_encoding() {
    let inode = DiskInode {
        layout: Layout::Inline,
        xattr_bytes: 32,
        mode: 0o104_755,
        size_bytes: 5 << 32,
        block: 7,
        number: 9,
        uid: u32::MAX - 1,
        gid: 70_000,
        mtime: (-3, 999_999_999),
        links: 3,
    };
    let bytes: [u8; INODE_BYTES] = inode.encode();
    assert_eq!(DiskInode::decode(&bytes).unwrap(), inode);

    let dirents: Vec<Dirent<'_>> = [&b"."[..], b"..", b"name"]
        .iter()
        .zip(1..)
        .map(|(name, slot)| Dirent { name, slot, file_type: 2 })
        .collect();
    assert_eq!(format::decode_dirents(&format::encode_dirents(&dirents)).unwrap(), dirents);

    let xattrs = [("user.a", "1"), ("security.capability", ""), (OPAQUE, "y")]
        .map(|(name, value)| Xattr { name: name.into(), value: value.into() });
    let bytes = format::encode_xattrs(&xattrs);
    assert_eq!(format::xattr_bytes(&xattrs), Some(bytes.len()));
    assert_eq!(format::decode_xattrs(&bytes).unwrap(), xattrs);
    let too_long = [Xattr { name: b"user.a".to_vec(), value: vec![0; 65_536] }];
    assert_eq!(format::xattr_bytes(&too_long), None);
}

proptest! {
    #[test]
    fn whatever_a_block_holds_is_names_and_attributes_or_an_error(
        mut block in prop::collection::vec(any::<u8>(), 0..200),
        name_offset in 0..60_u8,
    ) {
        let _ = format::decode_xattrs(&block);
        // Offsets that nearly fit, as in a block of which one byte is wrong.
        for entry in block.chunks_exact_mut(12) {
            entry[9] = 0;
        }
        if let Some(offset) = block.get_mut(8) {
            *offset = name_offset;
        }
        if let Ok(dirents) = format::decode_dirents(&block) {
            prop_assert!(dirents.len() * 12 <= block.len());
        }
    }

    /// One wrong byte anywhere: the contents may be others, but nothing is read that is not there.
    #[test]
    fn a_damaged_image_is_walked_without_harm(position in 0..20_480_usize, byte in any::<u8>()) {
        let mut archive = tar::Builder::new(Vec::new());
        add(&mut archive, "a/b/file", &[1; 5000]);
        add(&mut archive, "a/.wh.gone", b"");
        let file = tempfile::tempfile().unwrap();
        written(archive, &file);
        file.write_all_at(&[byte], position as u64).unwrap();
        let found = Reader::root(file).and_then(|root| root.child(b"a")).and_then(|child| match child {
            Some(child) => child.is_opaque().and(child.child(b"b")),
            None => Ok(None),
        });
        if let Ok(Some(node)) = found {
            let _ = node.link();
            let _ = node.contents().take(10_000).read_to_end(&mut Vec::new());
        }
    }
}
