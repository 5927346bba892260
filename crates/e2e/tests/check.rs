//! `podling check`: what it finds in every seed and example, that its errors are errors of `podling run` too, and its
//! contract with scripts.

use std::path::{Path, PathBuf};

use e2e::{Finished, Image, Podling, Signal, pod};
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// Writes a manifest for tests that need its path.
fn written(podling: &Podling, name: &str, text: &str) -> PathBuf {
    let path = podling.base().join(name);
    std::fs::write(&path, text).expect("writing the manifest");
    path
}

/// Checks files and gives what was found, with the exit code.
fn check(podling: &Podling, files: &[&Path]) -> (Value, i32) {
    let words = ["check", "--output", "json"].into_iter().map(std::ffi::OsStr::new);
    let finished = podling.call(words.chain(files.iter().map(|file| file.as_os_str())));
    assert_eq!(finished.stderr, "", "{finished}");
    let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"));
    (report, finished.code)
}

/// `error rule line` and `advice rule line` of a report; notes are left out.
fn alarms(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| finding["severity"] != "note")
        .map(|finding| {
            let text = |field: &str| finding[field].as_str().expect("a text");
            format!("{} {} {}", text("severity"), text("rule"), finding["line"])
        })
        .collect()
}

/// What is found in the seeds as they stand: nothing in those that can be run from their file alone, advice where a
/// right one needs something of a cluster, and errors in those only that no cluster takes, or that can never end.
const SEEDS: [(&str, &[&str]); 23] = [
    ("000-01-yellow.yaml", &[]),
    ("000-02-web-with-logger.yaml", &[]),
    ("000-03-redis-proxy.yaml", &[]),
    ("000-04-shared-data.yaml", &[]),
    ("001-05-web-server-with-logging.yaml", &["advice no-such-object 34"]),
    (
        "001-06-web-server.yaml",
        &["error part-of-a-manifest 1", "error invalid-manifest 2", "error invalid-manifest 11"],
    ),
    ("001-07-app-with-istio-proxy.yaml", &["advice no-such-object 28", "advice no-token 32"]),
    ("001-08-web-app-with-migration.yaml", &["advice no-such-object 31"]),
    ("001-09-secure-web-app.yaml", &["advice no-such-object 52"]),
    ("001-10-app-with-cache.yaml", &[]),
    ("001-11-shared-process-namespace.yaml", &[]),
    ("001-12-shared-ipc.yaml", &[]),
    ("001-13-shared-storage-example.yaml", &[]),
    ("001-14-config-sharing-example.yaml", &["advice no-such-object 31", "advice no-such-object 34"]),
    (
        "001-15-database-with-backup.yaml",
        &["advice volume-not-supported 36", "advice volume-not-supported 39"],
    ),
    ("001-16-app-with-ambassador.yaml", &["advice no-such-object 28"]),
    ("001-17-legacy-app-with-adapter.yaml", &[]),
    ("001-18-wait-for-sidecar-ready.yaml", &["error part-of-a-manifest 1", "error wait-never-ends 5"]),
    (
        "001-19-cpu-intensive-app.yaml",
        &["error part-of-a-manifest 1", "error invalid-manifest 3", "error invalid-manifest 12"],
    ),
    (
        "001-20-writer-container.yaml",
        &["error part-of-a-manifest 1", "error invalid-manifest 6", "error invalid-manifest 11"],
    ),
    ("002-21-simple-webapp.yaml", &["error invalid-manifest 12"]),
    ("003-22-backend.yaml", &[]),
    ("003-23-init-container.yaml", &["error invalid-manifest 8", "error invalid-manifest 13"]),
];

#[test]
fn every_seed_is_told_what_is_true_of_it() {
    let podling = Podling::new();
    let names: Vec<String> = files_in(&folder("seeds"))
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, SEEDS.map(|(name, _)| name));
    for (name, expected) in SEEDS {
        let (report, code) = check(&podling, &[&folder("seeds").join(name)]);
        assert_eq!(alarms(&report), *expected, "{name}");
        let is_wrong = expected.iter().any(|alarm| alarm.starts_with("error"));
        assert_eq!(code, i32::from(is_wrong), "{name}");
    }
    assert!(!podling.image_dir().exists(), "looking makes no image store");
}

