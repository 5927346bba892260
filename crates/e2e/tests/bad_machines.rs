//! Machines that podling cannot work on: it says what is missing, and leaves nothing.

use e2e::{Image, Podling, pod};

fn fine() -> String {
    pod("fine", "containers: [{name: a, image: podling/toolbox, args: ['true']}]\nrestartPolicy: Never")
}

/// The user `nobody`, without any capability.
const NOBODY: u32 = 65534;

#[test]
fn without_root() {
    let podling = Podling::new();
    let finished = podling.prepare_run(&fine(), &[]).as_user(NOBODY).finish();
    finished.assert_failed(125, &["needs root", "sudo"]);
    // A manifest is checked for anybody.
    let wrong = podling.prepare_run("kind: Pod\napiVersion: v1\n", &[]).as_user(NOBODY).finish();
    wrong.assert_failed(125, &["nothing was started"]);
    podling.prepare(["doctor"]).as_user(NOBODY).finish().assert_failed(1, &[]);
}

#[test]
fn with_read_only_cgroups() {
    let podling = Podling::new();
    // Every hierarchy by itself: a bind of the whole would not make those below it read-only.
    let script = "mount --make-rprivate /; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do \
                  if mountpoint -q $d; then mount -o remount,bind,ro $d; fi; done";
    let finished = podling.prepare_run(&fine(), &[]).after_mounting(script).finish();
    finished.assert_failed(125, &["cgroup", "needs a writable cgroup hierarchy"]);
    let told = podling.prepare(["doctor"]).after_mounting(script).finish();
    assert_eq!(told.code, 1, "{told}");
    assert!(told.stdout.contains("is read-only"), "{told}");
}

#[test]
fn without_cgroups() {
    let podling = Podling::new();
    let script = "mount --make-rprivate /; mount -t tmpfs none /sys/fs/cgroup";
    let finished = podling.prepare_run(&fine(), &[]).after_mounting(script).finish();
    finished.assert_failed(125, &["cgroup"]);
}

/// overlayfs takes no layers from a filesystem that is remote or case-insensitive, and no upper directory on
/// overlayfs itself: a data directory on an overlay is what docker-in-docker has.
#[test]
fn with_a_data_directory_that_overlayfs_refuses() {
    let podling = Podling::new();
    let base = podling.base().display().to_string();
    let script = format!(
        "mount --make-rprivate /; mkdir -p {base}/l {base}/u {base}/w {base}/data; \
         mount -t overlay -o lowerdir={base}/l,upperdir={base}/u,workdir={base}/w overlay {base}/data"
    );
    let finished = podling.prepare_run(&fine(), &[]).after_mounting(&script).finish();
    finished.assert_failed(125, &["lies on an overlay", "a disk or a tmpfs"]);
}

#[test]
fn with_a_read_only_data_directory() {
    let podling = Podling::new();
    let base = podling.base().display().to_string();
    let script = format!(
        "mount --make-rprivate /; mkdir -p {base}/data; mount --bind {base}/data {base}/data; \
         mount -o remount,bind,ro {base}/data"
    );
    let finished = podling.prepare_run(&fine(), &[]).after_mounting(&script).finish();
    finished.assert_failed(125, &[&format!("{base}/data"), "ead-only"]);
}

#[test]
fn with_a_full_disk_for_images() {
    let podling = Podling::new();
    let noise: Vec<u8> =
        (0..2_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let archive = Image::toolbox(&podling, "large:1").layer(&[("large", 0o644, &noise)]).save();
    let base = podling.base().display().to_string();
    let load = format!(
        "mount --make-rprivate /; mkdir -p {base}/images; mount -t tmpfs -o size=4m none {base}/images; \
         trap 'find {base}/images -name large | sed s/^/left:/; umount {base}/images' EXIT; \"$@\"; exit $?"
    );
    let finished = podling
        .prepare(["image".as_ref(), "load".as_ref(), archive.as_os_str()])
        .after_mounting(&load)
        .finish();
    finished.assert_failed(125, &["No space left on device"]);
    assert!(!finished.stdout.contains("left:"), "half an image stays: {finished}");
}

/// A disk that fills up while the Pod runs is the container's trouble, told by itself.
#[test]
fn with_a_full_disk_for_images_the_built_in_one_is_told_too() {
    let podling = Podling::new();
    let base = podling.base().display().to_string();
    let script = format!(
        "mount --make-rprivate /; mkdir -p {base}/images; mount -t tmpfs -o size=256k none {base}/images"
    );
    let finished = podling.prepare_run(&fine(), &[]).after_mounting(&script).finish();
    finished.assert_failed(125, &["No space left on device"]);
}

#[test]
fn the_doctor_looks_at_this_machine() {
    let podling = Podling::new();
    let finished = podling.call(["doctor", "--output", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    let told: e2e::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(told["machine"].as_array().unwrap().len() >= 5, "{told}");
    let script = "mount --make-rprivate /; mount -t tmpfs none /sys/fs/cgroup";
    let without = podling.prepare(["doctor"]).after_mounting(script).finish();
    assert_eq!(without.code, 1, "{without}");
    assert!(without.stdout.contains("is covered by another mount"), "{without}");
}

/// Lines that find no room are lost, and counted; the Pod runs on, and podling says what fails, once.
#[test]
fn with_a_full_disk_for_data() {
    let podling = Podling::new();
    let base = podling.base().display().to_string();
    let script = format!(
        "mount --make-rprivate /; mkdir -p {base}/data; mount -t tmpfs -o size=1m none {base}/data; \
         trap 'umount {base}/data' EXIT; \"$@\"; exit $?"
    );
    // Removed while it runs, the ballast makes room again for what comes last. Before, what is in the pipe gets its
    // time to be read and lost.
    let manifest = pod(
        "flood",
        "
        restartPolicy: Never
        initContainers:
        - {name: fill, image: podling/toolbox, args: [write, /v/ballast, BALLAST], volumeMounts: [{name: v, mountPath: /v}]}
        containers:
        - name: flood
          image: podling/toolbox
          args: [chain, echo-loop, --every, '0', --count, '20000', 'a line of the usual length of a line in a log', ',', sleep, 1s, ',', rm, /v/ballast, ',', echo, last words]
          volumeMounts: [{name: v, mountPath: /v}]
        volumes: [{name: v, emptyDir: {}}]
    ",
    )
    .replace("BALLAST", &"b".repeat(120_000));
    let finished = podling.prepare_run(&manifest, &["-o", "json"]).after_mounting(&script).finish();
    assert_eq!(finished.code, 0, "{finished}");
    let lines = finished.lines_of("flood");
    assert!(lines.len() < 20_000, "the disk was not full");
    let told: Vec<_> = lines.iter().filter(|line| line.starts_with("podling: ")).collect();
    assert!(
        !told.is_empty() && told.iter().all(|line| line.contains("lines are missing here: No space")),
        "{told:?}"
    );
    assert_eq!(lines.last(), Some(&"last words"));
    let count = |told: &&str| told.split(' ').nth(1).expect("a number").parse::<usize>().expect("a number");
    let missing: usize = told.iter().map(|line| count(line)).sum();
    let whole =
        lines.iter().filter(|line| line.contains("a line of the usual length of a line in a log ")).count();
    // One that was cut is missing, and its beginning may be there.
    assert!((20_000..=20_000 + told.len()).contains(&(whole + missing)), "{whole} and {missing}");
}
