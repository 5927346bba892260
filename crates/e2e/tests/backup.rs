//! `podling backup` and `podling restore`, with a node that runs and with one that does not, and with files that are no backups.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::running::Finished;
use e2e::{Node, Podling};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [sleep, infinity]}
";

fn call(podling: &Podling, words: &[&str], data_dir: &Path) -> Finished {
    podling.prepare_bare(words).arg("--data-dir").arg(data_dir).finish()
}

/// A backup of the node, which must succeed.
fn back_up(podling: &Podling) -> PathBuf {
    let finished = call(podling, &["backup", "saved"], &podling.data_dir());
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stdout.starts_with("backed up "), "{finished}");
    podling.base().join("saved")
}

/// One kubectl command that must succeed.
fn kubectl(node: &Node<'_>, words: &str) -> String {
    let output = node.kubectl(words.split_whitespace());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {words}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// One that must not.
fn refused(node: &Node<'_>, words: &str) -> String {
    let output = node.kubectl(words.split_whitespace());
    assert!(!output.status.success(), "kubectl {words}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn create_pod(podling: &Podling, node: &Node<'_>, name: &str) {
    let file = format!("{name}.yaml");
    fs::write(podling.base().join(&file), POD.replace("NAME", name)).expect("writing the manifest");
    kubectl(node, &format!("create -f {file}"));
    kubectl(node, &format!("wait --for=condition=Ready --timeout=60s pod/{name}"));
}

/// The revision of everything.
fn revision(node: &Node<'_>) -> u64 {
    let list: serde_json::Value =
        serde_json::from_str(&kubectl(node, "get --raw /api/v1/configmaps")).expect("a list");
    list["metadata"]["resourceVersion"].as_str().expect("a revision").parse().expect("a number")
}

#[test]
fn a_running_node_takes_a_backup_and_goes_on() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    let pid = node.running().pid();
    kubectl(&node, "create configmap kept --from-literal=colour=blue");
    create_pod(&podling, &node, "stays");
    create_pod(&podling, &node, "comes-back");
    let container = |node: &Node<'_>| {
        kubectl(node, "get pod stays -o jsonpath={.metadata.uid}{.status.containerStatuses[0].containerID}")
    };
    let before = container(&node);
    let saved = back_up(&podling);

    kubectl(&node, "delete configmap kept");
    kubectl(&node, "create configmap later");
    kubectl(&node, "delete pod comes-back");
    create_pod(&podling, &node, "goes");
    let seen = revision(&node);
    let finished = call(&podling, &["restore", "saved"], &podling.data_dir());
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stdout.contains("; the running node serves them"), "{finished}");

    // The same process, at the same port.
    assert_eq!(node.running().pid(), pid);
    assert_eq!(kubectl(&node, "get configmap kept -o jsonpath={.data.colour}"), "blue");
    assert!(refused(&node, "get configmap later").contains("NotFound"));
    assert!(refused(&node, "get pod goes").contains("NotFound"));
    // Whoever has seen everything has to list anew nevertheless, and nothing that was given is given again.
    let watch = format!("get --raw /api/v1/configmaps?watch=true&resourceVersion={seen}");
    assert!(refused(&node, &watch).contains("too old resource version"), "{}", refused(&node, &watch));
    assert!(revision(&node) > seen);
    // What ran goes on, and what the backup has runs again.
    assert_eq!(container(&node), before);
    kubectl(&node, "wait --for=condition=Ready --timeout=60s pod/comes-back pod/stays");
    assert_eq!(kubectl(&node, "get pod stays -o jsonpath={.status.containerStatuses[0].restartCount}"), "0");
    node.running().assert_quiet();

    // And once more, because a second restore is none of a fresh process either.
    let finished = call(&podling, &["restore", "saved"], &podling.data_dir());
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stdout.contains("store.replaced-2"), "{finished}");
    assert_eq!(container(&node), before);
    drop(node);
    fs::remove_file(saved).expect("the backup");
    for number in [1, 2] {
        let kept = podling.data_dir().join(format!("store.replaced-{number}"));
        fs::remove_dir_all(kept).expect("what was replaced");
    }
}

#[test]
fn a_backup_comes_back_where_no_node_runs() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    kubectl(&node, "create configmap kept");
    back_up(&podling);
    node.kill();
    // Of a node that was killed, too.
    let finished = call(&podling, &["backup", "saved", "--overwrite"], &podling.data_dir());
    assert_eq!(finished.code, 0, "{finished}");
    // The log has all that the file has, so that SQLite would mend it by that.
    fs::remove_file(podling.data_dir().join("store/objects.db-wal")).expect("removing the log");
    fs::write(podling.data_dir().join("store/objects.db"), "not what was written")
        .expect("damaging the store");
    let finished = podling.prepare(["serve", "--listen", "127.0.0.1:0"]).finish();
    finished.assert_failed(125, &["objects.db is damaged", "podling restore FILE"]);

    let finished = call(&podling, &["restore", "saved"], &podling.data_dir());
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stdout.contains("the next `podling serve` serves them"), "{finished}");
    node.restart(&[]);
    kubectl(&node, "get configmap kept");
    drop(node);
    fs::remove_dir_all(podling.data_dir().join("store.replaced-1")).expect("what was replaced");

    // On a machine that has nothing yet.
    let fresh = podling.base().join("fresh");
    let finished = call(&podling, &["restore", "saved"], &fresh);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(mode(&fresh.join("store/objects.db")), 0o600);
    fs::remove_dir_all(fresh).expect("the fresh directory");
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file").permissions().mode() & 0o777
}

