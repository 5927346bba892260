//! The seed manifests (folder seeds/ of the project), as they were found in the wild: which are Pods, which are
//! fragments, which are wrong, and the very words that the wrong ones get.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use model::manifest::{self, Manifest, ProblemKind};
use model::waits;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../seeds")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("the seeds must stand in {}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a folder entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn seed(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the seed {} cannot be read: {error}", path.display()))
}

fn parsed(name: &str, text: &str) -> Manifest {
    manifest::parse(name, text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(name: &str, expected: &Expect) {
    match manifest::parse(name, seed(name).as_bytes()) {
        Ok(_) => panic!("{name} should be refused"),
        Err(problems) => expected.assert_eq(&format!("{problems}\n")),
    }
}

/// Seeds that are Pods, with the containers and the fields that a warning names.
const PODS: &[(&str, &str, &[&str])] = &[
    ("000-01-yellow.yaml", "lemon gold", &[]),
    ("000-02-web-with-logger.yaml", "web logger", &[]),
    ("000-03-redis-proxy.yaml", "redis proxy", &[]),
    ("000-04-shared-data.yaml", "container1 container2", &[]),
    ("001-05-web-server-with-logging.yaml", "web-server log-aggregator", &[]),
    ("001-07-app-with-istio-proxy.yaml", "my-app istio-proxy", &[]),
    ("001-08-web-app-with-migration.yaml", "wait-for-db db-migration config-downloader web-app", &[]),
    ("001-09-secure-web-app.yaml", "cert-generator cert-validator web-server", &[]),
    ("001-10-app-with-cache.yaml", "redis web-app", &[]),
    ("001-11-shared-process-namespace.yaml", "main-app debug-utils", &[]),
    ("001-12-shared-ipc.yaml", "producer consumer", &[]),
    ("001-13-shared-storage-example.yaml", "file-processor file-uploader", &[]),
    ("001-14-config-sharing-example.yaml", "web-app config-validator", &[]),
    (
        "001-15-database-with-backup.yaml",
        "postgres backup-agent",
        &["spec.volumes[0].persistentVolumeClaim", "spec.volumes[1].persistentVolumeClaim"],
    ),
    ("001-16-app-with-ambassador.yaml", "web-app db-ambassador", &[]),
    ("001-17-legacy-app-with-adapter.yaml", "legacy-app log-adapter log-shipper", &[]),
    ("003-22-backend.yaml", "main-container sidecar-container", &[]),
];

/// Seeds that are refused as they stand.
const REFUSED: &[&str] = &[
    "001-06-web-server.yaml",
    "001-18-wait-for-sidecar-ready.yaml",
    "001-19-cpu-intensive-app.yaml",
    "001-20-writer-container.yaml",
    "002-21-simple-webapp.yaml",
    "003-23-init-container.yaml",
];

#[test]
fn every_seed_has_an_expected_outcome() {
    let mut known: Vec<&str> = PODS.iter().map(|(name, ..)| *name).chain(REFUSED.iter().copied()).collect();
    known.sort();
    assert_eq!(names_in(&folder()), known);
}

/// The seeds are somebody else's text: where the originals stand beside the project, ours must be true copies.
#[test]
fn the_seeds_are_unchanged_copies() {
    let originals = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/seeds/manifests");
    if !originals.is_dir() {
        eprintln!("skipped: there are no originals in {}", originals.display());
        return;
    }
    assert_eq!(names_in(&folder()), names_in(&originals));
    for name in names_in(&originals) {
        let original = std::fs::read(originals.join(&name)).expect("the original");
        assert!(original == std::fs::read(folder().join(&name)).expect("the copy"), "seeds/{name} differs");
    }
}

#[test]
fn seeds_that_are_pods_are_read_whole() {
    for (name, containers, warnings) in PODS {
        let manifest = parsed(name, &seed(name));
        let [pod] = manifest.pods.as_slice() else { panic!("{name} holds one Pod") };
        let names: Vec<&str> = pod.spec.all_containers().map(|container| container.name.as_str()).collect();
        assert_eq!(names.join(" "), *containers, "{name}");
        let warned: Vec<&str> = manifest.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(warned, *warnings, "{name}");
        assert!(manifest.warnings.iter().all(|warning| warning.kind == ProblemKind::NotHonoured), "{name}");
    }
}

#[test]
fn a_misspelt_field_is_named_with_the_right_one() {
    refused(
        "002-21-simple-webapp.yaml",
        &expect![[r#"
        002-21-simple-webapp.yaml:12:7: spec.containers[0].ports[0].ContainerPort: unknown field
           |
        12 |     - ContainerPort: 8080
           |       ^^^^^^^^^^^^^
           = hint: did you mean containerPort?
    "#]],
    );
}

#[test]
fn wrong_indentation_is_explained_in_both_places() {
    refused(
        "003-23-init-container.yaml",
        &expect![[r#"
        003-23-init-container.yaml:8:9: `image` is indented deeper than `name` in line 7, which already has the value `main-container`: nothing can stand below it
          |
        8 |         image: nginx:1.20
          |         ^^^^^
          = hint: put `image` in the same column as `name` (column 7), and the lines below it likewise:
                      - name: main-container
                        image: nginx:1.20

        003-23-init-container.yaml:13:9: `image` is indented deeper than `name` in line 12, which already has the value `init-container`: nothing can stand below it
           |
        13 |         image: busybox:1.28
           |         ^^^^^
           = hint: put `image` in the same column as `name` (column 7), and the lines below it likewise:
                       - name: init-container
                         image: busybox:1.28
    "#]],
    );
}

#[test]
fn the_inside_of_a_spec_is_told_what_it_lacks() {
    refused(
        "001-06-web-server.yaml",
        &expect![[r#"
        001-06-web-server.yaml:1:1: apiVersion, kind, metadata.name and spec are missing: this is a part of a manifest
          |
        1 | containers:
          | ^
          = hint: this looks like the inside of a Pod's spec; complete it like this:
                  apiVersion: v1
                  kind: Pod
                  metadata:
                    name: web-server
                  spec:
                    containers:   # from here on what you have, indented by two more spaces

        001-06-web-server.yaml:2:3: spec.containers[0].image: Required value
          |
        2 | - name: web-server
          |   ^^^^

        001-06-web-server.yaml:11:3: spec.containers[1].image: Required value
           |
        11 | - name: log-aggregator
           |   ^^^^
    "#]],
    );
}

#[test]
fn a_spec_without_its_head_is_told_what_it_lacks() {
    refused(
        "001-18-wait-for-sidecar-ready.yaml",
        &expect![[r#"
        001-18-wait-for-sidecar-ready.yaml:1:1: apiVersion, kind and metadata.name are missing: this is a part of a manifest
          |
        1 | spec:
          | ^
          = hint: this looks like a Pod without its head; put before it:
                  apiVersion: v1
                  kind: Pod
                  metadata:
                    name: sidecar
    "#]],
    );
    refused(
        "001-19-cpu-intensive-app.yaml",
        &expect![[r#"
        001-19-cpu-intensive-app.yaml:1:1: apiVersion, kind and metadata.name are missing: this is a part of a manifest
          |
        1 | spec:
          | ^
          = hint: this looks like a Pod without its head; put before it:
                  apiVersion: v1
                  kind: Pod
                  metadata:
                    name: cpu-intensive-app

        001-19-cpu-intensive-app.yaml:3:5: spec.containers[0].image: Required value
          |
        3 |   - name: cpu-intensive-app
          |     ^^^^

        001-19-cpu-intensive-app.yaml:12:5: spec.containers[1].image: Required value
           |
        12 |   - name: memory-intensive-sidecar
           |     ^^^^
    "#]],
    );
    refused(
        "001-20-writer-container.yaml",
        &expect![[r#"
        001-20-writer-container.yaml:1:1: apiVersion, kind and metadata.name are missing: this is a part of a manifest
          |
        1 | spec:
          | ^
          = hint: this looks like a Pod without its head; put before it:
                  apiVersion: v1
                  kind: Pod
                  metadata:
                    name: writer-container

        001-20-writer-container.yaml:6:5: spec.containers[0].image: Required value
          |
        6 |   - name: writer-container
          |     ^^^^

        001-20-writer-container.yaml:11:5: spec.containers[1].image: Required value
           |
        11 |   - name: reader-container
           |     ^^^^
    "#]],
    );
}

const HEAD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: completed\n";

/// Gives every container without an image one.
fn with_images(text: &str, names: &[&str]) -> String {
    names.iter().fold(text.to_owned(), |text, name| {
        let line = text.lines().find(|line| line.trim() == format!("- name: {name}")).expect("the container");
        let indent = " ".repeat(line.find('-').expect("a dash") + 2);
        text.replace(line, &format!("{line}\n{indent}image: busybox"))
    })
}

#[test]
fn completed_fragments_are_pods() {
    let inside = with_images(&seed("001-06-web-server.yaml"), &["web-server", "log-aggregator"]);
    let inside: String = inside.lines().map(|line| format!("  {line}\n")).collect();
    let resources = with_images(
        &seed("001-19-cpu-intensive-app.yaml"),
        &["cpu-intensive-app", "memory-intensive-sidecar"],
    );
    let groups =
        with_images(&seed("001-20-writer-container.yaml"), &["writer-container", "reader-container"]);
    for text in [format!("{HEAD}spec:\n{inside}"), format!("{HEAD}{resources}"), format!("{HEAD}{groups}")] {
        let manifest = parsed("completed.yaml", &text);
        assert_eq!(manifest.pods[0].spec.containers.len(), 2);
        assert_eq!(manifest.warnings, []);
    }
}

#[test]
fn a_wait_for_a_later_container_is_found() {
    let text = format!("{HEAD}{}", seed("001-18-wait-for-sidecar-ready.yaml"));
    let manifest = parsed("completed.yaml", &text);
    let waits = waits::find(&manifest.pods[0]);
    let [wait] = waits.as_slice() else { panic!("one wait: {waits:?}") };
    assert_eq!(wait.container, "wait-for-sidecar-ready");
    assert_eq!((wait.host.as_str(), wait.port), ("localhost", Some(8081)));
    assert_eq!(wait.opened_by.as_deref(), Some("sidecar"));
    assert!(wait.is_local());
}

#[test]
fn waits_for_other_machines_have_no_opener() {
    let manifest = parsed("seed.yaml", &seed("001-08-web-app-with-migration.yaml"));
    let waits = waits::find(&manifest.pods[0]);
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert_eq!((waits[0].host.as_str(), waits[0].port), ("postgres-service", Some(5432)));
    assert_eq!(waits[0].opened_by, None);
}
