//! Making room: images that nobody uses, by name, age or the state of the disk. What is in use always stays.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::Error;
use crate::record::{ImageRecord, ImageSummary, RefRecord};
use crate::remove::Removed;
use crate::store::{Images, read_records};

/// Which of the images that nobody uses may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Those without a name: a tag that moved has left them.
    Nameless,
    /// Those that no container has used for so long; `Duration::ZERO` is all of them.
    Unused(Duration),
    /// Those used longest ago, until the store's file system has so many bytes free.
    UntilFree(u64),
}

/// What was removed, least recently used first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The images that are gone.
    pub images: Vec<ImageSummary>,
    /// What their layers took that no other image uses, unpacked and as archives.
    pub freed_bytes: u64,
}

impl Images {
    /// Removes images that nobody uses; with `is_trial` it only tells which would go. The image `spared` stays.
    /// Also removes what killed processes left.
    pub fn prune(&self, which: Prune, spared: Option<&Digest>, is_trial: bool) -> Result<Pruned, Error> {
        if !is_trial {
            self.clean()?;
        }
        let mut candidates: Vec<(SystemTime, ImageSummary)> = Vec::new();
        for image in self.list()?.into_iter().filter(|image| !image.in_use && Some(&image.id) != spared) {
            candidates.push((self.last_used_at(&image.id)?, image));
        }
        candidates.sort_by_key(|(last_used_at, _)| *last_used_at);
        let mut pruned = Pruned::default();
        for (last_used_at, image) in candidates {
            let goes = match which {
                Prune::Nameless => image.tags.is_empty() && image.repo_digests.is_empty(),
                // A clock that was set back makes an image young, which keeps it.
                Prune::Unused(age) => last_used_at.elapsed().is_ok_and(|elapsed| elapsed >= age),
                Prune::UntilFree(bytes) => {
                    self.free_bytes()?.saturating_add(if is_trial { pruned.freed_bytes } else { 0 }) < bytes
                }
            };
            if !goes {
                continue;
            }
            let removed =
                if is_trial { self.would_free(&image, &pruned)? } else { self.remove_unused(&image)? };
            if let Some(freed_bytes) = removed {
                pruned.freed_bytes += freed_bytes;
                pruned.images.push(image);
            }
        }
        Ok(pruned)
    }

    /// `None`: somebody began to use it, or removed it.
    pub(crate) fn remove_unused(&self, image: &ImageSummary) -> Result<Option<u64>, Error> {
        match self.remove(image.id.as_str()) {
            Ok(Removed { freed_bytes, .. }) => Ok(Some(freed_bytes)),
            Err(Error::InUse { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the image's own layers take, after those that would be gone before it.
    fn would_free(&self, image: &ImageSummary, gone: &Pruned) -> Result<Option<u64>, Error> {
        let records: Vec<ImageRecord> =
            read_records(&self.path("images"))?.into_iter().map(|(_, record)| record).collect();
        let stays = |record: &&ImageRecord| {
            record.id != image.id && !gone.images.iter().any(|other| other.id == record.id)
        };
        let kept: Vec<&Digest> = records.iter().filter(stays).flat_map(|record| &record.layers).collect();
        let Some(record) = records.iter().find(|record| record.id == image.id) else { return Ok(None) };
        let documents = [&Some(image.id.clone()), &self.manifest_of(&image.id)?];
        let documents = documents.into_iter().flatten().map(|digest| fs::metadata(self.blob_path(digest)));
        let mut bytes = documents.map(|metadata| metadata.map_or(0, |metadata| metadata.len())).sum();
        for layer in record.layers.iter().filter(|layer| !kept.contains(layer)) {
            if let Some((_, layer)) = self.pin_layer(layer)? {
                bytes += layer.unpacked_bytes + layer.blob_bytes;
            }
        }
        Ok(Some(bytes))
    }

    fn manifest_of(&self, id: &Digest) -> Result<Option<Digest>, Error> {
        let names = read_records::<RefRecord>(&self.path("refs"))?.into_iter().map(|(_, named)| named);
        Ok(names.filter(|named| named.image == *id).find_map(|named| named.manifest))
    }

    /// When a container last used the image, as far as somebody looked, or else when it came.
    pub(crate) fn last_used_at(&self, id: &Digest) -> Result<SystemTime, Error> {
        let path = self.image_path(id);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        modified.map_err(Error::io("look at", path))
    }

    /// How many bytes the store's file system has left.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        let space = rustix::fs::statvfs(self.root())
            .map_err(std::io::Error::from)
            .map_err(Error::io("ask for the free space of", self.root()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Everything that is known of the image called `name`.
    pub fn inspect(&self, name: &str) -> Result<Inspected, Error> {
        let (id, _) = self.resolve(name)?;
        let gone = || Error::NotFound { name: name.to_owned(), store: self.root().to_owned() };
        let summary = self.list()?.into_iter().find(|image| image.id == id).ok_or_else(gone)?;
        let record = self.read_image(&id)?.ok_or_else(gone)?;
        let mut layers = Vec::new();
        for diff_id in record.layers {
            let (_, layer) = self.pin_layer(&diff_id)?.ok_or_else(gone)?;
            layers.push(InspectedLayer {
                diff_id,
                blob: layer.blob,
                blob_bytes: layer.blob_bytes,
                unpacked_bytes: layer.unpacked_bytes,
            });
        }
        let manifest = self.manifest_of(&id)?;
        Ok(Inspected {
            summary,
            last_used_at: self.last_used_at(&id)?,
            config: record.config,
            manifest,
            layers,
        })
    }
}

/// Everything that is known of an image.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What the list says.
    pub summary: ImageSummary,
    /// When a container last used it, as far as somebody looked, or else when it came.
    pub last_used_at: SystemTime,
    /// Its configuration, as it came.
    pub config: oci_spec::image::ImageConfiguration,
    /// The digest of its manifest, if it came with one.
    pub manifest: Option<Digest>,
    /// Bottom first.
    pub layers: Vec<InspectedLayer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedLayer {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The digest of the archive as it came.
    pub blob: Digest,
    /// Size of the archive as it came.
    pub blob_bytes: u64,
    /// Size of what it unpacks to.
    pub unpacked_bytes: u64,
}
