//! Images made in memory, for the tests of this crate: layers by the `tar` crate, archives of every kind.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod facts;

pub(crate) mod faults;
pub(crate) mod registry;

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use image::{Digest, Images, LayerForm};
use serde_json::{Value, json};

/// These tests need root: whiteouts are device nodes, opaque directories a trusted attribute. Without it they fail.
pub(crate) fn store(folder: &Path) -> Images {
    assert!(
        rustix::process::geteuid().is_root(),
        "run as root: unpacking layers needs mknod(2) and trusted attributes"
    );
    Images::open(&folder.join("store")).unwrap()
}

/// Every form that a layer may have; tests of layers are run over all.
pub(crate) const FORMS: [LayerForm; 2] = [LayerForm::Directory, LayerForm::Erofs];

/// A layer of a store as a directory to look into; an image is mounted for as long as this lives, in no namespace.
pub(crate) struct OpenLayer {
    path: PathBuf,
    _mount: Option<OwnedFd>,
}

impl OpenLayer {
    pub(crate) fn open(layer: &Path) -> Self {
        if layer.is_dir() {
            return Self { path: layer.to_owned(), _mount: None };
        }
        let (mount, _) = linux::erofs::mount(layer).unwrap();
        Self { path: format!("/proc/self/fd/{}/", mount.as_raw_fd()).into(), _mount: Some(mount) }
    }
}

impl std::ops::Deref for OpenLayer {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// A layer's archive in the making.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry whose name is written as it is, however hostile.
    pub(crate) fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(contents.len() as u64);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(8).unwrap();
            header.set_device_minor(1).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, contents: &[u8]) -> Self {
        self.raw(b'0', name, "", 0o644, contents)
    }

    pub(crate) fn directory(self, name: &str, mode: u32) -> Self {
        self.raw(b'5', name, "", mode, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, target, 0o777, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, target, 0o644, b"")
    }

    pub(crate) fn owned_file(mut self, name: &str, mode: u32, uid: u64, gid: u64, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1_600_000_000);
        header.set_size(contents.len() as u64);
        self.0.append_data(&mut header, name, contents).unwrap();
        self
    }

    pub(crate) fn attributes(mut self, attributes: &[(&str, &[u8])]) -> Self {
        let records = attributes
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value))
            .collect::<Vec<_>>();
        self.0.append_pax_extensions(records.iter().map(|(name, value)| (name.as_str(), *value))).unwrap();
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) const PACKINGS: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

pub(crate) fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// An image: its layers' uncompressed archives, bottom first, and its configuration.
pub(crate) struct TestImage {
    pub(crate) name: String,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Value,
}

impl TestImage {
    pub(crate) fn new(name: &str, layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "created": null,
            "architecture": host_architecture(),
            "os": "linux",
            "config": {"Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/bin/app"], "Cmd": null, "User": "app", "WorkingDir": "/srv",
                       "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["NONE"]}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self { name: name.to_owned(), layers, config }
    }

    pub(crate) fn architecture(mut self, architecture: &str) -> Self {
        self.config["architecture"] = json!(architecture);
        self
    }

    pub(crate) fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.config_bytes())
    }

    /// The files of a docker-save archive.
    pub(crate) fn docker_files(&self) -> Vec<(String, Vec<u8>)> {
        let config = format!("{}.json", self.id().hex());
        let names: Vec<String> = (0..self.layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let mut files: Vec<(String, Vec<u8>)> =
            names.iter().cloned().zip(self.layers.iter().cloned()).collect();
        files.push((config.clone(), self.config_bytes()));
        let manifest = json!([{"Config": config, "RepoTags": [self.name], "Layers": names}]);
        files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
        files
    }

    /// The files of an OCI layout.
    pub(crate) fn oci_files(&self, packing: Packing) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let manifest = self.manifest(packing, &mut files);
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(&manifest).as_str(),
            "size": manifest.len(), "annotations": {"org.opencontainers.image.ref.name": self.name},
        });
        add_blob(&mut files, manifest);
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        files.push(("index.json".to_owned(), index.to_string().into_bytes()));
        files
    }

    pub(crate) fn manifest(&self, packing: Packing, files: &mut Vec<(String, Vec<u8>)>) -> Vec<u8> {
        let suffix = match packing {
            Packing::Plain => "",
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        };
        let mut layers = Vec::new();
        for layer in &self.layers {
            let blob = pack(layer, packing);
            layers.push(descriptor(&format!("application/vnd.oci.image.layer.v1.tar{suffix}"), &blob));
            add_blob(files, blob);
        }
        let config = descriptor("application/vnd.oci.image.config.v1+json", &self.config_bytes());
        add_blob(files, self.config_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers})
            .to_string()
            .into_bytes()
    }
}

pub(crate) fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(blob).as_str(), "size": blob.len()})
}

pub(crate) fn add_blob(files: &mut Vec<(String, Vec<u8>)>, blob: Vec<u8>) {
    let name = format!("blobs/sha256/{}", Digest::of(&blob).hex());
    if !files.iter().any(|(other, _)| *other == name) {
        files.push((name, blob));
    }
}

pub(crate) fn host_architecture() -> String {
    oci_spec::image::Arch::default().to_string()
}

pub(crate) fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        builder.append_data(&mut header, name, &contents[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, contents) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }
}

/// Everything in the store below the directories that hold contents, but for its fixed parts.
pub(crate) fn contents(store: &Images) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["refs", "images", "layers", "l", "blobs", "staging"] {
        for entry in std::fs::read_dir(store.root().join(directory)).unwrap() {
            found.push(format!("{directory}/{}", entry.unwrap().file_name().display()));
        }
    }
    found.sort();
    found
}

/// An error with all its causes, as people see it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = (0..length / 8 + 1).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

pub(crate) fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}
