//! Security contexts, resources and other runtimes, as seen from inside the container.

use e2e::{Image, Podling, Value, pod};
use serde_json::json;

/// What the toolbox's `report` applet says of a container with this `securityContext` and more.
fn report(podling: &Podling, more: &str, args: &[&str]) -> Value {
    let manifest = pod(
        "look",
        &format!(
            "
        restartPolicy: Never
        containers:
        - name: look
          image: podling/toolbox
          args: [report]
          {more}
    "
        ),
    );
    let finished = podling.run(&manifest, args);
    assert_eq!(finished.code, 0, "{finished}");
    let text = finished.lines_of("look").join("\n");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {finished}"))
}

fn field<'a>(report: &'a Value, path: &str) -> &'a str {
    report.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {report}")).trim()
}

#[test]
fn by_default_a_container_has_few_capabilities_and_a_seccomp_filter() {
    let podling = Podling::new();
    let report = report(&podling, "env: []", &[]);
    assert_eq!(field(&report, "/credentials/Seccomp"), "2", "RuntimeDefault, a filter");
    // CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
    // AUDIT_WRITE is what containerd gives; never SYS_ADMIN (bit 21) nor SYS_PTRACE (bit 19).
    let effective = u64::from_str_radix(field(&report, "/capabilities/CapEff"), 16).unwrap();
    assert_ne!(effective & 1, 0, "CHOWN");
    assert_eq!(
        effective & (1 << 21 | 1 << 19 | 1 << 12),
        0,
        "SYS_ADMIN, SYS_PTRACE, NET_ADMIN: {effective:x}"
    );
    assert_eq!(report["pid"], 1, "a PID namespace of its own");
}

#[test]
fn a_security_context_is_what_the_process_has() {
    let podling = Podling::new();
    let context = "securityContext: {runAsUser: 1000, runAsGroup: 3000, runAsNonRoot: true, \
                   allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}";
    let report = report(&podling, context, &[]);
    assert_eq!(
        field(&report, "/credentials/Uid"),
        "1000\t1000\t1000\t1000".replace('\t', field_separator(&report))
    );
    assert!(field(&report, "/credentials/Gid").starts_with("3000"), "{report}");
    assert_eq!(field(&report, "/credentials/NoNewPrivs"), "1");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh"] {
        assert_eq!(field(&report, &format!("/capabilities/{set}")), "0000000000000000", "{set}");
    }
    let root = report["mounts"].as_array().unwrap().iter().find(|mount| mount.to_string().contains("\"/\""));
    assert!(root.is_some_and(|root| root.to_string().contains("\"ro")), "{root:?}");
}

/// The report may keep the tabs of /proc/PID/status or not.
fn field_separator(report: &Value) -> &'static str {
    if field(report, "/credentials/Uid").contains('\t') { "\t" } else { " " }
}

#[test]
fn a_read_only_root_filesystem_refuses_writes_and_volumes_take_them() {
    let podling = Podling::new();
    let manifest = pod(
        "readonly",
        "
        restartPolicy: Never
        containers:
        - name: inside
          image: podling/toolbox
          args: [chain, write, /v/file, fine, ',', write, /file, refused]
          securityContext: {readOnlyRootFilesystem: true}
          volumeMounts: [{name: v, mountPath: /v}]
        volumes: [{name: v, emptyDir: {}}]
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 1, "{finished}");
    assert!(finished.lines_of("inside").join("").contains("/file: Read-only file system"), "{finished}");
}

#[test]
fn root_is_refused_where_it_must_not_run() {
    let podling = Podling::new();
    let manifest = pod(
        "root",
        "
        containers: [{name: a, image: podling/toolbox, args: ['true'], securityContext: {runAsNonRoot: true}}]
    ",
    );
    podling.run(&manifest, &[]).assert_failed(125, &["a: ", "runAsNonRoot"]);
}

#[test]
fn the_user_of_the_image_is_found_by_name_and_refused_where_a_number_is_needed() {
    let podling = Podling::new();
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/home/app:/bin/sh\n";
    Image::toolbox(&podling, "named:1")
        .layer(&[("etc/passwd", 0o644, passwd.as_bytes()), ("etc/group", 0o644, b"app:x:1234:\n")])
        .with("User", json!("app"))
        .load();
    let manifest = |context: &str| {
        pod(
            "user",
            &format!(
                "
            restartPolicy: Never
            containers: [{{name: a, image: 'named:1', args: [id, -u]{context}}}]
        "
            ),
        )
    };
    let finished = podling.run(&manifest(""), &[]);
    assert_eq!((finished.code, finished.lines_of("a")), (0, vec!["1234"]), "{finished}");
    let refused = podling.run(&manifest(", securityContext: {runAsNonRoot: true}"), &[]);
    refused.assert_failed(125, &["runAsNonRoot", "app"]);
}