/// What the seeds take from elsewhere, in a second file: then nothing is missing.
#[test]
fn seeds_with_their_objects_are_in_order() {
    let podling = Podling::new();
    let objects: String = [
        ("ConfigMap", "fluentbit-config", "fluent-bit.conf"),
        ("ConfigMap", "nginx-ssl-config", "nginx.conf"),
        ("ConfigMap", "my-app-config", "app.yaml"),
        ("ConfigMap", "db-proxy-config", "haproxy.cfg"),
        ("Secret", "db-secret", "password"),
        ("Secret", "db-credentials", "password"),
    ]
    .iter()
    .map(|(kind, name, key)| {
        let data = if *kind == "Secret" { "stringData" } else { "data" };
        format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n{data}: {{{key}: x}}\n")
    })
    .collect();
    let objects = written(&podling, "objects.yaml", &objects);
    for name in [
        "001-05-web-server-with-logging.yaml",
        "001-08-web-app-with-migration.yaml",
        "001-09-secure-web-app.yaml",
        "001-14-config-sharing-example.yaml",
        "001-16-app-with-ambassador.yaml",
    ] {
        let (report, code) = check(&podling, &[&folder("seeds").join(name), &objects]);
        assert_eq!((alarms(&report), code), (vec![], 0), "{name}");
    }
}

#[test]
fn the_examples_are_in_order() {
    let podling = Podling::new();
    let examples = files_in(&folder("examples"));
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let (report, code) = check(&podling, &[&example]);
        assert_eq!(report["findings"], json!([]), "{}", example.display());
        assert_eq!(code, 0);
    }
}

/// The page's own solution waits for ever; podling says so before anything starts, with line and cure.
#[test]
fn seed_001_18_is_a_deadlock() {
    let podling = Podling::new();
    let finished =
        podling.call(["check".as_ref(), folder("seeds/001-18-wait-for-sidecar-ready.yaml").as_os_str()]);
    assert_eq!(finished.code, 1, "{finished}");
    for words in [
        "ready.yaml:5:5: error[wait-never-ends]: spec.initContainers[0].command: init container `wait-for-sidecar-ready`",
        "waits for localhost:8081",
        "container `sidecar` would open it",
        "this can never end",
        "5 |     command:\n  |     ^^^^^^^\n  = hint: make it a sidecar",
        "`restartPolicy: Always`",
        "1 Pod: 2 errors",
    ] {
        assert!(finished.stdout.contains(words), "{words:?} is missing: {finished}");
    }
}

const TOOLBOX: &str = "image: podling/toolbox";

/// Pods in which one thing is wrong: the rule that tells it, and the Pod. `podling run` fails with every one of them.
fn wrong_pods() -> Vec<(&'static str, String)> {
    let one = |container: &str, more: &str| {
        format!("restartPolicy: Never\ncontainers:\n- {{name: a, {TOOLBOX}, {container}}}\n{more}")
    };
    let volume = "volumes: [{name: v, emptyDir: {}}]";
    vec![
        ("no-such-program", one("command: [nginx]", "")),
        ("no-such-program", one("command: [/usr/bin/sleep, '1']", "")),
        ("no-such-program", one("args: ['true'], volumeMounts: [{name: v, mountPath: /bin}]", volume)),
        (
            "no-such-program",
            one("args: [sleep, '60'], lifecycle: {postStart: {exec: {command: [curl]}}}", ""),
        ),
        ("runs-as-root", one("args: ['true'], securityContext: {runAsNonRoot: true}", "")),
        ("runs-as-root", one("args: ['true']", "securityContext: {runAsNonRoot: true, runAsUser: 0}")),
        (
            "no-such-user",
            "restartPolicy: Never\ncontainers: [{name: a, image: 'lost:1', args: ['true']}]".to_owned(),
        ),
        ("limit-too-small", one("args: ['true'], resources: {limits: {memory: '128'}}", "")),
        (
            "host-port-twice",
            one(
                "args: ['true'], ports: [{containerPort: 1, hostPort: 18080}, {containerPort: 2, hostPort: 18080, hostIP: 127.0.0.1}]",
                "",
            ),
        ),
        (
            "image-unusable",
            "restartPolicy: Never\ncontainers: [{name: a, image: 'nowhere:1', imagePullPolicy: Never}]"
                .to_owned(),
        ),
        ("image-unusable", "restartPolicy: Never\ncontainers: [{name: a, image: 'No Where'}]".to_owned()),
    ]
}

