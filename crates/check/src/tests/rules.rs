//! Each rule but those on waits: where it fires, and the like of it where it must not.

use std::collections::BTreeMap;

use super::{ADVICE, ERROR, all_are_silent, facts, fires, found, is_silent, manifest};
use crate::{Facts, Looked, Severity};

#[test]
fn one_port_for_two_containers() {
    let two = |one: &str, other: &str| format!("containers:\n- {{name: a, {one}}}\n- {{name: b, {other}}}");
    fires(
        &two("image: a, ports: [{containerPort: 80}]", "image: b, ports: [{containerPort: 80}]"),
        &[("port-twice", ADVICE, 3)],
    );
    fires(
        &two("image: web, ports: [{containerPort: 80}]", "image: web, ports: [{containerPort: 80}]"),
        &[("port-twice", ERROR, 3)],
    );
    fires(
        "initContainers:\n- {name: s, image: a, restartPolicy: Always, ports: [{containerPort: 80}]}\ncontainers:\n- {name: m, image: b, ports: [{containerPort: 80}]}",
        &[("port-twice", ADVICE, 4)],
    );
    // Nothing is declared, and both listen all the same.
    let server = "command: [nc, -lk, -p, '80']";
    for (one, other) in [("image: web", "image: web"), (server, server), ("image: web", server)] {
        let with_image =
            |text: &str| if text.contains("image") { text.to_owned() } else { format!("image: a, {text}") };
        fires(&two(&with_image(one), &with_image(other)), &[("port-twice", ERROR, 3)]);
    }
    fires(
        &two("image: a, command: [nc, -l, -p, '80']", "image: a, command: [nc, -l, -p, '80']"),
        &[("port-twice", ADVICE, 3)],
    );
    all_are_silent(&[
        // Its configuration may say another port.
        &two("image: web, env: [{name: PORT, value: '81'}]", "image: web"),
        &two("image: a, command: [nc, -z, one, '80']", "image: a, command: [nc, -z, two, '80']"),
        &two(
            "image: a, ports: [{containerPort: 53}]",
            "image: b, ports: [{containerPort: 53, protocol: UDP}]",
        ),
        &two("image: a, ports: [{containerPort: 80}]", "image: b, ports: [{containerPort: 81}]"),
        &two(
            "image: a, ports: [{containerPort: 80, name: one}, {containerPort: 80, name: two, protocol: SCTP}]",
            "image: b",
        ),
        // An init container is gone when the main ones start.
        "initContainers: [{name: i, image: a, ports: [{containerPort: 80}]}]\ncontainers: [{name: m, image: b, ports: [{containerPort: 80}]}]",
    ]);
}

#[test]
fn one_port_of_the_machine_for_two_pods() {
    let pod = |name: &str, port: &str| {
        manifest(&format!("containers:\n- {{name: c, image: a, ports: [{{containerPort: 80, {port}}}]}}"))
            .replace("name: p", &format!("name: {name}"))
    };
    let both =
        |one: &str, other: &str| found(&format!("{}---\n{}", pod("one", one), pod("two", other)), &facts());
    assert_eq!(both("hostPort: 8080", "hostPort: 8080"), [("host-port-twice", ERROR, 15)]);
    assert_eq!(both("hostPort: 8080, hostIP: 127.0.0.1", "hostPort: 8080"), [("host-port-twice", ERROR, 15)]);
    for (one, other) in [
        ("hostPort: 8080", "hostPort: 8081"),
        ("hostPort: 8080", "hostPort: 8080, protocol: UDP"),
        ("hostPort: 8080, hostIP: 127.0.0.1", "hostPort: 8080, hostIP: 127.0.0.2"),
        ("name: x", "name: x"),
    ] {
        assert_eq!(both(one, other), [], "{one} and {other}");
    }
    fires(
        "containers:\n- {name: a, image: a, ports: [{containerPort: 1, hostPort: 80}]}\n- {name: b, image: a, ports: [{containerPort: 2, hostPort: 80, hostIP: 127.0.0.1}]}",
        &[("host-port-twice", ERROR, 3)],
    );
}

