//! Strategic merge patches: every directive by example.

use serde_json::json;

use super::*;
use crate::fuzzed::pod_like;

fn strategic(object: Value, patch: Value) -> Result<Value, PatchError> {
    let (schema, definitions) = pod_like();
    apply_strategic_merge_patch(&object, patch.to_string().as_bytes(), &schema, &definitions)
}

fn check(table: impl IntoIterator<Item = (Value, Value, Value)>) {
    for (object, patch, expected) in table {
        let made = strategic(object, patch.clone()).unwrap_or_else(|error| panic!("{patch}: {error}"));
        assert_eq!(made.to_string(), expected.to_string(), "{patch}");
    }
}

#[test]
fn mappings_are_merged_and_null_deletes() {
    check([
        (
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "3", "c": "4"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "3", "c": "4"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "name": "x"}}),
            json!({"metadata": {"labels": {"a": null, "z": null}, "annotations": null}}),
            json!({"metadata": {"labels": {"b": "2"}, "name": "x"}}),
        ),
        (json!({"spec": {"replicas": 1}}), json!({"spec": null}), json!({})),
        (
            json!({}),
            json!({"spec": {"strategy": {"type": null, "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}}),
        ),
    ]);
}

#[test]
fn lists_are_merged_by_their_key_or_replaced() {
    check([
        (
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}),
            json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}}),
            json!({"spec": {"containers": [
                {"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"},
            ]}}),
        ),
        // Lists inside of items, by a number as the key.
        (
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 81, "name": "x"}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "x"}]}]}}),
        ),
        // Atomic lists.
        (
            json!({"spec": {"tolerations": [{"key": "a"}, {"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "c"}]}}),
            json!({"spec": {"tolerations": [{"key": "c"}]}}),
        ),
        // Lists of scalars: a union.
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        ),
        // New items keep no null.
        (
            json!({"spec": {"containers": [{"name": "a"}]}}),
            json!({"spec": {"containers": [{"name": "b", "image": null}]}}),
            json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}),
        ),
    ]);
}

#[test]
fn patch_replace_and_delete() {
    check([
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"name": "b"}]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}),
            json!({"spec": {"containers": [{"name": "c"}]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "image": "1"}]}}),
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "a", "image": "2"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "2"}]}}),
        ),
        // Directives that find nothing leave nothing behind.
        (
            json!({"spec": {}}),
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}], "strategy": {"$patch": "delete"}}}),
            json!({"spec": {"containers": [{"name": "b"}]}}),
        ),
        (
            json!({}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"], "name": "x"}}),
            json!({"metadata": {"name": "x"}}),
        ),
    ]);
}

#[test]
fn retain_keys_clears_what_is_not_listed() {
    check([
        (
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": null}]}}),
            json!({"spec": {"volumes": [{"name": "v"}]}}),
        ),
    ]);
}

#[test]
fn set_element_order_orders_lists() {
    let named =
        |names: &str| -> Value { names.chars().map(|name| json!({"name": name.to_string()})).collect() };
    let spec = |order: &str| json!({"spec": {"containers": named(order)}});
    // The object, the items of the patch, the order asked for, the result.
    let table = [
        ("abc", "", "cab", "cab"),
        ("abc", "d", "abcd", "abcd"),
        ("abc", "d", "dabc", "dabc"),
        ("abc", "bd", "bdac", "bdac"),
        // The server's own item stays before the first one that it stood before.
        ("abcz", "", "ca", "bcaz"),
        ("azbc", "", "abc", "azbc"),
        ("zabc", "", "abc", "zabc"),
        ("", "ba", "ba", "ba"),
    ];
    for (object, patch, order, expected) in table {
        let mut fields = json!({"$setElementOrder/containers": named(order)});
        if !patch.is_empty() {
            fields["containers"] = named(patch);
        }
        let made = strategic(spec(object), json!({"spec": fields.clone()})).expect("a good patch");
        assert_eq!(made, spec(expected), "{fields}");
    }
    check([
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {
                "$setElementOrder/finalizers": ["d", "c", "a"], "finalizers": ["d"], "$deleteFromPrimitiveList/finalizers": ["b"],
            }}),
            json!({"metadata": {"finalizers": ["d", "c", "a"]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "b", "image": "1"}, {"name": "a", "$patch": "delete"}],
            }}),
            json!({"spec": {"containers": [{"name": "b", "image": "1"}]}}),
        ),
    ]);
}

