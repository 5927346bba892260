//! Owners that go, in each of the three ways.

use super::*;
use client::kinds;
use serde_json::json;

fn pods() -> Resource {
    Resource { kind: kinds::PODS, name: "Pod".to_owned(), is_namespaced: true }
}

fn owner(uid: &str, blocks: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid, "blockOwnerDeletion": blocks})
}

fn object(uid: &str, owners: &[Value]) -> Value {
    json!({"metadata": {"namespace": "d", "name": uid, "uid": uid, "resourceVersion": "1", "ownerReferences": owners}})
}

fn ending(uid: &str, finalizer: &str) -> Value {
    let mut object = object(uid, &[]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!([finalizer, "other"]);
    object
}

fn decided(graph: &Graph, uid: &str) -> Vec<String> {
    let say = |act: Act| match act {
        Act::Delete { target, foreground } => format!("delete {} {foreground}", target.name),
        Act::DropOwners { target, left } => format!("{} keeps {} owners", target.name, left.len()),
        Act::RemoveFinalizer { target, left } => format!("{} keeps {left:?}", target.name),
        Act::LookUp { owner, .. } => format!("look up {}", owner.name),
    };
    graph.decide(&Uid(uid.to_owned())).into_iter().map(say).collect()
}

#[test]
fn what_nobody_owns_any_more_goes() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("a", &[]));
    graph.set(&pods(), &object("b", &[owner("a", false)]));
    assert!(decided(&graph, "b").is_empty());
    let due = graph.remove(&object("a", &[]));
    assert_eq!(due, [Uid("b".to_owned())]);
    assert_eq!(decided(&graph, "b"), ["delete b false"]);
}

#[test]
fn an_owner_that_was_never_seen_is_looked_up_first() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("b", &[owner("a", false)]));
    assert_eq!(decided(&graph, "b"), ["look up a"]);
    graph.is_absent(Uid("a".to_owned()));
    assert_eq!(decided(&graph, "b"), ["delete b false"]);
}

#[test]
fn one_owner_that_stays_is_enough() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("a", &[]));
    graph.set(&pods(), &object("c", &[]));
    graph.set(&pods(), &object("b", &[owner("a", false), owner("c", false)]));
    graph.remove(&object("a", &[]));
    assert_eq!(decided(&graph, "b"), ["b keeps 1 owners"]);
}

#[test]
fn an_owner_of_another_namespace_owns_nothing() {
    let mut graph = Graph::default();
    let mut far = object("a", &[]);
    far["metadata"]["namespace"] = json!("elsewhere");
    graph.set(&pods(), &far);
    graph.set(&pods(), &object("b", &[owner("a", false)]));
    assert_eq!(decided(&graph, "b"), ["look up a"]);
}

#[test]
fn in_the_foreground_dependents_go_first() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("b", &[owner("a", true)]));
    graph.set(&pods(), &object("c", &[owner("b", true)]));
    let due = graph.set(&pods(), &ending("a", FOREGROUND));
    assert!(due.contains(&Uid("b".to_owned())));
    assert!(decided(&graph, "a").is_empty());
    // It has a dependent of its own, which goes before it in the same way.
    assert_eq!(decided(&graph, "b"), ["delete b true"]);
    assert_eq!(graph.remove(&object("b", &[])), [Uid("c".to_owned()), Uid("a".to_owned())]);
    assert_eq!(decided(&graph, "a"), [r#"a keeps ["other"]"#]);
}

#[test]
fn what_does_not_block_is_not_waited_for() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("b", &[owner("a", false)]));
    graph.set(&pods(), &ending("a", FOREGROUND));
    assert_eq!(decided(&graph, "a"), [r#"a keeps ["other"]"#]);
}

#[test]
fn orphans_forget_their_owner_before_it_goes() {
    let mut graph = Graph::default();
    graph.set(&pods(), &object("b", &[owner("a", true)]));
    graph.set(&pods(), &ending("a", ORPHAN));
    assert_eq!(decided(&graph, "a"), ["b keeps 0 owners"]);
    graph.set(&pods(), &object("b", &[]));
    assert_eq!(decided(&graph, "a"), [r#"a keeps ["other"]"#]);
    assert!(decided(&graph, "b").is_empty());
}
