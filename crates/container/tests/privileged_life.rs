//! The life of a Pod's containers, from the sandbox to nothing left: start, output, signals, exits, ends.

#![allow(clippy::unwrap_used)]

mod pod;

use std::sync::Arc;

use container::{ContainerState, Error, Shim, ShimEvent, StartErrorKind, recorded_exits};
use pod::{Pod, change, is_alive};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_its_lines_are_in_the_log() {
    let mut pod = Pod::new().await;
    let (exit, output) = pod.run("web/0", "echo hello; echo world >&2; exit 3").await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
    assert_eq!(output, "hello\nworld\n");
    let log = std::fs::read_to_string(pod.log_path("web/0")).unwrap();
    assert!(log.contains(" stdout F hello\n") && log.contains(" stderr F world\n"), "{log}");
    assert_eq!(recorded_exits(&pod.pod_dir()).unwrap()["web/0"], exit);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_the_sandbox_and_nothing_else() {
    let mut pod = Pod::new().await;
    let script = "hostname; ps -o pid | wc -l; echo shared > /dev/shm/x; for kind in net ipc uts pid mnt cgroup; do \
        readlink /proc/self/ns/$kind; done; tail -1 /proc/self/cgroup; sleep 1000";
    pod.start(pod.script("a/0", script)).await.unwrap();
    pod.wait_for_output("a/0", "::/").await;
    let first = pod.output("a/0");
    let script = script.replace("sleep 1000", "cat /dev/shm/x");
    let script = script.as_str();
    let (exit, output) = pod.run("b/0", script).await;
    assert_eq!(exit.code, 0, "{output}");
    let lines: Vec<&str> = output.lines().collect();
    let others: Vec<&str> = first.lines().collect();
    // A header, the shell, ps and wc; nobody else's processes.
    assert_eq!(lines[..2], ["testpod", "4"]);
    assert_eq!(lines[2..5], others[2..5], "network, IPC and UTS namespaces are the Pod's");
    for index in 5..8 {
        assert_ne!(lines[index], others[index], "PID, mount and cgroup namespaces are their own");
    }
    assert_eq!(lines[8].rsplit(':').next(), Some("/"));
    assert_eq!(lines[9], "shared");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_first_process_and_kill_everything() {
    let mut pod = Pod::new().await;
    pod.start(pod.script("a/0", "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done"))
        .await
        .unwrap();
    pod.wait_for_output("a/0", "ready").await;
    pod.shim.signal("a/0", 15).await.unwrap();
    assert_eq!(pod.exit("a/0").await.code, 7);

    let started = pod.start(pod.script("b/0", "trap '' TERM; sleep 1000 & echo ready; wait")).await.unwrap();
    pod.wait_for_output("b/0", "ready").await;
    pod.shim.kill("b/0").await.unwrap();
    let exit = pod.exit("b/0").await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert!(!is_alive(started.pid));
    // Of what has ended no signal and no kill is an error.
    pod.shim.signal("b/0", 15).await.unwrap();
    pod.shim.kill("b/0").await.unwrap();
    pod.shim.remove("b/0").await.unwrap();
    assert!(matches!(pod.shim.signal("b/0", 15).await, Err(Error::Act { .. })));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_asked_again_starts_nothing() {
    let mut pod = Pod::new().await;
    let first = pod.start(pod.script("a/0", "sleep 1000")).await.unwrap();
    let again = pod.start(pod.script("a/0", "echo other")).await.unwrap();
    assert_eq!((first.pid, first.started_at), (again.pid, again.started_at));
    assert!(
        matches!(pod.shim.remove("a/0").await, Err(Error::Act { .. })),
        "a running container is not removed"
    );
    pod.shim.kill("a/0").await.unwrap();
    pod.exit("a/0").await;
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let pod = Pod::new().await;
    std::fs::write(pod.directory.path().join("image/script"), "#!/bin/missing\n").unwrap();
    let foreign = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"[..], &[0; 100]].concat();
    std::fs::write(pod.directory.path().join("image/foreign"), foreign).unwrap();
    std::fs::write(pod.directory.path().join("image/text"), "hello").unwrap();
    std::fs::write(pod.directory.path().join("image/plain"), "hello").unwrap();
    for name in ["script", "foreign", "text"] {
        let path = pod.directory.path().join("image").join(name);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let cases = [
        ("missing", StartErrorKind::NotFound, "no such program in PATH"),
        ("/bin/missing", StartErrorKind::NotFound, "/bin/missing does not exist"),
        ("/script", StartErrorKind::BadInterpreter, "interpreter /bin/missing"),
        ("/foreign", StartErrorKind::WrongArchitecture, "another processor (arm64)"),
        ("/text", StartErrorKind::NotAProgram, "neither a program nor a script"),
        ("/plain", StartErrorKind::NotExecutable, "may not be executed"),
        ("/bin", StartErrorKind::IsDirectory, "is a directory"),
        ("/bin/sh/x", StartErrorKind::NotFound, "not a directory"),
    ];
    for (number, (program, kind, message)) in cases.into_iter().enumerate() {
        let key = format!("c{number}/0");
        let Err(Error::Start(error)) = pod.start(pod.request(&key, &[program])).await else {
            panic!("{program} started")
        };
        assert_eq!(error.kind, kind, "{program}: {error}");
        assert!(error.message.contains(message), "{program}: {error}");
        pod.shim.remove(&key).await.unwrap();
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_finds_everything_again() {
    let mut pod = Pod::new().await;
    let started = pod
        .start(pod.script("long/0", "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"))
        .await
        .unwrap();
    pod.wait_for_output("long/0", "up").await;
    let pod_dir = pod.pod_dir();
    // The daemon dies; a container ends while nobody listens.
    let (shim, events) = Shim::connect(&pod_dir).await.unwrap();
    pod.shim = shim;
    pod.events = events;
    let state = pod.shim.state().await.unwrap();
    assert_eq!(
        state.containers["long/0"],
        ContainerState::Running { pid: started.pid, started_at: started.started_at }
    );
    assert!(state.sandbox.is_some());
    pod.shim.signal("long/0", 15).await.unwrap();
    assert_eq!(pod.exit("long/0").await.code, 5);
    let (_, output) = pod.run("more/0", "hostname").await;
    assert_eq!(output, "testpod\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_a_daemon_is_not_lost() {
    let mut pod = Pod::new().await;
    pod.start(pod.script("a/0", "trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done"))
        .await
        .unwrap();
    pod.wait_for_output("a/0", "ready").await;
    let pod_dir = pod.pod_dir();
    let pid = match &pod.shim.state().await.unwrap().containers["a/0"] {
        ContainerState::Running { pid, .. } => *pid,
        other => panic!("{other:?}"),
    };
    // Another connection takes the place of the first, which is closed.
    let (shim, _) = Shim::connect(&pod_dir).await.unwrap();
    pod.shim = shim.clone();
    drop(shim);
    let exits = tokio::task::spawn_blocking({
        let pod_dir = pod_dir.clone();
        move || wait_for_record(&pod_dir, pid)
    });
    exits.await.unwrap();
    assert_eq!(recorded_exits(&pod_dir).unwrap()["a/0"].code, 9);
    let (shim, events) = Shim::connect(&pod_dir).await.unwrap();
    pod.shim = shim;
    pod.events = events;
    let state = pod.shim.state().await.unwrap();
    assert!(matches!(state.containers["a/0"], ContainerState::Exited { exit, .. } if exit.code == 9));
    pod.finish().await;
}

/// Ends a process with TERM and waits by inotify until an exit is recorded.
fn wait_for_record(pod_dir: &std::path::Path, pid: i32) {
    use rustix::fs::inotify;
    let exits = pod_dir.join("exits");
    std::fs::create_dir_all(&exits).unwrap();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, &exits, inotify::WatchFlags::MOVED_TO).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut space = [0u8; 4096];
    rustix::io::read(&watch, &mut space).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_pause_is_told() {
    let (mut pod, sandbox) = Pod::with(|_| {}).await;
    let pid = rustix::process::Pid::from_raw(sandbox.pause_pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let event = pod.event().await;
    assert!(
        matches!(&event, ShimEvent::SandboxGone { key, exit } if key == "sandbox/0" && exit.signal == Some(9)),
        "{event:?}"
    );
    // A new one can be made.
    let again = container::SandboxSpec {
        key: "sandbox/1".into(),
        hostname: "again".into(),
        netns: Some(Arc::new(linux::netns::create().unwrap())),
        ..Default::default()
    };
    pod.shim.create_sandbox(again).await.unwrap();
    let mut request = pod.script("a/0", "hostname");
    change(&mut request, |spec| {
        spec["mounts"].as_array_mut().unwrap().pop();
    });
    let (_, output) = pod.run_request(request).await;
    assert_eq!(output, "again\n");
    // An asked-for end is no event.
    pod.shim.stop_sandbox().await.unwrap();
    assert_eq!(pod.shim.state().await.unwrap().sandbox, None);
    pod.finish().await;
}

/// An emptyDir outlives the sandbox; shared memory goes with the IPC namespace that it belongs to.
#[tokio::test(flavor = "multi_thread")]
async fn memory_volumes_outlive_the_sandbox() {
    let mut pod = Pod::bare().await;
    let volume = pod.directory.path().join("cache");
    let sandbox = |key: &str| container::SandboxSpec {
        key: key.into(),
        hostname: "testpod".into(),
        shm_size_bytes: 1 << 20,
        tmpfs: vec![container::TmpfsMount {
            path: volume.clone(),
            size_limit_bytes: Some(1 << 20),
            mode: 0o777,
            gid: None,
        }],
        netns: Some(Arc::new(linux::netns::create().unwrap())),
        ..Default::default()
    };
    let with_mounts = |pod: &Pod, key: &str, script: &str| {
        let mut request = pod.script(key, script);
        let shm = pod.directory.path().join("pod/shm");
        change(&mut request, |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/dev/shm");
            for (source, target) in [(&volume, "/cache"), (&shm, "/dev/shm")] {
                let options = json!(["rbind", "rw"]);
                mounts.push(
                    json!({ "destination": target, "type": "bind", "source": source, "options": options }),
                );
            }
        });
        request
    };
    pod.shim.create_sandbox(sandbox("sandbox/0")).await.unwrap();
    let request = with_mounts(&pod, "a/0", "echo kept > /cache/file; echo lost > /dev/shm/file");
    pod.run_request(request).await;
    pod.shim.stop_sandbox().await.unwrap();
    pod.shim.create_sandbox(sandbox("sandbox/1")).await.unwrap();
    let request = with_mounts(&pod, "a/1", "cat /cache/file; ls /dev/shm");
    let (_, output) = pod.run_request(request).await;
    assert_eq!(output, "kept\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_shim_takes_all_along() {
    let (mut pod, sandbox) = Pod::with(|_| {}).await;
    let mut request = pod.script("a/0", "sleep 1000");
    change(&mut request, |spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let started = pod.start(request).await.unwrap();
    let watch = |pid| {
        rustix::process::pidfd_open(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap()
    };
    let (pause, container) = (watch(sandbox.pause_pid), watch(started.pid));
    let shim = rustix::process::Pid::from_raw(pod.shim.pid()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    assert_eq!(pod.event().await, ShimEvent::Disconnected);
    for process in [&pause, &container] {
        let timeout = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut polled = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)).unwrap(), 1, "it outlives the shim");
    }
    assert!(matches!(pod.shim.state().await, Err(Error::Gone { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_pid_namespace_is_reaped_and_a_container_leaves_nothing_there() {
    let (mut pod, _) = Pod::with(|spec| spec.share_process_namespace = true).await;
    pod.start(pod.script("watch/0", "sleep 1000")).await.unwrap();
    let (exit, output) = pod.run("a/0", "sleep 2000 & ps -o pid,args; echo done").await;
    assert_eq!(exit.code, 0);
    assert!(output.lines().any(|line| line.trim().starts_with("1 /pause")), "{output}");
    assert!(output.contains("sleep 1000"), "it sees the other container: {output}");
    // A zombie shows as [sleep] until pause has reaped it.
    let until_reaped =
        "while ps -o args | grep -q -e '^sleep 2000' -e '^.sleep.$'; do :; done; ps -o stat,args";
    let (_, output) = pod.run("b/0", until_reaped).await;
    assert!(!output.lines().any(|line| line.starts_with('Z')), "pause reaps: {output}");
    assert!(!output.lines().any(|line| line.ends_with("  sleep 2000")), "{output}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debugging_container_sees_its_targets_processes() {
    let mut pod = Pod::new().await;
    pod.start(pod.script("app/0", "exec sleep 1234")).await.unwrap();
    let mut request = pod.script("debug/0", "sleep 4321 & ps -o pid,args");
    request.target_pid_namespace_of = Some("app/0".into());
    let (_, output) = pod.run_request(request).await;
    assert!(output.lines().any(|line| line.trim() == "1 sleep 1234"), "{output}");
    let (_, output) = pod.run("other/0", "ps -o args").await;
    assert!(!output.contains("1234"), "{output}");
    // What it started there went with it.
    let ContainerState::Running { pid, .. } = pod.shim.state().await.unwrap().containers["app/0"] else {
        panic!("the target runs on")
    };
    assert!(is_alive(pid));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_lives_as_long_as_the_shim() {
    use rustix::fs::{FlockOperation, flock};
    let pod = Pod::new().await;
    let path = pod.directory.path().join("lock");
    let lock = || std::fs::File::create(&path).unwrap();
    let held = lock();
    flock(&held, FlockOperation::NonBlockingLockShared).unwrap();
    pod.shim.hold(held.into()).await.unwrap();
    assert!(flock(lock(), FlockOperation::NonBlockingLockExclusive).is_err(), "the shim holds it");
    pod.shim.clone().shutdown().await.unwrap();
    flock(lock(), FlockOperation::NonBlockingLockExclusive).unwrap();
    pod.finish().await;
}
