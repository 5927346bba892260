//! Where the time of a Pod goes, without network and engine: medians of many Pods of two containers, by step.
//!
//! `cargo run --release -p container --example speed [ROUNDS]`, as root.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use container::{ContainerRequest, ExecRequest, ExecStdio, ExecStreams, LogConfig, Rootfs, RuntimeHandler};
use container::{SandboxSpec, Shim, ShimConfig, ShimEvent};
use serde_json::json;

/// The steps' times over all rounds, in milliseconds.
type Times = BTreeMap<&'static str, Vec<f64>>;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(50, |text| text.parse().expect("a number of rounds"));
    let mut times = Times::new();
    let mut memory = Vec::new();
    for round in 0..rounds {
        let directory = tempfile::tempdir().expect("a temporary directory");
        memory.push(one(directory.path(), round, &mut times).await);
        // The kernel takes namespaces apart behind our back, and its locks would be measured with the next Pod.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    for (step, times) in &mut times {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{step:24} least {:7.3} ms   quarter {:7.3} ms   median {:7.3} ms   p99 {:7.3} ms",
            at(0.0),
            at(0.25),
            at(0.5),
            at(0.99)
        );
    }
    memory.sort();
    println!("shim and pause: {:?} KiB PSS", memory[memory.len() / 2]);
}

async fn one(directory: &std::path::Path, round: usize, times: &mut Times) -> (u64, u64) {
    let image = directory.join("image");
    for name in ["bin", "dev", "proc", "sys"] {
        std::fs::create_dir_all(image.join(name)).expect("a root filesystem");
    }
    std::fs::write(image.join("bin/toolbox"), programs::TOOLBOX).expect("the toolbox");
    std::fs::set_permissions(image.join("bin/toolbox"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("an executable");
    let pod_dir = directory.join("pod");
    let cgroup = format!("/podling/speed-{}/pod{round}", std::process::id());

    let all = Instant::now();
    let (shim, mut events) =
        step(times, "1 shim start", Shim::start(ShimConfig { pod_dir: pod_dir.clone(), cgroup }))
            .await
            .expect("a shim");
    let spec = SandboxSpec {
        key: "sandbox/0".into(),
        hostname: "speed".into(),
        shm_size_bytes: 64 << 20,
        netns: Some(Arc::new(linux::netns::create().expect("a network namespace"))),
        first_containers: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    let sandbox = step(times, "2 create_sandbox", shim.create_sandbox(spec)).await.expect("a sandbox");
    let starting = Instant::now();
    let (a, b) = tokio::join!(
        shim.start_container(request(directory, &pod_dir, "a/0")),
        shim.start_container(request(directory, &pod_dir, "b/0"))
    );
    a.expect("a container");
    b.expect("a container");
    note(times, "3 two containers", starting);
    note(times, "4 everything up", all);
    step(times, "5 third container", shim.start_container(request(directory, &pod_dir, "c/0")))
        .await
        .expect("one");
    let mut process = request(directory, &pod_dir, "").spec.process().clone().expect("a process");
    process.set_args(Some(vec!["/bin/toolbox".into(), "true".into()]));
    for number in 0..5 {
        let key = format!("exec/{number}");
        let exec = ExecRequest {
            container: "a/0".into(),
            key: key.clone(),
            process: process.clone(),
            stdio: ExecStdio::Pipes { stdin: false },
        };
        let started = Instant::now();
        let exec = step(times, "6 exec until exec'd", shim.exec(exec)).await.expect("an exec");
        assert!(matches!(exec.streams, ExecStreams::Pipes { .. }));
        while !matches!(events.recv().await, Some(ShimEvent::Exited { key: ended, .. }) if ended == key) {}
        note(times, "7 exec until its exit", started);
    }
    // The shim lets go of what it does not need while it waits.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let memory = (pss(shim.pid()), pss(sandbox.pause_pid));
    step(times, "8 teardown", shim.shutdown()).await.expect("nothing left");
    memory
}

async fn step<T>(times: &mut Times, name: &'static str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    note(times, name, started);
    done
}

fn note(times: &mut Times, name: &'static str, since: Instant) {
    times.entry(name).or_default().push(since.elapsed().as_secs_f64() * 1000.0);
}

/// Proportional set size of a process, in KiB.
fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn request(directory: &std::path::Path, pod_dir: &std::path::Path, key: &str) -> ContainerRequest {
    let names: Vec<String> =
        container::capabilities::DEFAULT.into_iter().map(container::capabilities::name).collect();
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/toolbox", "sleep", "1000"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": { "bounding": names, "effective": names, "permitted": names },
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs" },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
            { "destination": "/dev/shm", "source": pod_dir.join("shm"), "options": ["rbind", "rw"] }
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "cgroup" }
            ],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }], "memory": { "limit": 268435456 } },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": container::seccomp::runtime_default(&container::capabilities::default_set())
        }
    });
    let layer = directory.join("layers").join(key);
    ContainerRequest {
        key: key.to_owned(),
        spec: serde_json::from_value(spec).expect("a spec"),
        rootfs: Rootfs {
            lower: vec![directory.join("image")],
            upper: layer.join("upper"),
            work: layer.join("work"),
        },
        staged: Vec::new(),
        log: LogConfig {
            path: directory.join("logs").join(format!("{key}.log")),
            max_bytes: 10 << 20,
            max_files: 5,
        },
        stdin: false,
        tty: false,
        runtime: RuntimeHandler::Podling,
        target_pid_namespace_of: None,
    }
}