#[test]
fn values_go_from_lists_of_scalars() {
    check([
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "c", "z"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            json!({"metadata": {}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {}}),
        ),
    ]);
}

#[test]
fn where_anything_may_stand_mappings_are_merged() {
    check([(
        json!({"spec": {"anything": {"a": {"b": 1}, "l": [1]}}}),
        json!({"spec": {"anything": {"a": {"c": 2}, "l": [2]}}}),
        json!({"spec": {"anything": {"a": {"b": 1, "c": 2}, "l": [2]}}}),
    )]);
}

#[test]
fn an_object_that_is_replaced_is_not_merged() {
    check([(
        json!({"spec": {"replaced": {"a": "1", "b": "2"}}}),
        json!({"spec": {"replaced": {"a": "3"}}}),
        json!({"spec": {"replaced": {"a": "3"}}}),
    )]);
}

/// What `kubectl apply` sends after an edit of an image, a port and a toleration of a Deployment.
#[test]
fn a_patch_of_kubectl_apply_on_a_deployment() {
    let definitions = crate::schema::Definitions::builtin();
    let schema = definitions.get("io.k8s.api.apps.v1.Deployment").expect("a Deployment");
    let container = |image: &str, ports: Value| json!({"name": "web", "image": image, "ports": ports});
    let sidecar = json!({"name": "proxy", "image": "proxy:1"});
    let object = json!({"spec": {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {
        "containers": [container("web:1", json!([{"containerPort": 80, "protocol": "TCP"}])), sidecar],
        "tolerations": [{"key": "a"}], "volumes": [{"name": "v", "emptyDir": {}}],
    }}}});
    let patch = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {
            "$setElementOrder/containers": [{"name": "web"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "containers": [{
                "$setElementOrder/ports": [{"containerPort": 8080}], "image": "web:2", "name": "web",
                "ports": [{"containerPort": 8080}, {"$patch": "delete", "containerPort": 80}],
            }],
            "tolerations": [{"key": "b"}],
            "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}, "name": "v"}],
        }},
    }});
    let made = apply_strategic_merge_patch(&object, patch.to_string().as_bytes(), schema, definitions);
    let expected = json!({"spec": {"replicas": 3, "strategy": {"type": "Recreate"}, "template": {"spec": {
        "containers": [container("web:2", json!([{"containerPort": 8080}])), {"name": "proxy", "image": "proxy:1"}],
        "tolerations": [{"key": "b"}], "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
    }}}});
    assert_eq!(made, Ok(expected));
}

#[test]
fn broken_patches_are_refused_in_kubernetes_words() {
    let object = json!({
        "metadata": {"finalizers": ["a"], "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "strategy": {"type": "x"}, "tolerations": []},
    });
    let table = [
        (json!({"metadata": {"labels": {"$patch": "near"}}}), 422, "unknown patch type: near in map: {}"),
        (
            json!({"spec": {"containers": [{"name": "a", "$patch": "merge"}]}}),
            422,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            422,
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (json!({"spec": {"containers": [["x"]]}}), 422, "lists of lists are not supported"),
        (
            json!({"metadata": {"finalizers": [1]}}),
            422,
            "list element types are not identical: [[\"a\"],[1]]",
        ),
        (json!({"spec": {"strategy": {"$retainKeys": "type"}}}), 400, "invalid patch format of retainKeys"),
        (
            json!({"spec": {"strategy": {"$retainKeys": [], "type": "y"}}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (json!({"spec": {"$setElementOrder": []}}), 400, "invalid patch format of setElementOrder list"),
        (
            json!({"spec": {"$setElementOrder/containers": "a"}}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"spec": {"$deleteFromPrimitiveList/tolerations": ["a"]}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}, {"name": "b"}]}}),
            422,
            "The order in patch list:\n[{\"name\":\"a\"},{\"name\":\"b\"}]\n doesn't match $setElementOrder list:\n[{\"name\":\"b\"},{\"name\":\"a\"}]\n",
        ),
    ];
    for (patch, code, expected) in table {
        let error = strategic(object.clone(), patch.clone()).expect_err("a broken patch");
        assert_eq!(error.to_string(), expected, "{patch}");
        assert_eq!(error.to_status().code, code, "{patch}");
    }
}
