//! Cgroups as the kernel of this machine has them, v1, hybrid or v2. Needs root and a writable hierarchy.
//!
//! Each test owns `/podling-test-PID-NAME`, removed by a guard also when the test fails.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linux::cgroup::{Cgroup, Hierarchy, Limits, weight_from_shares};

const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup below a parent of this test, with everything gone at the end.
struct Scene {
    hierarchy: Hierarchy,
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Scene {
    fn new(name: &str) -> Self {
        let hierarchy = Hierarchy::detect().expect("this test needs cgroups");
        let path = format!("/podling-test-{}/{name}/container", std::process::id());
        let cgroup = Cgroup::ensure(&hierarchy, &path).expect("this test needs root and writable cgroups");
        Self { hierarchy, cgroup, children: Vec::new() }
    }

    fn sleeper(&mut self) -> u32 {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep");
        let pid = child.id();
        self.children.push(child);
        pid
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.cgroup.remove(PATIENCE);
        self.cgroup.remove_empty_parents(&self.hierarchy);
    }
}

#[test]
fn ensure_is_idempotent_and_remove_leaves_nothing() {
    let scene = Scene::new("ensure");
    Cgroup::ensure(&scene.hierarchy, scene.cgroup.path()).unwrap();
    assert!(scene.cgroup.exists());
    let parent = scene.cgroup.path().rsplit_once('/').unwrap().0;
    let parent = Cgroup::open(&scene.hierarchy, parent).unwrap();
    assert_eq!(parent.list_children().unwrap(), ["container"]);
    scene.cgroup.remove(PATIENCE).unwrap();
    scene.cgroup.remove(PATIENCE).unwrap();
    assert!(!scene.cgroup.exists());
    assert_eq!(scene.cgroup.procs().unwrap(), []);
    scene.cgroup.remove_empty_parents(&scene.hierarchy);
    assert!(!parent.exists());
}

#[test]
fn limits_are_read_back() {
    let scene = Scene::new("limits");
    let mut limits = Limits {
        cpu_shares: Some(512),
        cpu_quota_us: Some(25_000),
        cpu_period_us: Some(50_000),
        memory_limit_bytes: Some(64 << 20),
        pids_limit: Some(17),
        cpuset_cpus: Some("0".into()),
        oom_group: true,
        ..Limits::default()
    };
    assert_eq!(scene.cgroup.apply(&limits).unwrap(), Vec::<String>::new());
    // A raise and a cut of paired values must both work, whatever the order of writing.
    for factor in [4, 1] {
        limits.cpu_quota_us = Some(25_000 * factor);
        limits.cpu_period_us = Some(50_000 * factor as u64);
        limits.memory_limit_bytes = Some((64 << 20) * factor);
        limits.memory_swap_bytes = Some((64 << 20) * factor);
        scene.cgroup.apply(&limits).unwrap();
    }
    let in_force = scene.cgroup.limits_in_force().unwrap();
    assert_eq!(in_force.cpu_quota_us.zip(in_force.cpu_period_us), Some((25_000, 50_000)));
    assert_eq!(in_force.cpu_shares.map(weight_from_shares), Some(59));
    assert_eq!(in_force.memory_limit_bytes, Some(64 << 20));
    let expected: &[(&str, &str, &str)] = if scene.cgroup.is_v2() {
        &[("", "cpu.weight", "59"), ("", "cpu.max", "25000 50000"), ("", "pids.max", "17")]
    } else {
        &[
            ("cpu", "cpu.shares", "512"),
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("pids", "pids.max", "17"),
        ]
    };
    for (controller, file, value) in expected {
        let root = match &scene.hierarchy {
            Hierarchy::V2 { mount_point } => mount_point.clone(),
            Hierarchy::V1 { mounts, .. } => mounts
                .iter()
                .find(|mount| mount.controllers.contains(controller))
                .unwrap()
                .mount_point
                .clone(),
        };
        let path = root.join(&scene.cgroup.path()[1..]).join(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), *value, "{}", path.display());
    }
    let none = Limits {
        cpu_quota_us: Some(-1),
        memory_limit_bytes: Some(-1),
        memory_swap_bytes: Some(-1),
        ..Limits::default()
    };
    scene.cgroup.apply(&none).unwrap();
    let in_force = scene.cgroup.limits_in_force().unwrap();
    assert_eq!((in_force.cpu_quota_us, in_force.memory_limit_bytes), (Some(-1), Some(-1)));
}

