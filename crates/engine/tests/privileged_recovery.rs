//! A daemon that dies at any instant, and the next one in its directories. The daemon is this test program itself, called
//! with [`DAEMON`] set: it is killed with SIGKILL, as often as a test likes.
//!
//! What containers did is told by files that they append to: a line for each start, hook and signal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::Duration;

use engine::streams::Pending;
use engine::{ControlPlane, Node, PodChange, Report, ReportKind, Token, TokenError, TokenRequest};
use lifecycle::Status;
use lifecycle::status::ContainerState;
use model::pod::{KeyedObject, ObjectKind, Pod};
use scene::{Remains, TIMEOUT, all_run, container, pod, pod_with};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Name and directory of the node that this process is to be.
const DAEMON: &str = "PODLING_TEST_DAEMON";
/// How many Pods are played; others are asked for by this variable, as `FIRST..END`.
const ROUNDS: std::ops::Range<u64> = 0..32;
const ROUNDS_WANTED: &str = "PODLING_CRASH_ROUNDS";

/// What a test tells a daemon.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Apply(Box<Pod>),
    Delete { uid: String, grace_period_seconds: Option<u64> },
    Synced,
}

/// What a daemon tells a test.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Status(String, Box<Status>),
    Event(String, String, String),
    Gone(String),
}

struct Plane(Mutex<Option<mpsc::Receiver<PodChange>>>);

impl ControlPlane for Plane {
    fn watch_pods(&self) -> mpsc::Receiver<PodChange> {
        self.0.lock().unwrap().take().unwrap()
    }

    fn object(&self, _: ObjectKind, _: &str, _: &str) -> Option<KeyedObject> {
        None
    }

    fn objects_may_appear(&self) -> bool {
        false
    }

    fn token(&self, _: TokenRequest) -> Pending<'_, Result<Token, TokenError>> {
        Box::pin(async { Err(TokenError::NoServer) })
    }

    fn report(&self, report: Report) {
        let told = match report.kind {
            ReportKind::Status(status) => Told::Status(report.uid, status),
            ReportKind::Event { reason, message, .. } => Told::Event(report.uid, reason, message),
            ReportKind::Gone => Told::Gone(report.uid),
            _ => return,
        };
        println!("@{}", serde_json::to_string(&told).unwrap());
    }
}

#[test]
fn daemon() {
    let Ok(directory) = std::env::var(DAEMON) else { return };
    let (name, directory) = directory.split_once(' ').unwrap();
    let config = scene::config(name, &PathBuf::from(directory));
    let (changes, watch) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let change = match serde_json::from_str(&line.unwrap()).unwrap() {
                Order::Apply(pod) => PodChange::Apply(pod),
                Order::Delete { uid, grace_period_seconds } => {
                    PodChange::Delete { uid, grace_period_seconds }
                }
                Order::Synced => PodChange::Synced,
            };
            changes.blocking_send(change).unwrap();
        }
        // Its test is gone.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let _node = Node::start(config, Arc::new(Plane(Mutex::new(Some(watch))))).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// A daemon that runs.
struct Daemon {
    child: Child,
    orders: ChildStdin,
    told: std_mpsc::Receiver<Told>,
    heard: Vec<String>,
}

impl Daemon {
    fn start(remains: &Remains) -> Daemon {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon", "--nocapture"])
            .env(DAEMON, format!("{} {}", remains.name, remains.directory.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, told) = std_mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                // A line that is cut off by the kill is none; libtest's own are none either.
                let Ok(line) = line else { return };
                let Some(told) = line.split_once('@').and_then(|(_, told)| serde_json::from_str(told).ok())
                else {
                    continue;
                };
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Daemon { child, orders, told, heard: Vec::new() }
    }

    fn order(&mut self, order: &Order) {
        writeln!(self.orders, "{}", serde_json::to_string(order).unwrap()).unwrap();
    }

    fn apply(&mut self, pod: &Pod) {
        self.order(&Order::Apply(Box::new(pod.clone())));
        self.order(&Order::Synced);
    }

    fn delete(&mut self, pod: &Pod) {
        self.order(&Order::Delete { uid: pod.meta.uid.clone(), grace_period_seconds: None });
    }

    fn wait<T>(&mut self, choose: impl Fn(Told) -> Option<T>) -> T {
        loop {
            match self.told.recv_timeout(TIMEOUT) {
                Ok(told) => {
                    self.heard.push(format!("{told:?}"));
                    assert!(
                        !matches!(&told, Told::Event(_, reason, _) if reason == "InvariantBroken"),
                        "{told:?}"
                    );
                    if let Some(chosen) = choose(told) {
                        return chosen;
                    }
                }
                Err(_) => panic!("what was waited for never came, but:\n{}", self.heard.join("\n")),
            }
        }
    }

    fn status(&mut self, is_it: impl Fn(&Status) -> bool) -> Status {
        self.wait(|told| match told {
            Told::Status(_, status) if is_it(&status) => Some(*status),
            _ => None,
        })
    }

    fn gone(&mut self, uid: &str) {
        self.wait(|told| matches!(told, Told::Gone(gone) if gone == uid).then_some(()));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it live for some time that nobody chose, and kills it.
    fn kill_within(self, random: &mut Random, most: Duration) {
        // The one sleep that a test may have: it makes the instant random, and waits for nothing.
        std::thread::sleep(most.mul_f64(random.next()));
        self.kill();
    }
}

/// xorshift: the same instants for the same seed, as far as a machine goes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 10_000) as f64 / 10_000.0
    }
}

