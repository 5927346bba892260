//! A Pod of busybox containers for tests: in a directory, a cgroup and a shim of its own, gone at the end whatever
//! happens.
//!
//! Needs root and Debian's busybox-static; what is missing makes the test fail and says what to install.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking; each test program is a crate"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use container::{
    ContainerRequest, Error, Exit, LogConfig, Rootfs, RuntimeHandler, Sandbox, SandboxSpec, Shim, ShimConfig,
    ShimEvent, Started,
};
use linux::cgroup::{Cgroup, Hierarchy};
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// No event of these tests takes longer, unless it never comes.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A Pod under test.
pub struct Pod {
    pub directory: tempfile::TempDir,
    pub cgroup: String,
    pub shim: Shim,
    pub events: mpsc::Receiver<ShimEvent>,
    shim_pid: Option<i32>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A test that failed: the shim takes all of its processes along.
        if let Some(pid) = self.shim_pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let Ok(hierarchy) = Hierarchy::detect() else { return };
        if let Ok(cgroup) = Cgroup::open(&hierarchy, &self.cgroup) {
            let _ = cgroup.kill_all();
            let _ = cgroup.remove(Duration::from_secs(5));
            cgroup.remove_empty_parents(&hierarchy);
        }
    }
}

impl Pod {
    /// A shim without a sandbox.
    pub async fn bare() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes containers and needs root");
        let directory = tempfile::Builder::new().prefix("podling-pod-").tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/podling/test-{}-{number}/pod", std::process::id());
        make_rootfs(&directory.path().join("image"));
        let pod_dir = directory.path().join("pod");
        let (shim, events) = Shim::start(ShimConfig { pod_dir, cgroup: cgroup.clone() }).await.unwrap();
        let shim_pid = Some(shim.pid());
        Self { directory, cgroup, shim, events, shim_pid }
    }

    /// A Pod with an ordinary sandbox.
    pub async fn new() -> Self {
        Self::with(|_| {}).await.0
    }

    /// A Pod with a sandbox that is changed first.
    pub async fn with(change: impl FnOnce(&mut SandboxSpec)) -> (Self, Sandbox) {
        let pod = Self::bare().await;
        let mut spec = SandboxSpec {
            key: "sandbox/0".into(),
            hostname: "testpod".into(),
            shm_size_bytes: 64 << 20,
            netns: Some(Arc::new(linux::netns::create().unwrap())),
            ..SandboxSpec::default()
        };
        change(&mut spec);
        let sandbox = pod.shim.create_sandbox(spec).await.unwrap();
        (pod, sandbox)
    }

    pub fn pod_dir(&self) -> PathBuf {
        self.directory.path().join("pod")
    }

    /// A container that runs a shell script.
    pub fn script(&self, key: &str, script: &str) -> ContainerRequest {
        self.request(key, &["/bin/sh", "-c", script])
    }

    /// A container that runs a program.
    pub fn request(&self, key: &str, args: &[&str]) -> ContainerRequest {
        let spec = ordinary(&self.pod_dir(), args);
        let layer = self.directory.path().join("layers").join(key);
        ContainerRequest {
            key: key.to_owned(),
            spec: serde_json::from_value(spec).unwrap(),
            rootfs: Rootfs {
                lower: vec![self.directory.path().join("image")],
                upper: layer.join("upper"),
                work: layer.join("work"),
            },
            staged: Vec::new(),
            log: LogConfig { path: self.log_path(key), max_bytes: 10 << 20, max_files: 5 },
            stdin: false,
            tty: false,
            runtime: RuntimeHandler::Podling,
            target_pid_namespace_of: None,
        }
    }

    pub async fn start(&self, request: ContainerRequest) -> Result<Started, Error> {
        self.shim.start_container(request).await
    }

    pub fn log_path(&self, key: &str) -> PathBuf {
        self.directory.path().join("logs").join(format!("{key}.log"))
    }

    /// The text that a container wrote, without timestamps and tags.
    pub fn output(&self, key: &str) -> String {
        let text = std::fs::read_to_string(self.log_path(key)).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or("").to_owned() + "\n").collect()
    }

    /// The next event.
    pub async fn event(&mut self) -> ShimEvent {
        let event = tokio::time::timeout(EVENT_TIMEOUT, self.events.recv()).await;
        event.expect("an event comes in time").expect("the shim is there")
    }

    /// Waits for the exit of a container or exec, whatever else happens first.
    pub async fn exit(&mut self, wanted: &str) -> Exit {
        loop {
            match self.event().await {
                ShimEvent::Exited { key, exit } if key == wanted => return exit,
                ShimEvent::Exited { .. } => {}
                other => panic!("{other:?} instead of the exit of {wanted}"),
            }
        }
    }

    /// Runs a script to its end and returns its exit and output.
    pub async fn run(&mut self, key: &str, script: &str) -> (Exit, String) {
        self.run_request(self.script(key, script)).await
    }

    /// Runs a container to its end and returns its exit and output.
    pub async fn run_request(&mut self, request: ContainerRequest) -> (Exit, String) {
        let key = request.key.clone();
        self.start(request).await.unwrap_or_else(|error| panic!("{key}: {error}"));
        let exit = self.exit(&key).await;
        (exit, self.output(&key))
    }

    /// Waits until a container's log has a line that contains `text`.
    pub async fn wait_for_output(&self, key: &str, text: &str) {
        let path = self.log_path(key);
        let text = text.to_owned();
        tokio::task::spawn_blocking(move || wait_for_text(&path, &text)).await.unwrap();
    }

    /// Shuts the Pod down and looks for anything that is left.
    pub async fn finish(mut self) {
        let shim = self.shim.clone();
        let pids = processes_of(self.shim.pid());
        shim.shutdown().await.unwrap();
        self.shim_pid = None;
        for pid in pids {
            assert!(!is_alive(pid), "process {pid} is left");
        }
        let hierarchy = Hierarchy::detect().unwrap();
        assert!(!Cgroup::open(&hierarchy, &self.cgroup).unwrap().exists(), "cgroup {} is left", self.cgroup);
        assert!(!self.pod_dir().join("shim.sock").exists(), "the socket is left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap();
        assert!(!mounts.contains(directory), "mounts are left on the host");
        let log = std::fs::read_to_string(self.pod_dir().join("shim.log")).unwrap();
        assert_eq!(log, "", "the shim complained");
    }
}

