//! What an archive contains: OCI image layout (image-spec, image-layout.md), or docker save's `manifest.json`.
//!
//! Docker since version 25 writes both into one archive; the OCI part says more and is preferred.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::archive::Archive;
use crate::commit::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::Expected;
use crate::manifest::{self, Document};
use crate::reference::Reference;

/// Docker's and containerd's annotation with a whole name, and OCI's, which may hold a tag only.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// An index may point to an index (buildx), but not for ever.
const INDEX_DEPTH_MAX: usize = 4;
const IMAGES_MAX: usize = 1000;

/// An image in an archive.
pub(crate) struct Found {
    pub(crate) references: Vec<Reference>,
    pub(crate) config: Config,
    pub(crate) layers: Vec<Layer>,
    pub(crate) manifest: Option<Vec<u8>>,
    /// The digest by which the archive's index calls it.
    pub(crate) target: Option<Digest>,
}

/// A layer in an archive.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) expected: std::sync::Arc<Expected>,
}

/// All images of the archive at `path`.
pub(super) fn read(archive: &Archive, path: &Path) -> Result<Vec<Found>, Error> {
    let found = if archive.file("index.json")?.is_some() {
        read_oci(archive)?
    } else if archive.file("manifest.json")?.is_some() {
        read_docker(archive)?
    } else {
        let problem = "it is no image archive: neither index.json (OCI) nor manifest.json (docker save) is in it. \
                       A plain root file system (docker export, debootstrap) has to be made an image first";
        return Err(Error::invalid(path.display().to_string(), problem));
    };
    if found.is_empty() {
        return Err(Error::invalid(path.display().to_string(), "there is no image in it"));
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn read_docker(archive: &Archive) -> Result<Vec<Found>, Error> {
    let bytes = archive.document("manifest.json")?;
    let images: Vec<DockerImage> = serde_json::from_slice(&bytes)
        .map_err(|source| Error::Json { what: "manifest.json".to_owned(), source })?;
    if images.len() > IMAGES_MAX {
        return Err(Error::invalid("manifest.json", "too many images"));
    }
    images.into_iter().map(|image| read_docker_image(archive, image)).collect()
}

fn read_docker_image(archive: &Archive, image: DockerImage) -> Result<Found, Error> {
    // The file is named after its digest, which is the only check that the configuration has.
    let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    let expected = Digest::parse(&format!("sha256:{stem}")).ok();
    let config = Config::parse(&image.config, archive.document(&image.config)?, expected.as_ref())?;
    config.check_layer_count("manifest.json", image.layers.len())?;
    let layers = image.layers.iter().zip(&config.diff_ids).map(|(name, diff_id)| Layer {
        name: name.clone(),
        expected: Expected { diff_id: diff_id.clone(), blob: None, blob_bytes: None }.into(),
    });
    let references: Result<Vec<Reference>, _> =
        image.repo_tags.unwrap_or_default().iter().map(|text| Reference::parse(text)).collect();
    Ok(Found { references: references?, layers: layers.collect(), config, manifest: None, target: None })
}

fn read_oci(archive: &Archive) -> Result<Vec<Found>, Error> {
    let bytes = archive.document("index.json")?;
    let index: ImageIndex = serde_json::from_slice(&bytes)
        .map_err(|source| Error::Json { what: "index.json".to_owned(), source })?;
    if index.manifests().len() > IMAGES_MAX {
        return Err(Error::invalid("index.json", "too many images"));
    }
    // Entries of one name are builds of one image for several platforms; an image saved under two names is two entries.
    let mut by_names: BTreeMap<Vec<Reference>, Vec<&Descriptor>> = BTreeMap::new();
    for descriptor in index.manifests().iter().filter(|descriptor| !manifest::is_attestation(descriptor)) {
        by_names.entry(names(descriptor)).or_default().push(descriptor);
    }
    let mut found: Vec<Found> = Vec::new();
    for (references, descriptors) in by_names {
        // Without names, entries for one platform each cannot be told from separate images: then all that run here are taken.
        let chosen = match descriptors.as_slice() {
            [only] => vec![*only],
            several if references.is_empty() && several.iter().all(|d| d.platform().is_none()) => {
                several.to_vec()
            }
            several => vec![manifest::choose("index.json", several)?],
        };
        for descriptor in chosen {
            let image = read_oci_image(archive, blob_name(descriptor)?.1, references.clone())?;
            match found
                .iter_mut()
                .find(|other| other.config.id == image.config.id && other.target == image.target)
            {
                Some(other) => other.references.extend(image.references),
                None => found.push(image),
            }
        }
    }
    Ok(found)
}

/// The names that an entry's annotations give. A bare tag names nothing; such an image comes without a name.
fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let Some(annotations) = descriptor.annotations() else { return Vec::new() };
    for key in NAME_ANNOTATIONS {
        if let Some(text) = annotations.get(key)
            && text.contains(['/', ':'])
            && let Ok(reference) = Reference::parse(text)
        {
            return vec![reference];
        }
    }
    Vec::new()
}

fn blob_name(descriptor: &Descriptor) -> Result<(String, Digest), Error> {
    let digest = manifest::digest("index.json", descriptor)?;
    Ok((format!("blobs/sha256/{}", digest.hex()), digest))
}

/// The image for this machine that the blob `target` is or leads to.
pub(crate) fn read_oci_image(
    archive: &Archive,
    target: Digest,
    references: Vec<Reference>,
) -> Result<Found, Error> {
    read_oci_target(archive, target, references, 0)
}

fn read_oci_target(
    archive: &Archive,
    target: Digest,
    references: Vec<Reference>,
    depth: usize,
) -> Result<Found, Error> {
    if depth > INDEX_DEPTH_MAX {
        return Err(Error::invalid("index.json", "indexes are nested too deeply"));
    }
    let name = format!("blobs/sha256/{}", target.hex());
    let bytes = archive.document(&name)?;
    let actual = Digest::of(&bytes);
    if actual != target {
        return Err(Error::DigestMismatch { what: name, expected: target, actual });
    }
    let manifest = match manifest::parse(&name, &bytes)? {
        Document::Index(index) => {
            let entries: Vec<&Descriptor> = index.manifests().iter().collect();
            let chosen = manifest::choose(&name, &entries)?;
            let (_, chosen) = blob_name(chosen)?;
            let mut found = read_oci_target(archive, chosen, references, depth + 1)?;
            found.target = Some(target);
            return Ok(found);
        }
        Document::Manifest(manifest) => manifest,
    };
    let (config_name, config_digest) = blob_name(manifest.config())?;
    let config = Config::parse(&config_name, archive.document(&config_name)?, Some(&config_digest))?;
    let layers = oci_layers(&name, &manifest, &config)?;
    Ok(Found { references, config, layers, manifest: Some(bytes), target: Some(target) })
}

fn oci_layers(what: &str, image: &ImageManifest, config: &Config) -> Result<Vec<Layer>, Error> {
    manifest::expected_layers(what, image, config)?
        .into_iter()
        .map(|(blob, expected)| {
            Ok(Layer { name: format!("blobs/sha256/{}", blob.hex()), expected: expected.into() })
        })
        .collect()
}
