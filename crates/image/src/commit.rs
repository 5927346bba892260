//! Giving images and names to layers that are in the store, and listing them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use oci_spec::image::ImageConfiguration;
use rustix::fs::FlockOperation;

use crate::access::{self, PulledWith};
use crate::digest::Digest;
use crate::error::Error;
use crate::record::{Image, ImageRecord, ImageSummary, LayerRecord, RefRecord, platform};
use crate::reference::Reference;
use crate::staging::{Session, sync_directory};
use crate::store::{Hold, Images, read_records, try_flock};

/// Overlayfs stacks no more (OVL_MAX_STACK in the kernel's fs/overlayfs/params.h).
const LAYERS_MAX: usize = 500;

/// A name to be given to an image.
pub(crate) struct NewName {
    pub(crate) reference: Reference,
    pub(crate) manifest: Option<Digest>,
    pub(crate) target: Option<Digest>,
    pub(crate) built_from: Option<String>,
    pub(crate) pulled_with: Vec<PulledWith>,
}

impl NewName {
    pub(crate) fn plain(reference: Reference) -> Self {
        Self { reference, manifest: None, target: None, built_from: None, pulled_with: Vec::new() }
    }
}

/// An image whose layers are in the store and pinned.
pub(crate) struct NewImage<'a> {
    pub(crate) config: &'a Config,
    pub(crate) layers: &'a [LayerRecord],
    /// The manifest's bytes, if there is one.
    pub(crate) manifest: Option<&'a [u8]>,
    pub(crate) names: Vec<NewName>,
}

/// An image's configuration, checked, with the bytes that its digest stands for.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) id: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parsed: ImageConfiguration,
    pub(crate) diff_ids: Vec<Digest>,
}

impl Config {
    /// Parses the configuration `what`; `expected` is the digest by which it was called.
    pub(crate) fn parse(what: &str, bytes: Vec<u8>, expected: Option<&Digest>) -> Result<Self, Error> {
        let id = Digest::of(&bytes);
        if let Some(expected) = expected
            && *expected != id
        {
            return Err(Error::DigestMismatch {
                what: what.to_owned(),
                expected: expected.clone(),
                actual: id,
            });
        }
        let parsed: ImageConfiguration =
            serde_json::from_slice(&bytes).map_err(|source| Error::Json { what: what.to_owned(), source })?;
        let diff_ids: Result<Vec<Digest>, _> =
            parsed.rootfs().diff_ids().iter().map(|text| Digest::parse(text)).collect();
        let diff_ids = diff_ids.map_err(|source| Error::Digest { what: what.to_owned(), source })?;
        if diff_ids.len() > LAYERS_MAX {
            let problem = format!("it has {} layers; overlayfs stacks at most {LAYERS_MAX}", diff_ids.len());
            return Err(Error::invalid(what, problem));
        }
        Ok(Self { id, bytes, parsed, diff_ids })
    }

    /// The layers and their digests must be as many.
    pub(crate) fn check_layer_count(&self, what: &str, count: usize) -> Result<(), Error> {
        if self.diff_ids.len() == count {
            return Ok(());
        }
        let problem = format!("it lists {count} layers, its configuration {}", self.diff_ids.len());
        Err(Error::invalid(what, problem))
    }
}

impl Images {
    /// Makes `new` visible: contents first, names last, and on the disk in this order too. The layers must be pinned by the
    /// caller.
    pub(crate) fn commit_image(&self, session: &Session, new: NewImage<'_>) -> Result<Hold, Error> {
        let _lock = self.lock()?;
        let id = &new.config.id;
        let path = self.image_path(id);
        session.ensure(&self.blob_path(id), &new.config.bytes)?;
        if let Some(manifest) = new.manifest {
            session.ensure(&self.blob_path(&Digest::of(manifest)), manifest)?;
        }
        if !path.exists() {
            for directory in ["blobs", "l", "layers"] {
                sync_directory(&self.path(directory))?;
            }
            let record = ImageRecord {
                id: id.clone(),
                size_bytes: new.layers.iter().map(|layer| layer.unpacked_bytes).sum(),
                loaded_at: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
                layers: new.config.diff_ids.clone(),
                config: new.config.parsed.clone(),
            };
            session.write_record(&path, &record)?;
            sync_directory(&self.path("images"))?;
        }
        for name in new.names {
            self.write_name(session, id, name)?;
        }
        sync_directory(&self.path("refs"))?;
        self.pin_image(id)?.ok_or(Error::Stopped)
    }

