//! What can go wrong in the image store. Machines look at variants and methods, people at the chain of messages.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::digest::{Digest, DigestError};
use crate::reference::ReferenceError;
use crate::unpack::UnpackError;

/// A failure of the image store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a path of the store, or on an archive.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The store's directory cannot serve.
    #[error("{} cannot be the image directory: {reason}", path.display())]
    BadRoot {
        /// The directory asked for.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A file of the store does not hold what podling writes there.
    #[error("{} is damaged; remove the image that it belongs to and load it again", path.display())]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// Where its text goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A text that should name an image does not.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No image of that name or ID.
    #[error("there is no image {name:?} in {}; `podling image list` shows what there is", store.display())]
    NotFound {
        /// The name or ID asked for.
        name: String,
        /// The store asked.
        store: PathBuf,
    },
    /// The beginning of an ID fits several images.
    #[error("{name:?} is the beginning of {count} image IDs: give more digits")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many images it fits.
        count: usize,
    },
    /// The image was built for another kind of machine.
    #[error(
        "image {name} is built for {image}, this machine is {host}: the kernel cannot execute its programs; load or pull a {host} build of it"
    )]
    WrongPlatform {
        /// The image.
        name: String,
        /// What it was built for.
        image: String,
        /// What this machine is.
        host: String,
    },
    /// An index offers several platforms, but not this machine's.
    #[error("{what} has no image for {host}, only for: {}", offered.join(", "))]
    NoPlatform {
        /// The index.
        what: String,
        /// What this machine is.
        host: String,
        /// What the index offers.
        offered: Vec<String>,
    },
    /// The image is used by running containers.
    #[error("image {name} is in use by {}", Holders(holders))]
    InUse {
        /// The image.
        name: String,
        /// Who holds it.
        holders: Vec<Holder>,
    },
    /// Contents are not what their address says.
    #[error("{what} is damaged: its digest is {actual}, expected {expected}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Contents are shorter or longer than promised.
    #[error("{what} has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// The size that was promised.
        expected: u64,
        /// The size of what came.
        actual: u64,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack layer {diff_id}")]
    Layer {
        /// The layer, by the digest of its uncompressed archive.
        diff_id: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// Two different layers whose digests share 80 bits: only on purpose.
    #[error(
        "layer {diff_id} has the same first 20 digits as layer {other} in the store, which must be an attack"
    )]
    LayerCollision {
        /// The layer to be stored.
        diff_id: Digest,
        /// The layer in the store.
        other: Digest,
    },
    /// A file is no image archive, or one that contradicts itself.
    #[error("{what}: {problem}")]
    Invalid {
        /// The part that is wrong.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A digest in a manifest is none.
    #[error("{what} contains a bad digest")]
    Digest {
        /// The part that is wrong.
        what: String,
        /// The digest.
        #[source]
        source: DigestError,
    },
    /// A JSON document of an image cannot be read.
    #[error("{what} is not the JSON document it should be")]
    Json {
        /// The document.
        what: String,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Loading an archive failed; nothing of it was kept.
    #[error("cannot load images from {}; nothing of it was kept", path.display())]
    Load {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// Another part of the same work failed first.
    #[error("stopped because another layer failed")]
    Stopped,
}

/// A process that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// Its command line, as far as it can be read.
    pub command: String,
}

struct Holders<'a>(&'a [Holder]);

impl fmt::Display for Holders<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("a process that cannot be seen from here");
        }
        for (index, holder) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{} (pid {})", holder.command, holder.pid)?;
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), problem: problem.into() }
    }

    /// The file system of the store is full. Freeing space and trying again helps.
    pub fn is_disk_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// Contents were not what their digest or size promised: the source is damaged or lies.
    pub fn is_digest_mismatch(&self) -> bool {
        match self {
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => true,
            Self::Load { source, .. } => source.is_digest_mismatch(),
            _ => false,
        }
    }
}