#[test]
fn more_than_the_machine_has() {
    let one = |resources: &str| format!("containers:\n- name: a\n  image: a\n  resources:\n    {resources}");
    fires(&one("requests: {cpu: '3'}"), &[("request-over-machine", ADVICE, 5)]);
    fires(&one("limits: {memory: 8Gi}"), &[("request-over-machine", ADVICE, 4)]);
    fires(&one("limits: {memory: '128'}"), &[("limit-too-small", ERROR, 5)]);
    fires(&one("limits: {memory: 1Mi}"), &[("limit-too-small", ADVICE, 5)]);
    fires(
        "containers:\n- {name: a, image: a, resources: {requests: {cpu: 1500m}}}\n- {name: b, image: a, resources: {requests: {cpu: 600m}}}",
        &[("request-over-machine", ADVICE, 2)],
    );
    all_are_silent(&[
        &one("requests: {cpu: 2000m, memory: 4Gi}"),
        &one("requests: {cpu: 1}\n    limits: {cpu: 64, memory: 4Mi}"),
        // Init containers run one after the other.
        "initContainers: [{name: i, image: a, resources: {requests: {cpu: 2}}}]\ncontainers: [{name: a, image: a, resources: {requests: {cpu: 2}}}]",
    ]);
}

#[test]
fn root_where_root_is_forbidden() {
    let one = |image: &str, context: &str| {
        format!(
            "containers:\n- name: a\n  image: {image}\n  command: [sleep, '1']\n  securityContext: {{{context}}}"
        )
    };
    for image in ["shell", "web", "named"] {
        fires(&one(image, "runAsNonRoot: true"), &[("runs-as-root", ERROR, 5)]);
    }
    fires(&one("unknown", "runAsNonRoot: true, runAsUser: 0"), &[("runs-as-root", ERROR, 5)]);
    fires(&one("lost", ""), &[("no-such-user", ERROR, 3)]);
    fires(
        "securityContext: {runAsNonRoot: true}\ncontainers: [{name: a, image: shell}]",
        &[("runs-as-root", ERROR, 1)],
    );
    all_are_silent(&[
        &one("app", "runAsNonRoot: true"),
        &one("named", "runAsNonRoot: true, runAsUser: 1000"),
        &one("named", ""),
        &one("lost", "runAsUser: 7"),
        &one("shell", "runAsNonRoot: false"),
        &one("unknown", "runAsNonRoot: true"),
        "securityContext: {runAsNonRoot: true}\ncontainers: [{name: a, image: shell, securityContext: {runAsNonRoot: false}}]",
    ]);
}

#[test]
fn programs_that_the_image_does_not_have() {
    let one = |more: &str| format!("containers:\n- name: a\n  {more}");
    fires(&one("image: shell\n  command: [nginx]"), &[("no-such-program", ERROR, 4)]);
    fires(&one("image: shell\n  command: [/usr/local/bin/sh]"), &[("no-such-program", ERROR, 4)]);
    fires(&one("image: shell\n  command: ['sleep 5']"), &[("no-such-program", ERROR, 4)]);
    fires(
        &one("image: shell\n  command: [sh]\n  env: [{name: PATH, value: /opt}]"),
        &[("no-such-program", ERROR, 4)],
    );
    fires(&one("image: empty"), &[("no-such-program", ERROR, 3)]);
    fires(&one("image: app\n  workingDir: /"), &[("no-such-program", ERROR, 2)]);
    fires(
        &one(
            "image: shell\n  volumeMounts: [{name: v, mountPath: /bin}]\nvolumes: [{name: v, emptyDir: {}}]",
        ),
        &[("no-such-program", ERROR, 2)],
    );
    fires(
        &one("image: shell\n  readinessProbe: {exec: {command: [curl, x]}}"),
        &[("no-such-program", ERROR, 4)],
    );
    fires(
        &one("image: shell\n  livenessProbe: {exec: {command: [curl, x]}}"),
        &[("no-such-program", ADVICE, 4)],
    );
    fires(
        &one("image: shell\n  lifecycle: {preStop: {exec: {command: [nginx, -s, quit]}}}"),
        &[("no-such-program", ADVICE, 4)],
    );
    all_are_silent(&[
        &one("image: shell\n  command: [sh, -c, 'nginx -g x']"),
        &one("image: shell\n  command: [/bin/../usr/bin/sleep, '5']"),
        &one("image: shell\n  command: [/broken]"),
        &one("image: app"),
        &one("image: app\n  command: [tool]\n  env: [{name: PATH, value: '/opt:/bin'}]"),
        &one("image: shell\n  command: ['$(PROGRAM)']\n  env: [{name: PROGRAM, value: sleep}]"),
        &one(
            "image: shell\n  command: ['$(PROGRAM)']\n  env: [{name: PROGRAM, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        ),
        &one("image: not-here\n  command: [nginx]"),
        &one(
            "image: shell\n  command: [/tools/x]\n  volumeMounts: [{name: v, mountPath: /tools}]\nvolumes: [{name: v, hostPath: {path: /opt}}]",
        ),
        "initContainers:\n- {name: i, image: shell, command: [sh, -c, 'cp x /bin'], volumeMounts: [{name: v, mountPath: /tools}]}\ncontainers:\n- {name: a, image: shell, command: [/bin/sh], volumeMounts: [{name: v, mountPath: /bin}]}\nvolumes: [{name: v, emptyDir: {}}]",
    ]);
}

const OBJECTS: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: fast, app.conf: x}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hidden}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: other}
data: {mode: fast}
";