    fn write_name(&self, session: &Session, image: &Digest, name: NewName) -> Result<(), Error> {
        let key = name.reference.key();
        let there = self.read_ref(&key).ok().flatten();
        let pulled_with = match &there {
            Some(there) if there.image == *image => access::merged(&there.pulled_with, name.pulled_with),
            _ => name.pulled_with,
        };
        let record = RefRecord {
            reference: key.clone(),
            image: image.clone(),
            manifest: name.manifest,
            target: name.target,
            built_from: name.built_from,
            pulled_with,
        };
        match there {
            Some(there) if there == record => Ok(()),
            _ => session.write_record(&self.ref_path(&key), &record),
        }
    }

    /// Gives the image called `source` (a name, or an ID or its beginning) another name.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        if target.digest().is_some() {
            return Err(Error::invalid(target.to_string(), "a digest cannot be given as a name; give a tag"));
        }
        let session = Session::begin(self)?;
        let _lock = self.lock()?;
        let (id, named) = self.resolve(source)?;
        let (manifest, from) = named.map_or((None, None), |named| (named.manifest, named.target));
        // The registry's digest belongs to its repository only.
        let same_repository = Reference::parse(source)
            .is_ok_and(|s| (s.registry(), s.repository()) == (target.registry(), target.repository()));
        let name =
            NewName { manifest, target: from.filter(|_| same_repository), ..NewName::plain(target.clone()) };
        self.write_name(&session, &id, name)
    }

    /// What `name` stands for: a reference, `sha256:…`, or at least six digits of an ID.
    pub(crate) fn resolve(&self, name: &str) -> Result<(Digest, Option<RefRecord>), Error> {
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some(named) = self.read_ref(&reference.key())?
        {
            return Ok((named.image.clone(), Some(named)));
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_id = hex.len() >= 6 && hex.len() <= 64 && crate::digest::is_hex(hex);
        if !is_id {
            reference?;
        }
        let mut ids: Vec<Digest> = Vec::new();
        if is_id {
            let images: Vec<(PathBuf, ImageRecord)> = read_records(&self.path("images"))?;
            ids.extend(
                images.into_iter().map(|(_, record)| record.id).filter(|id| id.hex().starts_with(hex)),
            );
        }
        match ids.as_slice() {
            [] => Err(Error::NotFound { name: name.to_owned(), store: self.root().to_owned() }),
            [id] => Ok((id.clone(), None)),
            _ => Err(Error::Ambiguous { name: name.to_owned(), count: ids.len() }),
        }
    }

    /// The image called `name`: a reference, or an ID or its beginning.
    pub fn get(&self, name: &str) -> Result<Image, Error> {
        let (id, named) = self.resolve(name)?;
        match self.read_image(&id)? {
            Some(record) => Ok(self.image(record, named.as_ref())),
            None => Err(Error::NotFound { name: name.to_owned(), store: self.root().to_owned() }),
        }
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        // Asking whether an image is in use takes its lock for an instant, which a removal must not mistake for use.
        let _lock = self.lock()?;
        let mut names: BTreeMap<Digest, Vec<RefRecord>> = BTreeMap::new();
        for (_, named) in read_records::<RefRecord>(&self.path("refs"))? {
            names.entry(named.image.clone()).or_default().push(named);
        }
        let mut all = Vec::new();
        for (path, record) in read_records::<ImageRecord>(&self.path("images"))? {
            let names = names.remove(&record.id).unwrap_or_default();
            all.push(summary(record, &names, in_use(&path)?));
        }
        all.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }
}

fn in_use(path: &std::path::Path) -> Result<bool, Error> {
    match std::fs::File::open(path) {
        Ok(file) => {
            Ok(!try_flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(Error::io("lock", path))?)
        }
        Err(_) => Ok(false),
    }
}

fn summary(record: ImageRecord, names: &[RefRecord], in_use: bool) -> ImageSummary {
    let (mut tags, mut repo_digests) = (Vec::new(), Vec::new());
    for named in names {
        let Ok(reference) = Reference::parse(&named.reference) else { continue };
        let list = if reference.digest().is_some() { &mut repo_digests } else { &mut tags };
        list.push(reference.familiar());
    }
    tags.sort();
    repo_digests.sort();
    let config = &record.config;
    ImageSummary {
        id: record.id.clone(),
        tags,
        repo_digests,
        platform: platform(config.os(), config.architecture(), config.variant().as_deref()),
        size_bytes: record.size_bytes,
        layer_count: record.layers.len(),
        created: config.created().clone(),
        loaded_at: record.loaded_at,
        in_use,
    }
}
