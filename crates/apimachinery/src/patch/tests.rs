//! Patches by the examples of their documents (RFC 6902 appendix A, RFC 7386 appendix A, Kubernetes' strategic-merge-patch.md
//! and preserve-order-in-strategic-merge-patch.md), and by law.

mod strategic;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn json_patch(object: Value, patch: Value) -> Result<Value, PatchError> {
    apply_json_patch(&object, patch.to_string().as_bytes())
}

#[test]
fn json_patches_of_the_rfc() {
    let table = [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            json!({"foo": "bar", "baz": "qux"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (json!({"a": 1, "b": 2}), json!([{"op": "remove", "path": "/a"}]), json!({"b": 2})),
        (json!({"a": [1, 2, 3]}), json!([{"op": "remove", "path": "/a/1"}]), json!({"a": [1, 3]})),
        (json!({"a": 1}), json!([{"op": "replace", "path": "/a", "value": [2]}]), json!({"a": [2]})),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/a~1b~0c", "value": 1}]),
            json!({"foo": "bar", "a/b~c": 1}),
        ),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": [2]}]), json!({"a": [1, [2]]})),
        (json!({"a": [1]}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": [1], "b": [1]})),
        (json!({"a": 1}), json!([{"op": "add", "path": "", "value": {"b": 1}}]), json!({"b": 1})),
        (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
        (json!({"a": 1}), json!([{"op": "test", "path": "/b", "value": null}]), json!({"a": 1})),
    ];
    for (object, patch, expected) in table {
        let made = json_patch(object, patch.clone()).expect("a patch that applies");
        assert_eq!(made.to_string(), expected.to_string(), "{patch}");
    }
}

#[test]
fn json_patches_that_do_not_apply_say_why() {
    let table = [
        (
            json!([{"op": "remove", "path": "/x"}]),
            "remove operation does not apply: doc is missing path: \"/x\"",
        ),
        (
            json!([{"op": "replace", "path": "/x", "value": 1}]),
            "replace operation does not apply: doc is missing path: \"/x\"",
        ),
        (
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            "add operation does not apply: doc is missing path: \"/x/y\"",
        ),
        (
            json!([{"op": "add", "path": "/a/3", "value": 1}]),
            "add operation does not apply: \"/a/3\" is no index of the list",
        ),
        (
            json!([{"op": "add", "path": "/a/01", "value": 1}]),
            "add operation does not apply: \"/a/01\" is no index of the list",
        ),
        (
            json!([{"op": "add", "path": "/a/b", "value": 1}]),
            "add operation does not apply: \"/a/b\" is no index of the list",
        ),
        (json!([{"op": "test", "path": "/a/0", "value": 2}]), "testing value /a/0 failed"),
        (
            json!([{"op": "copy", "from": "/x", "path": "/y"}]),
            "copy operation does not apply: doc is missing path: \"/x\"",
        ),
        (
            json!([{"op": "move", "from": "/a", "path": "/a/0"}]),
            "move operation does not apply: \"/a/0\" cannot be its own part",
        ),
        (
            json!([{"op": "remove", "path": ""}]),
            "remove operation does not apply: \"\" cannot be its own part",
        ),
    ];
    for (patch, expected) in table {
        let error = json_patch(json!({"a": [1, 2]}), patch.clone()).expect_err("a patch that does not apply");
        assert_eq!(error.to_string(), expected, "{patch}");
        let status = error.to_status();
        assert_eq!((status.code, status.reason), (422, Some(Reason::Invalid)));
    }
    for malformed in [
        json!({}),
        json!([{"op": "near", "path": "/a"}]),
        json!([{"path": "/a"}]),
        json!([{"op": "add", "path": "/a"}]),
        json!([{"op": "add", "path": "a", "value": 1}]),
        json!([{"op": "add", "path": "/~2", "value": 1}]),
        json!([{"op": "add", "path": "/~", "value": 1}]),
    ] {
        let error = json_patch(json!({"a": 1}), malformed.clone()).expect_err("a malformed patch");
        assert_eq!(error.to_status().code, 400, "{malformed}");
    }
}

#[test]
fn json_patches_have_limits() {
    let operation = json!({"op": "test", "path": "", "value": {}});
    let most = Value::Array(vec![operation.clone(); MOST_OPERATIONS]);
    assert!(json_patch(json!({}), most).is_ok());
    let error =
        json_patch(json!({}), Value::Array(vec![operation; MOST_OPERATIONS + 1])).expect_err("too many");
    assert_eq!(error.to_status().code, 413);
    assert_eq!(error.to_string(), "The allowed maximum operations in a JSON patch is 10000, got 10001");

    // Each copies the whole object into itself: without a limit, 60 of them would fill the memory.
    let doubling: Value =
        (0..60).map(|index| json!({"op": "copy", "from": "", "path": format!("/{index}")})).collect();
    let error = json_patch(json!({"a": "x".repeat(1000)}), doubling).expect_err("too large");
    assert_eq!(error.to_status().code, 413);

    let deeper: Value = (0..200).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/b"})).collect();
    let error = json_patch(json!({"a": {}}), deeper).expect_err("too deep");
    assert!(matches!(error, PatchError::Json(JsonPatchError::TooDeep { .. })), "{error}");
}

#[test]
fn merge_patches_of_the_rfc() {
    let table = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (mut target, patch, expected) in table {
        merge(&mut target, patch.clone());
        assert_eq!(target.to_string(), expected.to_string(), "{patch}");
    }
    for malformed in ["", "[]", "1", "{\"a\":", "\u{0}"] {
        let error = apply_merge_patch(&json!({}), malformed.as_bytes()).expect_err("a malformed patch");
        assert_eq!(error.to_status().code, 400, "{malformed:?}");
    }
}

#[test]
fn the_kind_of_a_patch_is_its_content_type() {
    for media_type in PatchKind::media_types(true) {
        assert!(PatchKind::of_media_type(media_type).is_some());
    }
    let of_custom = PatchKind::media_types(false);
    assert!(!of_custom.contains(&"application/strategic-merge-patch+json"));
    assert_eq!(PatchKind::of_media_type("application/json"), None);
}

/// JSON of few names, so that a patch hits something.
pub(crate) fn small_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[abc]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[abc]", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn operation() -> impl Strategy<Value = Value> {
    let path = prop::collection::vec(prop_oneof!["[abc]", "[0-3]", Just("-".to_owned())], 0..4)
        .prop_map(|parts| parts.iter().map(|part| format!("/{part}")).collect::<String>());
    let op = prop::sample::select(&["add", "remove", "replace", "move", "copy", "test"][..]);
    (op, path.clone(), path, small_json())
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

proptest! {
    #[test]
    fn json_patches_agree_with_the_library(object in small_json(), operations in prop::collection::vec(operation(), 0..4)) {
        let is_test_of_null =
            |operation: &Value| operation["op"] == "test" && operation["value"].is_null();
        // Kubernetes lets these pass where there is nothing; the RFC does not.
        prop_assume!(!operations.iter().any(is_test_of_null));
        // The library moves a value into itself by removing it first, and cannot remove the whole.
        let is_odd = |operation: &Value| {
            let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
            (operation["op"] == "move" && text("path").starts_with(&text("from")))
                || (operation["op"] == "remove" && text("path").is_empty())
        };
        prop_assume!(!operations.iter().any(is_odd));
        let patch = Value::Array(operations);
        let ours = apply_json_patch(&object, patch.to_string().as_bytes()).ok();
        let library: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        let mut theirs = object;
        // Without its undoing, which can panic.
        let theirs = json_patch::patch_unsafe(&mut theirs, &library).ok().map(|()| theirs);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn merge_patches_keep_their_laws(object in small_json(), patch in small_json()) {
        let mut once = object.clone();
        merge(&mut once, patch.clone());
        let mut twice = once.clone();
        merge(&mut twice, patch.clone());
        prop_assert_eq!(&once, &twice, "once is as good as twice");
        let mut same = object.clone();
        merge(&mut same, Value::Object(Default::default()));
        if object.is_object() {
            prop_assert_eq!(&same, &object, "the empty patch changes nothing");
        }
        let mut theirs = object;
        json_patch::merge(&mut theirs, &patch);
        prop_assert_eq!(once, theirs, "as the library");
    }

    #[test]
    fn any_patch_is_applied_or_refused(object in small_json(), patch in small_json(), operations in prop::collection::vec(operation(), 0..4)) {
        crate::fuzzed::patches(&object, patch.to_string().as_bytes());
        crate::fuzzed::patches(&object, Value::Array(operations).to_string().as_bytes());
    }
}
