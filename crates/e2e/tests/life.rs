//! The life of a Pod's containers, as its user sees it: order, restarts, completion, termination.

use e2e::{Podling, Signal, Value, pod};

/// The places of `started` and `exited` events, by container.
fn position(events: &[Value], kind: &str, container: &str) -> usize {
    let is = |event: &Value| event["event"] == kind && event["container"] == container;
    events.iter().position(is).unwrap_or_else(|| panic!("{container} never {kind}"))
}

#[test]
fn init_containers_run_one_by_one_before_the_main_ones() {
    let podling = Podling::new();
    let manifest = pod(
        "order",
        "
        restartPolicy: Never
        initContainers:
        - {name: first, image: podling/toolbox, args: [sleep, 50ms]}
        - {name: second, image: podling/toolbox, args: [sleep, 50ms]}
        containers:
        - {name: main, image: podling/toolbox, args: [echo, here]}
        - {name: other, image: podling/toolbox, args: ['true']}
    ",
    );
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    let events = &finished.events;
    let order = [
        position(events, "exited", "first"),
        position(events, "started", "second"),
        position(events, "exited", "second"),
        position(events, "started", "main"),
    ];
    assert!(order.is_sorted(), "{order:?}: {finished}");
    assert_eq!(finished.events[order[2]]["init"], serde_json::json!([2, 2]));
    assert_eq!(finished.lines_of("main"), ["here"]);
}

#[test]
fn a_main_container_waits_for_the_startup_probe_of_a_sidecar() {
    let podling = Podling::new();
    let manifest = pod("sidecar", "
        restartPolicy: Never
        initContainers:
        - name: server
          image: podling/toolbox
          restartPolicy: Always
          args: [chain, sleep, 300ms, ',', http, --port, '8080']
          startupProbe: {exec: {command: [toolbox, nc, -z, localhost, '8080']}, periodSeconds: 1, failureThreshold: 30}
        containers:
        - {name: client, image: podling/toolbox, args: [get, 'http://localhost:8080/healthz']}
    ");
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("client"), ["ok"], "{finished}");
    let server = &finished.events[position(&finished.events, "exited", "server")];
    assert_eq!((&server["stopped"], &server["role"]), (&true.into(), &"sidecar".into()));
}

#[test]
fn sidecars_are_stopped_last_and_in_reverse_when_the_work_is_done() {
    let podling = Podling::new();
    let manifest = pod(
        "reverse",
        "
        restartPolicy: Never
        initContainers:
        - {name: one, image: podling/toolbox, restartPolicy: Always, args: [trap, TERM]}
        - {name: two, image: podling/toolbox, restartPolicy: Always, args: [trap, TERM]}
        - {name: three, image: podling/toolbox, restartPolicy: Always, args: [trap, TERM]}
        containers:
        - {name: main, image: podling/toolbox, args: [sleep, 300ms]}
    ",
    );
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 0, "a sidecar's end decides nothing: {finished}");
    let ends = ["main", "three", "two", "one"].map(|name| position(&finished.events, "exited", name));
    assert!(ends.is_sorted(), "{ends:?}: {finished}");
}

#[test]
fn the_code_of_the_first_failed_main_container_is_podlings() {
    let podling = Podling::new();
    let manifest = pod(
        "codes",
        "
        restartPolicy: Never
        containers:
        - {name: late, image: podling/toolbox, args: [chain, sleep, 500ms, ',', exit, '5']}
        - {name: early, image: podling/toolbox, args: [exit, '7']}
        - {name: fine, image: podling/toolbox, args: ['true']}
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 7, "{finished}");
    for words in ["early ended with code 7", "late ended with code 5", "codes failed"] {
        assert!(finished.stderr.contains(words), "{words}: {finished}");
    }
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let podling = Podling::new();
    let manifest = pod(
        "init",
        "
        restartPolicy: Never
        initContainers:
        - {name: migrate, image: podling/toolbox, args: [exit, '3']}
        containers:
        - {name: main, image: podling/toolbox, args: [echo, never]}
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 3, "{finished}");
    assert!(finished.stderr.contains("migrate ended with code 3"), "{finished}");
    assert!(finished.lines_of("main").is_empty(), "{finished}");
}

/// The first restart is immediate, the second one is put off by 10 s, and that is said.
#[test]
fn a_restart_and_its_back_off_are_told() {
    let podling = Podling::new();
    let manifest = pod(
        "crash",
        "
        restartPolicy: OnFailure
        containers:
        - {name: crash, image: podling/toolbox, args: [exit, '4']}
    ",
    );
    let mut running = podling.prepare_run(&manifest, &[]).start();
    running.wait_for_line("crash ended with code 4");
    running.wait_for_line("crash started again (restart 1)");
    running.wait_for_line("crash: restarting in 10 s because it ended with code 4");
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
}

