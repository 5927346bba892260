//! Server-side apply by the rules of its documents (server-side-apply.md, structured-merge-diff's merge tests), and by law.

mod owners;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fuzzed::pod_like;

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn writer<'a>(manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer { manager, api_version: "v1", subresource: "", now }
}

fn try_apply(live: &Value, manager: &str, spec: Value, force: Force) -> Result<Value, ApplyError> {
    let (schema, definitions) = pod_like();
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec});
    FieldOwnership::new(Some(&schema), &definitions).apply(live, &config, &writer(manager, T1), force)
}

fn apply(live: &Value, manager: &str, spec: Value) -> Value {
    try_apply(live, manager, spec, Force::No).expect("no conflict")
}

fn update(live: &Value, manager: &str, new: Value, now: &str) -> Value {
    let (schema, definitions) = pod_like();
    let mut new = new;
    FieldOwnership::new(Some(&schema), &definitions).update(live, &mut new, &writer(manager, now));
    new
}

/// What each manager owns, as it is stored.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let owner = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        (format!("{} {}", text("manager"), text("operation")), entry["fieldsV1"].clone())
    };
    entries.into_iter().flatten().map(owner).collect()
}

fn spec(object: &Value) -> &Value {
    &object["spec"]
}

#[test]
fn who_applies_owns_what_is_applied() {
    let made = apply(
        &json!({}),
        "a",
        json!({
            "replicas": 1,
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "c", "image": "i", "command": ["x"], "ports": [{"containerPort": 80}]}],
        }),
    );
    assert_eq!(made["metadata"]["name"], "x");
    assert_eq!(
        made["metadata"]["managedFields"],
        json!([{
            "manager": "a", "operation": "Apply", "apiVersion": "v1", "time": T1, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:command": {}, "f:image": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }},
                "f:nodeSelector": {}, "f:replicas": {},
            }},
        }])
    );
}

#[test]
fn the_same_again_changes_nothing() {
    let once = apply(&json!({}), "a", json!({"replicas": 1}));
    let (schema, definitions) = pod_like();
    let config =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"replicas": 1}});
    let twice =
        FieldOwnership::new(Some(&schema), &definitions).apply(&once, &config, &writer("a", T2), Force::No);
    assert_eq!(twice, Ok(once), "not even the time");
}

#[test]
fn another_value_of_anothers_field_is_a_conflict() {
    let live = apply(&json!({}), "a", json!({"replicas": 1, "paused": true}));
    let error = try_apply(&live, "b", json!({"replicas": 2}), Force::No).expect_err("a conflict");
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    let status = error.to_status().to_json();
    assert_eq!(status["code"], 409);
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".spec.replicas"}])
    );

    let live = update(
        &live,
        "kubectl-edit",
        {
            let mut new = live.clone();
            new["spec"]["containers"] = json!([{"name": "c", "image": "1"}]);
            new
        },
        T2,
    );
    let many = json!({"replicas": 2, "paused": false, "containers": [{"name": "c", "image": "2"}]});
    let error = try_apply(&live, "b", many, Force::No).expect_err("conflicts");
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas\nconflicts with \"kubectl-edit\" using v1:\n- .spec.containers[name=\"c\"].image"
    );
}

#[test]
fn force_takes_the_field() {
    let live = apply(&json!({}), "a", json!({"replicas": 1, "paused": true}));
    let forced = try_apply(&live, "b", json!({"replicas": 2}), Force::Yes).expect("force");
    assert_eq!(spec(&forced), &json!({"replicas": 2, "paused": true}));
    assert_eq!(
        owners(&forced),
        [
            ("a Apply".to_owned(), json!({"f:spec": {"f:paused": {}}})),
            ("b Apply".to_owned(), json!({"f:spec": {"f:replicas": {}}})),
        ]
    );
}

#[test]
fn an_equal_value_is_owned_together() {
    let live = apply(&json!({}), "a", json!({"replicas": 1}));
    let both = apply(&live, "b", json!({"replicas": 1}));
    assert_eq!(owners(&both).len(), 2);
    // Who leaves takes nothing with them that somebody else still owns.
    let left = apply(&both, "a", json!({}));
    assert_eq!(spec(&left), &json!({"replicas": 1}));
    assert_eq!(
        owners(&left),
        [
            ("a Apply".to_owned(), json!({"f:spec": {}})),
            ("b Apply".to_owned(), json!({"f:spec": {"f:replicas": {}}})),
        ]
    );
    let gone = apply(&left, "b", json!({"paused": true}));
    assert_eq!(spec(&gone), &json!({"paused": true}));
}

