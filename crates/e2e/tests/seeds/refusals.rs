//! Seeds that cannot run: the wrong ones, and those whose images nobody here can have. Each is told clearly, with
//! the exit code 125.

use std::time::Duration;

use e2e::{Podling, Signal};

use crate::text::{Complete, local, path, seed};

#[test]
fn wrong_seeds_are_explained_with_their_lines() {
    let podling = Podling::new();
    for (name, words) in [
        ("001-06-web-server.yaml", ["web-server.yaml:1:1", "this is a part of a manifest"]),
        ("001-18-wait-for-sidecar-ready.yaml", ["ready.yaml:1:1", "put before it"]),
        ("001-19-cpu-intensive-app.yaml", ["app.yaml:3:5", "spec.containers[0].image: Required value"]),
        ("001-20-writer-container.yaml", ["container.yaml:11:5", "spec.containers[1].image: Required value"]),
        ("002-21-simple-webapp.yaml", ["simple-webapp.yaml:12:7", "did you mean containerPort?"]),
        ("003-23-init-container.yaml", ["init-container.yaml:8:9", "is indented deeper than"]),
    ] {
        podling.run(&path(name), &[]).assert_failed(125, &words);
    }
    assert_eq!(podling.run_ids(), Vec::<String>::new(), "nothing is started");
}

/// Its images stand in a registry that the test cannot reach, and neither does the Pod go on without them.
#[test]
fn seed_000_03_an_image_that_cannot_be_had_is_told_at_once() {
    let podling = Podling::with_images(&["redis"]);
    // Port 9 (discard) of this machine: nobody listens, so it is refused at once, with or without a network.
    let proxy = ["image: 127.0.0.1:9/envoyproxy/envoy".to_owned()];
    let manifest =
        seed("000-03-redis-proxy.yaml").image("redis", &local("redis")).image("envoyproxy/envoy", &proxy);
    let mut run = podling.prepare_run(&manifest, &[]).start();
    run.wait_for_line("stopping: nothing will change by waiting");
    // Redis may have been asked to stop before it was ready to hear it, and then has its whole grace.
    run.signal(Signal::INT);
    let finished = run.wait();
    finished.assert_failed(125, &["error: proxy:", "127.0.0.1:9/envoyproxy/envoy", "cannot be reached"]);
    assert!(finished.duration < Duration::from_secs(20), "{finished}");
}

#[test]
fn a_missing_config_map_is_told_at_once() {
    let podling = Podling::with_images(&["nginx"]);
    let manifest = seed("001-05-web-server-with-logging.yaml")
        .image("nginx:1.21", &local("nginx"))
        .image("fluent/fluent-bit:1.8", &["image: podling/toolbox".to_owned()]);
    podling.run(&manifest, &[]).assert_failed(125, &["fluentbit-config", "ConfigMap"]);
}
