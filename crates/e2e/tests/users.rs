//! `hostUsers: false` (KEP-127) with the built binary: the same Pod among other users.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::MetadataExt;

use e2e::{Node, Podling, Signal, pod};
use rustix::process::Pid;

const MANY: &str = "
  hostUsers: false
  securityContext: {fsGroup: 2000}
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: data, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: secret, secret: {secretName: key, defaultMode: 0440}}
  initContainers:
  - name: prepare
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'mkdir /data/sub; echo kept > /data/sub/file; chown 1000 /data/sub/file; chown 33 /etc/passwd']
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: app
    image: busybox
    imagePullPolicy: IfNotPresent
    securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    command: [sh, -c, 'cat /secret/key /sub/file; echo more >> /sub/file; touch /memory/file; echo written > /dev/stdout; exec sleep 1000']
    readinessProbe: {exec: {command: [sh, -c, 'test $(id -u) = 1000']}, periodSeconds: 1}
    volumeMounts:
    - {name: data, mountPath: /sub, subPath: sub}
    - {name: memory, mountPath: /memory}
    - {name: secret, mountPath: /secret}
  - name: root
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sleep, '1000']
";

const KEY: &str =
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {key: \"secret\\n\"}\n";

/// tmpfs, on which /dev/shm lies, shows other owners since Linux 6.3.
fn kernel_has_mapped_mounts() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_str().unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(3))
}

#[test]
fn a_pod_with_users_of_its_own_lives_as_any_other() {
    let podling = Podling::with_images(&["busybox"]);
    let manifest = format!("{}{KEY}", pod("own", MANY));
    if !kernel_has_mapped_mounts() {
        let finished = podling.run(&manifest, &["--timeout", "20s"]);
        assert_ne!(finished.code, 0);
        assert!(finished.to_string().contains("idmapped mounts"), "{finished}");
        return podling.assert_nothing_left();
    }
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_until_ready();
    let pid = running.pid_of("app");
    let first = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let first: u32 = first.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((0x7000_0000..0x7ffe_0000).contains(&first), "{first:x} is nobody else's");
    let owner = |container: &str, running: &mut e2e::Running<'_>| {
        let pid = running.pid_of(container);
        std::fs::metadata(format!("/proc/{pid}/cmdline")).unwrap().uid()
    };
    assert_eq!(owner("app", &mut running), first + 1000);
    assert_eq!(owner("root", &mut running), first);
    let looked = running.look("root", &["stat", "-c", "%u", "/etc/hostname", "/bin"], "");
    assert_eq!(looked.text, "0\n0\n");
    running.signal(Signal::TERM);
    let finished = running.wait();
    assert_eq!(finished.lines_of("app"), ["secret", "kept", "written"], "{finished}");
    podling.assert_nothing_left();
}

#[test]
fn its_users_stay_its_own_through_restarts_of_node_and_sandbox() {
    if !kernel_has_mapped_mounts() {
        return eprintln!("this kernel has no mapped mounts of tmpfs: how that is told is another test");
    }
    let podling = Podling::with_images(&["busybox"]);
    let mut node = Node::start(&podling, &[]);
    std::fs::write(podling.base().join("pod.yaml"), format!("{}{KEY}", pod("own", MANY))).unwrap();
    let run = |node: &Node<'_>, script: &str| {
        let output = node.shell(std::path::Path::new("/usr/bin"), script).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let ready = "kubectl wait --for=condition=Ready pod/own --timeout=60s > /dev/null";
    let map = "kubectl exec own -c app -- cat /proc/self/uid_map";
    run(&node, &format!("kubectl apply -f pod.yaml > /dev/null && {ready}"));
    let first = run(&node, map);
    assert_ne!(first.split_whitespace().nth(1), Some("0"));
    node.kill();
    node.restart(&[]);
    // Pause dies: the sandbox is made anew, of the same users.
    rustix::process::kill_process(pause_among(&first), Signal::KILL).unwrap();
    let restarts = "kubectl get pod own -o jsonpath={.status.containerStatuses[0].restartCount}";
    run(&node, &format!("until test \"$({restarts})\" = 1; do :; done; {ready}"));
    assert_eq!(run(&node, map), first);
    run(&node, "kubectl delete pod own > /dev/null");
    drop(node);
    podling.assert_nothing_left();
}

/// The pause process whose users these are.
fn pause_among(map: &str) -> Pid {
    let is_it = |pid: &i32| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm").trim() == "pause" && read("uid_map").split_whitespace().eq(map.split_whitespace())
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Pid::from_raw(pids.filter(is_it).min().expect("a pause process")).unwrap()
}
