//! Seeds that are parts of manifests, completed: what their pages say of them holds.

use std::path::Path;

use e2e::{Podling, Running};

use crate::text::{Complete, local, script, seed, toolbox, with_head};
use crate::{is_warning, stop};

/// "Main container starts before sidecar is ready": the page's own solution waits for ever, and podling says why.
#[test]
fn seed_001_18_a_wait_that_cannot_end_is_told_while_it_waits() {
    let podling = Podling::with_images(&["busybox"]);
    let manifest = with_head(&seed("001-18-wait-for-sidecar-ready.yaml"))
        .image("busybox", &local("busybox"))
        .image("my-sidecar:latest", &toolbox(&["http", "--port", "8081"]))
        .image("my-app:latest", &toolbox(&["sleep", "infinity"]));
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_for_log("wait-for-sidecar-ready", "Waiting for sidecar...");
    let told = run.wait_for("what it waits for", |event| is_warning(event, "NothingListens"));
    let message = told["message"].as_str().unwrap();
    for words in ["localhost:8081, where nothing listens", "sidecar would open that port", "can never end"] {
        assert!(message.contains(words), "{words:?} is missing: {message}");
    }
    stop(run);
}

/// "Different resource requirements": each container has its own limits.
#[test]
fn seed_001_06_limits_stand_in_the_cgroups() {
    let spec: String =
        seed("001-06-web-server.yaml").lines().map(|line| format!("  {line}\n")).collect::<String>();
    let manifest = with_head(&format!("spec:\n{spec}"))
        .container("web-server", &toolbox(&["sleep", "infinity"]))
        .container("log-aggregator", &toolbox(&["sleep", "infinity"]));
    let podling = Podling::new();
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    assert_eq!(limits(&mut run, "web-server"), Limits { cpu_percent: 100, memory_bytes: 1 << 30 });
    assert_eq!(limits(&mut run, "log-aggregator"), Limits { cpu_percent: 20, memory_bytes: 256 << 20 });
    stop(run);
}

/// "Containers competing for resources".
#[test]
fn seed_001_19_limits_stand_in_the_cgroups() {
    let manifest = with_head(&seed("001-19-cpu-intensive-app.yaml"))
        .container("cpu-intensive-app", &toolbox(&["sleep", "infinity"]))
        .container("memory-intensive-sidecar", &toolbox(&["sleep", "infinity"]));
    let podling = Podling::new();
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    assert_eq!(limits(&mut run, "cpu-intensive-app"), Limits { cpu_percent: 200, memory_bytes: 4 << 30 });
    assert_eq!(
        limits(&mut run, "memory-intensive-sidecar"),
        Limits { cpu_percent: 20, memory_bytes: 2 << 30 }
    );
    stop(run);
}

#[derive(Debug, PartialEq)]
struct Limits {
    cpu_percent: u64,
    memory_bytes: u64,
}

/// The limits as a program in the container reads them, by either version of cgroups.
fn limits(run: &mut Running<'_>, container: &str) -> Limits {
    let mut numbers = |file: &str| -> Vec<u64> {
        let text = run.look(container, &["cat", &format!("/sys/fs/cgroup/{file}")], "").text;
        text.split_whitespace()
            .map(|word| word.parse().unwrap_or_else(|_| panic!("{file}: {text}")))
            .collect()
    };
    let (cpu, memory) = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        (numbers("cpu.max"), numbers("memory.max"))
    } else {
        let cpu = [numbers("cpu/cpu.cfs_quota_us"), numbers("cpu/cpu.cfs_period_us")].concat();
        (cpu, numbers("memory/memory.limit_in_bytes"))
    };
    Limits { cpu_percent: cpu[0] * 100 / cpu[1], memory_bytes: memory[0] }
}

/// "Containers can't access shared volumes due to user ID mismatches": one group for both, and both may write.
#[test]
fn seed_001_20_two_users_of_one_group_write_into_one_folder() {
    let writer = "\
umask 002
echo from the writer > /shared/note
until grep 'from the reader' /shared/note; do sleep 0.1; done";
    let reader = "\
echo \"I am $(id -u):$(id -g), the folder is of $(stat -c '%u:%g %A' /shared)\"
until grep 'from the writer' /shared/note 2>/dev/null; do sleep 0.1; done
echo from the reader >> /shared/note
echo mine > /shared/mine";
    let with_volume = |image: Vec<String>| {
        let mounts = ["volumeMounts:", "- {name: shared, mountPath: /shared}"].map(String::from);
        [image, mounts.to_vec()].concat()
    };
    let manifest = with_head(&seed("001-20-writer-container.yaml"))
        .container("writer-container", &with_volume(script("busybox", writer)))
        .container("reader-container", &with_volume(script("busybox", reader)));
    let manifest =
        format!("{manifest}\n  restartPolicy: Never\n  volumes:\n  - {{name: shared, emptyDir: {{}}}}\n");
    let podling = Podling::with_images(&["busybox"]);
    let finished = podling.run(&manifest, &["--output", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("writer-container"), ["from the reader"]);
    let reader = finished.lines_of("reader-container");
    assert!(reader[0].starts_with("I am 1001:2000, the folder is of 0:2000 drwxrws"), "{reader:?}");
    assert_eq!(reader[1], "from the writer");
}
