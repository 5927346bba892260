//! Pulls as their users meet them: private images, images that are fetched ahead, and what is left when podling is killed
//! in the middle.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::{Image, Podling, Signal, Value, pod};
use serde_json::json;

use crate::registry::{PASSWORD, Registry, USER, saying};
use crate::{image, listed, once};

const PATIENCE: Duration = Duration::from_secs(60);

fn config_for(host: &str, password: &str) -> String {
    json!({ "auths": { host: { "username": USER, "password": password } } }).to_string()
}

/// A Pod with a Secret beside it.
fn with_secret(container: &str, kind: &str, key: &str, config: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pull" }, "type": kind, "stringData": { key: config },
    });
    let spec = format!(
        "restartPolicy: Never\nimagePullSecrets: [{{name: pull}}]\ncontainers: [{{name: app, {container}}}]"
    );
    format!("{}\n---\n{secret}\n", pod("once", &spec))
}

#[test]
fn a_private_image_is_pulled_with_the_pods_secret() {
    let podling = Podling::new();
    let registry = Registry::start_locked(&podling);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let container = format!("image: '{}/team/app:v1'", registry.address);

    let refused = podling.run(&once(&container), &[]);
    refused.assert_failed(125, &["app", "imagePullSecrets"]);
    let kind = "kubernetes.io/dockerconfigjson";
    let wrong = with_secret(&container, kind, ".dockerconfigjson", &config_for(&registry.address, "wrong"));
    podling.run(&wrong, &[]).assert_failed(125, &["app", "401"]);
    let missing = wrong.replace("name: pull", "name: absent");
    let missing = podling.run(&missing, &[]);
    missing.assert_failed(125, &["Unable to retrieve some image pull secrets (absent)"]);

    let right = with_secret(&container, kind, ".dockerconfigjson", &config_for(&registry.address, PASSWORD));
    let finished = podling.run(&right, &["--output", "json"]);
    assert_eq!((finished.code, finished.lines_of("app")), (0, vec!["I am one"]), "{finished}");
    assert_eq!(image(&podling, &["remove", &format!("{}/team/app:v1", registry.address)]).code, 0);

    // The older kind holds the entries alone.
    let old = json!({ registry.address.clone(): { "username": USER, "password": PASSWORD } }).to_string();
    let old = with_secret(&container, "kubernetes.io/dockercfg", ".dockercfg", &old);
    assert_eq!(podling.run(&old, &[]).lines_of("app"), ["I am one"]);
    for said in [refused, missing, finished] {
        assert!(!said.stderr.contains(PASSWORD) && !said.stdout.contains(PASSWORD), "{said}");
    }
}

/// KEP-2535: who knows only the name of what another Pod pulled has to ask the registry, and is refused like that.
#[test]
fn a_private_image_that_is_here_is_not_for_pods_without_its_secret() {
    let podling = Podling::new();
    let registry = Registry::start_locked(&podling);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let container =
        |policy: &str| format!("image: '{}/team/app:v1', imagePullPolicy: {policy}", registry.address);
    let kind = "kubernetes.io/dockerconfigjson";
    let right = config_for(&registry.address, PASSWORD);
    let with = |policy: &str| with_secret(&container(policy), kind, ".dockerconfigjson", &right);
    assert_eq!(podling.run(&with("IfNotPresent"), &[]).lines_of("app"), ["I am one"]);

    let refused = podling.run(&once(&container("IfNotPresent")), &[]);
    refused.assert_failed(125, &["ErrImagePull", "pulled with other credentials", "same imagePullSecrets"]);
    let never = podling.run(&once(&container("Never")), &[]);
    never.assert_failed(125, &["pull policy of Never", "pulled with other credentials"]);

    // Whoever shows the same needs no registry any more.
    let (if_not_present, without_registry) = (with("IfNotPresent"), with("Never"));
    drop(registry);
    assert_eq!(podling.run(&if_not_present, &[]).lines_of("app"), ["I am one"]);
    assert_eq!(podling.run(&without_registry, &[]).lines_of("app"), ["I am one"]);
}

