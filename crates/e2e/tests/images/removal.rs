//! `podling image list` and `remove`.

use std::io::Read;
use std::process::Stdio;

use e2e::{Podling, Signal, pod};

use crate::{image, listed};

#[test]
fn a_removed_image_is_gone() {
    let podling = Podling::with_images(&["busybox"]);
    let row = listed(&podling, "busybox:latest").unwrap();
    assert_eq!(row["in_use"], false);
    let table = image(&podling, &["list"]).stdout;
    assert!(table.lines().any(|line| line.starts_with("busybox:latest ")), "{table}");
    assert!(
        table.lines().any(|line| line.starts_with("podling/toolbox") && line.ends_with("built-in")),
        "{table}"
    );

    let removed = image(&podling, &["remove", "busybox"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(removed.stdout.contains("busybox:latest: removed"), "{removed}");
    assert!(listed(&podling, "busybox:latest").is_none());
    image(&podling, &["remove", "busybox"]).assert_failed(125, &["busybox"]);
}

#[test]
fn an_image_that_a_pod_uses_stays() {
    let podling = Podling::with_images(&["busybox"]);
    let container = "{name: app, image: busybox, imagePullPolicy: Never, command: [sleep, infinity]}";
    let mut run = podling.spawn(&pod("user", &format!("containers: [{container}]")), &[]);
    run.wait_until_ready();
    assert_eq!(listed(&podling, "busybox:latest").unwrap()["in_use"], true);
    image(&podling, &["remove", "busybox"]).assert_failed(125, &["busybox", "use"]);
    // It goes on, and what it is made of as well.
    assert!(run.look("app", &["ls", "/bin/busybox"], "").success);
    run.signal(Signal::INT);
    run.wait_for("the stop", |event| event["event"] == "stopping");
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, 130);
    assert_eq!(listed(&podling, "busybox:latest").unwrap()["in_use"], false);
    assert_eq!(image(&podling, &["remove", "busybox"]).code, 0);
}

/// `podling image list | head -1`: a reader that goes is no reason to panic.
#[test]
fn a_list_that_nobody_reads_ends_quietly() {
    let podling = Podling::new();
    let mut command = podling.prepare(["image", "list"]).command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(status.code(), Some(125), "{errors}");
}
