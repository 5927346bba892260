//! Debian's `docker-registry` on loopback, one for each test, and images pushed into it by the distribution
//! protocol, so that nothing of podling takes part in filling it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::image::file_in;
use e2e::{Image, Podling, Value};
use serde_json::json;

use crate::{image, listed, once};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) const USER: &str = "reader";
pub(crate) const PASSWORD: &str = "opensesame";
/// The password's bcrypt, which is all that the registry accepts in its file.
const HTPASSWD: &str = "reader:$2b$04$abcdefghijklmnopqrstuuFuhxWRTXIsURoluSTZ1N4tYaWGn9oOi\n";
/// USER:PASSWORD as HTTP wants it.
const BASIC: &str = "cmVhZGVyOm9wZW5zZXNhbWU=";

/// A running registry; it ends with the test.
pub(crate) struct Registry {
    process: Child,
    /// Such as `127.0.0.1:34567`.
    pub(crate) address: String,
}

impl Registry {
    /// Starts one on a free port and waits until it says which.
    pub(crate) fn start(podling: &Podling) -> Registry {
        Self::start_with(podling, json!({}))
    }

    /// The same, for those who have the password.
    pub(crate) fn start_locked(podling: &Podling) -> Registry {
        let htpasswd = podling.base().join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).unwrap();
        Self::start_with(podling, json!({ "htpasswd": { "realm": "tests", "path": htpasswd } }))
    }

    fn start_with(podling: &Podling, auth: Value) -> Registry {
        let config = podling.base().join("registry.json");
        let document = json!({
            "auth": auth,
            "version": 0.1,
            "log": { "level": "info", "formatter": "json" },
            "storage": { "filesystem": { "rootdirectory": podling.base().join("registry") } },
            "http": { "addr": "127.0.0.1:0" },
        });
        std::fs::write(&config, document.to_string()).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need Debian's package docker-registry");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ', ',']).next()?.to_owned())
        });
        // It must not block on a full pipe; the thread ends with the process.
        std::thread::spawn(move || lines.for_each(drop));
        Registry { process, address: address.expect("the registry says where it listens") }
    }

    /// Pushes an image as `repository:tag`; gives the digest of its manifest.
    pub(crate) fn push(&self, repository: &str, tag: &str, image: Image<'_>) -> String {
        let archive = image.save();
        let index: Value = serde_json::from_slice(&file_in(&archive, "index.json")).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = blob(&archive, &digest);
        let document: Value = serde_json::from_slice(&manifest).unwrap();
        let layers = document["layers"].as_array().unwrap();
        for descriptor in layers.iter().chain([&document["config"]]) {
            let digest = descriptor["digest"].as_str().unwrap();
            let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
            let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
            let target = location.trim_start_matches("http://").trim_start_matches(&self.address);
            let target = format!("{target}&digest={digest}");
            self.ask("PUT", &target, "application/octet-stream", &blob(&archive, digest));
        }
        self.ask("PUT", &format!("/v2/{repository}/manifests/{tag}"), MANIFEST, &manifest);
        digest
    }

    /// One request, which must succeed; gives the head of the answer.
    fn ask(&self, method: &str, target: &str, content_type: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Basic {BASIC}\r\n\
             Content-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {target}: {answer}");
        answer.replace('\r', "")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; all else is seen by whoever looks for leaks.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn blob(archive: &Path, digest: &str) -> Vec<u8> {
    file_in(archive, &format!("blobs/{}", digest.replace(':', "/")))
}

/// An image that prints who it is.
pub(crate) fn saying<'a>(podling: &'a Podling, who: &str) -> Image<'a> {
    Image::toolbox(podling, &format!("saying-{who}:1")).with("Cmd", json!(["echo", format!("I am {who}")]))
}

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    let digest = registry.push("team/app", "v1", saying(&podling, "one"));
    let name = format!("{}/team/app", registry.address);

    let by_tag = image(&podling, &["pull", &format!("{name}:v1")]);
    assert_eq!(by_tag.code, 0, "{by_tag}");
    assert!(by_tag.stdout.contains(&digest), "{by_tag}");
    let row = listed(&podling, &format!("{name}:v1")).unwrap();
    assert_eq!(row["repo_digests"], json!([format!("{name}@{digest}")]));

    let elsewhere = Podling::new();
    let by_digest = image(&elsewhere, &["pull", &format!("{name}@{digest}")]);
    assert_eq!(by_digest.code, 0, "{by_digest}");
    let finished = elsewhere.run(&once(&format!("image: {name}@{digest}, imagePullPolicy: Never")), &[]);
    assert_eq!(finished.lines_of("app"), ["I am one"], "{finished}");
}

#[test]
fn a_pod_pulls_its_own_image_by_tag_and_by_digest() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    let name = format!("{}/team/app", registry.address);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let digest = registry.push("team/app", "v2", saying(&podling, "two"));
    for (reference, words) in [(format!("{name}:v1"), "I am one"), (format!("{name}@{digest}"), "I am two")] {
        let finished = podling.run(&once(&format!("image: '{reference}'")), &["--output", "json"]);
        assert_eq!((finished.code, finished.lines_of("app")), (0, vec![words]), "{finished}");
        let events = finished.events_of("kubernetes_event");
        for reason in ["Pulling", "Pulled"] {
            assert!(events.iter().any(|event| event["reason"] == reason), "{reason} is missing: {finished}");
        }
    }
}

#[test]
fn what_a_registry_does_not_have_is_said() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let absent = format!("{}/team/app:v9", registry.address);
    image(&podling, &["pull", &absent]).assert_failed(125, &[&absent]);
    podling.run(&once(&format!("image: '{absent}'")), &[]).assert_failed(125, &["app", &absent]);
    // Nobody listens on the port discard.
    image(&podling, &["pull", "127.0.0.1:9/app:1"]).assert_failed(125, &["cannot be reached"]);
    image(&podling, &["pull", "Team/App:1"]).assert_failed(125, &["Team/App"]);
}
