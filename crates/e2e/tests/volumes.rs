//! Volumes and environment as containers find them.

use e2e::{Podling, Signal, pod};

const OBJECTS: &str = "
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green, 'site.conf': 'listen 80'}
binaryData: {raw: aGk=}
---
apiVersion: v1
kind: Secret
metadata: {name: access}
stringData: {user: admin}
data: {password: czNjcjN0}
";

#[test]
fn config_maps_and_secrets_become_files() {
    let podling = Podling::new();
    let manifest = pod("files", "
        restartPolicy: Never
        containers:
        - name: look
          image: podling/toolbox
          args: [cat, /all/colour, /all/raw, /some/nginx/default, /secret/user, /secret/password, /one/site.conf]
          volumeMounts:
          - {name: all, mountPath: /all}
          - {name: some, mountPath: /some}
          - {name: secret, mountPath: /secret}
          - {name: all, mountPath: /one/site.conf, subPath: site.conf}
        - name: modes
          image: podling/toolbox
          args: [ls, -l, /secret/..data/]
          volumeMounts: [{name: secret, mountPath: /secret}]
        - name: write
          image: podling/toolbox
          args: [write, /all/colour, red]
          volumeMounts: [{name: all, mountPath: /all}]
        volumes:
        - {name: all, configMap: {name: settings}}
        - {name: some, configMap: {name: settings, items: [{key: site.conf, path: nginx/default}]}}
        - {name: secret, secret: {secretName: access, defaultMode: 0400}}
    ") + OBJECTS;
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 1, "a configMap cannot be written to: {finished}");
    assert_eq!(finished.lines_of("look").concat(), "greenhilisten 80admins3cr3tlisten 80", "{finished}");
    let modes = finished.lines_of("modes");
    assert!(!modes.is_empty() && modes.iter().all(|line| line.starts_with("-r--------")), "{modes:?}");
    assert!(finished.lines_of("write").join("").contains("ead-only"), "{finished}");
}

#[test]
fn the_environment_comes_from_everywhere_and_expands() {
    let podling = Podling::new();
    let manifest = pod(
        "environment",
        "
        restartPolicy: Never
        containers:
        - name: look
          image: podling/toolbox
          args: [chain, env, ',', echo, 'seen $(GREETING) $$(GREETING) $(UNKNOWN)']
          envFrom:
          - {prefix: CONF_, configMapRef: {name: settings}}
          - {secretRef: {name: access}}
          - {configMapRef: {name: nowhere, optional: true}}
          env:
          - {name: WHO, value: world}
          - {name: GREETING, value: 'hello $(WHO)'}
          - {name: user, value: overridden}
          - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
          - {name: PASSWORD, valueFrom: {secretKeyRef: {name: access, key: password}}}
          - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
          - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
          resources: {limits: {memory: 64Mi}}
    ",
    ) + OBJECTS;
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 0, "{finished}");
    let lines = finished.lines_of("look");
    for line in [
        "CONF_colour=green",
        "GREETING=hello world",
        "user=overridden",
        "COLOUR=green",
        "PASSWORD=s3cr3t",
        "password=s3cr3t",
        "POD=environment",
        "MEMORY=64",
        "HOSTNAME=environment",
        "seen hello world $(GREETING) $(UNKNOWN)",
    ] {
        assert!(lines.contains(&line), "{line}: {finished}");
    }
    assert!(lines.iter().any(|line| line.starts_with("ADDRESS=10.")), "{finished}");
}

