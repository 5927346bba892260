//! Pods of one image that run at the same time share what was read of its layers; those of a node also one after the other.

use std::fs;
use std::path::PathBuf;

use e2e::{Node, Podling, Running, Signal, pod};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::image;

/// The superblocks of a Pod's layers, by the numbers of their devices: two that are one share their pages.
fn superblocks(run: &mut Running<'_>) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid_of("app"))).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    mounted(&PathBuf::from(format!("/proc/{shim}/mountinfo")))
}

/// The superblocks of all layers in a list of mounts.
fn mounted(mountinfo: &std::path::Path) -> Vec<String> {
    let mounts = fs::read_to_string(mountinfo).unwrap();
    let layers = mounts.lines().filter(|line| line.contains(" - erofs "));
    layers.map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
}

/// Where to read what the node keeps mounted: in the thread that has it.
fn of_the_node(node: &mut Node<'_>) -> PathBuf {
    let threads = fs::read_dir(format!("/proc/{}/task", node.running().pid())).unwrap().flatten();
    // Others may end meanwhile.
    let is_it = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "kept-layers")
    };
    threads.map(|thread| thread.path()).find(is_it).expect("the thread that has the mounts").join("mountinfo")
}

/// The second signal stops at once; the first must have arrived, or both are one.
fn stop(mut run: Running<'_>) {
    run.signal(Signal::INT);
    run.wait_for("the stop", |event| event["event"] == "stopping");
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, 130);
}

#[test]
fn pods_of_one_image_share_its_layers_while_any_of_them_runs() {
    let podling = Podling::with_images(&["busybox"]);
    let container = "{name: app, image: busybox, imagePullPolicy: Never, command: [sleep, infinity]}";
    let start = |name: &str| {
        let mut run = podling.spawn(&pod(name, &format!("containers: [{container}]")), &[]);
        run.wait_until_ready();
        run
    };
    let (mut first, mut second) = (start("first"), start("second"));
    let shared = superblocks(&mut first);
    if shared.is_empty() {
        eprintln!("left out: this kernel has no EROFS, so layers are directories");
        return;
    }
    assert_eq!(superblocks(&mut second), shared);
    stop(second);
    // What the newest said is of no use any more; the older one is found behind it.
    let mut third = start("third");
    assert_eq!(superblocks(&mut third), shared);
    stop(first);
    let mut fourth = start("fourth");
    assert_eq!(superblocks(&mut fourth), shared, "it lives on in the copy");
    stop(third);
    stop(fourth);
}

#[test]
fn a_node_keeps_layers_mounted_for_the_next_pod_and_lets_them_go_with_the_image() {
    let podling = Podling::with_images(&["busybox"]);
    let mut node = Node::start(&podling, &[]);
    let kubectl = |node: &Node<'_>, words: &str| {
        let output = node.kubectl(words.split(' '));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let run = |node: &Node<'_>, name: &str| {
        kubectl(node, &format!("run {name} --image=busybox --image-pull-policy=Never -- sleep infinity"));
        kubectl(node, &format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
        newest_shims(&podling)
    };
    let first = run(&node, "first");
    if first.is_empty() {
        eprintln!("left out: this kernel has no EROFS, so layers are directories");
        return;
    }
    let kept = of_the_node(&mut node);
    assert_eq!(mounted(&kept), first);
    kubectl(&node, "delete pod first --now");
    assert_eq!(mounted(&kept), first, "its Pod is gone");
    assert_eq!(run(&node, "second"), first, "what the first has read is read");
    kubectl(&node, "delete pod second --now");

    let changes = fs::File::open(&kept).unwrap();
    assert_eq!(image(&podling, &["remove", "busybox"]).code, 0);
    // A list of mounts tells of its changes (proc_pid_mounts(5)).
    while !mounted(&kept).is_empty() {
        let deadline = Timespec { tv_sec: 30, tv_nsec: 0 };
        let told = poll(&mut [PollFd::new(&changes, PollFlags::PRI)], Some(&deadline)).unwrap();
        assert_eq!(told, 1, "the space of the image is not given back");
    }
}

/// The superblocks in the Pod that came last, by what its shim left for others to find.
fn newest_shims(podling: &Podling) -> Vec<String> {
    let hints = fs::read_dir(podling.image_dir().join("mounted")).unwrap().flatten();
    let Some(hint) = hints.map(|hint| fs::read_to_string(hint.path()).unwrap()).next() else {
        return Vec::new();
    };
    let newest = hint.lines().rfind(|line| line.starts_with("shim ")).unwrap();
    mounted(&PathBuf::from(format!("/proc/{}/mountinfo", newest.split(' ').nth(1).unwrap())))
}