#[test]
fn on_failure_restarts_until_success() {
    let podling = Podling::new();
    // The folder outlives the container: the first start makes it, the second one finds it.
    let manifest = pod("retry", "
        restartPolicy: OnFailure
        containers:
        - name: retry
          image: podling/toolbox
          args: [chain, write, --append, /state/starts, x, ',', cat, /state/starts, ',', cat, /state/second, ',', echo, well]
          volumeMounts: [{name: state, mountPath: /state}]
        - name: second
          image: podling/toolbox
          args: [chain, sleep, 100ms, ',', touch, /state/second]
          volumeMounts: [{name: state, mountPath: /state}]
        volumes: [{name: state, emptyDir: {}}]
    ");
    let finished = podling.run(&manifest, &["-o", "json", "--timeout", "50s"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("retry").last(), Some(&"well"), "{finished}");
    let starts = finished.events_of("started").iter().filter(|event| event["container"] == "retry").count();
    assert!(starts >= 2, "{finished}");
}

fn pause_of(running: &e2e::Running<'_>) -> i32 {
    let shim = shim_of(running);
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children(shim).into_iter().find(|pid| name(pid).trim().contains("pause")).expect("a pause process")
}

fn shim_of(running: &e2e::Running<'_>) -> i32 {
    children(running.pid() as i32).into_iter().next().expect("a shim")
}

fn children(pid: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect::<Vec<_>>())
        .collect()
}

fn kill(pid: i32) {
    use rustix::process::{Pid, kill_process};
    kill_process(Pid::from_raw(pid).expect("a pid"), rustix::process::Signal::KILL).expect("killing it");
}

#[test]
fn a_killed_pause_gives_a_new_sandbox_and_init_runs_again() {
    let podling = Podling::new();
    let manifest = pod("sandbox", "
        restartPolicy: Always
        initContainers:
        - {name: init, image: podling/toolbox, args: [write, --append, /state/init, ran], volumeMounts: [{name: state, mountPath: /state}]}
        containers:
        - {name: main, image: podling/toolbox, args: [chain, cat, /state/init, ',', trap, TERM], volumeMounts: [{name: state, mountPath: /state}]}
        volumes: [{name: state, emptyDir: {}}]
    ");
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("main", "waiting for SIGTERM");
    kill(pause_of(&running));
    running.wait_for("a second end of init", {
        let mut ends = 0;
        move |event| {
            ends += usize::from(event["event"] == "exited" && event["container"] == "init");
            ends == 2
        }
    });
    running.wait_for("readiness again", {
        let mut times = 0;
        move |event| {
            times += usize::from(event["event"] == "ready");
            times == 2
        }
    });
    running.wait_for("main to be set again", |event| {
        event["event"] == "log" && event["attempt"] == 1 && event["line"] == "waiting for SIGTERM"
    });
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    // Twice by the second start: the volume outlived the sandbox.
    assert_eq!(finished.lines_of("main").iter().filter(|line| **line == "ran").count(), 3, "{finished}");
    let told = finished.events_of("kubernetes_event").iter().any(|event| event["reason"] == "SandboxChanged");
    assert!(told, "{finished}");
}

#[test]
fn a_killed_pause_ends_a_pod_that_never_restarts() {
    let podling = Podling::new();
    let manifest = pod(
        "sandbox",
        "
        restartPolicy: Never
        initContainers:
        - {name: init, image: podling/toolbox, args: ['true']}
        containers:
        - {name: main, image: podling/toolbox, args: [trap, -n, '0', TERM]}
        terminationGracePeriodSeconds: 1
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_until_ready();
    kill(pause_of(&running));
    let finished = running.wait();
    assert_ne!(finished.code, 0, "{finished}");
    let inits = finished.events_of("exited").iter().filter(|event| event["container"] == "init").count();
    assert_eq!(inits, 1, "{finished}");
    assert_eq!(finished.events_of("finished")[0]["phase"], "Failed", "{finished}");
}

#[test]
fn a_container_that_ignores_its_signal_is_killed_when_its_grace_is_over() {
    let podling = Podling::new();
    let manifest = pod(
        "deaf",
        "
        terminationGracePeriodSeconds: 2
        containers:
        - {name: deaf, image: podling/toolbox, args: [trap, -n, '0', TERM]}
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("deaf", "waiting for SIGTERM");
    running.signal(Signal::TERM);
    let end = running.wait_for_exit("deaf");
    assert_eq!((&end["code"], &end["signal"]), (&137.into(), &9.into()), "{end}");
    let finished = running.wait();
    assert_eq!(finished.code, 143, "{finished}");
    assert_eq!(finished.lines_of("deaf")[1..], ["received SIGTERM (1)"], "once, before the end: {finished}");
}

/// The kernel may take the shim for want of memory: its containers die with it, and the Pod goes on as after the
/// death of pause.
#[test]
fn a_killed_shim_gives_a_new_one_and_a_new_sandbox() {
    let podling = Podling::new();
    let manifest = pod(
        "shim",
        "
        initContainers:
        - {name: init, image: podling/toolbox, args: ['true']}
        containers:
        - {name: main, image: podling/toolbox, args: [trap, TERM]}
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("main", "waiting for SIGTERM");
    running.wait_until_ready();
    kill(shim_of(&running));
    running.wait_for("main to be set again", |event| {
        event["event"] == "log" && event["attempt"] == 1 && event["line"] == "waiting for SIGTERM"
    });
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    let told = finished.events_of("kubernetes_event").iter().any(|event| event["reason"] == "ShimDied");
    assert!(told, "{finished}");
    let lost = &finished.events[position(&finished.events, "exited", "main")];
    assert_eq!(
        (&lost["code"], &lost["reason"]),
        (&137.into(), &"ContainerStatusUnknown".into()),
        "{finished}"
    );
}

#[test]
fn a_killed_shim_ends_a_pod_that_never_restarts() {
    let podling = Podling::new();
    let manifest = pod(
        "shim",
        "
        restartPolicy: Never
        containers:
        - {name: main, image: podling/toolbox, args: [trap, TERM]}
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_until_ready();
    kill(shim_of(&running));
    let finished = running.wait();
    assert_eq!(finished.code, 137, "{finished}");
    assert_eq!(finished.events_of("finished")[0]["phase"], "Failed", "{finished}");
}