#[test]
fn an_error_of_check_is_a_failure_of_run() {
    let podling = Podling::new();
    Image::toolbox(&podling, "lost:1").with("User", json!("stranger")).load();
    for (rule, spec) in wrong_pods() {
        let manifest = pod("wrong", &spec);
        let path = written(&podling, "wrong.yaml", &manifest);
        let (report, code) = check(&podling, &[&path]);
        let rules: Vec<&Value> =
            report["findings"].as_array().expect("findings").iter().map(|f| &f["rule"]).collect();
        assert!(rules.contains(&&json!(rule)), "{rule}: {report:#}");
        assert_eq!(code, 1, "{manifest}");
        let run = podling.run(&path, &["--timeout", "20s"]);
        assert!(run.code != 0 && run.code != 124, "{rule}\n{manifest}\n{run}");
    }
}

/// Nothing is wrong with these manifests, and they cannot run here: advice, and a failure of `podling run`.
#[test]
fn what_only_a_cluster_has_is_an_advice() {
    let podling = Podling::new();
    let one = |container: &str, more: &str| {
        format!(
            "restartPolicy: Never\ncontainers:\n- {{name: a, {TOOLBOX}, args: ['true'], {container}}}\n{more}"
        )
    };
    let mount = "volumeMounts: [{name: v, mountPath: /v}]";
    for (rule, spec) in [
        ("no-such-object", one("envFrom: [{configMapRef: {name: c}}]", "")),
        ("no-such-object", one(mount, "volumes: [{name: v, secret: {secretName: s}}]")),
        (
            "no-token",
            one(mount, "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]"),
        ),
        ("volume-not-supported", one(mount, "volumes: [{name: v, nfs: {server: a, path: /b}}]")),
    ] {
        let path = written(&podling, "elsewhere.yaml", &pod("elsewhere", &spec));
        let (report, code) = check(&podling, &[&path]);
        let alarms = alarms(&report);
        assert!(
            alarms.iter().any(|alarm| alarm.starts_with(&format!("advice {rule} "))),
            "{rule}: {alarms:?}"
        );
        assert_eq!(code, 0, "{rule}");
        let strict = podling.call(["check".as_ref(), "--strict".as_ref(), path.as_os_str()]);
        assert_eq!(strict.code, 1, "{rule}: {strict}");
        let run = podling.run(&path, &["--timeout", "20s"]);
        assert!(run.code != 0 && run.code != 124, "{rule}: {run}");
    }
}

/// Alike in everything but what was wrong: nothing is said, and the Pods succeed.
#[test]
fn what_check_is_silent_about_runs() {
    let podling = Podling::new();
    Image::toolbox(&podling, "configured:1")
        .layer(&[
            ("opt/tool", 0o755, b"#!/bin/toolbox true\n"),
            ("etc/passwd", 0o644, b"web:x:1234:1::/:/bin/false\n"),
        ])
        .with("User", json!("web"))
        .with("Entrypoint", json!(["tool"]))
        .with("Env", json!(["PATH=/opt:/bin"]))
        .load();
    let spec = "
        restartPolicy: Never
        initContainers:
        - name: server
          image: podling/toolbox
          restartPolicy: Always
          args: [http, --port, '8081']
          ports: [{containerPort: 8081}]
        - {name: wait, image: podling/toolbox, args: [wait-for, 'localhost:8081']}
        - name: fill
          image: podling/toolbox
          args: [write, /tools/file, text]
          volumeMounts: [{name: tools, mountPath: /tools}]
        containers:
        - {name: by-path, image: podling/toolbox, command: [/bin/../bin/true]}
        - {name: by-own-path, image: podling/toolbox, command: ['true'], env: [{name: PATH, value: '/nowhere:/bin'}]}
        - {name: by-variable, image: podling/toolbox, command: ['$(PROGRAM)'], env: [{name: PROGRAM, value: 'true'}]}
        - {name: as-number, image: 'configured:1', securityContext: {runAsNonRoot: true, runAsUser: 7}, command: ['true']}
        - {name: by-image, image: 'configured:1', command: [id]}
        - name: with-optional
          image: podling/toolbox
          args: [cat, /tools/file]
          envFrom: [{configMapRef: {name: nowhere, optional: true}}]
          volumeMounts: [{name: tools, mountPath: /tools}]
        volumes: [{name: tools, emptyDir: {}}]
    ";
    let path = written(&podling, "right.yaml", &pod("right", spec));
    let (report, code) = check(&podling, &[&path]);
    assert_eq!(report["findings"], json!([]), "{report:#}");
    assert_eq!(code, 0);
    let run = podling.run(&path, &["--timeout", "60s"]);
    assert_eq!(run.code, 0, "{run}");
}