#[test]
fn what_is_applied_no_longer_goes() {
    let live = apply(
        &json!({}),
        "a",
        json!({
            "replicas": 1,
            "containers": [{"name": "c", "image": "1"}, {"name": "d", "image": "1", "env": [{"name": "E", "value": "1"}]}],
            "strategy": {"type": "x", "rollingUpdate": {"maxSurge": 1}},
        }),
    );
    let without = apply(
        &live,
        "a",
        json!({
            "containers": [{"name": "d", "image": "1"}], "strategy": {"type": "x"},
        }),
    );
    assert_eq!(
        spec(&without),
        &json!({"containers": [{"name": "d", "image": "1"}], "strategy": {"type": "x"}})
    );

    // What somebody else has put into an item that goes, goes with it only when it is theirs alone no more.
    let shared = update(
        &live,
        "other",
        {
            let mut new = live.clone();
            new["metadata"]["labels"] = json!({"l": "1"});
            new["spec"]["paused"] = json!(true);
            new
        },
        T2,
    );
    let without = apply(&shared, "a", json!({}));
    assert_eq!(spec(&without), &json!({"paused": true}));
    assert_eq!(without["metadata"]["labels"], json!({"l": "1"}));
    assert_eq!(without["metadata"]["name"], "x", "the name is nobody's and stays");
}

#[test]
fn fields_that_nobody_owns_stay_where_their_parent_stays() {
    let mut live = apply(&json!({}), "a", json!({"strategy": {"type": "x"}, "replicas": 1}));
    // A default that the server filled in.
    live["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1});
    let kept = apply(&live, "a", json!({"strategy": {"type": "y"}}));
    assert_eq!(spec(&kept), &json!({"strategy": {"type": "y", "rollingUpdate": {"maxSurge": 1}}}));
    let gone = apply(&kept, "a", json!({"paused": true}));
    assert_eq!(spec(&gone), &json!({"paused": true}));
}

#[test]
fn items_keep_the_order_applied_and_the_servers_own_their_place() {
    let names = |list: &Value| -> String {
        list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
    };
    let items =
        |names: &str| -> Value { names.chars().map(|name| json!({"name": name.to_string()})).collect() };
    let table = [
        ("abc", "cba", "cba"),
        ("abc", "abcd", "abcd"),
        ("axbyc", "abc", "axbyc"),
        ("xyz", "abc", "xyzabc"),
        ("abc", "", "abc"),
        ("xay", "ba", "xbay"),
        ("", "ba", "ba"),
    ];
    for (live, applied, expected) in table {
        let live = json!({"spec": {"containers": items(live)}});
        let made = apply(&live, "a", json!({"containers": items(applied)}));
        assert_eq!(names(&made["spec"]["containers"]), expected, "{live} {applied}");
    }
}

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    let table = [
        (json!({"replica": 1}), ".spec.replica: field not declared in schema"),
        (json!({"replicas": "1"}), ".spec.replicas: expected numeric (int or float), got \"1\""),
        (json!({"containers": {}}), ".spec.containers: expected list, got {}"),
        (json!({"strategy": []}), ".spec.strategy: expected map, got []"),
        (
            json!({"containers": [{"name": "a"}, {"name": "a"}]}),
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            json!({"containers": [{"image": "a"}]}),
            ".spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}]}]}),
            ".spec.containers[name=\"a\"].ports: duplicate entries for key [containerPort=1,protocol=\"TCP\"]",
        ),
    ];
    for (spec, problem) in table {
        let error = try_apply(&json!({}), "a", spec, Force::No).expect_err("a problem");
        assert_eq!(
            error.to_string(),
            format!("failed to create typed patch object (/x; v1, Kind=Pod): {problem}")
        );
        assert_eq!(error.to_status().code, 400);
    }
    let (schema, definitions) = pod_like();
    let ownership = FieldOwnership::new(Some(&schema), &definitions);
    let refused = |config: Value| {
        ownership.apply(&json!({}), &config, &writer("a", T1), Force::No).expect_err("refused").to_string()
    };
    assert_eq!(
        refused(json!({"apiVersion": "v2"})),
        "incorrect version specified in apply patch. Specified patch version: v2, expected: v1"
    );
    assert_eq!(
        refused(json!({"apiVersion": "v1", "metadata": {"managedFields": []}})),
        "metadata.managedFields must be nil"
    );
    assert_eq!(refused(json!([])), "what is applied must be an object");
}

#[test]
fn without_a_schema_mappings_are_walked_and_lists_are_whole() {
    let definitions = Definitions::default();
    let ownership = FieldOwnership::new(None, &definitions);
    let config = |spec: Value| json!({"apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec});
    let apply = |live: &Value, manager: &str, spec: Value| {
        ownership.apply(live, &config(spec), &writer(manager, T1), Force::No)
    };
    let live = apply(&json!({}), "a", json!({"m": {"a": 1}, "l": [1]})).expect("applied");
    let live = apply(&live, "b", json!({"m": {"b": 2}})).expect("no conflict in mappings");
    assert_eq!(live["spec"], json!({"m": {"a": 1, "b": 2}, "l": [1]}));
    assert!(matches!(apply(&live, "b", json!({"l": [1, 2]})), Err(ApplyError::Conflicts(_))));
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let last = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"replicas": 1, "paused": true}});
    let mut object = last.clone();
    object["metadata"]["annotations"] = json!({LAST_APPLIED: last.to_string()});
    let live = update(&json!({}), "kubectl-client-side-apply", object, T1);
    // Another manager has a conflict, kubectl has none.
    assert!(try_apply(&live, "other", json!({"replicas": 2}), Force::No).is_err());
    let taken = apply(&live, "kubectl", json!({"replicas": 2, "paused": true}));
    assert_eq!(spec(&taken)["replicas"], 2);
    let annotation = taken["metadata"]["annotations"][LAST_APPLIED].as_str().expect("the annotation");
    let kept: Value = serde_json::from_str(annotation).expect("JSON");
    assert_eq!(kept["spec"], json!({"replicas": 2, "paused": true}), "one can go back to client-side apply");
    // What was changed since then is a conflict also for kubectl.
    let mut edited = live.clone();
    edited["spec"]["replicas"] = json!(5);
    let edited = update(&live, "scaler", edited, T2);
    let error = try_apply(&edited, "kubectl", json!({"replicas": 2, "paused": false}), Force::No)
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"scaler\" using v1: .spec.replicas"
    );
}

