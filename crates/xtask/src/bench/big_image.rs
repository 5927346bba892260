//! The images that pulls are measured with, made of what this machine has under /usr, and a registry that serves them:
//! Debian's docker-registry on loopback, whose storage is filled directly, since how it is filled is not measured.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command;
use crate::failure::{Attempt, Failure, Result};

const LAYERS: usize = 8;
const LAYER_BYTES: u64 = 500_000_000 / LAYERS as u64;
/// One huge file would make a layer of one file.
const FILE_MAX_BYTES: u64 = 20_000_000;
/// A layer of the small image.
const SMALL_BYTES: u64 = 1_000_000;

/// A layer as it is served.
pub(crate) struct Layer {
    pub(crate) digest: String,
    diff_id: String,
    pub(crate) bytes: u64,
}

/// An image in the registry.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) layers: Vec<Layer>,
    pub(crate) files: usize,
    pub(crate) unpacked_bytes: u64,
}

/// A registry, ended with this value.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    storage: PathBuf,
}

impl Registry {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let storage = directory.join("registry");
        let config = directory.join("registry.json");
        let document = json!({
            "version": 0.1,
            "log": {"level": "info", "formatter": "json"},
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": "127.0.0.1:0"},
        });
        fs::create_dir_all(&storage).attempt(format!("creating {}", storage.display()))?;
        fs::write(&config, document.to_string()).attempt("writing the registry's configuration")?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .attempt("starting docker-registry")?;
        let stderr = process.stderr.take().ok_or_else(|| Failure::new("docker-registry has no output"))?;
        let mut lines = BufReader::new(stderr).lines().map_while(std::io::Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ', ',']).next()?.to_owned())
        });
        // It must not block on a full pipe; the thread ends with the process.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.ok_or_else(|| Failure::new("docker-registry does not say where it listens"))?;
        Ok(Self { process, address, storage })
    }

    /// An image of 8 layers and 500 MB.
    pub(crate) fn add_big(&self, scratch: &Path) -> Result<Image> {
        self.add("big", &slices(LAYERS, LAYER_BYTES)?, scratch)
    }

    /// An image of one layer and a megabyte.
    pub(crate) fn add_small(&self, scratch: &Path) -> Result<Image> {
        self.add("small", &slices(1, SMALL_BYTES)?, scratch)
    }

    fn add(&self, name: &'static str, slices: &[Vec<(PathBuf, u64)>], scratch: &Path) -> Result<Image> {
        let mut layers = Vec::new();
        for files in slices {
            layers.push(self.add_layer(name, files, scratch)?);
        }
        let config = json!({
            "architecture": oci_spec::image::Arch::default(),
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()},
        });
        let config = config.to_string();
        let config_digest = self.blob(name, config.as_bytes())?;
        let of = |kind: &str, digest: &str, bytes: usize| -> Value {
            json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": of("config.v1+json", &config_digest, config.len()),
            "layers": layers.iter()
                .map(|layer| of("layer.v1.tar+gzip", &layer.digest, layer.bytes as usize))
                .collect::<Vec<_>>(),
        });
        let digest = self.blob(name, manifest.to_string().as_bytes())?;
        let hex = hex(&digest);
        let manifests = format!("repositories/{name}/_manifests");
        for place in [
            "tags/latest/current".to_owned(),
            format!("tags/latest/index/sha256/{hex}"),
            format!("revisions/sha256/{hex}"),
        ] {
            self.link(&format!("{manifests}/{place}"), &digest)?;
        }
        let all = slices.iter().flatten();
        Ok(Image {
            name,
            layers,
            files: all.clone().count(),
            unpacked_bytes: all.map(|(_, bytes)| bytes).sum(),
        })
    }

    /// Debian's own tar and gzip make the archive.
    fn add_layer(&self, name: &str, files: &[(PathBuf, u64)], scratch: &Path) -> Result<Layer> {
        let (list, archive) = (scratch.join("files"), scratch.join("layer.tar"));
        let mut text = Vec::new();
        for (path, _) in files {
            text.extend_from_slice(path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes());
            text.push(0);
        }
        fs::write(&list, text).attempt("writing the list of a layer's files")?;
        let mut tar = Command::new("tar");
        tar.args(["--create", "--directory", "/", "--null", "--no-recursion", "--numeric-owner"]);
        command::output(tar.arg("--files-from").arg(&list).arg("--file").arg(&archive))?;
        let diff_id = digest_of(&archive)?;
        command::output(Command::new("gzip").args(["--no-name", "--force"]).arg(&archive))?;
        let packed = scratch.join("layer.tar.gz");
        let digest = digest_of(&packed)?;
        let bytes = packed.metadata().attempt("looking at a layer")?.len();
        let target = self.blob_path(&digest);
        fs::create_dir_all(target.parent().unwrap_or(&target)).attempt("making a blob's directory")?;
        fs::rename(&packed, &target).attempt("moving a layer into the registry")?;
        self.link(&format!("repositories/{name}/_layers/sha256/{}", hex(&digest)), &digest)?;
        Ok(Layer { digest, diff_id, bytes })
    }

    fn blob(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let digest = format!(
            "sha256:{}",
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        let path = self.blob_path(&digest);
        fs::create_dir_all(path.parent().unwrap_or(&path)).attempt("making a blob's directory")?;
        fs::write(&path, bytes).attempt("writing a blob")?;
        self.link(&format!("repositories/{name}/_layers/sha256/{}", hex(&digest)), &digest)?;
        Ok(digest)
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = hex(digest);
        self.root().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    fn link(&self, place: &str, digest: &str) -> Result {
        let directory = self.root().join(place);
        fs::create_dir_all(&directory).attempt("making a directory of the registry")?;
        fs::write(directory.join("link"), digest).attempt("writing a link of the registry")
    }

    fn root(&self) -> PathBuf {
        self.storage.join("docker/registry/v2")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn digest_of(path: &Path) -> Result<String> {
    let line = command::text(Command::new("sha256sum").arg(path))?;
    Ok(format!("sha256:{}", line.split(' ').next().unwrap_or_default()))
}

/// So many lists of regular files of so many bytes, none twice.
fn slices(count: usize, bytes: u64) -> Result<Vec<Vec<(PathBuf, u64)>>> {
    let mut slices = vec![Vec::new()];
    let mut filled = 0;
    let mut waiting = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/share"), PathBuf::from("/usr/bin")];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(path);
                continue;
            }
            if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES.min(bytes) || metadata.nlink() > 1 {
                continue;
            }
            if filled + metadata.len() > bytes {
                if slices.len() == count {
                    return Ok(slices);
                }
                slices.push(Vec::new());
                filled = 0;
            }
            filled += metadata.len();
            if let Some(last) = slices.last_mut() {
                last.push((path, metadata.len()));
            }
        }
    }
    Err(Failure::new(format!(
        "this machine has too few files for an image of {} MB",
        count as u64 * bytes / 1_000_000
    )))
}