#[test]
fn what_the_image_says_is_honoured() {
    let podling = Podling::new();
    Image::toolbox(&podling, "said:1")
        .with("Env", json!(["PATH=/bin", "FROM_IMAGE=yes"]))
        .with("WorkingDir", json!("/work/deep"))
        .with("Cmd", json!(["report"]))
        .with("StopSignal", json!("SIGUSR1"))
        .load();
    let manifest = pod(
        "said",
        "
        restartPolicy: Never
        containers:
        - {name: report, image: 'said:1'}
        - {name: signal, image: 'said:1', args: [trap, USR1, TERM]}
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_exit("report");
    running.wait_for_log("signal", "waiting for");
    running.signal(e2e::Signal::INT);
    let finished = running.wait();
    let report: Value = serde_json::from_str(&finished.lines_of("report").join("")).unwrap();
    assert_eq!(report["cwd"], "/work/deep");
    assert!(report["env"].to_string().contains("FROM_IMAGE=yes"), "{report}");
    assert_eq!(finished.lines_of("signal")[1..], ["received SIGUSR1 (1)"], "{finished}");
}

#[test]
fn a_container_that_takes_too_much_memory_is_told_as_oom_killed() {
    let podling = Podling::new();
    let manifest = pod(
        "hungry",
        "
        restartPolicy: Never
        containers:
        - {name: hungry, image: podling/toolbox, args: [alloc, 64m], resources: {limits: {memory: 16Mi}}}
    ",
    );
    let finished = podling.run(&manifest, &[]);
    finished.assert_failed(137, &["hungry was killed: out of memory (OOMKilled)"]);
}

#[test]
fn cpu_and_pids_are_limited() {
    let podling = Podling::new();
    let manifest = pod(
        "limits",
        "
        restartPolicy: Never
        containers:
        - {name: busy, image: podling/toolbox, args: [cpu, '0.3'], resources: {limits: {cpu: 200m}}}
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 0, "{finished}");
    // "wall ... cpu ...": with a fifth of a CPU, at most a good third of the wall time.
    let line = finished.lines_of("busy").concat();
    let numbers: Vec<f64> =
        line.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|n| n.parse().ok()).collect();
    assert!(numbers.len() >= 2, "{line}");
    let (wall, cpu) = (numbers[0].max(numbers[1]), numbers[0].min(numbers[1]));
    assert!(cpu < wall * 0.6, "{line}");
}

#[test]
fn runc_creates_the_containers_when_asked() {
    let podling = Podling::new();
    other_runtime(&podling, "runc");
}

#[test]
fn crun_creates_the_containers_when_asked() {
    let podling = Podling::new();
    other_runtime(&podling, "crun");
}

fn other_runtime(podling: &Podling, runtime: &str) {
    let manifest = pod("other", "
        restartPolicy: Never
        initContainers:
        - {name: init, image: podling/toolbox, args: [write, /v/file, from init], volumeMounts: [{name: v, mountPath: /v}]}
        - name: server
          image: podling/toolbox
          restartPolicy: Always
          args: [http, --port, '8080', --dir, /v]
          startupProbe: {exec: {command: [toolbox, nc, -z, localhost, '8080']}, periodSeconds: 1, failureThreshold: 30}
          volumeMounts: [{name: v, mountPath: /v}]
        containers:
        - {name: client, image: podling/toolbox, args: [chain, get, 'http://localhost:8080/file', ',', exit, '3'], resources: {limits: {memory: 32Mi}}}
        volumes: [{name: v, emptyDir: {}}]
    ");
    let finished = podling.run(&manifest, &["--runtime", runtime]);
    assert_eq!(finished.code, 3, "{finished}");
    assert_eq!(finished.lines_of("client").first(), Some(&"from init"), "{finished}");
}

#[test]
fn a_runtime_that_refuses_is_told_in_its_own_words() {
    let podling = Podling::new();
    let refuser = podling.base().join("refuser");
    std::fs::write(&refuser, "#!/bin/sh\necho 'this machine is not good enough' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&refuser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let manifest = pod("other", "containers: [{name: a, image: podling/toolbox, args: ['true']}]");
    let finished = podling.run(&manifest, &["--runtime", &refuser.to_string_lossy()]);
    finished.assert_failed(125, &["a: ", "refuser create"]);
    // A container is started again at once after its first failure; giving up may come before that or after.
    let said = finished.lines_of("a");
    assert!(!said.is_empty(), "{finished}");
    assert!(said.iter().all(|line| *line == "this machine is not good enough"), "{finished}");
    podling.run(&manifest, &["--runtime", "walk"]).assert_failed(125, &["walk", "not installed"]);
}