/// A Pod whose every step leaves a line in a file of `out`.
fn telling(name: &str, out: &str) -> Pod {
    let mounts = "volumeMounts: [{name: out, mountPath: /out}, ";
    let init = container("init", "echo x >> /out/init", "").replace("volumeMounts: [", mounts);
    let hook = |file: &str| format!("{{exec: {{command: [/bin/sh, -c, 'echo x >> /out/{file}']}}}}");
    let hooks =
        format!("    lifecycle: {{postStart: {}, preStop: {}}}\n", hook("post-start"), hook("pre-stop"));
    let script = "echo x >> /out/main; trap 'echo x >> /out/term; exit 0' TERM; while :; do sleep 1000 & wait $!; done";
    let main = container("main", script, &hooks).replace("volumeMounts: [", mounts);
    let out = format!(", {{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}");
    let mut pod = pod_with(name, &out, &format!("  initContainers:\n{init}  containers:\n{main}"));
    pod.spec.termination_grace_period_seconds = 30;
    pod
}

fn count(out: &str, file: &str) -> usize {
    std::fs::read_to_string(format!("{out}/{file}")).map_or(0, |text| text.lines().count())
}

/// Waits by looking: a container is told as running before its script has come to its first line.
fn is_written(out: &str, file: &str, lines: usize) {
    let started = std::time::Instant::now();
    while count(out, file) < lines {
        assert!(started.elapsed() < TIMEOUT, "{file} has {} lines", count(out, file));
        std::thread::yield_now();
    }
}

/// The process that is number 1 in its container, by the host's number.
fn first_process(remains: &Remains, pod: &Pod) -> u32 {
    let pids = remains.cgroup(&pod.meta.uid, "/main").procs().unwrap();
    let is_first = |pid: &&u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    };
    let first: Vec<_> = pids.iter().filter(is_first).collect();
    assert_eq!(first.len(), 1, "one live instance: {pids:?}");
    *first[0]
}

fn nothing_is_left(remains: &Remains, pod: &Pod) {
    let uid = &pod.meta.uid;
    assert!(!remains.cgroup(uid, "").exists(), "the cgroup of {uid}");
    for directory in ["data/pods", "run/pods"] {
        let path = remains.directory.path().join(directory).join(uid);
        assert!(!path.exists(), "{} is left", path.display());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(remains.directory.path().to_str().unwrap()), "mounts are left");
    let links = std::process::Command::new("ip").args(["-d", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains(uid.as_str()), "a link of {uid} is left");
}

#[test]
fn whatever_instant_a_daemon_is_killed_everything_happens_once() {
    let remains = Remains::new("crash");
    let wanted = std::env::var(ROUNDS_WANTED).ok();
    let wanted = wanted
        .as_ref()
        .and_then(|wanted| wanted.split_once(".."))
        .map(|(first, end)| first.parse().unwrap()..end.parse().unwrap());
    for round in wanted.unwrap_or(ROUNDS) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (round + 1));
        let out = remains.directory.path().join(format!("out-{round}")).display().to_string();
        let pod = telling(&format!("crash-{round}"), &out);
        // While it starts.
        for _ in 0..2 {
            let mut daemon = Daemon::start(&remains);
            daemon.apply(&pod);
            daemon.kill_within(&mut random, Duration::from_millis(400));
        }
        let mut daemon = Daemon::start(&remains);
        daemon.apply(&pod);
        let status = daemon.status(all_run);
        let address = status.pod_ips.clone();
        let pid = first_process(&remains, &pod);
        // While it runs.
        daemon.kill_within(&mut random, Duration::from_millis(100));
        let mut daemon = Daemon::start(&remains);
        daemon.apply(&pod);
        let status = daemon.status(all_run);
        assert_eq!((first_process(&remains, &pod), &status.pod_ips), (pid, &address), "round {round}");
        assert_eq!(status.container_statuses[0].restart_count, 0);
        // A stop ends a hook that has only just begun.
        is_written(&out, "post-start", 1);
        // While it stops.
        daemon.delete(&pod);
        daemon.kill_within(&mut random, Duration::from_millis(200));
        let mut daemon = Daemon::start(&remains);
        daemon.delete(&pod);
        daemon.gone(&pod.meta.uid);
        for file in ["init", "main", "post-start", "pre-stop", "term"] {
            assert_eq!(count(&out, file), 1, "{file} in round {round}");
        }
        nothing_is_left(&remains, &pod);
        daemon.kill();
    }
}