#[test]
fn a_private_image_is_pulled_with_dockers_own_file() {
    let podling = Podling::new();
    let registry = Registry::start_locked(&podling);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let reference = format!("{}/team/app:v1", registry.address);
    image(&podling, &["pull", &reference]).assert_failed(125, &["wants credentials", ".docker/config.json"]);
    let folder = podling.base().join("docker");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), config_for(&registry.address, PASSWORD)).unwrap();
    let pulled = podling
        .prepare(["image", "pull", &reference])
        .env("DOCKER_CONFIG", folder.to_str().unwrap())
        .finish();
    assert_eq!(pulled.code, 0, "{pulled}");
    let inspected = image(&podling, &["inspect", "--output", "json", &reference]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(inspected[0]["tags"], json!([reference]));
    assert_eq!(inspected[0]["in_use"], false);
    assert!(inspected[0]["layers"].as_array().is_some_and(|layers| !layers.is_empty()), "{inspected}");
    let text = image(&podling, &["inspect", &reference]);
    assert!(text.stdout.contains("echo I am one"), "{text}");
    let trial = image(&podling, &["prune", "--all", "--dry-run"]);
    assert!(trial.stdout.contains(&reference) && listed(&podling, &reference).is_some(), "{trial}");
    let pruned = image(&podling, &["prune", "--all"]);
    assert!(pruned.stdout.contains(&format!("{reference}: removed")), "{pruned}");
    assert!(listed(&podling, &reference).is_none());
}

#[test]
fn the_next_image_comes_while_the_init_container_runs() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    for name in ["first", "second"] {
        registry.push(name, "v1", saying(&podling, name));
    }
    let between = Between::start(&registry.address, u64::MAX);
    let spec = format!(
        "initContainers: [{{name: init, image: '{0}/first:v1', command: [sleep, '1000']}}]\n\
         containers: [{{name: app, image: '{0}/second:v1'}}]",
        between.address
    );
    let mut running = podling.spawn(&pod("ahead", &spec), &[]);
    running.wait_for_start("init", 0);
    while !between.requests.recv_timeout(PATIENCE).unwrap().contains("/second/") {}
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
}

