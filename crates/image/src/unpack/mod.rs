//! From a tar stream to a layer directory in overlayfs form.
//!
//! The stream was written by a stranger. Every name is resolved by openat2(2) with the layer's directory as root, so that
//! symbolic links, absolute or climbing, stay inside as they would in a container; device nodes are refused; sizes and
//! counts are bounded. Ownership, modes (setuid too), times and the attributes a container may rely on are kept.
//!
//! Whiteouts become what overlayfs reads (kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
//! directories"): a character device 0:0, and `trusted.overlay.opaque=y`. No other attribute of overlayfs is ever taken
//! from an archive: a forged redirect would let an image read the host.
//!
//! A layer is unpacked by itself, without the layers below; a directory that the archive does not list but needs is made
//! with mode 0755. This module neither checks digests nor makes anything visible.

mod name;
mod root;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use self::name::Name;
use self::root::{LayerRoot, Target};
use crate::tar_reader::{Entry, Kind, Source, TarReader};

/// How much one layer may hold. The defaults are generous; they stop bombs, not images.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Entries in one layer.
    pub entries: u64,
    /// Unpacked bytes of one layer, holes of sparse files included.
    pub layer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, layer_bytes: 256 << 30 }
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
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

const BUFFER_BYTES: usize = 256 * 1024;

/// Unpacks the archive `source` into the empty directory `directory`, and reads `source` to its end (a digest over the
/// stream covers what follows the archive's end mark too).
pub(crate) fn unpack<S: Source>(
    source: S,
    directory: &Path,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let mut root = LayerRoot::open(directory)
        .map_err(|source| UnpackError::Write { name: directory.display().to_string(), source })?;
    let mut reader = TarReader::new(source);
    let mut done = Unpacked::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(entry) = reader.next_entry().map_err(UnpackError::Read)? {
        done.entries += 1;
        done.bytes = done.bytes.saturating_add(entry.size_bytes);
        if done.entries > limits.entries {
            return Err(UnpackError::TooManyEntries { limit: limits.entries });
        }
        if done.bytes > limits.layer_bytes {
            return Err(UnpackError::TooLarge { limit_bytes: limits.layer_bytes });
        }
        apply(&mut root, &mut reader, &entry, &mut buffer).map_err(|failure| failure.of(&entry))?;
    }
    root.finish()
        .map_err(|source| UnpackError::Write { name: "the times of directories".to_owned(), source })?;
    drain(reader, &mut buffer, limits)?;
    Ok(done)
}

fn drain<S: Source>(reader: TarReader<S>, buffer: &mut [u8], limits: &Limits) -> Result<(), UnpackError> {
    let mut left = limits.layer_bytes;
    let mut source = reader.into_source();
    loop {
        match source.read(buffer).map_err(UnpackError::Read)? as u64 {
            0 => return Ok(()),
            read if read > left => return Err(UnpackError::TooLarge { limit_bytes: limits.layer_bytes }),
            read => left -= read,
        }
    }
}

/// A failure before the entry's name is put to it.
enum Failure {
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

fn apply<S: Source>(
    root: &mut LayerRoot,
    reader: &mut TarReader<S>,
    entry: &Entry,
    buffer: &mut [u8],
) -> Result<(), Failure> {
    let owner = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(Refusal::Owner { id });
    let (uid, gid) = (owner(entry.uid)?, owner(entry.gid)?);
    let (parent, name) = match name::decide(&entry.path)? {
        Name::Ignored => return Ok(()),
        Name::Root if entry.kind == Kind::Directory => return root.set_root_metadata(entry, uid, gid),
        Name::Root => return Err(Refusal::RootKind.into()),
        Name::Opaque { directory } => return root.make_opaque(&directory),
        Name::Whiteout { parent, name } => return root.whiteout(&parent, name),
        Name::Plain { parent, name } => (parent, name),
    };
    match entry.kind {
        Kind::Directory => root.directory(&Target { parent, name, entry, uid, gid }),
        Kind::Regular => {
            let target = Target { parent, name, entry, uid, gid };
            let file = root.create_file(&target)?;
            copy_payload(reader, entry, &file, buffer)?;
            root.set_file_metadata(&file, &target)
        }
        Kind::HardLink => root.hard_link(&parent, name, &entry.link),
        Kind::Symlink if entry.link.is_empty() => Err(Refusal::EmptyLink.into()),
        Kind::Symlink => root.symlink(&Target { parent, name, entry, uid, gid }),
        Kind::Fifo => root.fifo(&Target { parent, name, entry, uid, gid }),
        // A layer archived from overlayfs itself, rather than in OCI form, brings its whiteouts as they are on disk.
        Kind::CharDevice if entry.device == (0, 0) => root.whiteout(&parent, name),
        Kind::CharDevice | Kind::BlockDevice => {
            let kind = if entry.kind == Kind::CharDevice { "character" } else { "block" };
            Err(Refusal::Device { kind, major: entry.device.0, minor: entry.device.1 }.into())
        }
        Kind::Unknown(flag) => Err(Refusal::Kind { flag: char::from(flag) }.into()),
    }
}

fn copy_payload<S: Source>(
    reader: &mut TarReader<S>,
    entry: &Entry,
    file: &OwnedFd,
    buffer: &mut [u8],
) -> Result<(), Failure> {
    let Some(pieces) = &entry.sparse else {
        loop {
            match reader.read_payload(buffer).map_err(Failure::Read)? {
                0 => return Ok(()),
                read => write_all(file, &buffer[..read])?,
            }
        }
    };
    rustix::fs::ftruncate(file, entry.size_bytes)?;
    for (offset, length) in pieces {
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(*offset))?;
        let mut left = *length;
        while left > 0 {
            let wanted = left.min(buffer.len() as u64) as usize;
            let read = reader.read_payload(&mut buffer[..wanted]).map_err(Failure::Read)?;
            if read == 0 {
                return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            write_all(file, &buffer[..read])?;
            left -= read as u64;
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
