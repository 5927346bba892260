//! What must hold of any input whatever: the bodies of the fuzz targets in `fuzz/`, which the property tests of this crate
//! run too, so that they cannot rot. Each panics when its rule is broken; nothing here is for use by a program.

mod pod_like;

use serde_json::Value;

pub use pod_like::pod_like;

use crate::apply::{FieldOwnership, FieldSet, Force, Writer};
use crate::patch;
use crate::selector::{FieldSelector, LabelSelector};

/// A label selector that is read prints itself, and reads the same again.
pub fn label_selector(text: &str) {
    let Ok(selector) = LabelSelector::parse(text) else { return };
    let printed = selector.to_string();
    let again = LabelSelector::parse(&printed);
    assert_eq!(again.map(|again| again.to_string()), Ok(printed), "{text:?}");
    selector.matches(|_| None);
    selector.matches(|key| Some(if key.len().is_multiple_of(2) { "1" } else { "a" }));
}

/// A field selector that is read prints itself, and reads the same again.
pub fn field_selector(text: &str) {
    if let Ok(selector) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text:?}");
    }
}

/// A patch of any kind makes an object that can be read back, or an error that can be told.
pub fn patches(object: &Value, patch: &[u8]) {
    let (schema, definitions) = pod_like();
    let results = [
        patch::apply_json_patch(object, patch),
        patch::apply_merge_patch(object, patch),
        patch::apply_strategic_merge_patch(object, patch, &schema, &definitions),
    ];
    for result in results {
        match result {
            Ok(made) => {
                let read: Option<Value> = serde_json::from_str(&made.to_string()).ok();
                assert_eq!(read.as_ref(), Some(&made));
            }
            Err(error) => assert!((400..500).contains(&error.to_status().code), "{error}"),
        }
    }
}

/// Who applies the same twice changes nothing the second time; owners survive being written and read.
pub fn applies(live: &Value, config: &Value) {
    let (schema, definitions) = pod_like();
    let ownership = FieldOwnership::new(Some(&schema), &definitions);
    let writer = |now| Writer { manager: "fuzz", api_version: "v1", subresource: "", now };
    let mut live = live.clone();
    ownership.update(&Value::Object(Default::default()), &mut live, &writer("2026-01-01T00:00:00Z"));
    let Ok(once) = ownership.apply(&live, config, &writer("2026-01-01T00:00:01Z"), Force::Yes) else {
        return;
    };
    let twice = ownership.apply(&once, config, &writer("2026-01-01T00:00:02Z"), Force::No);
    assert_eq!(twice.as_ref(), Ok(&once), "{config}");
    let entries = once.pointer("/metadata/managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let set = FieldSet::from_json(&entry["fieldsV1"]);
        assert_eq!(set.map(|set| set.to_json()).as_ref(), Some(&entry["fieldsV1"]));
    }
}
