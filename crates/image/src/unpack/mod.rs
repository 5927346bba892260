//! From a tar stream to a layer in overlayfs form: a directory ([`LayerRoot`]) or an EROFS image (`erofs`).
//!
//! The stream was written by a stranger. Every name is resolved with the layer as root, so that symbolic links, absolute
//! or climbing, stay inside as they would in a container; device nodes are refused; sizes and counts are bounded.
//! Ownership, modes (setuid too), times and the attributes a container may rely on are kept.
//!
//! Whiteouts become what overlayfs reads (kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
//! directories"): a character device 0:0, and `trusted.overlay.opaque=y`. No other attribute of overlayfs is ever taken
//! from an archive: a forged redirect would let an image read the host.
//!
//! A layer is unpacked by itself, without the layers below; a directory that the archive does not list but needs is made
//! with mode 0755. This module neither checks digests nor makes anything visible.

mod name;
mod root;

use std::io::{self, BufRead};

pub(crate) use self::name::LinkTarget;
use self::name::Name;
pub(crate) use self::root::LayerRoot;
use crate::tar_reader::{Entry, Kind, Source, TarReader};

/// How much one layer may hold. The defaults are generous; they stop bombs, not images.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Entries in one layer.
    pub entries: u64,
    /// Unpacked bytes of one layer, holes of sparse files included.
    pub layer_bytes: u64,
    /// Names, links and attributes of one layer, which are in memory while an EROFS image is written; each entry counts
    /// 128 bytes more.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, layer_bytes: 256 << 30, metadata_bytes: 512 << 20 }
    }
}

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Refusal {
    #[error("its name is empty")]
    NoName,
    #[error("its name contains a NUL byte")]
    NulByte,
    #[error("its name contains '..', which leads out of the layer")]
    DotDot,
    #[error("it is a whiteout that names nothing")]
    BadWhiteout,
    #[error("it lies beneath a whiteout")]
    BelowWhiteout,
    #[error("it lies beneath something that is no directory")]
    NotInDirectory,
    #[error("the root of the layer must be a directory")]
    RootKind,
    #[error("it is a device node ({kind} {major}:{minor}); an image must not bring devices")]
    Device { kind: &'static str, major: u64, minor: u64 },
    #[error("it is a hard link to {target:?}, which this layer does not contain before it")]
    HardLinkTarget { target: String },
    #[error("it is a hard link to {target:?}, which leads out of the layer")]
    HardLinkOutside { target: String },
    #[error("it is a hard link to {target:?}, which cannot be linked to (a directory or a whiteout)")]
    HardLinkKind { target: String },
    #[error("it is a symbolic link without a target")]
    EmptyLink,
    #[error("its owner {id} does not fit Linux' 32 bits")]
    Owner { id: u64 },
    #[error("its type {flag:?} is unknown")]
    Kind { flag: char },
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive asks for something that is never done.
    #[error("entry {name:?} is refused: {refusal}")]
    Refused {
        /// The entry's name as written.
        name: String,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// The stream is cut, damaged, or could not be read.
    #[error("cannot read the layer's archive")]
    Read(#[source] io::Error),
    /// The file system refused.
    #[error("cannot unpack {name:?}")]
    Write {
        /// The entry's name as written.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// More entries than allowed.
    #[error("the layer has more than the {limit} entries allowed")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// More bytes than allowed.
    #[error("the layer unpacks to more than the {limit_bytes} bytes allowed")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// More names and attributes than allowed.
    #[error("the layer's names, links and attributes take more than the {limit_bytes} bytes allowed")]
    TooMuchMetadata {
        /// The limit.
        limit_bytes: u64,
    },
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// What an entry takes in memory besides its texts.
const ENTRY_BYTES: u64 = 128;
/// Of a directory that the archive does not list.
pub(crate) const IMPLIED_DIRECTORY_MODE: u32 = 0o755;
/// Marks a directory that hides what the layers below have in it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// An entry and where it goes.
pub(crate) struct Target<'a> {
    pub(crate) parent: Vec<&'a [u8]>,
    pub(crate) name: &'a [u8],
    pub(crate) entry: &'a Entry,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What a layer is unpacked into. All answer alike, in what they keep and in what they refuse: `tests/privileged_hostile.rs`
/// and `tests/privileged_layers.rs` ask every one.
///
/// An entry takes the place of what an earlier one made, but a directory renews a directory. Parents that are missing are
/// made, where a whiteout stood as an opaque directory.
pub(crate) trait Destination {
    /// A regular file between its beginning and its end.
    type File;

    /// The archive says whose the layer's root is.
    fn set_root_metadata(&mut self, entry: &Entry, uid: u32, gid: u32) -> Result<(), Failure>;
    fn directory(&mut self, target: &Target<'_>) -> Result<(), Failure>;
    fn create_file(&mut self, target: &Target<'_>) -> Result<Self::File, Failure>;
    /// Contents follow each other; only one file is written at a time.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> Result<(), Failure>;
    /// The next bytes belong at `offset_bytes` of the file, behind all that were written.
    fn skip_to(&mut self, file: &mut Self::File, offset_bytes: u64) -> Result<(), Failure>;
    /// What is missing to the entry's length reads as zeroes.
    fn finish_file(&mut self, file: Self::File, target: &Target<'_>) -> Result<(), Failure>;
    fn symlink(&mut self, target: &Target<'_>) -> Result<(), Failure>;
    fn fifo(&mut self, target: &Target<'_>) -> Result<(), Failure>;
    /// Another name for what is there already.
    fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], target: &LinkTarget<'_>) -> Result<(), Failure>;
    /// Hides `name` of the layers below. What this layer itself has there stays: whiteouts speak of lower layers only,
    /// wherever they stand in the archive.
    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<(), Failure>;
    fn make_opaque(&mut self, directory: &[&[u8]]) -> Result<(), Failure>;
    /// The archive has ended.
    fn finish(self) -> io::Result<()>;
}

/// Unpacks the archive `source` into `destination`, which is empty, and reads `source` to its end (a digest over the stream
/// covers what follows the archive's end mark too).
pub(crate) fn unpack<S: Source + BufRead, D: Destination>(
    source: S,
    mut destination: D,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let mut reader = TarReader::new(source);
    let mut done = Unpacked::default();
    let mut metadata_bytes = 0;
    while let Some(entry) = reader.next_entry().map_err(UnpackError::Read)? {
        done.entries += 1;
        done.bytes = done.bytes.saturating_add(entry.size_bytes);
        metadata_bytes += text_bytes(&entry) + ENTRY_BYTES;
        if done.entries > limits.entries {
            return Err(UnpackError::TooManyEntries { limit: limits.entries });
        }
        if done.bytes > limits.layer_bytes {
            return Err(UnpackError::TooLarge { limit_bytes: limits.layer_bytes });
        }
        if metadata_bytes > limits.metadata_bytes {
            return Err(UnpackError::TooMuchMetadata { limit_bytes: limits.metadata_bytes });
        }
        apply(&mut destination, &mut reader, &entry).map_err(|failure| failure.of(&entry))?;
    }
    drain(reader.into_source(), limits)?;
    destination
        .finish()
        .map_err(|source| UnpackError::Write { name: "the end of the layer".to_owned(), source })?;
    Ok(done)
}

fn text_bytes(entry: &Entry) -> u64 {
    let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    (entry.path.len() + entry.link.len() + xattrs) as u64
}

fn drain(mut source: impl BufRead, limits: &Limits) -> Result<(), UnpackError> {
    let mut left = limits.layer_bytes;
    loop {
        match source.fill_buf().map_err(UnpackError::Read)?.len() {
            0 => return Ok(()),
            read if read as u64 > left => {
                return Err(UnpackError::TooLarge { limit_bytes: limits.layer_bytes });
            }
            read => {
                left -= read as u64;
                source.consume(read);
            }
        }
    }
}

/// A failure before the entry's name is put to it.
pub(crate) enum Failure {
    Refused(Refusal),
    Read(io::Error),
    Write(io::Error),
}

impl Failure {
    fn of(self, entry: &Entry) -> UnpackError {
        let name: String = String::from_utf8_lossy(&entry.path).chars().take(300).collect();
        match self {
            Self::Refused(refusal) => UnpackError::Refused { name, refusal },
            Self::Read(source) => UnpackError::Read(source),
            Self::Write(source) => UnpackError::Write { name, source },
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Write(error.into())
    }
}

fn apply<S: Source + BufRead, D: Destination>(
    destination: &mut D,
    reader: &mut TarReader<S>,
    entry: &Entry,
) -> Result<(), Failure> {
    let owner = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(Refusal::Owner { id });
    let (uid, gid) = (owner(entry.uid)?, owner(entry.gid)?);
    let (parent, name) = match name::decide(&entry.path)? {
        Name::Ignored => return Ok(()),
        Name::Root if entry.kind == Kind::Directory => {
            return destination.set_root_metadata(entry, uid, gid);
        }
        Name::Root => return Err(Refusal::RootKind.into()),
        Name::Opaque { directory } => return destination.make_opaque(&directory),
        Name::Whiteout { parent, name } => return destination.whiteout(&parent, name),
        Name::Plain { parent, name } => (parent, name),
    };
    match entry.kind {
        Kind::Directory => destination.directory(&Target { parent, name, entry, uid, gid }),
        Kind::Regular => {
            let target = Target { parent, name, entry, uid, gid };
            let mut file = destination.create_file(&target)?;
            copy_payload(destination, reader, entry, &mut file)?;
            destination.finish_file(file, &target)
        }
        Kind::HardLink => destination.hard_link(&parent, name, &LinkTarget::of(&entry.link)?),
        Kind::Symlink if entry.link.is_empty() => Err(Refusal::EmptyLink.into()),
        Kind::Symlink => destination.symlink(&Target { parent, name, entry, uid, gid }),
        Kind::Fifo => destination.fifo(&Target { parent, name, entry, uid, gid }),
        // A layer archived from overlayfs itself, rather than in OCI form, brings its whiteouts as they are on disk.
        Kind::CharDevice if entry.device == (0, 0) => destination.whiteout(&parent, name),
        Kind::CharDevice | Kind::BlockDevice => {
            let kind = if entry.kind == Kind::CharDevice { "character" } else { "block" };
            Err(Refusal::Device { kind, major: entry.device.0, minor: entry.device.1 }.into())
        }
        Kind::Unknown(flag) => Err(Refusal::Kind { flag: char::from(flag) }.into()),
    }
}

fn copy_payload<S: Source + BufRead, D: Destination>(
    destination: &mut D,
    reader: &mut TarReader<S>,
    entry: &Entry,
    file: &mut D::File,
) -> Result<(), Failure> {
    let Some(pieces) = &entry.sparse else {
        return copy_piece(destination, reader, u64::MAX, file).map(drop);
    };
    for (offset, length) in pieces {
        destination.skip_to(file, *offset)?;
        if copy_piece(destination, reader, *length, file)? < *length {
            return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

/// Copies `bytes` of the payload, or what is left of it; tells how many there were.
fn copy_piece<S: Source + BufRead, D: Destination>(
    destination: &mut D,
    reader: &mut TarReader<S>,
    bytes: u64,
    file: &mut D::File,
) -> Result<u64, Failure> {
    let mut copied = 0;
    loop {
        let piece = reader.payload(bytes - copied).map_err(Failure::Read)?;
        let length = piece.len();
        if length == 0 {
            return Ok(copied);
        }
        destination.write(file, piece)?;
        reader.consume_payload(length);
        copied += length as u64;
    }
}

/// `security.capability` and the users' own attributes. Never overlayfs' or any other the kernel acts on.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn attributes_that_the_kernel_acts_on_are_dropped() {
        assert!(is_kept(b"security.capability") && is_kept(b"user.comment"));
        for name in [
            &b"trusted.overlay.redirect"[..],
            b"user.overlay.redirect",
            b"security.selinux",
            b"system.posix_acl_access",
        ] {
            assert!(!is_kept(name));
        }
    }
}
