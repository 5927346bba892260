//! One archive for everybody: an OCI image layout (image-layout.md of the OCI image specification) that also
//! carries the `manifest.json` of `docker save`, as Docker writes since version 25.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, ConfigBuilder, Descriptor, DescriptorBuilder, Digest, ImageConfiguration,
    ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, RootFsBuilder,
    SCHEMA_VERSION, Sha256Digest,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::failure::{Attempt, Result};
use crate::images::recipes::Recipe;

/// The time in the configuration; the same for every build.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Writes the archive of one image.
pub(crate) fn write(path: &Path, recipe: &Recipe, layers: &[Vec<u8>]) -> Result {
    let mut blobs = Blobs::default();
    let mut descriptors = Vec::new();
    for layer in layers {
        descriptors.push(if recipe.gzip {
            blobs.add(MediaType::ImageLayerGzip, compressed(layer)?)?
        } else {
            blobs.add(MediaType::ImageLayer, layer.clone())?
        });
    }
    let diff_ids = layers.iter().map(|layer| format!("sha256:{}", hex_digest(layer))).collect();
    let config =
        serde_json::to_value(configuration(recipe, diff_ids)?).attempt("writing the configuration")?;
    // Its maps are HashMaps: sorted, else every build would have another digest.
    let config = sorted(config).to_string().into_bytes();
    let config = blobs.add(MediaType::ImageConfig, config)?;
    let docker = json!([{
        "Config": blob_path(&config),
        "RepoTags": [recipe.reference()],
        "Layers": descriptors.iter().map(blob_path).collect::<Vec<_>>(),
    }]);
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(descriptors)
        .build()
        .attempt("building the manifest")?;
    let mut manifest = blobs
        .add(MediaType::ImageManifest, serde_json::to_vec(&manifest).attempt("writing the manifest")?)?;
    let name = (ANNOTATION_REF_NAME.to_string(), recipe.reference());
    manifest.set_annotations(Some(HashMap::from([name])));
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([manifest])
        .build()
        .attempt("building the index")?;
    let index = serde_json::to_vec(&index).attempt("writing the index")?;

    let mut files = blobs.0;
    files.insert("index.json".into(), index);
    files.insert("manifest.json".into(), docker.to_string().into_bytes());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    write_tar(path, &files)
}

/// Paths in the archive to their content.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
        let digest: Sha256Digest = hex_digest(&bytes).parse().attempt("making a digest")?;
        let descriptor = DescriptorBuilder::default()
            .media_type(media_type)
            .digest(Digest::from(digest))
            .size(bytes.len() as u64)
            .build()
            .attempt("building a descriptor")?;
        self.0.insert(blob_path(&descriptor), bytes);
        Ok(descriptor)
    }
}

fn blob_path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest().digest())
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).attempt("compressing a layer")
}

fn configuration(recipe: &Recipe, diff_ids: Vec<String>) -> Result<ImageConfiguration> {
    let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let mut config = ConfigBuilder::default().env(owned(recipe.env)).cmd(owned(recipe.cmd));
    if !recipe.entrypoint.is_empty() {
        config = config.entrypoint(owned(recipe.entrypoint));
    }
    if !recipe.exposed_ports.is_empty() {
        config = config.exposed_ports(owned(recipe.exposed_ports));
    }
    for (value, set) in [
        (recipe.user, ConfigBuilder::user as fn(ConfigBuilder, String) -> ConfigBuilder),
        (recipe.working_dir, ConfigBuilder::working_dir),
        (recipe.stop_signal, ConfigBuilder::stop_signal),
    ] {
        if let Some(value) = value {
            config = set(config, value.to_string());
        }
    }
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build();
    ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(config.build().attempt("building the configuration")?)
        .rootfs(rootfs.attempt("building the list of layers")?)
        .build()
        .attempt("building the configuration")
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            let members: BTreeMap<_, _> =
                members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.into_iter().collect()
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn write_tar(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result {
    let file = File::create(path).attempt(format!("creating {}", path.display()))?;
    let mut builder = Builder::new(file);
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, Cursor::new(bytes))
            .attempt(format!("writing {name} into {}", path.display()))?;
    }
    builder.finish().attempt(format!("finishing {}", path.display()))
}