#[test]
fn a_refused_value_names_file_and_value() {
    let scene = Scene::new("refused");
    let limits = Limits { cpu_quota_us: Some(1), cpu_period_us: Some(1), ..Limits::default() };
    let error = scene.cgroup.apply(&limits).unwrap_err().to_string();
    assert!(error.contains("cpu.") && error.contains("\"1"), "{error}");
}

#[test]
fn everything_dies_at_once_and_is_waited_for() {
    let mut scene = Scene::new("kill");
    let pids: Vec<u32> = (0..5).map(|_| scene.sleeper()).collect();
    for pid in &pids {
        scene.cgroup.join(*pid).unwrap();
    }
    assert_eq!(scene.cgroup.procs().unwrap(), {
        let mut sorted = pids.clone();
        sorted.sort();
        sorted
    });
    assert!(scene.cgroup.usage().unwrap().pids == 5);
    let started = Instant::now();
    scene.cgroup.kill_until_empty(PATIENCE).unwrap();
    println!("killed and empty after {:?}", started.elapsed());
    scene.cgroup.remove(PATIENCE).unwrap();
    assert!(!scene.cgroup.exists());
}

#[test]
fn remove_takes_what_the_container_created_below() {
    let mut scene = Scene::new("nested");
    let pid = scene.sleeper();
    let deep = format!("{}/a/b/c", scene.cgroup.path());
    let deep = Cgroup::ensure(&scene.hierarchy, &deep).unwrap();
    deep.join(pid).unwrap();
    assert_eq!(scene.cgroup.procs().unwrap(), []);
    scene.cgroup.kill_all().unwrap();
    scene.cgroup.remove(PATIENCE).unwrap();
    assert!(!scene.cgroup.exists());
}

#[test]
fn a_child_joins_by_itself_in_every_hierarchy() {
    let scene = Scene::new("self");
    let files = scene.cgroup.join_files().unwrap();
    assert_eq!(files.is_empty(), scene.cgroup.is_v2());
    // A thread may move itself alone in v1; on v2 there is nothing to write.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                linux::cgroup::join_self(files.iter().map(AsFd::as_fd)).unwrap();
                let own = std::fs::read_to_string("/proc/thread-self/cgroup").unwrap();
                let lines = own.lines().filter(|line| line.ends_with(scene.cgroup.path())).count();
                assert_eq!(lines, files.len(), "{own}");
            })
            .join()
            .unwrap();
    });
}

#[test]
fn out_of_memory_is_counted() {
    let mut scene = Scene::new("oom");
    let limits = Limits {
        memory_limit_bytes: Some(16 << 20),
        memory_swap_bytes: Some(16 << 20),
        oom_group: true,
        ..Limits::default()
    };
    scene.cgroup.apply(&limits).unwrap();
    assert_eq!(scene.cgroup.oom_kills().unwrap(), 0);
    // The shell waits for its stdin to close, so that it eats memory only once it is inside.
    let mut eater = Command::new("sh")
        .args(["-c", "read go; exec dd if=/dev/zero of=/dev/null bs=200M count=1"])
        .stdout(Stdio::null())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    scene.cgroup.join(eater.id()).unwrap();
    drop(eater.stdin.take());
    let status = eater.wait().unwrap();
    scene.children.push(eater);
    assert!(!status.success());
    // With memory.oom.group the kernel counts the victim twice: alone and as one of the group.
    assert!((1..=2).contains(&scene.cgroup.oom_kills().unwrap()));
}

#[test]
fn unified_files_need_v2_and_paths_must_not_climb() {
    let scene = Scene::new("unified");
    let limits = Limits {
        unified: BTreeMap::from([("memory.high".to_owned(), "33554432".to_owned())]),
        ..Limits::default()
    };
    assert_eq!(scene.cgroup.apply(&limits).is_ok(), scene.cgroup.is_v2());
    for path in ["", "/", "relative", "/a/../b", "/a//b", "/."] {
        assert!(Cgroup::open(&scene.hierarchy, path).is_err(), "{path:?}");
    }
}