/// What check says of a port for two containers is what happens to the second.
#[test]
fn two_servers_on_one_port_are_told_before_and_fail() {
    let podling = Podling::new();
    let server = |name: &str| {
        format!(
            "- {{name: {name}, {TOOLBOX}, args: [http, --port, '8080'], ports: [{{containerPort: 8080}}]}}"
        )
    };
    let manifest =
        pod("ports", &format!("restartPolicy: Never\ncontainers:\n{}\n{}", server("one"), server("two")));
    let path = written(&podling, "ports.yaml", &manifest);
    let (report, _) = check(&podling, &[&path]);
    assert_eq!(alarms(&report), ["error port-twice 9"]);
    let mut run = podling.spawn(&path, &[]);
    run.wait_for("the end of one", |event| event["event"] == "exited" && event["code"] != 0);
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, 130);
}

#[test]
fn standard_input_strict_and_several_files() {
    let podling = Podling::new();
    let unused = pod(
        "a",
        &format!(
            "containers: [{{name: a, {TOOLBOX}, args: ['true']}}]\nvolumes: [{{name: v, emptyDir: {{}}}}]"
        ),
    );
    let from_stdin =
        |words: &[&str]| podling.prepare(["check", "-"]).args(words).stdin(unused.as_str()).finish();
    let lenient = from_stdin(&[]);
    assert_eq!(lenient.code, 0, "{lenient}");
    for words in
        ["standard input:7:20: advice[volume-unused]: spec.volumes[0].name:", "1 Pod: no errors, 1 advice"]
    {
        assert!(lenient.stdout.contains(words), "{words:?} is missing: {lenient}");
    }
    assert_eq!(from_stdin(&["--strict"]).code, 1);

    let one = written(&podling, "one.yaml", &unused);
    let (report, code) = check(&podling, &[&one, &one]);
    assert_eq!(code, 1, "the same Pod twice");
    assert_eq!(
        alarms(&report),
        ["advice volume-unused 7", "error duplicate-object 4", "advice volume-unused 7"]
    );
    assert_eq!(report["pods"], json!(["default/a", "default/a"]));
    assert_eq!((&report["errors"], &report["advice"], &report["notes"]), (&json!(1), &json!(2), &json!(0)));
    let finding = &report["findings"][0];
    assert_eq!(finding["path"], "spec.volumes[0].name");
    assert_eq!(
        finding["snippet"],
        json!({"text": "  volumes: [{name: v, emptyDir: {}}]", "caret": 19, "width": 1})
    );
}

#[test]
fn what_cannot_be_read_is_a_failure_of_podling() {
    let podling = Podling::new();
    let failed = |finished: Finished, words: &[&str]| finished.assert_failed(125, words);
    failed(podling.call(["check", "nowhere.yaml"]), &["nowhere.yaml"]);
    failed(podling.call(["check"]), &["FILE"]);
    let nothing = written(&podling, "map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n");
    failed(podling.call(["check".as_ref(), nothing.as_os_str()]), &["no Pod to run"]);
}

/// Looking needs no root: what cannot be read then is told.
#[test]
fn without_root_the_images_are_not_looked_at() {
    let podling = Podling::new();
    Image::toolbox(&podling, "mine:1").load();
    let path = written(
        &podling,
        "pod.yaml",
        &pod("a", "containers: [{name: a, image: 'mine:1', command: [nginx]}]"),
    );
    let (report, code) = check(&podling, &[&path]);
    assert_eq!((alarms(&report), code), (vec!["error no-such-program 6".to_owned()], 1));
    let stranger = podling.prepare(["check".as_ref(), path.as_os_str()]).as_user(65534).finish();
    assert_eq!(stranger.code, 0, "{stranger}");
    assert!(stranger.stdout.contains("only root can read the images"), "{stranger}");
}