#[test]
fn an_empty_dir_is_shared_and_a_read_only_mount_of_it_is_read_only() {
    let podling = Podling::new();
    let manifest = pod("shared", "
        restartPolicy: Never
        initContainers:
        - {name: write, image: podling/toolbox, args: [chain, mkdir, /v/sub/dir, ',', write, /v/sub/dir/file, text], volumeMounts: [{name: v, mountPath: /v}]}
        containers:
        - {name: read, image: podling/toolbox, args: [cat, /r/sub/dir/file], volumeMounts: [{name: v, mountPath: /r, readOnly: true}]}
        - {name: sub, image: podling/toolbox, args: [cat, /s/file], volumeMounts: [{name: v, mountPath: /s, subPath: sub/dir}]}
        - {name: refused, image: podling/toolbox, args: [write, /r/x, x], volumeMounts: [{name: v, mountPath: /r, readOnly: true}]}
        volumes: [{name: v, emptyDir: {}}]
    ");
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(
        (finished.lines_of("read"), finished.lines_of("sub")),
        (vec!["text"], vec!["text"]),
        "{finished}"
    );
    assert!(finished.lines_of("refused").join("").contains("ead-only"), "{finished}");
}

#[test]
fn an_empty_dir_in_memory_is_a_tmpfs_of_its_size() {
    let podling = Podling::new();
    let manifest = pod("memory", "
        restartPolicy: Never
        containers:
        - {name: look, image: podling/toolbox, args: [mount-info, /v], volumeMounts: [{name: v, mountPath: /v}]}
        volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
    ");
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 0, "{finished}");
    let mount = finished.lines_of("look").join("\n");
    assert!(mount.contains("tmpfs") && mount.contains("size=1024k"), "{mount}");
}

#[test]
fn a_host_path_is_the_hosts() {
    let podling = Podling::new();
    let shared = podling.base().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "of the host\n").unwrap();
    let manifest = pod(
        "host",
        &format!(
            "
        restartPolicy: Never
        containers:
        - name: both
          image: podling/toolbox
          args: [chain, cat, /h/file, ',', write, /h/answer, of the Pod]
          volumeMounts: [{{name: h, mountPath: /h}}]
        volumes: [{{name: h, hostPath: {{path: {}, type: Directory}}}}]
    ",
            shared.display()
        ),
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!((finished.code, finished.lines_of("both")), (0, vec!["of the host"]), "{finished}");
    assert_eq!(std::fs::read_to_string(shared.join("answer")).unwrap(), "of the Pod\n");
}

#[test]
fn a_host_path_that_is_not_what_it_should_be_is_told() {
    let podling = Podling::new();
    let manifest = pod("host", "
        containers: [{name: a, image: podling/toolbox, args: ['true'], volumeMounts: [{name: h, mountPath: /h}]}]
        volumes: [{name: h, hostPath: {path: /nonexistent/here, type: Directory}}]
    ");
    podling.run(&manifest, &[]).assert_failed(125, &["/nonexistent/here"]);
}

#[test]
fn containers_that_share_the_process_namespace_see_each_other_and_pause() {
    let podling = Podling::new();
    let manifest = pod(
        "processes",
        "
        shareProcessNamespace: true
        initContainers:
        - {name: side, image: podling/toolbox, restartPolicy: Always, args: [sleep, infinity]}
        containers:
        - {name: look, image: podling/toolbox, args: [chain, ps, ',', trap, TERM]}
    ",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("look", "waiting for SIGTERM");
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    let seen = finished.lines_of("look").join("\n");
    assert!(seen.contains("sleep infinity") && seen.contains("pause"), "{seen}");
}

#[test]
fn shared_memory_is_the_pods() {
    let podling = Podling::new();
    let manifest = pod(
        "shm",
        "
        restartPolicy: Never
        initContainers: [{name: write, image: podling/toolbox, args: [shm-write, /note, remembered]}]
        containers: [{name: read, image: podling/toolbox, args: [shm-read, /note]}]
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!((finished.code, finished.lines_of("read")), (0, vec!["remembered"]), "{finished}");
}

/// Said, because somebody meant something by it, and no reason to stop.
#[test]
fn a_volume_that_nothing_mounts_stops_nothing() {
    let podling = Podling::new();
    let manifest = pod(
        "unused",
        "
        restartPolicy: Never
        containers: [{name: a, image: podling/toolbox, args: [echo, fine]}]
        volumes: [{name: unused, emptyDir: {}}]
    ",
    );
    let finished = podling.run(&manifest, &[]);
    assert_eq!((finished.code, finished.lines_of("a")), (0, vec!["fine"]), "{finished}");
}
