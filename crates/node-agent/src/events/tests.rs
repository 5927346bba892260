//! What is told once, again, and not at all.

use super::*;

const SECOND: i64 = 1_000_000_000;

fn happening(uid: &str, message: &str) -> Happening {
    let subject = Subject {
        kind: "Pod",
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: uid.to_owned(),
        field_path: Some("spec.containers{main}".to_owned()),
    };
    Happening { subject, warning: true, reason: "BackOff".to_owned(), message: message.to_owned() }
}

#[test]
fn the_same_again_raises_the_count() {
    let mut correlator = Correlator::default();
    let Some(Written::Create { namespace, event }) = correlator.take(happening("u", "a"), "n1", SECOND)
    else {
        panic!("told at first");
    };
    assert_eq!((namespace.as_str(), event["count"].as_u64()), ("shop", Some(1)));
    assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{main}");
    assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:01Z");
    let name = event["metadata"]["name"].as_str().unwrap().to_owned();
    let again = correlator.take(happening("u", "a"), "n1", 5 * SECOND);
    let patch = json!({"count": 2, "lastTimestamp": "1970-01-01T00:00:05Z"});
    assert_eq!(again, Some(Written::Repeat { namespace: "shop".to_owned(), name: name.clone(), patch }));
    // Another message is another event; one that expired meanwhile is told anew.
    assert!(matches!(correlator.take(happening("u", "b"), "n1", SECOND), Some(Written::Create { .. })));
    correlator.is_lost(&name);
    assert!(matches!(correlator.take(happening("u", "a"), "n1", SECOND), Some(Written::Create { .. })));
}

#[test]
fn an_object_that_tells_too_much_is_held_back() {
    let mut correlator = Correlator::default();
    for index in 0..BURST {
        assert!(correlator.take(happening("u", &index.to_string()), "n", 0).is_some());
    }
    assert_eq!(correlator.take(happening("u", "more"), "n", 0), None);
    assert!(correlator.take(happening("other", "more"), "n", 0).is_some());
    assert!(correlator.take(happening("u", "later"), "n", REFILL_SECONDS * SECOND).is_some());
    assert_eq!(correlator.take(happening("u", "later still"), "n", REFILL_SECONDS * SECOND), None);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut correlator = Correlator::default();
    for _ in 0..=BURST {
        correlator.take(happening("u", "a"), "n", 0);
    }
    correlator.forget("u");
    assert!(matches!(correlator.take(happening("u", "a"), "n", 0), Some(Written::Create { .. })));
    assert_eq!(correlator.order.len(), 1);
}
