//! The specs that the tests start from: what a container engine writes for an ordinary container.

use container::{capabilities, seccomp};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// An ordinary container that runs the probe with these arguments: default capabilities, masked paths,
/// RuntimeDefault seccomp, no new privileges, every namespace its own.
pub(crate) fn ordinary(acts: &[&str]) -> Value {
    let names: Vec<String> = capabilities::DEFAULT.into_iter().map(capabilities::name).collect();
    let seccomp = serde_json::to_value(seccomp::runtime_default(&capabilities::default_set())).unwrap();
    let args: Vec<&str> = ["/bin/probe"].iter().chain(acts).copied().collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "GREETING=hello there"],
            "cwd": "/",
            "capabilities": { "bounding": names, "effective": names, "permitted": names },
            "noNewPrivileges": true,
            "oomScoreAdj": 100
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "probed",
        "mounts": mounts(),
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "cgroup" }
            ],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": seccomp
        }
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

/// Adds a mount at the end.
pub(crate) fn add_mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().unwrap().push(mount);
}

/// The typed spec.
pub(crate) fn parse(spec: &Value) -> Spec {
    serde_json::from_value(spec.clone()).unwrap()
}