#[test]
fn objects_and_keys_that_are_not_there() {
    let with_objects = |spec: &str| found(&format!("{}{OBJECTS}", manifest(spec)), &facts());
    let env = |from: &str| {
        format!("containers:\n- name: a\n  image: a\n  env: [{{name: X, valueFrom: {{{from}}}}}]")
    };
    let from = |from: &str| format!("containers:\n- name: a\n  image: a\n  envFrom: [{{{from}}}]");
    let volume = |volume: &str, mount: &str| {
        format!(
            "containers:\n- {{name: a, image: a, volumeMounts: [{{name: v, mountPath: /v{mount}}}]}}\nvolumes:\n- {{name: v, {volume}}}"
        )
    };
    for (spec, expected) in [
        (env("configMapKeyRef: {name: setings, key: mode}"), ("no-such-object", ADVICE, 9)),
        (env("configMapKeyRef: {name: elsewhere, key: mode}"), ("no-such-object", ADVICE, 9)),
        (env("configMapKeyRef: {name: settings, key: mod}"), ("no-such-key", ERROR, 9)),
        (env("secretKeyRef: {name: settings, key: mode}"), ("no-such-object", ADVICE, 9)),
        (from("secretRef: {name: logins}"), ("no-such-object", ADVICE, 9)),
        (volume("configMap: {name: other}", ""), ("no-such-object", ADVICE, 9)),
        (
            volume("secret: {secretName: login, items: [{key: passwd, path: x}]}", ""),
            ("no-such-key", ERROR, 9),
        ),
        (volume("configMap: {name: settings}", ", subPath: app.cfg"), ("no-such-key", ADVICE, 7)),
        (volume("projected: {sources: [{secret: {name: other}}]}", ""), ("no-such-object", ADVICE, 9)),
        (
            volume("projected: {sources: [{configMap: {name: settings, items: [{key: mod, path: x}]}}]}", ""),
            ("no-such-key", ERROR, 9),
        ),
    ] {
        assert_eq!(with_objects(&spec), [expected], "{spec}");
    }
    for spec in [
        env("configMapKeyRef: {name: settings, key: mode}"),
        env("configMapKeyRef: {name: other, key: mode, optional: true}"),
        env("secretKeyRef: {name: login, key: user, optional: true}"),
        from("configMapRef: {name: settings}"),
        from("secretRef: {name: other, optional: true}"),
        volume("configMap: {name: settings}", ", subPath: app.conf"),
        volume("configMap: {name: settings, items: [{key: mode, path: dir/x}]}", ", subPath: dir"),
        volume("secret: {secretName: other, optional: true}", ""),
        volume("projected: {sources: [{configMap: {name: settings}}]}", ", subPath: of-another-source"),
        volume("secret: {secretName: login, items: [{key: user, path: x}], optional: true}", ""),
    ] {
        assert_eq!(with_objects(&spec), [], "{spec}");
    }
    let findings = super::findings(
        &format!("{}{OBJECTS}", manifest(&env("configMapKeyRef: {name: setings, key: mode}"))),
        &facts(),
    );
    assert_eq!(findings[0].hint.as_deref(), Some("did you mean \"settings\"?"));
    assert_eq!(findings[0].path, "spec.containers[0].env[0].valueFrom.configMapKeyRef.name");
}

#[test]
fn objects_may_stand_in_another_file() {
    let pod = manifest("containers: [{name: a, image: a, envFrom: [{configMapRef: {name: settings}}]}]");
    let (one, other) = (super::parse(&pod), super::parse(OBJECTS));
    let file = |manifest, bytes| crate::File { name: "x", bytes, manifest };
    let files = [file(&one, pod.as_bytes()), file(&other, OBJECTS.as_bytes())];
    assert_eq!(crate::check(&files, &facts()), []);
    assert_eq!(crate::check(&files[..1], &facts()).len(), 1);
}

