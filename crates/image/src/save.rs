//! `podling image save`: an OCI archive (image-spec, image-layout.md) that docker, podman and containerd load too.
//!
//! Layers leave as they came, byte for byte, so that digests and thus the image's ID stay. A `manifest.json` for
//! docker before version 25 is added.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use serde_json::json;

use crate::commit::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{self, Document};
use crate::progress::{Progress, Step};
use crate::record::{LayerRecord, RefRecord};
use crate::reference::Reference;
use crate::store::{Hold, Images};

/// An image on its way out; the locks keep it from being removed meanwhile.
struct Outgoing {
    reference: Option<Reference>,
    config: Config,
    manifest: Vec<u8>,
    layers: Vec<LayerRecord>,
    _holds: Vec<Hold>,
}

impl Images {
    /// Writes the images called `names` (references or IDs) to `out` as one OCI archive.
    pub fn save(&self, names: &[String], out: impl Write, progress: &dyn Progress) -> Result<(), Error> {
        let images: Result<Vec<Outgoing>, Error> = names.iter().map(|name| self.outgoing(name)).collect();
        let images = images?;
        let mut writer = Writer { tar: tar::Builder::new(out), written: HashSet::new() };
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        writer.bytes("oci-layout", layout)?;
        let mut entries = Vec::new();
        let mut docker = Vec::new();
        for image in &images {
            for layer in &image.layers {
                let step = Step::begin(
                    progress,
                    &format!("layer {}", &layer.diff_id.hex()[..12]),
                    Some(layer.blob_bytes),
                );
                writer.blob(&layer.blob, &self.blob_path(&layer.blob), layer.blob_bytes)?;
                step.advance(layer.blob_bytes);
            }
            let digest = Digest::of(&image.manifest);
            writer.bytes(&name(&image.config.id), &image.config.bytes)?;
            writer.bytes(&name(&digest), &image.manifest)?;
            entries.push(index_entry(image, &digest));
            docker.push(json!({
                "Config": name(&image.config.id),
                "RepoTags": image.reference.iter().filter(|r| r.tag().is_some()).map(tag_name).collect::<Vec<_>>(),
                "Layers": image.layers.iter().map(|layer| name(&layer.blob)).collect::<Vec<_>>(),
            }));
        }
        let index =
            json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex.to_string(), "manifests": entries});
        writer.bytes("index.json", index.to_string().as_bytes())?;
        writer.bytes("manifest.json", serde_json::Value::Array(docker).to_string().as_bytes())?;
        let mut out = writer.tar.into_inner().map_err(Error::io("write", "the archive"))?;
        out.flush().map_err(Error::io("write", "the archive"))
    }

    fn outgoing(&self, name: &str) -> Result<Outgoing, Error> {
        let (id, named) = self.resolve(name)?;
        let gone = || Error::NotFound { name: name.to_owned(), store: self.root().to_owned() };
        let hold = self.pin_image(&id)?.ok_or_else(gone)?;
        let path = self.blob_path(&id);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let config = Config::parse(name, bytes, Some(&id))?;
        let (mut holds, mut layers) = (vec![hold], Vec::new());
        for diff_id in &config.diff_ids {
            let (hold, record) = self.pin_layer(diff_id)?.ok_or_else(gone)?;
            holds.push(hold);
            layers.push(record);
        }
        let manifest = match self.kept_manifest(named.as_ref(), &layers)? {
            Some(kept) => kept,
            None => new_manifest(&config, &layers)?,
        };
        let reference = named.and_then(|named| Reference::parse(&named.reference).ok());
        Ok(Outgoing { reference, config, manifest, layers, _holds: holds })
    }

    /// The manifest that the image came with, if the store has the very blobs it lists. (Not so where another image brought
    /// the same layer, compressed by somebody else.)
    fn kept_manifest(
        &self,
        named: Option<&RefRecord>,
        layers: &[LayerRecord],
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(digest) = named.and_then(|named| named.manifest.as_ref()) else { return Ok(None) };
        let path = self.blob_path(digest);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let Document::Manifest(parsed) = manifest::parse("the kept manifest", &bytes)? else {
            return Ok(None);
        };
        let listed = parsed.layers().iter().map(|descriptor| descriptor.digest().as_ref());
        Ok(listed.eq(layers.iter().map(|layer| layer.blob.as_str())).then_some(bytes))
    }
}

fn new_manifest(config: &Config, layers: &[LayerRecord]) -> Result<Vec<u8>, Error> {
    let what = || format!("a manifest for image {}", config.id);
    let descriptor = |media_type, bytes, digest: &Digest| {
        let digest: Result<oci_spec::image::Digest, _> = digest.as_str().parse();
        digest.map(|digest| Descriptor::new(media_type, bytes, digest))
    };
    let build = || -> Result<_, oci_spec::OciSpecError> {
        let layers: Result<Vec<Descriptor>, _> = layers
            .iter()
            .map(|layer| {
                descriptor(manifest::layer_media_type(layer.compression), layer.blob_bytes, &layer.blob)
            })
            .collect();
        ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, config.bytes.len() as u64, &config.id)?)
            .layers(layers?)
            .build()
    };
    let manifest = build().map_err(|error| Error::invalid(what(), error.to_string()))?;
    serde_json::to_vec(&manifest).map_err(|source| Error::Json { what: what(), source })
}

fn index_entry(image: &Outgoing, digest: &Digest) -> serde_json::Value {
    let config = &image.config.parsed;
    let mut entry = json!({
        "mediaType": MediaType::ImageManifest.to_string(),
        "digest": digest.as_str(),
        "size": image.manifest.len(),
        "platform": {"os": config.os().to_string(), "architecture": config.architecture().to_string()},
    });
    if let Some(reference) = image.reference.as_ref().filter(|reference| reference.tag().is_some()) {
        let name = tag_name(reference);
        entry["annotations"] =
            json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
    }
    entry
}

/// `registry/repository:tag`, without a digest.
fn tag_name(reference: &Reference) -> String {
    let text = reference.to_string();
    text.split('@').next().unwrap_or_default().to_owned()
}

fn name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

struct Writer<W: Write> {
    tar: tar::Builder<W>,
    /// Images share layers; one copy is enough.
    written: HashSet<String>,
}

impl<W: Write> Writer<W> {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.append(name, bytes.len() as u64, bytes)
    }

    fn blob(&mut self, digest: &Digest, path: &Path, bytes: u64) -> Result<(), Error> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        self.append(&name(digest), bytes, file)
    }

    fn append(&mut self, name: &str, bytes: u64, contents: impl io::Read) -> Result<(), Error> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o644);
        self.tar.append_data(&mut header, name, contents).map_err(Error::io("write to the archive", name))
    }
}
