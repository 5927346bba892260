//! `podling image import-from`: images that another engine of this machine has, taken over without a second download.
//!
//! containerd keeps archives as they came. Docker and Podman keep a layer as its unpacked files and the rest of its archive beside them (`tar_split`), so that the
//! archive can be put together again byte by byte; its digest says whether that went well. Their stores are read as they
//! lie, never locked or changed, and no program of theirs is run.

mod bolt;
mod containerd;
mod docker;
mod podman;
mod tar_split;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use self::tar_split::SplitArchive;
use crate::archive::DOCUMENT_MAX_BYTES;
use crate::digest::read_limited;
use crate::error::Error;
use crate::load::{Found, Layer, LayerSource, Loaded};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::staging::Session;
use crate::store::Images;

/// An engine whose images podling can take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker, with its overlay2 driver.
    Docker,
    /// containerd, and Docker where it keeps its images there.
    Containerd,
    /// Podman, Buildah, CRI-O and Skopeo, with the overlay driver of containers/storage.
    Podman,
}

impl Engine {
    /// Where the engine keeps its images when nothing else is said.
    pub fn default_root(self) -> &'static Path {
        Path::new(match self {
            Self::Docker => "/var/lib/docker",
            Self::Containerd => "/var/lib/containerd",
            Self::Podman => "/var/lib/containers/storage",
        })
    }
}

/// What an engine's store has.
struct Foreign {
    images: Vec<Found>,
    layers: Vec<Split>,
}

/// Where the archive of a layer is, by the layer's name in [`Found`].
struct Split {
    name: String,
    /// What of the archive is no file's contents.
    rest: PathBuf,
    /// The folder with the files.
    files: PathBuf,
}

impl Foreign {
    fn into_parts(mut self) -> (Vec<Found>, Box<dyn LayerSource>) {
        (std::mem::take(&mut self.images), Box::new(self))
    }
}

impl LayerSource for Foreign {
    fn open(&self, layer: &Layer) -> Result<(Box<dyn Read + Send>, Option<u64>), Error> {
        match self.layers.iter().find(|split| split.name == layer.name) {
            Some(Split { rest, files, .. }) => Ok((Box::new(SplitArchive::open(rest, files)?), None)),
            None => Err(Error::invalid(&layer.name, "the store does not have this layer")),
        }
    }
}

impl Images {
    /// Takes over the images of `engine`, whose store is at `root`: all of them, or those called `wanted`. Images for other
    /// machines are passed over. A failure leaves nothing of it.
    pub fn take_over(
        &self,
        engine: Engine,
        root: &Path,
        wanted: &[Reference],
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let session = Session::begin(self)?;
        let result = self.take_over_found(engine, root, wanted, progress, &session);
        if result.is_err() {
            let lock = self.lock()?;
            self.collect_garbage(&session, &lock)?;
        }
        result.map_err(|source| Error::Load { path: root.to_owned(), source: Box::new(source) })
    }

    fn take_over_found(
        &self,
        engine: Engine,
        root: &Path,
        wanted: &[Reference],
        progress: &dyn Progress,
        session: &Session,
    ) -> Result<Vec<Loaded>, Error> {
        let (mut images, source): (_, Box<dyn LayerSource>) = match engine {
            Engine::Docker => docker::read(root).map(Foreign::into_parts)?,
            Engine::Podman => podman::read(root).map(Foreign::into_parts)?,
            Engine::Containerd => {
                let (images, archive) = containerd::read(root)?;
                (images, Box::new(archive))
            }
        };
        images.retain(|image| {
            let config = &image.config.parsed;
            crate::record::runs_here(config.os(), config.architecture())
        });
        if !wanted.is_empty() {
            for name in wanted {
                if !images.iter().any(|image| image.references.contains(name)) {
                    let problem = "the store does not have this image, or not all of it, for this machine";
                    return Err(Error::invalid(name.to_string(), problem));
                }
            }
            for image in &mut images {
                image.references.retain(|reference| wanted.contains(reference));
            }
            images.retain(|image| !image.references.is_empty());
        }
        self.take_in(session, progress, images, &*source)
    }
}

/// A JSON file of a store; `None` when there is none.
fn document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let json = |source| Error::Json { what: path.display().to_string(), source };
    serde_json::from_slice(&bytes).map(Some).map_err(json)
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::File::open(path) {
        Ok(file) => read_limited(file, DOCUMENT_MAX_BYTES.saturating_mul(8))
            .map(Some)
            .map_err(Error::io("read", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

fn required(path: &Path) -> Result<Vec<u8>, Error> {
    bytes(path)?.ok_or_else(|| Error::io("open", path)(io::ErrorKind::NotFound.into()))
}

/// The names of an image with a tag, and those by digest alone when it has no other: digests follow from the manifest.
fn references(names: impl IntoIterator<Item = String>) -> Vec<Reference> {
    let (mut tags, digests): (Vec<Reference>, Vec<Reference>) = names
        .into_iter()
        .filter_map(|name| Reference::parse(&name).ok())
        .partition(|reference| reference.digest().is_none());
    if tags.is_empty() {
        tags = digests;
    }
    tags.sort();
    tags.dedup();
    tags
}