#[test]
fn volumes_that_nobody_mounts_or_that_cannot_be() {
    let one = |mounts: &str, volumes: &str| {
        format!("containers:\n- name: a\n  image: a\n  volumeMounts: [{mounts}]\nvolumes:\n{volumes}")
    };
    let v = "- {name: v, emptyDir: {}}";
    fires(
        &one("{name: v, mountPath: /a}", &format!("{v}\n- {{name: w, emptyDir: {{}}}}")),
        &[("volume-unused", ADVICE, 7)],
    );
    fires(&one("{name: v, mountPath: /}", v), &[("mount-conflict", ADVICE, 4)]);
    fires(&one("{name: v, mountPath: /proc/x}", v), &[("mount-conflict", ADVICE, 4)]);
    fires(
        &one("{name: v, mountPath: /a/b}, {name: v, mountPath: //a/./b, subPath: x}", v),
        &[("mount-conflict", ERROR, 4)],
    );
    fires(
        &one("{name: v, mountPath: /a}", "- {name: v, persistentVolumeClaim: {claimName: c}}"),
        &[("volume-not-supported", ADVICE, 6)],
    );
    fires(
        &one(
            "{name: v, mountPath: /a}",
            "- {name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}",
        ),
        &[("no-token", ADVICE, 6)],
    );
    let told = "{items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}";
    all_are_silent(&[
        &one("{name: v, mountPath: /a}", &format!("- {{name: v, downwardAPI: {told}}}")),
        &one(
            "{name: v, mountPath: /a}",
            &format!("- {{name: v, projected: {{sources: [{{downwardAPI: {told}}}]}}}}"),
        ),
        &one("{name: v, mountPath: /a}, {name: v, mountPath: /a/b, subPath: x}", v),
        &one("{name: v, mountPath: /process}", v),
        // Each container has a root filesystem of its own.
        "containers:\n- {name: a, image: a, volumeMounts: [{name: v, mountPath: /a}]}\n- {name: b, image: a, volumeMounts: [{name: v, mountPath: /a}]}\nvolumes: [{name: v, emptyDir: {}}]",
    ]);
}

#[test]
fn a_helper_that_keeps_a_job_from_completing() {
    let job = |policy: &str, helper: &str| {
        format!(
            "restartPolicy: {policy}\ncontainers:\n- {{name: work, image: a, command: [work]}}\n- {{name: helper, {helper}}}"
        )
    };
    for helper in [
        "image: a, command: [sh, -c, 'tail -F /log/x']",
        "image: a, command: [sleep, infinity]",
        "image: 'fluent/fluent-bit:1.8'",
        "image: a, ports: [{containerPort: 9090}]",
        "image: a, readinessProbe: {tcpSocket: {port: 1}}",
    ] {
        fires(&job("Never", helper), &[("never-completes", ADVICE, 4)]);
        fires(&job("OnFailure", helper), &[("never-completes", ADVICE, 4)]);
        is_silent(&job("Always", helper));
    }
    all_are_silent(&[
        &job("Never", "image: a, command: [also, work]"),
        &job("Never", "image: nginx, command: [nginx, -t]"),
        "restartPolicy: Never\ninitContainers: [{name: helper, image: nginx, restartPolicy: Always}]\ncontainers: [{name: work, image: a}]",
        "restartPolicy: Never\ncontainers: [{name: web, image: nginx}, {name: log, image: a, command: [tail, -f, x]}]",
        "restartPolicy: Never\ncontainers: [{name: web, image: nginx}]",
    ]);
}

#[test]
fn a_start_that_takes_longer_than_the_deadline() {
    let pod = |deadline: u32, probe: &str| {
        format!(
            "activeDeadlineSeconds: {deadline}\ninitContainers:\n- {{name: s, image: a, restartPolicy: Always, startupProbe: {{tcpSocket: {{port: 1}}, {probe}}}}}\ncontainers: [{{name: m, image: a}}]"
        )
    };
    fires(&pod(60, "initialDelaySeconds: 90"), &[("deadline-too-short", ERROR, 1)]);
    fires(&pod(60, "periodSeconds: 10, failureThreshold: 30"), &[("deadline-too-short", ADVICE, 1)]);
    fires(
        "activeDeadlineSeconds: 10\ninitContainers: [{name: i, image: a, command: [sleep, 1m]}]\ncontainers: [{name: m, image: a}]",
        &[("deadline-too-short", ERROR, 1)],
    );
    all_are_silent(&[
        &pod(600, "periodSeconds: 10, failureThreshold: 30"),
        &pod(60, "periodSeconds: 1, failureThreshold: 30"),
        "activeDeadlineSeconds: 10\ninitContainers: [{name: i, image: a, command: [sh, -c, 'test -e x || sleep 60']}]\ncontainers: [{name: m, image: a}]",
    ]);
}

