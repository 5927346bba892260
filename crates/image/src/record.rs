//! The small JSON files that the store consists of, besides contents, and what callers see of them.
//!
//! A record is replaced as a whole by rename(2), never changed in place, so that readers need no lock.

use std::path::PathBuf;

use oci_spec::image::{Arch, ImageConfiguration, Os};
use serde::{Deserialize, Serialize};

use crate::access::PulledWith;
use crate::compression::Compression;
use crate::digest::Digest;
use crate::reference::Reference;

/// `layers/<short>.json`: an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// The archive as it came, in `blobs/`.
    pub(crate) blob: Digest,
    pub(crate) blob_bytes: u64,
    pub(crate) compression: Compression,
    pub(crate) entries: u64,
    pub(crate) unpacked_bytes: u64,
}

/// `images/<hex>.json`: an image. Written once, since its shared lock means "in use" and a lock sticks to the inode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The digest of the configuration, whose bytes are in `blobs/`.
    pub(crate) id: Digest,
    pub(crate) size_bytes: u64,
    /// Seconds since the epoch.
    pub(crate) loaded_at: u64,
    /// Bottom first, as in the configuration.
    pub(crate) layers: Vec<Digest>,
    pub(crate) config: ImageConfiguration,
}

/// `refs/<digest of the reference>.json`: a name. Names of any length fit, since file names do not hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefRecord {
    pub(crate) reference: String,
    pub(crate) image: Digest,
    /// The image's manifest, in `blobs/`; archives of docker save have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Digest>,
    /// What the registry calls it: the manifest's or the index' digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Digest>,
    /// What the built-in image was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) built_from: Option<String>,
    /// With which of Pods' credentials it was pulled. None: it is for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pulled_with: Vec<PulledWith>,
}

/// An image in the store, ready to be mounted.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// The name that it was found by.
    pub reference: Option<Reference>,
    /// `registry/repository@sha256:…`, when it came from a registry (or its archive says so).
    pub repo_digest: Option<String>,
    /// Entry point, environment, user and the rest.
    pub config: ImageConfiguration,
    /// The layers, top first as overlayfs' `lowerdir` wants them: directories, or files that are EROFS images.
    pub layers: Vec<PathBuf>,
    /// Unpacked size of all layers.
    pub size_bytes: u64,
}

impl Image {
    /// What Kubernetes shows as `imageID`.
    pub fn image_id(&self) -> &str {
        self.repo_digest.as_deref().unwrap_or(self.id.as_str())
    }

    /// Whether a regular file stands at the absolute path `path`, links followed as a container would see them.
    pub fn has_file(&self, path: &str) -> std::io::Result<bool> {
        Ok(crate::merged::open(&self.layers, path)?.is_some())
    }
}

/// One line of `podling image list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The digest of its configuration.
    pub id: Digest,
    /// Its names with a tag, sorted.
    pub tags: Vec<String>,
    /// Its names by digest, sorted.
    pub repo_digests: Vec<String>,
    /// `linux/amd64` and the like.
    pub platform: String,
    /// Unpacked size of all layers.
    pub size_bytes: u64,
    /// How many layers.
    pub layer_count: usize,
    /// When it was built, RFC 3339, as the image says.
    pub created: Option<String>,
    /// When it came into this store, seconds since the epoch.
    pub loaded_at: u64,
    /// Somebody holds it.
    pub in_use: bool,
}

/// A platform as `linux/amd64`.
pub(crate) fn platform(os: &Os, architecture: &Arch, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

/// This machine as `linux/amd64`.
pub(crate) fn host_platform() -> String {
    platform(&Os::Linux, &Arch::default(), None)
}

/// Whether programs built for `os` and `architecture` run here.
pub(crate) fn runs_here(os: &Os, architecture: &Arch) -> bool {
    *os == Os::Linux && *architecture == Arch::default()
}
