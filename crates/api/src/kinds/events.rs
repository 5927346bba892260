//! Events have two faces: `v1`, in which they are stored, and `events.k8s.io/v1`. The fields are the same by other names.

use serde_json::{Value, json};

use super::Conversion;
use super::fill::drop_field;

/// Between `events.k8s.io/v1` and `v1`.
pub(super) const CONVERSION: Conversion = Conversion { to_stored, from_stored };

/// Names in `events.k8s.io/v1` and in `v1`, as `Convert_v1_Event_To_core_Event` pairs them.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_stored(event: &mut Value) {
    rename(event, "v1", |(new, stored)| (new, stored));
}

fn from_stored(event: &mut Value) {
    rename(event, "events.k8s.io/v1", |(new, stored)| (stored, new));
}

fn rename(
    event: &mut Value,
    api_version: &str,
    way: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    if !event.is_object() {
        return;
    }
    for (from, to) in NAMES.map(way) {
        if let Some(value) = drop_field(event, from) {
            event[to] = value;
        }
    }
    event["apiVersion"] = json!(api_version);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_both_ways() {
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"kind": "Pod"}, "note": "hello", "reportingController": "c", "deprecatedCount": 3,
        });
        let mut event = new.clone();
        to_stored(&mut event);
        assert_eq!(event["involvedObject"], json!({"kind": "Pod"}));
        assert_eq!((&event["message"], &event["count"]), (&json!("hello"), &json!(3)));
        from_stored(&mut event);
        assert_eq!(event, new);
    }
}
