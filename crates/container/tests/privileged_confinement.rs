//! What a container may see, use and do, as it finds out from inside.

#![allow(clippy::unwrap_used)]

mod pod;

use container::{Error, StagedBind, StartErrorKind, TmpfsMount};
use pod::{Pod, change};
use serde_json::{Value, json};

fn add_mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().unwrap().push(mount);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_groups_capabilities_and_limits_are_as_asked() {
    let mut pod = Pod::new().await;
    let mut request = pod.script(
        "a/0",
        "id -u; id -g; id -G; echo $HOME; pwd; umask; ulimit -n; ulimit -Hn; \
        grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/oom_score_adj",
    );
    change(&mut request, |spec| {
        let process = &mut spec["process"];
        process["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27 });
        process["cwd"] = json!("/work/here");
        let caps = json!(["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
        let ambient = json!(["CAP_NET_BIND_SERVICE"]);
        process["capabilities"] = json!({ "bounding": caps, "effective": ambient, "permitted": ambient, "inheritable": ambient, "ambient": ambient });
        process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
        process["oomScoreAdj"] = json!(321);
    });
    let (exit, output) = pod.run_request(request).await;
    assert_eq!(exit.code, 0, "{output}");
    let expected = "1000\n1001\n1001 7 8\n/srv\n/work/here\n0027\n100\n200\n\
        CapInh:\t0000000000000400\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n\
        CapBnd:\t0000000000000401\nCapAmb:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n321\n";
    assert_eq!(output, expected);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_refuses_is_a_warning() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("a/0", "true");
    change(&mut request, |spec| {
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 900_000, "hard": 900_000 }]);
    });
    let started = pod.start(request).await.unwrap();
    let can_raise = rustix::thread::capabilities(None)
        .unwrap()
        .permitted
        .contains(rustix::thread::CapabilitySet::SYS_RESOURCE);
    assert_eq!(started.warnings.is_empty(), can_raise, "{:?}", started.warnings);
    assert_eq!(pod.exit("a/0").await.code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_and_read_only_paths_hold() {
    let mut pod = Pod::new().await;
    let script = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/pid_max; \
        echo x > /sys/fs/cgroup/x; stat -c '%t:%T %F' /proc/keys; touch /file && echo writable; \
        mount -t tmpfs x /tmp; mknod /tmp/k c 1 11 && cat /tmp/k";
    let (_, output) = pod.run("a/0", script).await;
    assert!(output.starts_with("0\n0\n"), "{output}");
    assert!(output.contains("1:3 character special file"), "{output}");
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(output.contains("writable\n"), "{output}");
    assert!(output.contains("mount: permission denied"), "{output}");
    assert!(output.contains("'/tmp/k': Operation not permitted"), "{output}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_is_read_only_and_its_volumes_are_not() {
    let volume = tempfile::tempdir().unwrap();
    let mut pod = Pod::new().await;
    let mut request =
        pod.script("a/0", "touch /x; touch /vol/deep/y; touch /ro/z; touch /dev/shm/ok && echo ok");
    change(&mut request, |spec| {
        spec["root"]["readonly"] = json!(true);
        add_mount(
            spec,
            json!({ "destination": "/vol/deep", "source": volume.path(), "options": ["rbind", "rw"] }),
        );
        add_mount(
            spec,
            json!({ "destination": "/ro", "source": volume.path(), "options": ["rbind", "ro", "nosuid"] }),
        );
    });
    let (_, output) = pod.run_request(request).await;
    assert!(
        output.contains("/x: Read-only file system") && output.contains("/ro/z: Read-only file system"),
        "{output}"
    );
    assert!(output.ends_with("ok\n"), "{output}");
    assert!(volume.path().join("y").exists());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_volumes_are_the_pods_and_not_the_hosts() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("cache");
    let (mut pod, _) = Pod::with(|spec| {
        spec.tmpfs = vec![TmpfsMount {
            path: path.clone(),
            size_limit_bytes: Some(1 << 20),
            mode: 0o2777,
            gid: Some(5),
        }];
    })
    .await;
    let mut request = pod.script(
        "a/0",
        "stat -c '%a %g' /cache; head -c 900000 /dev/zero > /cache/a && head -c 900000 /dev/zero > /cache/b",
    );
    change(&mut request, |spec| {
        add_mount(spec, json!({ "destination": "/cache", "source": path, "options": ["rbind"] }))
    });
    let (exit, output) = pod.run_request(request).await;
    assert_eq!(exit.code, 1);
    assert!(output.starts_with("2777 5\n") && output.contains("head: standard output"), "{output}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "it is visible on the host");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_path_is_staged_and_never_through_a_link() {
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("file"), "content\n").unwrap();
    std::os::unix::fs::symlink("/etc", volume.path().join("link")).unwrap();
    let mut pod = Pod::new().await;
    let staging = pod.directory.path().join("staging");
    let with = |key: &str, sub_path: &str, script: &str, pod: &Pod| {
        let mut request = pod.script(key, script);
        let target = staging.join(key.replace('/', "-"));
        request.staged = vec![StagedBind {
            volume_root: volume.path().to_owned(),
            sub_path: sub_path.into(),
            target: target.clone(),
        }];
        change(&mut request, |spec| {
            add_mount(spec, json!({ "destination": "/vol", "source": target, "options": ["rbind"] }))
        });
        request
    };
    let (_, output) = pod.run_request(with("a/0", "file", "cat /vol", &pod)).await;
    assert_eq!(output, "content\n");
    let (_, output) = pod.run_request(with("b/0", "new/deep", "stat -c %a /vol; touch /vol/x", &pod)).await;
    assert_eq!(output, "750\n");
    assert!(volume.path().join("new/deep/x").exists());
    for (key, sub_path) in [("c/0", "link"), ("d/0", "link/passwd"), ("e/0", "../x")] {
        let Err(Error::Start(error)) = pod.start(with(key, sub_path, "true", &pod)).await else {
            panic!("{sub_path} was mounted")
        };
        assert_eq!(error.step, container::Step::Stage, "{error}");
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_runs_out_of_memory_is_told() {
    let mut pod = Pod::new().await;
    let limited = |key: &str, script: &str, pod: &Pod| {
        let mut request = pod.script(key, script);
        change(&mut request, |spec| {
            spec["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 })
        });
        request
    };
    let (exit, _) = pod.run_request(limited("first/0", "exec tail -c 100m /dev/zero", &pod)).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let (exit, output) =
        pod.run_request(limited("child/0", "tail -c 100m /dev/zero; echo went on", &pod)).await;
    assert!(exit.oom_killed, "{exit:?} {output}");
    let (exit, _) = pod.run_request(limited("fine/0", "true", &pod)).await;
    assert!(!exit.oom_killed);
    // The next attempt in the same cgroup is not blamed for the one before.
    let (exit, _) = pod.run_request(limited("child/1", "true", &pod)).await;
    assert_eq!((exit.code, exit.oom_killed), (0, false));
    pod.shim.remove("child/0").await.unwrap();
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_processes_holds() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("a/0", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all");
    change(&mut request, |spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 5 }));
    let (exit, output) = pod.run_request(request).await;
    assert_ne!(exit.code, 0, "{output}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mounted_says_what_and_where() {
    let pod = Pod::new().await;
    let mut request = pod.script("a/0", "true");
    change(&mut request, |spec| {
        add_mount(spec, json!({ "destination": "/vol", "source": "/nowhere", "options": ["rbind"] }))
    });
    let Err(Error::Start(error)) = pod.start(request).await else { panic!("it started") };
    assert_eq!(error.kind, StartErrorKind::Mount);
    assert_eq!(error.message, "cannot bind /nowhere to /vol: No such file or directory (os error 2)");
    let mut request = pod.script("b/0", "true");
    change(&mut request, |spec| spec["process"]["cwd"] = json!("/bin/sh"));
    let Err(Error::Start(error)) = pod.start(request).await else { panic!("it started") };
    assert_eq!(error.kind, StartErrorKind::WorkingDirectory, "{error}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_cannot_lead_mounts_outside() {
    let mut pod = Pod::new().await;
    let image = pod.directory.path().join("image");
    let outside = pod.directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, image.join("vol")).unwrap();
    let volume = tempfile::tempdir().unwrap();
    let mut request = pod.script("a/0", "touch /vol/x/inside");
    change(&mut request, |spec| {
        add_mount(spec, json!({ "destination": "/vol/x", "source": volume.path(), "options": ["rbind"] }));
    });
    let started = pod.start(request).await;
    if started.is_ok() {
        pod.exit("a/0").await;
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something was made outside of the root");
    // procfs through a link would leave the container with a /proc of its own making (CVE-2019-19921).
    std::fs::remove_dir(image.join("proc")).unwrap();
    std::os::unix::fs::symlink("/tmp", image.join("proc")).unwrap();
    let Err(Error::Start(error)) = pod.start(pod.script("b/0", "true")).await else { panic!("it started") };
    assert_eq!(error.kind, StartErrorKind::Mount, "{error}");
    pod.finish().await;
}
