//! Pods of one image that run at the same time share what was read of its layers.

use std::fs;

use e2e::{Podling, Running, Signal, pod};

/// The superblocks of a Pod's layers, by the numbers of their devices: two that are one share their pages.
fn superblocks(run: &mut Running<'_>) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid_of("app"))).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let mounts = fs::read_to_string(format!("/proc/{shim}/mountinfo")).unwrap();
    let layers = mounts.lines().filter(|line| line.contains("/layers/") && line.contains(" - erofs "));
    layers.map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
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
