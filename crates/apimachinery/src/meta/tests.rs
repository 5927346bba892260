//! Metadata as it is read, refused and kept.

use serde_json::json;

use super::*;

fn told(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn metadata_is_read() {
    let object = json!({"metadata": {
        "name": "x", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
        "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f"],
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true},
        ],
        "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
    }});
    let meta = Meta::of(&object);
    assert_eq!((meta.name(), meta.namespace(), meta.uid()), ("x", "n", "u"));
    assert_eq!((meta.resource_version(), meta.generation()), ("7", 3));
    assert_eq!((meta.label("a"), meta.annotation("c"), meta.label("c")), (Some("b"), Some("d"), None));
    assert_eq!(meta.finalizers(), ["f"]);
    assert_eq!(meta.owner_references().len(), 2);
    assert_eq!(meta.controller().map(|owner| owner.name), Some("r"));
    assert_eq!(meta.deletion_timestamp(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(meta.deletion_grace_period_seconds(), Some(30));
    for odd in [json!({}), json!([]), json!({"metadata": 1}), json!({"metadata": {"name": 1}})] {
        assert_eq!(Meta::of(&odd).name(), "");
        assert!(Meta::of(&odd).owner_references().is_empty());
    }
}

#[test]
fn metadata_is_written() {
    let mut object = json!({"kind": "Pod"});
    set(&mut object, "name", "x");
    set(&mut object, "generation", 1);
    assert_eq!(object, json!({"kind": "Pod", "metadata": {"name": "x", "generation": 1}}));
    assert_eq!(remove(&mut object, "name"), Some(json!("x")));
    assert_eq!(remove(&mut object, "name"), None);
}

#[test]
fn broken_metadata_is_told_every_rule() {
    let good = json!({"metadata": {"name": "x", "namespace": "n"}});
    assert_eq!(validate(&good, Scope::Namespaced, names::dns_subdomain), []);
    assert_eq!(
        told(&validate(&good, Scope::Cluster, names::dns_subdomain)),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    let bad = json!({"metadata": {
        "generation": -1,
        "ownerReferences": [
            {"apiVersion": "apps/", "kind": "A", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "B", "name": "b", "controller": true},
            {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "3"},
        ],
    }});
    let errors = told(&validate(&bad, Scope::Namespaced, names::dns_subdomain));
    assert_eq!(errors.len(), 7, "{errors:#?}");
    let expected = [
        "metadata.name: Required value: name or generateName is required",
        "metadata.namespace: Required value",
        "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
        "metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty",
        "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
    ];
    assert_eq!(&errors[..5], &expected);
    assert!(errors[5].ends_with("Found \"true\" in references for A/a and B/b"), "{}", errors[5]);
    assert!(errors[6].ends_with("/v1, Kind=Event is disallowed from being an owner"), "{}", errors[6]);
}

#[test]
fn an_update_keeps_what_the_server_set() {
    let old = json!({"metadata": {"name": "x", "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": "t"}});
    let mut new = json!({"metadata": {"name": "x", "resourceVersion": "1", "generation": 2, "deletionTimestamp": "now"}});
    keep(&old, &mut new);
    assert_eq!(new, {
        let mut same = old.clone();
        set(&mut same, "uid", "u");
        same
    });
    assert_eq!(validate_update(&old, &new), []);
}

#[test]
fn an_update_may_not_change_what_is_fixed() {
    let old = json!({"metadata": {
        "name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2,
        "deletionTimestamp": "t", "finalizers": ["a/b"],
    }});
    let new = json!({"metadata": {
        "name": "y", "namespace": "m", "uid": "v", "generation": 1,
        "deletionTimestamp": "later", "finalizers": ["a/b", "e/f", "c/d"],
    }});
    assert_eq!(
        told(&validate_update(&old, &new)),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\", \"e/f\"}",
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
            "metadata.generation: Invalid value: 1: must not be decremented",
            "metadata.name: Invalid value: \"y\": field is immutable",
            "metadata.namespace: Invalid value: \"m\": field is immutable",
            "metadata.uid: Invalid value: \"v\": field is immutable",
            "metadata.deletionTimestamp: Invalid value: \"later\": field is immutable",
        ]
    );
}
