//! Images for tests, written as OCI archives (image-layout.md of the OCI image specification) and loaded by the
//! command line. Each is podling's built-in image, changed.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use crate::podling::Podling;

/// An image that is being put together.
pub struct Image<'a> {
    podling: &'a Podling,
    name: String,
    /// The image's configuration document; tests change what they are about.
    pub config: Value,
    layers: Vec<Vec<u8>>,
}

impl<'a> Image<'a> {
    /// The built-in image under a new name.
    pub fn toolbox(podling: &'a Podling, name: &str) -> Image<'a> {
        let path = podling.base().join("toolbox.tar");
        if !path.exists() {
            let saved =
                podling.call(["image", "save", "podling/toolbox", "--output", &path.to_string_lossy()]);
            assert_eq!(saved.code, 0, "{saved}");
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
            file_in(&path, &format!("blobs/{digest}"))
        };
        let document = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).expect("JSON");
        let index = document(file_in(&path, "index.json"));
        let manifest = document(blob(&index["manifests"][0]));
        let config = document(blob(&manifest["config"]));
        let layers = manifest["layers"].as_array().expect("layers").iter().map(blob).collect();
        Image { podling, name: name.to_owned(), config, layers }
    }

    /// Sets a field of the `config` in the configuration: `Env`, `Cmd`, `User` ...
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config["config"][field] = value;
        self
    }

    /// A layer more, of files: path, mode, content.
    pub fn layer(mut self, files: &[(&str, u32, &[u8])]) -> Self {
        let mut layer = Builder::new(Vec::new());
        for (path, mode, content) in files {
            append(&mut layer, path, *mode, content);
        }
        self.layers.push(layer.into_inner().expect("a layer"));
        self
    }

    /// Writes the archive.
    pub fn save(mut self) -> PathBuf {
        let path = self.podling.base().join(format!("{}.tar", self.name.replace(['/', ':'], "-")));
        let digests: Vec<_> = self.layers.iter().map(|layer| digest(layer)).collect();
        self.config["rootfs"]["diff_ids"] = json!(digests);
        let mut archive = Builder::new(File::create(&path).expect("the archive"));
        let mut blob = |media_type: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            append(&mut archive, &format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
            json!({ "mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": bytes.len() })
        };
        let layers: Vec<_> = self.layers.iter().map(|layer| blob("layer.v1.tar", layer)).collect();
        let config = blob("config.v1+json", self.config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        append(&mut archive, "index.json", 0o644, index.to_string().as_bytes());
        append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        archive.finish().expect("the archive");
        path
    }

    /// Writes the archive and loads it.
    pub fn load(self) {
        let podling = self.podling;
        podling.load(&self.save());
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, path: &str, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, Cursor::new(content)).expect("a file in an archive");
}

/// The content of one file of an archive.
pub fn file_in(archive: &std::path::Path, wanted: &str) -> Vec<u8> {
    let mut archive = Archive::new(Cursor::new(fs::read(archive).expect("the archive")));
    for entry in archive.entries().expect("the archive") {
        let mut entry = entry.expect("the archive");
        if entry.path().expect("a path").to_str() == Some(wanted) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("the archive");
            return content;
        }
    }
    panic!("there is no {wanted} in the archive")
}