#[test]
fn what_nobody_wants_any_more_is_removed() {
    let remains = Remains::new("orphan");
    let out = remains.directory.path().join("out").display().to_string();
    let pod = telling("orphan", &out);
    let mut daemon = Daemon::start(&remains);
    daemon.apply(&pod);
    daemon.status(all_run);
    daemon.kill();
    let mut daemon = Daemon::start(&remains);
    // Told again without having been asked.
    daemon.status(all_run);
    daemon.order(&Order::Synced);
    daemon.gone(&pod.meta.uid);
    nothing_is_left(&remains, &pod);
    daemon.kill();
}

#[test]
fn a_container_that_ended_while_no_daemon_lived_is_told_as_it_ended() {
    let remains = Remains::new("meanwhile");
    let main = container("main", "while [ ! -e /scratch/go ]; do sleep 0.05; done; exit 7", "")
        .replace("volumeMounts: [", "volumeMounts: [{name: scratch, mountPath: /scratch}, ");
    let pod = pod("meanwhile", &format!("  restartPolicy: Never\n  containers:\n{main}"));
    let mut daemon = Daemon::start(&remains);
    daemon.apply(&pod);
    daemon.status(all_run);
    let cgroup = remains.cgroup(&pod.meta.uid, "/main");
    daemon.kill();
    let scratch = format!("data/pods/{}/volumes/kubernetes.io~empty-dir/scratch/go", pod.meta.uid);
    std::fs::write(remains.directory.path().join(scratch), "").unwrap();
    cgroup_is_empty(&cgroup);
    let mut daemon = Daemon::start(&remains);
    let status = daemon.status(|status| status.phase.is_terminal());
    let ContainerState::Terminated(ended) = &status.container_statuses[0].state else { panic!("{status:?}") };
    assert_eq!(ended.exit_code, 7);
    daemon.kill();
    // One that has ended stays so, also for a third daemon.
    let mut daemon = Daemon::start(&remains);
    daemon.status(|status| status.phase.is_terminal());
    daemon.delete(&pod);
    daemon.gone(&pod.meta.uid);
    nothing_is_left(&remains, &pod);
    daemon.kill();
}

/// Waits by looking: a cgroup of v1 has no event for it.
fn cgroup_is_empty(cgroup: &linux::cgroup::Cgroup) {
    let started = std::time::Instant::now();
    while !cgroup.procs().unwrap().is_empty() {
        assert!(started.elapsed() < TIMEOUT);
        std::thread::yield_now();
    }
}

/// k8s#120247: no main container before the init containers have run again.
#[test]
fn after_a_reboot_init_containers_run_first_and_the_loss_is_told() {
    let remains = Remains::new("reboot");
    let out = remains.directory.path().join("out").display().to_string();
    let pod = telling("reboot", &out);
    let mut daemon = Daemon::start(&remains);
    daemon.apply(&pod);
    daemon.status(all_run);
    is_written(&out, "main", 1);
    daemon.kill();
    // What a reboot does: processes go, and so does the run directory.
    let cgroup = remains.cgroup(&pod.meta.uid, "");
    end_shim(&remains, &pod);
    cgroup.kill_until_empty(TIMEOUT).unwrap();
    cgroup.remove(TIMEOUT).unwrap();
    std::fs::remove_dir_all(remains.run_dir()).unwrap();
    let mut daemon = Daemon::start(&remains);
    daemon.apply(&pod);
    let status = daemon.status(|status| all_run(status) && status.container_statuses[0].restart_count == 1);
    let lost = status.container_statuses[0].last_state.as_ref().unwrap();
    assert_eq!((lost.exit_code, lost.reason.as_str()), (137, "ContainerStatusUnknown"));
    is_written(&out, "main", 2);
    assert_eq!((count(&out, "init"), count(&out, "main")), (2, 2));
    daemon.delete(&pod);
    daemon.gone(&pod.meta.uid);
    nothing_is_left(&remains, &pod);
    daemon.kill();
}

/// Kills the shim of a Pod, which takes its containers along.
fn end_shim(remains: &Remains, pod: &Pod) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pid = runtime.block_on(async {
        let directory = remains.run_dir().join("pods").join(&pod.meta.uid);
        let (shim, _events) = ::container::Shim::connect(&directory).await.unwrap();
        shim.pid()
    });
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
