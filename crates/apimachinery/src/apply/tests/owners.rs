//! Owners: sets of fields as FieldsV1, writes that are no apply, and how many managers are kept.

use super::*;

#[test]
fn sets_are_read_as_they_are_written() {
    let json = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a:b": {}}, "f:finalizers": {"v:\"x/y\"": {}, ".": {}}},
        "f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}},
            "f:list": {"i:0": {}, "i:12": {}},
            "f:numbers": {"v:1": {}, "v:2.5": {}, "v:true": {}},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {}},
        },
    });
    let set = FieldSet::from_json(&json).expect("a set");
    assert_eq!(set.to_json(), json);
    let paths: Vec<String> = set.paths().iter().map(|path| path_text(path)).collect();
    assert_eq!(
        paths,
        [
            ".metadata.finalizers",
            ".metadata.finalizers[=\"x/y\"]",
            ".metadata.labels",
            ".metadata.labels.a:b",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].image",
            ".spec.list[0]",
            ".spec.list[12]",
            ".spec.numbers[=1]",
            ".spec.numbers[=2.5]",
            ".spec.numbers[=true]",
            ".spec.ports[containerPort=80,protocol=\"TCP\"]",
        ]
    );
    // Kinds of elements that come later are dropped, what is no set is refused.
    assert_eq!(
        FieldSet::from_json(&json!({"z:later": {}, "f:a": {}})),
        FieldSet::from_json(&json!({"f:a": {}}))
    );
    for broken in [json!([]), json!({"f:a": 1}), json!({"a": {}}), json!({"k:[": {}}), json!({"i:x": {}})] {
        assert_eq!(FieldSet::from_json(&broken), None, "{broken}");
    }
}

#[test]
fn sets_are_sets() {
    let set = |json: Value| FieldSet::from_json(&json).expect("a set");
    let one = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
    let two = set(json!({"f:a": {"f:b": {}, "f:d": {}}}));
    assert_eq!(one.clone().union(&two), set(json!({"f:a": {".": {}, "f:b": {}, "f:d": {}}, "f:c": {}})));
    assert_eq!(one.intersection(&two), set(json!({"f:a": {"f:b": {}}})));
    assert_eq!(one.clone().difference(&two), set(json!({"f:a": {}, "f:c": {}})));
    assert_eq!(two.clone().difference(&one), set(json!({"f:a": {"f:d": {}}})));
    assert!(two.clone().recursive_difference(&one).is_empty());
    assert!(one.clone().difference(&one).is_empty());
    assert!(one.contains(&[PathElement::field("a")]) && !two.contains(&[PathElement::field("a")]));
}

#[test]
fn who_writes_owns_what_changed() {
    let new = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "x", "uid": "u", "resourceVersion": "1", "labels": {"a": "1"}},
        "spec": {"replicas": 1},
    });
    let made = update(&json!({}), "create", new, T1);
    assert_eq!(
        owners(&made),
        [(
            "create Update".to_owned(),
            json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {".": {}, "f:replicas": {}}})
        )]
    );
    let mut changed = made.clone();
    changed["spec"]["replicas"] = json!(2);
    changed["metadata"]["resourceVersion"] = json!("2");
    let changed = update(&made, "edit", changed, T2);
    assert_eq!(
        owners(&changed),
        [
            (
                "create Update".to_owned(),
                json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {}})
            ),
            ("edit Update".to_owned(), json!({"f:spec": {"f:replicas": {}}})),
        ]
    );
    // What goes is nobody's any more, and who has nothing left is no manager.
    let mut gone = changed.clone();
    gone["spec"] = json!({});
    let gone = update(&changed, "edit", gone, T2);
    assert_eq!(owners(&gone).len(), 1);
}

#[test]
fn a_write_that_changes_nothing_leaves_the_owners() {
    let made = update(&json!({}), "a", json!({"apiVersion": "v1", "spec": {"replicas": 1}}), T1);
    let mut again = made.clone();
    meta::set(&mut again, "resourceVersion", "9");
    let again = update(&made, "b", again, T2);
    assert_eq!(again["metadata"]["managedFields"], made["metadata"]["managedFields"]);
    // A client that does not know of owners does not take them away.
    let mut unknowing = made.clone();
    meta::remove(&mut unknowing, "managedFields");
    let kept = update(&made, "b", unknowing, T2);
    assert_eq!(kept["metadata"]["managedFields"], made["metadata"]["managedFields"]);
    // One that sends an empty entry does.
    let mut reset = made.clone();
    meta::set(&mut reset, "managedFields", json!([{}]));
    assert_eq!(owners(&update(&made, "b", reset, T2)), []);
}

