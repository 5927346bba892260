//! Podling killed: what it leaves is found, told and taken away.

use e2e::{Node, Podling, Signal, pod};

const SERVER: &str = "
    initContainers:
    - {name: side, image: podling/toolbox, restartPolicy: Always, args: [sleep, infinity]}
    containers:
    - {name: web, image: podling/toolbox, args: [http, --port, '8080'], volumeMounts: [{name: v, mountPath: /v}]}
    volumes: [{name: v, emptyDir: {medium: Memory}}]
";

fn kill_one(podling: &Podling) -> String {
    let mut running = podling.spawn(&pod("killed", SERVER), &[]);
    running.wait_until_ready();
    let id = running.run_id();
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, -9);
    id
}

#[test]
fn doctor_tells_of_a_killed_run_and_the_next_run_cleans_up() {
    let podling = Podling::new();
    let id = kill_one(&podling);
    let told = podling.call(["doctor"]);
    assert_eq!(told.code, 1, "{told}");
    assert!(told.stdout.contains(&id) && told.stdout.contains("default/killed"), "{told}");
    let next =
        pod("next", "containers: [{name: a, image: podling/toolbox, args: ['true']}]\nrestartPolicy: Never");
    let finished = podling.run(&next, &[]);
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stderr.contains(&id), "{finished}");
    podling.assert_nothing_left();
    let well = podling.call(["doctor"]);
    assert!(well.stdout.contains("no dead run has left anything"), "{well}");
}

#[test]
fn doctor_cleans_up_when_asked() {
    let podling = Podling::new();
    let ids = [kill_one(&podling), kill_one(&podling)];
    let told = podling.call(["doctor", "--clean", "--output", "json"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(ids.iter().any(|id| told.stdout.contains(id)), "{told}");
    podling.assert_nothing_left();
}

/// A run that lives is nobody's leftover, however many others start and end beside it.
#[test]
fn a_living_run_is_left_alone_by_others() {
    let podling = Podling::new();
    let mut living = podling.spawn(&pod("living", SERVER), &[]);
    living.wait_until_ready();
    let told = podling.call(["doctor"]);
    assert!(told.stdout.contains("no dead run has left anything"), "{told}");
    let next =
        pod("next", "containers: [{name: a, image: podling/toolbox, args: ['true']}]\nrestartPolicy: Never");
    assert_eq!(podling.run(&next, &[]).code, 0);
    living.signal(Signal::INT);
    let finished = living.wait();
    assert_eq!(finished.code, 130, "{finished}");
}

/// Killed at any moment of its beginning: the shim may not be there yet, or may not be known yet.
#[test]
fn killed_at_any_moment_nothing_survives_the_next_clean_up() {
    let podling = Podling::new();
    for event in ["manifest", "step", "started", "ready"] {
        let mut running = podling.spawn(&pod("killed", SERVER), &[]);
        running.wait_for(event, |seen| seen["event"] == event);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, -9);
        let cleaned = podling.call(["doctor", "--clean"]);
        assert_eq!(cleaned.code, 0, "killed at {event}: {cleaned}");
        podling.assert_nothing_left();
    }
}

/// On a machine where podling has never run, its directories are gone again too.
#[test]
fn the_directories_of_runs_go_with_the_last_run() {
    let podling = Podling::new();
    let (data, run) = (podling.base().join("fresh-data"), podling.base().join("fresh-run"));
    let manifest = podling.base().join("pod.yaml");
    let text =
        pod("a", "containers: [{name: a, image: podling/toolbox, args: ['true']}]\nrestartPolicy: Never");
    std::fs::write(&manifest, text).unwrap();
    let images = podling.image_dir();
    let finished = podling
        .prepare_bare(["run".as_ref(), manifest.as_os_str()])
        .arg("--data-dir")
        .arg(&data)
        .arg("--run-dir")
        .arg(&run)
        .arg("--image-dir")
        .arg(&images)
        .finish();
    assert_eq!(finished.code, 0, "{finished}");
    for directory in [data, run] {
        let left: Vec<_> = std::fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Fixed: whoever ran podling under flock(1) was locked out for as long as its Pods ran, because their shims held the lock.
#[test]
fn a_shim_holds_nothing_that_podling_was_started_with() {
    let podling = Podling::new();
    let held = podling.base().join("held");
    let script = format!("exec 9>{}", held.display());
    let mut running =
        podling.prepare_run(&pod("holding", SERVER), &["--output", "json"]).after_mounting(&script).start();
    running.wait_until_ready();
    let holders = |pid: &str| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == held)).count()
    };
    assert_eq!(holders(&running.pid().to_string()), 1, "podling itself has it");
    let base = podling.base().to_string_lossy().into_owned();
    let is_shim = |pid: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with("podling-shim") && line.contains(&base)
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let shims: Vec<String> = pids.filter(|pid| is_shim(pid)).collect();
    assert_eq!(shims.len(), 1, "{shims:?}");
    assert_eq!(holders(&shims[0]), 0, "the shim holds what is not its own");
    running.signal(Signal::TERM);
    running.wait();
}

/// Somebody removes the directories of a node that was killed: nobody could find its Pods by its files any more.
#[test]
fn doctor_ends_what_is_left_of_a_node_whose_directories_are_gone() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    std::fs::write(podling.base().join("pod.yaml"), pod("left", SERVER)).unwrap();
    assert!(node.kubectl(["apply", "-f", "pod.yaml"]).status.success());
    assert!(node.kubectl(["wait", "--for=condition=Ready", "pod/left", "--timeout=60s"]).status.success());
    let told = podling.call(["doctor"]);
    assert!(
        !told.stdout.contains(&*podling.run_dir().to_string_lossy()) || !told.stdout.contains("removed"),
        "{told}"
    );
    node.kill();
    for directory in [podling.data_dir(), podling.run_dir()] {
        std::fs::remove_dir_all(directory).unwrap();
    }
    let told = podling.call(["doctor"]);
    let expected =
        format!("the node in {}, a directory that was removed, left 1 Pod", podling.run_dir().display());
    assert!(told.code == 1 && told.stdout.contains(&expected), "{told}");
    let told = podling.call(["doctor", "--clean"]);
    assert!(told.stderr.contains(&*podling.run_dir().to_string_lossy()), "{told}");
    podling.assert_nothing_left();
    let told = podling.call(["doctor"]);
    assert!(!told.stdout.contains(&expected), "{told}");
}
