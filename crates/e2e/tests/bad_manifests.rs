//! Manifests that cannot run: each gets a clear error and exit code 125, and nothing was started.

use std::time::Duration;

use e2e::{Finished, Image, Podling, pod};
use serde_json::json;

/// Runs what must be refused, quickly.
fn refused(podling: &Podling, manifest: &[u8], words: &[&str]) -> Finished {
    let path = podling.base().join("manifest.yaml");
    std::fs::write(&path, manifest).expect("writing the manifest");
    let finished = podling.run(&path, &[]);
    finished.assert_failed(125, words);
    assert!(finished.duration < Duration::from_secs(20), "{finished}");
    assert!(finished.stderr.len() < 200_000, "an error is to be read");
    podling.assert_nothing_left();
    finished
}

const FINE: &str = "{name: a, image: podling/toolbox, args: ['true']}";

#[test]
fn ten_thousand_levels() {
    let podling = Podling::new();
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    refused(&podling, deep.as_bytes(), &["deep"]);
    let block: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused(&podling, block.as_bytes(), &["deep"]);
    let json = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    refused(&podling, json.as_bytes(), &["deep"]);
}

#[test]
fn a_bomb_of_aliases() {
    let podling = Podling::new();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", ")));
    }
    refused(&podling, bomb.as_bytes(), &["alias"]);
}

#[test]
fn a_binary_file() {
    let podling = Podling::new();
    let binary = std::fs::read(e2e::binary::podling()).unwrap();
    refused(&podling, &binary[..1 << 20], &["manifest.yaml"]);
    let zeros = vec![0; 1 << 16];
    refused(&podling, &zeros, &["manifest.yaml"]);
    refused(&podling, b"\xff\xfe\xfa", &["manifest.yaml"]);
    refused(&podling, b"", &["empty", "Pod"]);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let podling = Podling::new();
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\nspec:\n  containers:\n  - name: one\n    Image: x\n  - name: One\n    image: y\n    ports: [{ContainerPort: 80}]\n";
    let finished =
        refused(&podling, manifest.as_bytes(), &["a/b", "Image", "image", "ContainerPort", "containerPort"]);
    assert!(finished.stderr.contains("problems; nothing was started"), "{finished}");
    for place in [":3:", ":7:", ":8:", ":10:"] {
        assert!(finished.stderr.contains(place), "{place}: {finished}");
    }
}

#[test]
fn names_that_stand_twice() {
    let podling = Podling::new();
    refused(&podling, pod("twice", &format!("containers: [{FINE}, {FINE}]")).as_bytes(), &["Duplicate", "a"]);
    let volumes =
        format!("containers: [{FINE}]\nvolumes: [{{name: v, emptyDir: {{}}}}, {{name: v, emptyDir: {{}}}}]");
    refused(&podling, pod("twice", &volumes).as_bytes(), &["Duplicate", "v"]);
    let one = pod("twice", &format!("containers: [{FINE}]"));
    refused(&podling, format!("{one}---\n{one}").as_bytes(), &["twice"]);
    let keys = "apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: x}\n";
    refused(&podling, keys.as_bytes(), &["kind: duplicate key"]);
}

#[test]
fn a_name_with_a_slash() {
    let podling = Podling::new();
    for name in ["a/b", "../x", "/"] {
        let manifest = pod("fine", &format!("containers: [{{name: '{name}', image: podling/toolbox}}]"));
        refused(&podling, manifest.as_bytes(), &[name, "name"]);
    }
}

#[test]
fn a_volume_that_is_not_declared() {
    let podling = Podling::new();
    let manifest = pod(
        "undeclared",
        "
        containers: [{name: a, image: podling/toolbox, volumeMounts: [{name: datta, mountPath: /d}]}]
        volumes: [{name: data, emptyDir: {}}]
    ",
    );
    refused(&podling, manifest.as_bytes(), &["volumeMounts[0].name", "datta"]);
}

