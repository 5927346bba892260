//! Debian's `docker-registry` on loopback, one for each test, and images pushed into it over its own protocol, so that
//! nothing of what is tested takes part in filling it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use image::{Digest, Reference};
use serde_json::json;

use super::{Packing, TestImage};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const USER: &str = "reader";
pub(crate) const PASSWORD: &str = "opensesame";
/// The password's bcrypt with four rounds, which is all that the registry accepts in its file.
const HTPASSWD: &str = "reader:$2b$04$abcdefghijklmnopqrstuuFuhxWRTXIsURoluSTZ1N4tYaWGn9oOi\n";

/// What the registry asks for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Door {
    pub(crate) tls: bool,
    pub(crate) password: bool,
    /// With TLS only: who asks shows the registry's own certificate.
    pub(crate) client: bool,
}

pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    storage: PathBuf,
    door: Door,
}

impl Registry {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_behind(folder, Door::default())
    }

    /// Starts a registry on a free port and waits until it says which. With TLS its certificate is `registry.crt`.
    pub(crate) fn start_behind(folder: &Path, door: Door) -> Self {
        let storage = folder.join("registry");
        let config = folder.join("registry.json");
        let mut document = json!({
            "version": 0.1,
            "log": { "level": "info", "formatter": "json" },
            "storage": { "filesystem": { "rootdirectory": storage } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if door.tls {
            certify(folder);
            document["http"]["tls"] =
                json!({"certificate": folder.join("registry.crt"), "key": folder.join("registry.key")});
        }
        if door.client {
            document["http"]["tls"]["clientcas"] = json!([folder.join("registry.crt")]);
        }
        if door.password {
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            document["auth"] = json!({"htpasswd": {"realm": "tests", "path": folder.join("htpasswd")}});
        }
        fs::write(&config, document.to_string()).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need Debian's package docker-registry");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ', ',']).next()?.to_owned())
        });
        // It must not block on a full pipe; the thread ends with the process.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("the registry says where it listens"), storage, door }
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.address)).unwrap()
    }

    /// Pushes the image with gzip layers, and returns its manifest's digest.
    pub(crate) async fn push(&self, name: &str, image: &TestImage) -> Digest {
        let mut blobs = Vec::new();
        let manifest = image.manifest(Packing::Gzip, &mut blobs);
        self.push_raw(name, blobs, manifest, MANIFEST).await
    }

    pub(crate) async fn push_raw(
        &self,
        name: &str,
        blobs: Vec<(String, Vec<u8>)>,
        manifest: Vec<u8>,
        media_type: &str,
    ) -> Digest {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
        if self.door.client {
            let part = |name: &str| fs::read(self.storage.with_file_name(name)).unwrap();
            let both = [part("registry.crt"), part("registry.key")].concat();
            client = client.identity(reqwest::Identity::from_pem(&both).unwrap());
        }
        let client = client.build().unwrap();
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let scheme = if self.door.tls { "https" } else { "http" };
        let base = format!("{scheme}://{}/v2/{repository}", self.address);
        let send = async |request: reqwest::RequestBuilder| {
            let request = if self.door.password { request.basic_auth(USER, Some(PASSWORD)) } else { request };
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "{response:?}");
            response
        };
        for (_, blob) in blobs {
            let digest = Digest::of(&blob);
            let begun = send(client.post(format!("{base}/blobs/uploads/"))).await;
            let location = begun.headers()["location"].to_str().unwrap().to_owned();
            send(client.put(format!("{location}&digest={digest}")).body(blob)).await;
        }
        let digest = Digest::of(&manifest);
        let put = client.put(format!("{base}/manifests/{tag}")).header("Content-Type", media_type);
        send(put.body(manifest)).await;
        digest
    }

    /// The file that a blob is in.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.storage.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate that nobody signed but itself.
fn certify(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(folder.join("registry.key"))
        .arg("-out")
        .arg(folder.join("registry.crt"))
        .output()
        .expect("these tests need openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
