//! Waits: those that never end, those that may, and those that are in order.

use super::{ADVICE, ERROR, all_are_silent, facts, fires, found, is_silent};

/// An init container with this command before what stands in `rest`.
fn waiting(command: &str, rest: &str) -> String {
    format!("initContainers:\n- name: wait\n  image: a\n  command: {command}\n{rest}")
}

const UNTIL: &str = "[sh, -c, 'until nc -z localhost 8081; do sleep 1; done']";
const LATER: &str = "containers:\n- {name: web, image: a, ports: [{containerPort: 8081}]}\n";

#[test]
fn a_wait_for_a_port_that_only_a_later_container_opens_never_ends() {
    for command in [
        UNTIL,
        "[sh, -c, 'while ! wget -q --spider http://127.0.0.1:8081/health; do echo no; sleep 2; done']",
        "['/bin/sh', '-ec', 'until curl -sf localhost:8081 >/dev/null 2>&1; do sleep 1; done']",
        "[sh, -c, 'until timeout 1 nc -z localhost 8081; do echo waiting for it; sleep 1; done; echo exit']",
        "[wait-for, 'localhost:8081']",
        "[busybox, nc, -z, localhost, '8081']",
        "[sh, -c, 'until nc -z p 8081; do sleep 1; done']",
    ] {
        fires(&waiting(command, LATER), &[("wait-never-ends", ERROR, 4)]);
    }
    // Also without a container that declares the port: nothing else runs at that time.
    fires(&waiting(UNTIL, "containers: [{name: web, image: a}]"), &[("wait-never-ends", ERROR, 4)]);
    // And for a sidecar that stands too late.
    let sidecar = "- {name: web, image: a, restartPolicy: Always, ports: [{containerPort: 8081}]}\ncontainers: [{name: m, image: a}]";
    fires(&waiting(UNTIL, sidecar), &[("wait-never-ends", ERROR, 4)]);
}

/// The seed 001-18, with the very words of its page.
#[test]
fn the_deadlock_of_a_seed_is_found() {
    let seed = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../seeds/001-18-wait-for-sidecar-ready.yaml"
    ));
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: completed\n{}", seed.unwrap());
    assert_eq!(found(&text, &facts()), [("wait-never-ends", ERROR, 9)]);
}

#[test]
fn a_wait_that_may_end_is_no_error() {
    for command in [
        "[sh, -c, 'for i in 1 2 3; do nc -z localhost 8081 && break; sleep 1; done']",
        "[sh, -c, 'nc -z localhost 8081 || true']",
        "[sh, -c, 'server & until nc -z localhost 8081; do sleep 1; done']",
        "[sh, -c, 'i=0; until nc -z localhost 8081; do i=$((i+1)); sleep 1; done']",
        "[/scripts/wait.sh, curl, 'localhost:8081']",
        "[sh, -c, 'server --daemonize yes; until nc -z localhost 8081; do sleep 1; done']",
    ] {
        fires(&waiting(command, LATER), &[("wait-never-ends", ADVICE, 4)]);
    }
    // A sidecar that says nothing of its ports may be the one.
    let secretive = "initContainers:\n- {name: s, image: a, restartPolicy: Always}\n- name: wait\n  image: a\n  command: ";
    fires(&format!("{secretive}{UNTIL}\n{LATER}"), &[("wait-never-ends", ADVICE, 5)]);
    is_silent(&format!("{secretive}{UNTIL}\ncontainers: [{{name: m, image: a}}]"));
}

#[test]
fn a_wait_for_what_is_there_is_in_order() {
    let before = |sidecar: &str| {
        format!(
            "initContainers:\n- {{name: s, restartPolicy: Always, {sidecar}}}\n- {{name: wait, image: a, command: {UNTIL}}}\n\
             containers: [{{name: m, image: a}}]"
        )
    };
    all_are_silent(&[
        &before("image: a, ports: [{containerPort: 8081}]"),
        &before("image: a, startupProbe: {tcpSocket: {port: 8081}}"),
        &before("image: a, args: ['--port=8081']"),
        &waiting("[sh, -c, 'until nc -z db 5432; do sleep 1; done']", LATER),
        &waiting("[sh, -c, 'until nslookup my-db; do sleep 1; done']", LATER),
        &waiting("[echo, hello]", LATER),
        &format!("hostNetwork: true\n{}", waiting(UNTIL, LATER)),
    ]);
    let image = "initContainers:\n- {name: s, image: web, restartPolicy: Always}\n- {name: wait, image: a, command: [nc, -z, localhost, '80']}\ncontainers: [{name: m, image: a}]";
    is_silent(image);
}

#[test]
fn probes_and_hooks_cannot_wait_for_what_they_hold_back() {
    let sidecar = |port: u16, own: &str| {
        format!(
            "initContainers:\n- {{name: s, image: a, restartPolicy: Always{own}, startupProbe: {{tcpSocket: {{port: {port}}}}}}}\n{LATER}"
        )
    };
    fires(&sidecar(8081, ""), &[("wait-never-ends", ADVICE, 2)]);
    all_are_silent(&[&sidecar(8082, ""), &sidecar(8081, ", args: [--port, '8081']")]);
    let hook = "containers:\n- name: one\n  image: a\n  lifecycle: {postStart: {exec: {command: [curl, 'localhost:8081/x']}}}\n";
    let later = "- {name: two, image: a, ports: [{containerPort: 8081}]}";
    fires(&format!("{hook}{later}"), &[("wait-never-ends", ADVICE, 4)]);
    is_silent(&format!("{hook}  ports: [{{containerPort: 8081}}]"));
}
