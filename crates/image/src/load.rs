//! `podling image load`: from an archive to images in the store, all of them or none.
//!
//! 1. Read what the archive contains (`contents`): configurations, layers, names.
//! 2. Unpack the layers that the store lacks, several at a time.
//! 3. Commit images and names.

mod contents;

use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) use self::contents::{Found, Layer, read_oci_image};
use crate::archive::{Archive, Stretch};
use crate::commit::{NewImage, NewName};
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::{self, Expected, Work};
use crate::progress::Progress;
use crate::record::LayerRecord;
use crate::reference::Reference;
use crate::staging::Session;
use crate::store::{Hold, Images};

const BUFFER_BYTES: usize = 128 * 1024;

/// Where the archives of layers are.
pub(crate) trait LayerSource: Sync {
    /// The archive of `layer`, and its size where that is known before it was read.
    fn open(&self, layer: &Layer) -> Result<(Box<dyn Read + Send>, Option<u64>), Error>;
}

impl LayerSource for Archive {
    fn open(&self, layer: &Layer) -> Result<(Box<dyn Read + Send>, Option<u64>), Error> {
        let stretch = self.required(&layer.name)?;
        let bytes = Stretch::bytes(&stretch);
        Ok((Box::new(stretch), Some(bytes)))
    }
}

/// An image that a load brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The digest of its configuration.
    pub id: Digest,
    /// The names that the archive gives it; an image may come without any, and can be given one with `tag`.
    pub references: Vec<Reference>,
    /// The store had it before.
    pub already_present: bool,
}

impl Images {
    /// Loads every image of an archive written by `docker save`, `podman save` or `podling image save`, of an OCI archive,
    /// or of an OCI layout folder; plain, gzip or zstd. A failed load leaves nothing.
    pub fn load(&self, path: &Path, progress: &dyn Progress) -> Result<Vec<Loaded>, Error> {
        let session = Session::begin(self)?;
        let result = self.load_archive(path, &session, progress);
        if result.is_err() {
            // Layers that were finished before another failed: without an image they are nobody's.
            let lock = self.lock()?;
            self.collect_garbage(&session, &lock)?;
        }
        result.map_err(|source| Error::Load { path: path.to_owned(), source: Box::new(source) })
    }

    fn load_archive(
        &self,
        path: &Path,
        session: &Session,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let archive = Archive::open(path, session, progress)?;
        let found = contents::read(&archive, path)?;
        self.take_in(session, progress, found, &archive)
    }

    /// Stores images whose layers `source` has.
    pub(crate) fn take_in(
        &self,
        session: &Session,
        progress: &dyn Progress,
        found: Vec<Found>,
        source: &dyn LayerSource,
    ) -> Result<Vec<Loaded>, Error> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for image in found {
            // The lock keeps an image that is there from being removed before it gets its new names.
            let present = self.pin_image(&image.config.id)?;
            for layer in image.layers.iter().filter(|_| present.is_none()) {
                if seen.insert(layer.expected.diff_id.clone()) {
                    missing.push(layer.clone());
                }
            }
            images.push((image, present));
        }
        let stop = AtomicBool::new(false);
        let work = Work { session, progress, stop: &stop };
        let layers = ensure_layers(&work, source, &missing)?;
        images
            .into_iter()
            .map(|(image, present)| self.commit_found(session, image, present, &layers))
            .collect()
    }

    fn commit_found(
        &self,
        session: &Session,
        image: Found,
        present: Option<Hold>,
        layers: &[(Hold, LayerRecord)],
    ) -> Result<Loaded, Error> {
        let of_image = |diff_id: &Digest| {
            layers.iter().map(|(_, record)| record).find(|record| record.diff_id == *diff_id)
        };
        let records: Vec<LayerRecord> = match present {
            Some(_) => Vec::new(),
            None => image.config.diff_ids.iter().filter_map(of_image).cloned().collect(),
        };
        let manifest = image.manifest.as_ref().map(|bytes| Digest::of(bytes));
        let name = |reference: Reference| NewName {
            manifest: manifest.clone(),
            target: image.target.clone(),
            ..NewName::plain(reference)
        };
        // With a manifest the image can be asked for by digest too, as if it had been pulled.
        let digests = image.target.iter().flat_map(|target| {
            image.references.iter().map(|reference| reference.with_digest(target.clone()))
        });
        let names = image.references.iter().cloned().chain(digests).map(name).collect();
        let new =
            NewImage { config: &image.config, layers: &records, manifest: image.manifest.as_deref(), names };
        self.commit_image(session, new)?;
        Ok(Loaded { id: image.config.id, references: image.references, already_present: present.is_some() })
    }
}

/// Unpacks layers with as many threads as there are cores. The first failure stops the others and is the one reported.
fn ensure_layers(
    work: &Work<'_>,
    source: &dyn LayerSource,
    layers: &[Layer],
) -> Result<Vec<(Hold, LayerRecord)>, Error> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(layers.len()));
    let failure = Mutex::new(None);
    let take_layers = || {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            match ensure_layer(work, source, layer) {
                Ok(pinned) => locked(&done).push(pinned),
                Err(error) => {
                    if !work.stop.swap(true, Ordering::Relaxed) {
                        *locked(&failure) = Some(error);
                    }
                    return;
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(take_layers);
        }
    });
    match locked(&failure).take() {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut *locked(&done))),
    }
}

fn ensure_layer(
    work: &Work<'_>,
    source: &dyn LayerSource,
    layer: &Layer,
) -> Result<(Hold, LayerRecord), Error> {
    let (reader, bytes) = source.open(layer)?;
    let expected = Expected {
        diff_id: layer.expected.diff_id.clone(),
        blob: layer.expected.blob.clone(),
        blob_bytes: layer.expected.blob_bytes.or(bytes),
    };
    layer::ensure(work, &expected, || Ok(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked left a list that is still whole.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
