//! What a user's program does with Kubernetes' client libraries: one in Python, one in JavaScript and one in Rust, in `clients/`, do
//! the same and must see the same.

use std::path::PathBuf;
use std::process::Command;

use e2e::{Node, Podling};

/// What each of them prints.
const EXPECTED: &str = "\
created clients
again: 409 AlreadyExists
ready: main server
listed: clients Running
log: first second
followed to: second
exec: stdout=out stderr=err code=3
exec: stdout=got input stderr= code=0
port-forward: 200
patched: blue
deleted clients
gone: 404 NotFound
";

/// A file that `cargo xtask clients` has installed.
fn installed(path: &str) -> PathBuf {
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.ancestors().nth(3).expect("a target directory");
    let path = target.join("clients").join(path);
    assert!(path.exists(), "{} is not there; `cargo xtask clients` installs it", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn play(mut client: Command) {
    let podling = Podling::with_images(&["busybox"]);
    let mut node = Node::start(&podling, &[]);
    client.arg(script("pod.json")).env("KUBECONFIG", node.kubeconfig()).env("HOME", podling.base());
    let output = client.output().unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout == EXPECTED, "{}\n{stdout}\n{stderr}", output.status);
    node.running().assert_quiet();
}

#[test]
fn with_python() {
    let mut python = Command::new(installed("python/bin/python3"));
    python.arg(script("client.py"));
    play(python);
}

#[test]
fn with_javascript() {
    let folder = installed("js");
    installed("js/node_modules/@kubernetes/client-node");
    // Modules are looked for beside the script.
    let copy = folder.join("client.js");
    std::fs::copy(script("client.js"), &copy).expect("copying the script beside its modules");
    let mut node = Command::new("node");
    node.arg(copy);
    play(node);
}

#[test]
fn with_rust() {
    play(Command::new(installed("rust/debug/podling-client")));
}
