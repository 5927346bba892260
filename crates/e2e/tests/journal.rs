//! The journal of a Pod: shown while it runs, kept beyond its end, played again, and without its secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Podling, Signal, pod};

/// A Pod that meets most of what there is: init container, sidecar with probe and hooks, a restart, secrets everywhere.
fn busy() -> String {
    let pod = pod(
        "busy",
        "
        restartPolicy: OnFailure
        initContainers:
        - {name: first, image: podling/toolbox, args: [echo, done], env: [{name: TOKEN, value: h-u-s-h}]}
        - name: server
          image: podling/toolbox
          restartPolicy: Always
          args: [http, --port, '8080']
          startupProbe: {httpGet: {port: 8080, path: /healthz, httpHeaders: [{name: Token, value: h-u-s-h}]}}
          lifecycle: {preStop: {exec: {command: [toolbox, echo, h-u-s-h]}}}
        containers:
        - name: main
          image: podling/toolbox
          args: [chain, sleep, 300ms, ',', 'false', h-u-s-h]
          envFrom: [{secretRef: {name: keys}}]
          volumeMounts: [{name: keys, mountPath: /keys}]
        volumes: [{name: keys, secret: {secretName: keys}}]
    ",
    );
    format!(
        "{pod}\n---\n{{apiVersion: v1, kind: Secret, metadata: {{name: keys}}, stringData: {{KEY: h-u-s-h}}}}\n"
    )
}

#[test]
fn a_kept_journal_replays_tells_its_story_and_has_no_secret() {
    let podling = Podling::new();
    let file = podling.base().join("busy.jsonl");
    let path = file.to_str().expect("a path");
    let mut running = podling.spawn(&busy(), &["--journal", path]);
    running.wait_for_start("main", 1);
    running.signal(Signal::TERM);
    let finished = running.wait();
    assert_eq!(finished.code, 143, "{finished}");

    let kept = fs::read_to_string(&file).expect("the journal");
    assert_eq!(fs::metadata(&file).expect("the journal").permissions().mode() & 0o777, 0o600);
    assert!(!kept.contains("h-u-s-h"), "a secret stands in the journal: {kept}");

    let replayed = podling.call(["journal", "--file", path, "--replay"]);
    assert_eq!(replayed.code, 0, "{replayed}");
    assert!(replayed.stdout.starts_with("default/busy: "), "{replayed}");
    assert!(replayed.stdout.contains("come out as they were recorded\n"), "{replayed}");

    let shown = podling.call(["journal", "--file", path]);
    assert_eq!(shown.code, 0, "{shown}");
    let story = [
        "admitted",
        "create sandbox",
        "startup probe",
        "start (restart 1)",
        "stop requested",
        "preStop hook",
        "gone",
    ];
    let places = story.map(|words| shown.stdout.find(words).unwrap_or_else(|| panic!("{words}: {shown}")));
    assert!(places.is_sorted(), "{places:?}: {shown}");

    let entries = podling.call(["journal", "busy", "--file", path, "-o", "json"]);
    assert_eq!(entries.stdout, kept, "as JSON it is what stands in the file");
}

#[test]
fn the_journal_of_a_running_pod_is_found_by_its_name() {
    let podling = Podling::new();
    let manifest =
        pod("web", "containers: [{name: server, image: podling/toolbox, args: [http, --port, '8080']}]");
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_until_ready();
    // What happened last is written within a moment; until then the journal is asked again.
    let shown = loop {
        let shown = podling.call(["journal", "web"]);
        if shown.stdout.contains("ready") {
            break shown;
        }
        assert!(shown.code == 0 || shown.stderr.contains("there is no journal"), "{shown}");
    };
    assert!(shown.stdout.contains("server   start"), "{shown}");
    let other = podling.call(["journal", "other"]);
    other.assert_failed(125, &["there is no journal of a Pod \"other\"", "those there are default/web"]);
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code, 143);
    podling.call(["journal", "web"]).assert_failed(125, &["no Pod runs there", "--journal FILE"]);
}

#[test]
fn a_journal_that_cannot_be_kept_is_refused_before_anything_starts() {
    let podling = Podling::new();
    let manifest = pod("a", "containers: [{name: a, image: podling/toolbox, args: [echo, hi]}]");
    let finished = podling.run(&manifest, &["--journal", "/nowhere/at/all"]);
    finished.assert_failed(125, &["cannot write the journal to /nowhere/at/all"]);
    assert_eq!(finished.stdout, "", "{finished}");
}

#[test]
fn a_journal_that_was_tampered_with_is_told_by_file_and_line() {
    let podling = Podling::new();
    let file = podling.base().join("a.jsonl");
    let path = file.to_str().expect("a path");
    let manifest =
        pod("a", "{restartPolicy: Never, containers: [{name: a, image: podling/toolbox, args: [echo, hi]}]}");
    assert_eq!(podling.run(&manifest, &["--journal", path]).code, 0);
    let kept = fs::read_to_string(&file).expect("the journal");

    fs::write(&file, kept.replacen("\"attempt\":0", "\"attempt\":-1", 1)).expect("writing");
    podling
        .call(["journal", "--file", path])
        .assert_failed(125, &["a.jsonl, line ", "this is no entry of a journal"]);

    fs::write(
        &file,
        kept.replacen("\"PrepareVolumes\":{\"retry\":0}", "\"PrepareVolumes\":{\"retry\":5}", 1),
    )
    .expect("writing");
    let replayed = podling.call(["journal", "--file", path, "--replay"]);
    replayed.assert_failed(
        125,
        &["default/a", "decides otherwise", "PrepareVolumes { retry: 5 }, and now it is not"],
    );

    fs::write(&file, &kept[..kept.len() - 10]).expect("writing");
    let shown = podling.call(["journal", "--file", path]);
    assert!(shown.code == 0 && shown.stdout.contains("cut off"), "{shown}");
}