#[test]
fn what_is_no_backup_is_refused_and_nothing_is_changed() {
    let podling = Podling::new();
    let node = Node::start(&podling, &[]);
    kubectl(&node, "create configmap kept");
    let saved = back_up(&podling);
    assert_eq!(mode(&saved), 0o600);
    let whole = fs::read(&saved).expect("the backup");
    let mut newer = whole.clone();
    // The version of the tables: <https://www.sqlite.org/fileformat.html#user_version_number>
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let mut bent = whole.clone();
    let at = whole.windows(9).position(|bytes| bytes == b"configmap").expect("a key of a configmap");
    bent[at] ^= 1;
    let files: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "is neither a store of podling nor a backup of one"),
        ("text", b"apiVersion: v1\nkind: ConfigMap\n", "is neither a store of podling nor a backup of one"),
        ("half", &whole[..whole.len() / 2], "the backup half is damaged"),
        ("bent", &bent, "the backup bent is damaged"),
        ("newer", &newer, "has version 99 and this podling knows versions up to"),
        ("head", &whole[..100], "the backup head is damaged"),
    ];
    for (name, bytes, said) in files {
        fs::write(podling.base().join(name), bytes).expect("writing a file");
        call(&podling, &["restore", name], &podling.data_dir()).assert_failed(125, &[name, said]);
    }
    call(&podling, &["restore", "missing"], &podling.data_dir())
        .assert_failed(125, &["missing", "No such file"]);
    call(&podling, &["restore", "."], &podling.data_dir()).assert_failed(125, &["directory"]);
    kubectl(&node, "get configmap kept");
}

#[test]
fn a_backup_that_cannot_be_written_leaves_nothing() {
    let podling = Podling::new();
    let node = Node::start(&podling, &[]);
    let data_dir = podling.data_dir();
    let taken = podling.base().join("taken");
    fs::write(&taken, "mine").expect("writing a file");
    call(&podling, &["backup", "taken"], &data_dir).assert_failed(125, &["taken exists", "--overwrite"]);
    assert_eq!(fs::read(&taken).expect("the file"), b"mine");
    call(&podling, &["backup", "no/such/file"], &data_dir)
        .assert_failed(125, &["no/such/file.part", "No such file"]);
    call(&podling, &["backup", ".", "--overwrite"], &data_dir).assert_failed(125, &[]);
    call(&podling, &["backup", "x"], &podling.base().join("nobody"))
        .assert_failed(125, &["there is no store in"]);

    let small = podling.base().join("small");
    fs::create_dir(&small).expect("a directory");
    let mount = format!("mount -t tmpfs -o size=8k none {}", small.display());
    let full = podling.prepare_bare(["backup", "small/saved"]).arg("--data-dir").arg(&data_dir);
    full.after_mounting(&mount).finish().assert_failed(125, &["small/saved.part", "no space is left"]);

    for name in ["taken.part", "no", "x", "x.part"] {
        assert!(!podling.base().join(name).exists(), "{name}");
    }
    kubectl(&node, "get configmaps");
}

#[test]
fn a_node_without_objects_takes_no_restore() {
    let (control, worker) = (Podling::new(), Podling::new());
    let node = Node::start(&control, &["--no-node", "--node-name", "worker-1"]);
    let saved = back_up(&control);
    let joined = e2e::Worker::join(&worker, &control);
    let words = ["restore", saved.to_str().expect("a path")];
    call(&worker, &words, &worker.data_dir())
        .assert_failed(125, &["is in use by process", "takes no restore"]);
    call(&worker, &["backup", "x"], &worker.data_dir()).assert_failed(125, &["there is no store in"]);
    drop(joined);
    drop(node);
}

#[test]
fn a_node_whose_directory_is_moved_away_ends_and_says_so() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    kubectl(&node, "create configmap kept");
    let away = podling.base().join("away");
    fs::rename(podling.data_dir(), &away).expect("moving the data directory");
    let finished = node.wait();
    finished.assert_failed(125, &["was removed or moved away", "podling restore"]);
    fs::rename(&away, podling.data_dir()).expect("moving it back");
    node.restart(&[]);
    kubectl(&node, "get configmap kept");

    fs::remove_file(podling.data_dir().join("store/objects.db")).expect("removing the objects");
    node.wait().assert_failed(125, &["was removed or moved away"]);
    let _ = fs::remove_dir_all(podling.data_dir().join("store"));
}