#[test]
fn a_subresource_is_an_owner_of_its_own() {
    let (schema, definitions) = pod_like();
    let ownership = FieldOwnership::new(Some(&schema), &definitions);
    let made = update(&json!({}), "kubelet", json!({"apiVersion": "v1", "spec": {"replicas": 1}}), T1);
    let mut new = made.clone();
    new["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let status = Writer { subresource: "status", ..writer("kubelet", T2) };
    ownership.update(&made, &mut new, &status);
    let entry = &new["metadata"]["managedFields"][1];
    assert_eq!(entry["subresource"], "status");
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:status": {
            ".": {}, "f:phase": {},
            "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}},
        }})
    );
    let config = json!({"apiVersion": "v1", "metadata": {"name": "x"}, "status": {"phase": "Failed"}});
    let error = ownership.apply(&new, &config, &writer("a", T2), Force::No).expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubelet\" with subresource \"status\" using v1: .status.phase"
    );
}

#[test]
fn the_oldest_of_many_updaters_are_merged() {
    let mut object = json!({"apiVersion": "v1", "metadata": {"labels": {}}});
    for index in 0..15 {
        let mut new = object.clone();
        new["metadata"]["labels"][format!("l{index:02}")] = json!("1");
        object = update(&object, &format!("m{index:02}"), new, &format!("2026-01-01T00:00:{index:02}Z"));
    }
    let owners = owners(&object);
    assert_eq!(owners.len(), 10);
    assert_eq!(owners[0].0, "ancient-changes Update");
    let ancient = owners[0].1.pointer("/f:metadata/f:labels").and_then(Value::as_object).expect("labels");
    let labels: Vec<_> = ancient.keys().filter(|key| key.starts_with("f:")).collect();
    assert_eq!(labels, ["f:l00", "f:l01", "f:l02", "f:l03", "f:l04", "f:l05"]);
    assert_eq!(owners[9].0, "m14 Update");
}

#[test]
fn owners_that_cannot_be_read_are_nobodys() {
    let broken = json!({"apiVersion": "v1", "metadata": {"managedFields": [{"operation": "Near"}]}, "spec": {"replicas": 1}});
    assert_eq!(Managers::read(&broken), None);
    let mut new = broken.clone();
    new["spec"]["replicas"] = json!(2);
    let new = update(&broken, "a", new, T1);
    assert_eq!(owners(&new), [("a Update".to_owned(), json!({"f:spec": {"f:replicas": {}}}))]);
}

/// A Deployment applied by one and scaled by another, with the schema that Kubernetes publishes.
#[test]
fn a_deployment_is_owned_as_in_a_cluster() {
    let definitions = Definitions::builtin();
    let schema = definitions.get("io.k8s.api.apps.v1.Deployment").expect("a Deployment");
    let ownership = FieldOwnership::new(Some(schema), definitions);
    let writer = |manager| Writer { manager, api_version: "apps/v1", subresource: "", now: T1 };
    let config = |replicas: i64| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{
                        "name": "web", "image": "web:1", "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": "1"}},
                        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    }]},
                },
            },
        })
    };
    let made = ownership.apply(&json!({}), &config(1), &writer("ci"), Force::No).expect("a first apply");
    assert_eq!(
        owners(&made),
        [(
            "ci Apply".to_owned(),
            json!({"f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                        ".": {},
                        "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:valueFrom": {"f:fieldRef": {}}}},
                        "f:image": {}, "f:name": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                        "f:resources": {"f:limits": {"f:cpu": {}}},
                    }}},
                },
            }})
        )]
    );
    let mut scaled = made.clone();
    scaled["spec"]["replicas"] = json!(5);
    ownership.update(&made, &mut scaled, &writer("kubectl-scale"));
    let error = ownership.apply(&scaled, &config(1), &writer("ci"), Force::No).expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"
    );
    let forced = ownership.apply(&scaled, &config(1), &writer("ci"), Force::Yes).expect("force");
    assert_eq!(forced, made, "as if nobody had scaled it");
}
