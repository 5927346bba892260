//! What an image says about its process, and what a Pod may say instead.

use e2e::{Image, Podling, Signal, pod};
use serde_json::json;

const PASSWD: &[u8] = b"root:x:0:0::/:/bin/sh\nweb:x:1234:2345::/home/web:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\nweb:x:2345:\nlogs:x:3456:web\n";

fn load(podling: &Podling) {
    Image::toolbox(podling, "configured:1")
        .layer(&[
            ("etc/passwd", 0o644, PASSWD),
            ("etc/group", 0o644, GROUP),
            ("work/here.txt", 0o644, b"here\n"),
        ])
        .with("Entrypoint", json!(["toolbox", "chain"]))
        .with("Cmd", json!(["id", ",", "env", "GREETING", ",", "cat", "here.txt"]))
        .with("Env", json!(["PATH=/bin", "GREETING=from the image"]))
        .with("User", json!("web"))
        .with("WorkingDir", json!("/work"))
        .with("StopSignal", json!("SIGUSR1"))
        .load();
}

#[test]
fn the_image_says_what_runs_where_and_as_whom() {
    let podling = Podling::new();
    load(&podling);
    let spec = "
        restartPolicy: Never
        containers:
        - {name: image, image: 'configured:1'}
        - {name: args, image: 'configured:1', args: [env, GREETING, ',', 'false']}
        - {name: command, image: 'configured:1', command: [cat, here.txt]}
        - name: all
          image: configured:1
          command: [toolbox, chain]
          args: [env, GREETING, ',', id, '-u', ',', ls]
          env: [{name: GREETING, value: from the Pod}]
          workingDir: /etc
          securityContext: {runAsUser: 42}
    ";
    let finished = podling.run(&pod("configured", spec), &[]);
    let image = finished.lines_of("image");
    assert_eq!(image.len(), 3, "{finished}");
    for words in ["uid=1234", "gid=2345", "3456"] {
        assert!(image[0].contains(words), "{words} is missing: {finished}");
    }
    assert_eq!(image[1..], ["from the image", "here"]);
    // `args` replace CMD and keep ENTRYPOINT, `command` replaces both.
    assert_eq!(finished.lines_of("args"), ["from the image"], "{finished}");
    assert_eq!(finished.lines_of("command"), ["here"], "{finished}");
    let all = finished.lines_of("all");
    assert_eq!(all[..2], ["from the Pod", "42"], "{finished}");
    assert!(all.contains(&"passwd"), "{finished}");
    assert_eq!(finished.code, 1, "`false` of the container args: {finished}");
}

#[test]
fn the_image_says_which_signal_stops_it() {
    let podling = Podling::new();
    load(&podling);
    let container = "{name: app, image: 'configured:1', args: [trap, '-n', '1', TERM, USR1]}";
    let mut run = podling.spawn(&pod("stopped", &format!("containers: [{container}]")), &[]);
    run.wait_until_ready();
    run.wait_for_log("app", "waiting for");
    run.signal(Signal::INT);
    let finished = run.wait();
    assert_eq!(finished.code, 130, "{finished}");
    let lines = finished.lines_of("app");
    assert!(lines.len() == 2 && lines[1].contains("USR1 (1)"), "{finished}");
}

#[test]
fn a_user_that_the_image_does_not_have_is_named() {
    let podling = Podling::new();
    Image::toolbox(&podling, "stranger:1").with("User", json!("stranger")).load();
    let finished = podling.run(&crate::once("image: 'stranger:1', args: [id]"), &[]);
    finished.assert_failed(125, &["app", "stranger"]);
}
