//! Manifests and indexes, as registries and OCI archives have them (OCI image-spec; Docker's schema 2 is the same in other words).

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, Os};
use serde::Deserialize;

use crate::commit::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::Expected;
use crate::record::{host_platform, platform, runs_here};

/// What a digest in an index may lead to.
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

/// The fields that tell documents apart whose `mediaType` is missing.
#[derive(Deserialize)]
struct Shape {
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Parses a manifest or an index, whichever `bytes` are.
pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Document, Error> {
    let json = |source| Error::Json { what: what.to_owned(), source };
    let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
    // One document with both lists is read one way by one program and another way by the next (CVE-2021-41190).
    match (shape.manifests.is_some(), shape.layers.is_some(), shape.fs_layers.is_some()) {
        (true, false, false) => {
            serde_json::from_slice(bytes).map(|index| Document::Index(Box::new(index))).map_err(json)
        }
        (false, true, false) => {
            serde_json::from_slice(bytes).map(|manifest| Document::Manifest(Box::new(manifest))).map_err(json)
        }
        (_, _, true) => Err(Error::invalid(
            what,
            "it is a Docker schema 1 manifest, which nobody writes any more: push it again",
        )),
        (true, true, _) => Err(Error::invalid(what, "it is both an index and a manifest")),
        (false, false, false) => Err(Error::invalid(what, "it is neither a manifest nor an index of images")),
    }
}

/// The checked digest of a descriptor.
pub(crate) fn digest(what: &str, descriptor: &Descriptor) -> Result<Digest, Error> {
    Digest::parse(descriptor.digest().as_ref())
        .map_err(|source| Error::Digest { what: what.to_owned(), source })
}

/// Build records that buildx puts beside images, under the platform unknown/unknown.
pub(crate) fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_some_and(|platform| *platform.os() == Os::Other("unknown".to_owned()))
}

/// The entry for this machine. An entry without a platform serves when no other does and it is the only one.
pub(crate) fn choose<'a>(what: &str, entries: &[&'a Descriptor]) -> Result<&'a Descriptor, Error> {
    let images: Vec<&&Descriptor> = entries.iter().filter(|entry| !is_attestation(entry)).collect();
    let fits = |entry: &&&&Descriptor| {
        entry.platform().as_ref().is_some_and(|p| runs_here(p.os(), p.architecture()))
    };
    // arm64 is offered as v8 or without variant; the first entry that fits is the publisher's preference.
    if let Some(entry) = images.iter().find(fits) {
        return Ok(entry);
    }
    match images.as_slice() {
        [only] if only.platform().is_none() => Ok(only),
        _ => Err(Error::NoPlatform {
            what: what.to_owned(),
            host: host_platform(),
            offered: images
                .iter()
                .map(|entry| match entry.platform() {
                    Some(p) => platform(p.os(), p.architecture(), p.variant().as_deref()),
                    None => "(not said)".to_owned(),
                })
                .collect(),
        }),
    }
}

/// The layers of a manifest with what is known of them: blob digest, and what it must unpack to.
pub(crate) fn expected_layers(
    what: &str,
    manifest: &ImageManifest,
    config: &Config,
) -> Result<Vec<(Digest, Expected)>, Error> {
    config.check_layer_count(what, manifest.layers().len())?;
    let mut layers = Vec::with_capacity(config.diff_ids.len());
    for (descriptor, diff_id) in manifest.layers().iter().zip(&config.diff_ids) {
        let media_type = descriptor.media_type().to_string();
        if media_type.contains("encrypted") {
            return Err(Error::invalid(what, format!("its layers are encrypted ({media_type})")));
        }
        let blob = digest(what, descriptor)?;
        let expected = Expected {
            diff_id: diff_id.clone(),
            blob: Some(blob.clone()),
            blob_bytes: Some(descriptor.size()),
        };
        layers.push((blob, expected));
    }
    Ok(layers)
}

/// The media type of a layer's blob.
pub(crate) fn layer_media_type(compression: crate::compression::Compression) -> MediaType {
    use crate::compression::Compression;
    match compression {
        Compression::Plain => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::Arch;

    fn entry(os: &str, architecture: &str) -> Descriptor {
        serde_json::from_value(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
            "digest": Digest::of(architecture.as_bytes()).as_str(),
            "platform": {"os": os, "architecture": architecture},
        }))
        .unwrap()
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen_and_attestations_never_are() {
        let host = Arch::default().to_string();
        let entries = [
            entry("unknown", "unknown"),
            entry("windows", &host),
            entry("linux", "s390x"),
            entry("linux", &host),
        ];
        let entries: Vec<&Descriptor> = entries.iter().collect();
        assert_eq!(choose("index", &entries).unwrap().digest(), entries[3].digest());
        let error = choose("index", &entries[..3]).unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && !error.contains("unknown"), "{error}");
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        assert!(parse("x", br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#).is_err());
        assert!(parse("x", br#"{"schemaVersion":1,"fsLayers":[]}"#).is_err());
        assert!(parse("x", b"{}").is_err());
        assert!(matches!(parse("x", br#"{"schemaVersion":2,"manifests":[]}"#), Ok(Document::Index(_))));
    }
}