/// One download for two processes: the second asks what the tag stands for, and finds the layers there.
#[test]
fn two_podlings_that_pull_one_image_download_its_layers_once() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    let noise: Vec<u8> =
        (0..2_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    registry.push("big", "v1", Image::toolbox(&podling, "big:1").layer(&[("noise", 0o644, &noise)]));
    let between = Between::start(&registry.address, u64::MAX);
    let reference = format!("{}/big:v1", between.address);
    let both: Vec<_> = (0..2).map(|_| podling.prepare(["image", "pull", &reference]).start()).collect();
    for running in both {
        let finished = running.wait();
        assert_eq!(finished.code, 0, "{finished}");
    }
    let mut asked: Vec<String> =
        between.requests.try_iter().filter(|line| line.contains("/blobs/")).collect();
    let inspected = image(&podling, &["inspect", "--output", "json", &reference]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let id = inspected[0]["id"].as_str().unwrap();
    asked.retain(|line| !line.contains(id));
    asked.sort();
    let all = asked.len();
    asked.dedup();
    assert_eq!(all, asked.len(), "{asked:?}");
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_that_can_be_seen() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    let noise: Vec<u8> =
        (0..2_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let big = Image::toolbox(&podling, "big:1").layer(&[("noise", 0o644, &noise)]);
    registry.push("big", "v1", big);
    let between = Between::start(&registry.address, 1 << 20);
    let running = podling.prepare(["image", "pull", &format!("{}/big:v1", between.address)]).start();
    between.stalled.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::KILL);
    running.wait();
    assert!(listed(&podling, &format!("{}/big:v1", between.address)).is_none());
    drop(between);
    let pulled = image(&podling, &["pull", &format!("{}/big:v1", registry.address)]);
    assert_eq!(pulled.code, 0, "{pulled}");
    let staging = podling.image_dir().join("staging");
    assert_eq!(
        std::fs::read_dir(staging).unwrap().count(),
        0,
        "the next pull clears away what the killed one left"
    );
}

/// The registry is reached through the proxy that the environment names, and by a name that nobody else knows.
#[test]
fn a_proxy_of_the_environment_is_used_and_settings_are_read_from_a_directory() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    registry.push("team/app", "v1", saying(&podling, "one"));
    let proxy = Between::start(&registry.address, u64::MAX);
    let settings = podling.base().join("certs.d");
    std::fs::create_dir_all(settings.join("registry.example:5000")).unwrap();
    let hosts = settings.join("registry.example:5000/hosts.toml");
    std::fs::write(hosts, "server = 'http://registry.example:5000'\n").unwrap();
    let pulled = podling
        .prepare(["image", "pull", "registry.example:5000/team/app:v1"])
        .env("PODLING_CERTS_D", settings.to_str().unwrap())
        .env("HTTP_PROXY", &format!("http://{}", proxy.address))
        .finish();
    assert_eq!(pulled.code, 0, "{pulled}");
    let first = proxy.requests.recv_timeout(PATIENCE).unwrap();
    assert!(first.starts_with("GET http://registry.example:5000/v2/team/app/manifests/v1 "), "{first}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = podling
        .prepare(["image", "pull", "registry.example:5000/team/app:v2"])
        .env("PODLING_CERTS_D", settings.to_str().unwrap())
        .env("HTTP_PROXY", &format!("http://{nobody}"))
        .finish();
    refused.assert_failed(125, &["cannot connect to registry.example:5000", "HTTP_PROXY is set"]);
}

#[test]
fn what_podman_has_is_taken_over() {
    let podling = Podling::new();
    let archive = saying(&podling, "podman").save();
    let folder = podling.base().join("podman");
    let (graph, run, config) = (folder.join("storage"), folder.join("run"), folder.join("storage.conf"));
    std::fs::create_dir(&folder).unwrap();
    let text = format!("[storage]\ndriver = \"overlay\"\ngraphroot = {graph:?}\nrunroot = {run:?}\n");
    std::fs::write(&config, text).unwrap();
    let loaded = std::process::Command::new("podman")
        .arg("--tmpdir")
        .arg(folder.join("tmp"))
        .args(["load", "--input"])
        .arg(&archive)
        .env("CONTAINERS_STORAGE_CONF", config)
        .output()
        .expect("this test needs Debian's package podman");
    // Its driver mounts the store's directory over itself.
    let unmounted = std::process::Command::new("umount").arg(graph.join("overlay")).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let imported = image(&podling, &["import-from", "podman", "--root", graph.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{imported} {unmounted:?}");
    assert!(imported.stdout.contains("saying-podman:1: imported"), "{imported}");
    let name = imported.stdout.split(": imported").next().unwrap();
    let finished = podling.run(&once(&format!("image: '{name}', imagePullPolicy: Never")), &[]);
    assert_eq!(finished.lines_of("app"), ["I am podman"], "{finished}");
    let absent = image(&podling, &["import-from", "docker", "--root", podling.base().to_str().unwrap()]);
    absent.assert_failed(125, &["Docker has no images there"]);
}

/// A line between podling and a registry that tells what is asked for, and stands still after so many bytes.
struct Between {
    address: String,
    requests: Receiver<String>,
    stalled: Receiver<()>,
    streams: Arc<Mutex<HashMap<u16, TcpStream>>>,
    ends: Arc<std::sync::atomic::AtomicBool>,
}

impl Between {
    fn start(upstream: &str, stall_after_bytes: u64) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell_request, requests) = channel();
        let (tell_stall, stalled) = channel();
        let streams = Arc::new(Mutex::new(HashMap::new()));
        let ends = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let left = Arc::new(Mutex::new(stall_after_bytes));
        let (upstream, known, over) = (upstream.to_owned(), Arc::clone(&streams), Arc::clone(&ends));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let server = TcpStream::connect(&upstream).unwrap();
                let port = client.peer_addr().unwrap().port();
                known.lock().unwrap().insert(port, client.try_clone().unwrap());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let tell = tell_request.clone();
                std::thread::spawn(move || forward_requests(from, to, &tell));
                let (left, tell) = (Arc::clone(&left), tell_stall.clone());
                std::thread::spawn(move || forward_answers(server, client, &left, &tell));
            }
        });
        Between { address, requests, stalled, streams, ends }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.ends.store(true, std::sync::atomic::Ordering::Relaxed);
        for stream in self.streams.lock().unwrap().values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let _ = TcpStream::connect(&self.address);
    }
}

fn forward_requests(mut from: TcpStream, mut to: TcpStream, tell: &Sender<String>) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let _ =
            tell.send(String::from_utf8_lossy(&buffer[..read]).lines().next().unwrap_or_default().to_owned());
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn forward_answers(mut from: TcpStream, mut to: TcpStream, left: &Mutex<u64>, tell: &Sender<()>) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let is_over = {
            let mut left = left.lock().unwrap();
            *left = left.saturating_sub(read as u64);
            *left == 0
        };
        if is_over {
            // The connection stays open, and nothing comes.
            let _ = tell.send(());
            return;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