#[test]
fn limits_below_requests() {
    let podling = Podling::new();
    let manifest = pod("limits", "
        containers: [{name: a, image: podling/toolbox, resources: {requests: {memory: 2Gi, cpu: '2'}, limits: {memory: 1Gi, cpu: '1'}}}]
    ");
    refused(&podling, manifest.as_bytes(), &["memory", "cpu", "limit"]);
}

/// execve(2) takes 128 KiB at most in one variable, 2 MiB in all: the kernel refuses, and that is told.
#[test]
fn an_environment_of_a_megabyte() {
    let podling = Podling::new();
    let text = "x".repeat(1 << 20);
    let one = pod("large", &format!("
        restartPolicy: Never
        containers: [{{name: a, image: podling/toolbox, args: ['true'], env: [{{name: LARGE, value: {text}}}]}}]
    "));
    refused(&podling, one.as_bytes(), &["env[0].value", "Too long"]);
    let text = "x".repeat(64 << 10);
    let variables: Vec<_> = (0..16).map(|index| format!("{{name: V{index}, value: {text}}}")).collect();
    let many = pod(
        "many",
        &format!(
            "
        restartPolicy: Never
        containers: [{{name: a, image: podling/toolbox, args: [env, V15], env: [{}]}}]
    ",
            variables.join(", ")
        ),
    );
    let finished = podling.run(&many, &[]);
    assert_eq!((finished.code, finished.lines_of("a").concat().len()), (0, 64 << 10), "{}", finished.stderr);
}

#[test]
fn a_command_that_the_image_does_not_have() {
    let podling = Podling::new();
    let manifest =
        pod("missing", "containers: [{name: a, image: podling/toolbox, command: [/bin/nothing, here]}]");
    refused(&podling, manifest.as_bytes(), &["a: ", "/bin/nothing"]);
    let manifest = pod(
        "missing",
        "containers: [{name: a, image: podling/toolbox, command: [nothing]}]\nrestartPolicy: Never",
    );
    refused(&podling, manifest.as_bytes(), &["nothing"]);
}

#[test]
fn a_command_that_is_not_executable() {
    let podling = Podling::new();
    Image::toolbox(&podling, "plain:1")
        .layer(&[
            ("bin/plain", 0o644, b"text"),
            ("bin/script", 0o755, b"#!/bin/absent\n"),
            ("bin/text", 0o755, b"no program"),
        ])
        .load();
    for command in ["/bin/plain", "/bin/script", "/bin/text", "/etc"] {
        let manifest =
            pod("plain", &format!("containers: [{{name: a, image: 'plain:1', command: [{command}]}}]"));
        refused(&podling, manifest.as_bytes(), &["a: ", command]);
    }
}

#[test]
fn an_image_for_another_machine() {
    let podling = Podling::new();
    let mut image = Image::toolbox(&podling, "foreign:1");
    image.config["architecture"] = json!("s390x");
    let archive = image.save();
    let loaded = podling.call(["image".as_ref(), "load".as_ref(), archive.as_os_str()]);
    if loaded.code == 0 {
        let manifest = pod("foreign", "containers: [{name: a, image: 'foreign:1', args: ['true']}]");
        refused(&podling, manifest.as_bytes(), &["s390x"]);
    } else {
        loaded.assert_failed(125, &["s390x"]);
    }
}

#[test]
fn an_image_without_a_command() {
    let podling = Podling::new();
    Image::toolbox(&podling, "mute:1").with("Entrypoint", json!(null)).with("Cmd", json!(null)).load();
    let manifest = pod("mute", "containers: [{name: a, image: 'mute:1'}]");
    refused(&podling, manifest.as_bytes(), &["a: ", "command"]);
}

/// What is valid in Kubernetes and not honoured yet is said, and never silently dropped.
#[test]
fn a_field_that_is_not_honoured_yet_is_named() {
    let podling = Podling::new();
    let manifest = pod(
        "early",
        &format!(
            "
        restartPolicy: Never
        schedulerName: mine
        priorityClassName: high
        containers: [{FINE}]
    "
        ),
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 0, "{finished}");
    assert!(
        finished.stderr.contains("warning:") && finished.stderr.contains("priorityClassName"),
        "{finished}"
    );
}
