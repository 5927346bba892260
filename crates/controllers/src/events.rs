//! Events do not stay: each goes when it has not been repeated for its time, and the oldest when there are too many.
//!
//! The only timer is the next expiry; with no events there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Change, Client, Deletion, Query, kinds};
use serde_json::Value;

use crate::time::parse;

/// Removes expired events.
pub(crate) async fn run(client: Client, ttl: Duration, most: usize) {
    let mut events = client.inform(&kinds::EVENTS, None, Query::none());
    let ttl_seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let mut kept = Kept { most, ..Kept::default() };
    loop {
        let next_expiry = kept.oldest().map(|at| at.saturating_add(ttl_seconds));
        tokio::select! {
            change = events.next() => match change {
                Some(Change::Applied(event)) => kept.insert(&event),
                Some(Change::Deleted(event)) => kept.remove(&key(&event)),
                Some(Change::Synced) => {}
                None => return,
            },
            () = until(next_expiry) => {}
        }
        let now = jiff::Timestamp::now().as_second();
        for (namespace, name) in kept.take_expired(now.saturating_sub(ttl_seconds)) {
            let deleted = client.delete(&kinds::EVENTS, Some(&namespace), &name, &Deletion::default()).await;
            if let Err(error) = deleted
                && !error.is_not_found()
            {
                tracing::warn!(namespace, name, %error, "cannot remove an expired event");
            }
        }
    }
}

/// Sleeps until a moment of the wall clock; for ever without one.
async fn until(at_seconds: Option<i64>) {
    let Some(at) = at_seconds else { return std::future::pending().await };
    let left = at.saturating_sub(jiff::Timestamp::now().as_second());
    tokio::time::sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0))).await;
}

/// Namespace and name.
type Key = (String, String);

/// The events that there are, oldest first.
#[derive(Debug, Default)]
struct Kept {
    most: usize,
    last_seen: BTreeMap<Arc<Key>, i64>,
    by_age: BTreeSet<(i64, Arc<Key>)>,
}

impl Kept {
    fn insert(&mut self, event: &Value) {
        let key = Arc::new(key(event));
        self.remove(&key);
        let at = last_seen(event);
        self.by_age.insert((at, Arc::clone(&key)));
        self.last_seen.insert(key, at);
    }

    fn remove(&mut self, key: &Key) {
        if let Some((key, at)) = self.last_seen.remove_entry(key) {
            self.by_age.remove(&(at, key));
        }
    }

    fn oldest(&self) -> Option<i64> {
        self.by_age.first().map(|(at, _)| *at)
    }

    /// Those last seen at `limit` or before, and the oldest of too many.
    fn take_expired(&mut self, limit: i64) -> Vec<Key> {
        let mut expired = Vec::new();
        while let Some((at, key)) = self.by_age.first().cloned() {
            if at > limit && self.by_age.len() <= self.most {
                break;
            }
            self.remove(&key);
            expired.push((*key).clone());
        }
        expired
    }
}

fn key(event: &Value) -> Key {
    let text = |field: &str| event["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// When it happened last, as far as its writer says; both APIs of events write other fields.
fn last_seen(event: &Value) -> i64 {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().filter_map(|time| parse(time.as_str()?)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, last: &str) -> Value {
        json!({"metadata": {"namespace": "d", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": last})
    }

    fn names(expired: Vec<Key>) -> Vec<String> {
        expired.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn an_event_goes_when_it_was_not_repeated_for_long() {
        let mut kept = Kept { most: 10, ..Kept::default() };
        kept.insert(&event("a", "2026-01-01T00:00:10Z"));
        kept.insert(&event("b", "2026-01-01T00:00:20Z"));
        let at = |second: i64| parse("2026-01-01T00:00:00Z").unwrap() + second;
        assert_eq!(kept.oldest(), Some(at(10)));
        assert!(kept.take_expired(at(9)).is_empty());
        // Repeated meanwhile.
        kept.insert(&event("a", "2026-01-01T00:00:30Z"));
        assert_eq!(names(kept.take_expired(at(25))), ["b"]);
        assert_eq!(names(kept.take_expired(at(30))), ["a"]);
        assert_eq!(kept.oldest(), None);
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let mut kept = Kept { most: 2, ..Kept::default() };
        for (name, last) in
            [("c", "2026-01-01T00:00:03Z"), ("a", "2026-01-01T00:00:01Z"), ("b", "2026-01-01T00:00:02Z")]
        {
            kept.insert(&event(name, last));
        }
        assert_eq!(names(kept.take_expired(0)), ["a"]);
    }
}
