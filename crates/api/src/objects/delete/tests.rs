//! The end of objects, case by case, without a store.

use std::sync::Arc;

use super::*;
use crate::kinds::Kinds;

fn kind(group: &str, plural: &str) -> Arc<Kind> {
    Arc::clone(Kinds::new([]).find(group, "v1", plural).expect("a kind"))
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("an instant")
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn running() -> Value {
    json!({
        "metadata": {"name": "p", "generation": 1},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30},
        "status": {"phase": "Running"},
    })
}

/// `deletionTimestamp`, `deletionGracePeriodSeconds`.
fn end(step: &Step) -> (String, i64) {
    match step {
        Step::Write(object) => (
            text(object, "/metadata/deletionTimestamp").unwrap_or_default().to_owned(),
            object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(-1),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_running_pod_gets_its_grace() {
    let pods = kind("", "pods");
    let step = decide(&pods, &running(), &DeleteOptions::default(), now());
    assert_eq!(end(&step), ("2026-01-01T00:00:30Z".to_owned(), 30));
    assert_eq!(decide(&pods, &running(), &grace(0), now()), Step::Remove);
    assert_eq!(end(&decide(&pods, &running(), &grace(-5), now())).1, 1);
}

#[test]
fn a_pod_that_no_node_runs_goes_at_once() {
    let pods = kind("", "pods");
    let mut waiting = running();
    waiting["spec"]["nodeName"] = json!("");
    assert_eq!(decide(&pods, &waiting, &DeleteOptions::default(), now()), Step::Remove);
    let mut done = running();
    done["status"]["phase"] = json!("Succeeded");
    assert_eq!(decide(&pods, &done, &DeleteOptions::default(), now()), Step::Remove);
}

#[test]
fn a_shorter_grace_shortens_and_a_longer_one_does_nothing() {
    let pods = kind("", "pods");
    let Step::Write(ending) = decide(&pods, &running(), &DeleteOptions::default(), now()) else { panic!() };
    assert_eq!(decide(&pods, &ending, &grace(60), now()), Step::Nothing);
    assert_eq!(decide(&pods, &ending, &DeleteOptions::default(), now()), Step::Nothing);
    assert_eq!(end(&decide(&pods, &ending, &grace(5), now())), ("2026-01-01T00:00:05Z".to_owned(), 5));
    assert_eq!(decide(&pods, &ending, &grace(0), now()), Step::Remove);
}

#[test]
fn finalizers_keep_an_object() {
    let maps = kind("", "configmaps");
    let object = json!({"metadata": {"name": "a", "finalizers": ["x.y/z"]}});
    assert_eq!(end(&decide(&maps, &object, &DeleteOptions::default(), now())).1, 0);
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let Step::Write(kept) = decide(&maps, &json!({"metadata": {"name": "a"}}), &foreground, now()) else {
        panic!()
    };
    assert_eq!(kept["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(decide(&maps, &kept, &foreground, now()), Step::Nothing);
    assert_eq!(
        decide(&maps, &json!({"metadata": {"name": "a"}}), &DeleteOptions::default(), now()),
        Step::Remove
    );
}

#[test]
fn a_namespace_is_kept_by_its_spec() {
    let namespaces = kind("", "namespaces");
    let object = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {}});
    let Step::Write(ending) = decide(&namespaces, &object, &DeleteOptions::default(), now()) else {
        panic!()
    };
    assert_eq!(ending["status"]["phase"], "Terminating");
}