/// Waits by inotify until a file contains a text.
fn wait_for_text(path: &Path, text: &str) {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY).unwrap();
    let deadline = std::time::Instant::now() + EVENT_TIMEOUT;
    while !std::fs::read_to_string(path).unwrap().contains(text) {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        assert!(!left.is_zero(), "{text:?} never came into {}", path.display());
        let left =
            rustix::time::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut polled = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&left)).unwrap();
        if !polled[0].revents().is_empty() {
            let mut space = [0u8; 4096];
            let _ = rustix::io::read(&watch, &mut space);
        }
    }
}

/// The children of a process, and theirs.
pub fn processes_of(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let mut all = Vec::new();
    for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
        all.push(child);
        all.extend(processes_of(child));
    }
    all
}

/// Whether a process runs; a zombie does not.
pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

fn make_rootfs(rootfs: &Path) {
    for name in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    let busybox = "/bin/busybox";
    std::fs::copy(busybox, rootfs.join("bin/busybox")).expect("Debian's busybox-static is installed");
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/sh\n",
    )
    .unwrap();
    let list = std::process::Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
}

/// What a container engine writes for an ordinary container.
pub fn ordinary(pod_dir: &Path, args: &[&str]) -> Value {
    let names: Vec<String> =
        container::capabilities::DEFAULT.into_iter().map(container::capabilities::name).collect();
    let seccomp = container::seccomp::runtime_default(&container::capabilities::default_set());
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
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

/// Changes a request's spec as JSON.
pub fn change(request: &mut ContainerRequest, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(&request.spec).unwrap();
    change(&mut value);
    request.spec = serde_json::from_value::<Spec>(value).unwrap();
}

/// An exec's process: a shell script.
pub fn process(script: &str) -> Process {
    serde_json::from_value(json!({
        "user": { "uid": 0, "gid": 0 },
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": true
    }))
    .unwrap()
}

/// Everything that comes out of a pipe, to its end.
pub async fn read_all(pipe: std::os::fd::OwnedFd) -> String {
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::fs::File::from(pipe).read_to_string(&mut text).unwrap();
        text
    })
    .await
    .unwrap()
}