#[test]
fn a_pre_stop_hook_that_does_not_fit_the_grace() {
    let pod = |grace: &str, hook: &str| {
        format!(
            "terminationGracePeriodSeconds: {grace}\ncontainers:\n- name: a\n  image: a\n  lifecycle: {{preStop: {{{hook}}}}}"
        )
    };
    fires(&pod("10", "exec: {command: [sleep, '60']}"), &[("pre-stop-cut-off", ERROR, 5)]);
    fires(
        &pod("30", "exec: {command: [sh, -c, 'sleep 60; nginx -s quit']}"),
        &[("pre-stop-cut-off", ADVICE, 5)],
    );
    fires(&pod("30", "sleep: {seconds: 30}"), &[("pre-stop-cut-off", ADVICE, 5)]);
    fires(&pod("30", "exec: {command: [sleep, infinity]}"), &[("pre-stop-cut-off", ERROR, 5)]);
    all_are_silent(&[
        &pod("90", "exec: {command: [sleep, '60']}"),
        &pod("30", "sleep: {seconds: 10}"),
        &pod("30", "exec: {command: [sh, -c, 'if busy; then sleep 60; fi']}"),
        &pod("0", "exec: {command: [sleep, '5']}"),
    ]);
}

#[test]
fn what_the_reader_of_manifests_warns_of_is_advice() {
    fires(
        "containers:\n- {name: a, image: a, resources: {limits: {memory: 100m}}}",
        &[("limit-too-small", ERROR, 2)],
    );
    let text = manifest("containers: [{name: a, image: a, resources: {limits: {'x/y': 1}}}]");
    assert_eq!(found(&text, &Facts::default()), [("not-honoured", ADVICE, 6)]);
}

#[test]
fn images_that_are_not_here() {
    let facts = |looked| Facts { images: BTreeMap::from([("a".to_owned(), looked)]), ..Facts::default() };
    let one = |more: &str| manifest(&format!("containers: [{{name: a, image: a{more}}}]"));
    let told = |more: &str, looked| {
        let findings = super::findings(&one(more), &facts(looked)).into_iter();
        findings.map(|finding| (finding.rule, finding.severity)).collect::<Vec<_>>()
    };
    let note = [("image-not-looked-at", Severity::Note)];
    assert_eq!(told(", securityContext: {runAsNonRoot: true}", Looked::NotHere), note);
    assert_eq!(told("", Looked::NotLookedAt("it cannot be read".to_owned())), note);
    assert_eq!(told(", imagePullPolicy: Never", Looked::NotHere), [("image-unusable", ERROR)]);
    assert_eq!(told("", Looked::Unusable("it is for arm64".to_owned())), [("image-unusable", ERROR)]);
}

#[test]
fn one_object_in_two_files() {
    let pod = manifest("containers: [{name: a, image: a}]");
    let (one, other) = (super::parse(&pod), super::parse(OBJECTS));
    let file = |name, manifest, bytes| crate::File { name, bytes, manifest };
    let pods = [file("one", &one, pod.as_bytes()), file("two", &one, pod.as_bytes())];
    let findings = crate::check(&pods, &facts());
    assert_eq!((findings.len(), findings[0].rule, findings[0].file.as_str()), (1, "duplicate-object", "two"));
    assert_eq!((findings[0].line, findings[0].path.as_str()), (4, "metadata.name"));
    let objects = [file("one", &other, OBJECTS.as_bytes()), file("two", &other, OBJECTS.as_bytes())];
    let lines: Vec<usize> = crate::check(&objects, &facts()).iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [4, 9, 14]);
}

#[test]
fn what_is_too_much_is_said_not_to_be_looked_at() {
    let containers: String = (0..101)
        .map(|n| format!("- {{name: c{n}, image: a, command: [nc, -z, localhost, '1']}}\n"))
        .collect();
    let text = manifest(&format!("initContainers:\n{containers}containers: [{{name: a, image: a}}]"));
    let findings = super::findings(&text, &facts());
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].severity, findings[0].rule, findings[0].line), (Severity::Note, "too-much", 4));
}

#[test]
fn no_line_of_a_document_with_a_secret_is_shown() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hidden"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a", "image": "a", "envFrom": [{"secretRef": {"name": "t"}}]}]}}]}"#;
    let findings = super::findings(list, &facts());
    assert_eq!((findings.len(), findings[0].rule, findings[0].line), (1, "no-such-object", 4));
    assert_eq!(findings[0].snippet, None);
}