#[test]
fn what_a_path_resets_is_nobodys_by_it() {
    let (schema, definitions) = pod_like();
    let ownership = FieldOwnership::new(Some(&schema), &definitions).resetting(&[&["status"]]);
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"replicas": 1}, "status": {"phase": "Running"}});
    let made = ownership.apply(&json!({}), &config, &writer("a", T1), Force::No).expect("applied");
    assert_eq!(owners(&made), [("a Apply".to_owned(), json!({"f:spec": {"f:replicas": {}}}))]);
}

#[test]
fn managers_have_names_within_limits() {
    assert_eq!(validate_manager("kubectl", true), []);
    assert_eq!(validate_manager("", false), []);
    let told =
        |manager: &str| validate_manager(manager, true).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(""), ["fieldManager: Required value: is required for apply patch"]);
    assert_eq!(told(&"x".repeat(129)), ["fieldManager: Too long: may not be more than 128 bytes"]);
    assert_eq!(
        told("a\n"),
        ["fieldManager: Invalid value: \"a\\n\": should only contain printable characters"]
    );
    assert_eq!(manager_of_user_agent("kubectl/v1.32.0 (linux/amd64)"), "kubectl");
    assert_eq!(manager_of_user_agent("a\u{1}b"), "ab");
    assert_eq!(manager_of_user_agent(&"ä".repeat(100)).len(), 128);
    assert_eq!(manager_of_user_agent(""), "");
}

/// Objects that fit the schema, of few names.
fn config() -> impl Strategy<Value = Value> {
    let container = (
        "[ab]",
        prop::option::of("[12]"),
        prop::collection::btree_map("[EF]", "[12]", 0..3),
        prop::collection::btree_set(1..3u8, 0..3),
    )
        .prop_map(|(name, image, env, ports)| {
            let env: Value = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let ports: Value = ports.iter().map(|port| json!({"containerPort": port})).collect();
            json!({"name": name, "image": image, "env": env, "ports": ports})
        });
    (
        prop::option::of(0..3i64),
        prop::collection::vec(container, 0..3),
        prop::collection::btree_map("[xyz]", "[12]", 0..3),
        prop::collection::btree_set("[fgh]", 0..3),
        crate::patch::tests::small_json(),
    )
        .prop_map(|(replicas, mut containers, labels, finalizers, anything)| {
            containers.sort_by_key(|container| container["name"].to_string());
            containers.dedup_by_key(|container| container["name"].to_string());
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "x", "labels": labels, "finalizers": finalizers},
                "spec": {"replicas": replicas, "containers": containers, "nodeSelector": labels, "anything": anything},
            })
        })
}

proptest! {
    #[test]
    fn once_is_as_good_as_twice(live in config(), applied in config()) {
        crate::fuzzed::applies(&live, &applied);
    }

    #[test]
    fn any_object_is_applied_or_refused(live in crate::patch::tests::small_json(), spec in crate::patch::tests::small_json()) {
        let config = json!({"apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec});
        crate::fuzzed::applies(&live, &config);
        crate::fuzzed::applies(&config, &config);
    }

    #[test]
    fn what_is_applied_is_there_and_goes_again(base in config(), applied in config()) {
        let (schema, definitions) = pod_like();
        let ownership = FieldOwnership::new(Some(&schema), &definitions);
        let base = ownership.apply(&json!({}), &base, &writer("base", T1), Force::No).expect("a first apply");
        let both = ownership.apply(&base, &applied, &writer("more", T1), Force::Yes).expect("force");
        // Everything applied is in the object: merging it again changes nothing.
        let bare = without_managers(&both);
        prop_assert_eq!(&ownership.walk.merge(bare.clone(), &without_nulls(&applied), Some(&schema)), &bare);
        // Who applies nothing any more owns nothing, and takes away only what was theirs alone.
        let nothing = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}});
        let left = ownership.apply(&both, &nothing, &writer("more", T1), Force::No).expect("no conflict");
        prop_assert!(owners(&left).iter().all(|(owner, _)| owner != "more Apply"));
        prop_assert_eq!(&left["metadata"]["name"], "x");
    }
}
