//! Events: which are told, and which are the same again. Pure.
//!
//! As the kubelet's correlator (client-go `tools/record/events_cache.go`): the same event of the same object raises a
//! count, and a source that tells too much about one object is held back.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::status::seconds;

/// Events whose repetition is noticed.
const MOST_KNOWN: usize = 4096;
/// Events that one object may have at once...
const BURST: u32 = 25;
/// ... and how often it may have one more.
const REFILL_SECONDS: i64 = 300;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Such as `spec.containers{web}`.
    pub(crate) field_path: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Happening {
    pub(crate) subject: Subject,
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    /// A new event.
    Create { namespace: String, event: Value },
    /// One more of a known one.
    Repeat { namespace: String, name: String, patch: Value },
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub(crate) struct Correlator {
    known: BTreeMap<Happening, Known>,
    /// Oldest first; what is forgotten is told anew.
    order: VecDeque<Happening>,
    buckets: BTreeMap<String, Bucket>,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: u64,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at_seconds: i64,
}

impl Correlator {
    /// What to write of a happening; nothing when its object has told too much. `node` is who tells.
    pub(crate) fn take(&mut self, happening: Happening, node: &str, wall_nanos: i64) -> Option<Written> {
        if !self.may_tell(&happening.subject.uid, wall_nanos) {
            return None;
        }
        let namespace = event_namespace(&happening.subject).to_owned();
        if let Some(known) = self.known.get_mut(&happening) {
            known.count += 1;
            let patch = json!({"count": known.count, "lastTimestamp": seconds(wall_nanos)});
            return Some(Written::Repeat { namespace, name: known.name.clone(), patch });
        }
        let name = format!("{}.{wall_nanos:x}", happening.subject.name);
        let event = event(&happening, &name, &namespace, node, wall_nanos);
        if self.order.len() >= MOST_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(happening.clone(), Known { name, count: 1 });
        self.order.push_back(happening);
        Some(Written::Create { namespace, event })
    }

    /// The object is gone: nothing of it repeats.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.buckets.remove(uid);
        self.known.retain(|happening, _| happening.subject.uid != uid);
        self.order.retain(|happening| happening.subject.uid != uid);
    }

    /// The event of that name is not there any more: the next such happening is told anew.
    pub(crate) fn is_lost(&mut self, name: &str) {
        self.known.retain(|_, known| known.name != name);
        let known = &self.known;
        self.order.retain(|happening| known.contains_key(happening));
    }

    fn may_tell(&mut self, uid: &str, wall_nanos: i64) -> bool {
        let now = wall_nanos.div_euclid(1_000_000_000);
        let bucket =
            self.buckets.entry(uid.to_owned()).or_insert(Bucket { left: BURST, filled_at_seconds: now });
        let refills = (now - bucket.filled_at_seconds).max(0) / REFILL_SECONDS;
        if refills > 0 {
            bucket.left = BURST.min(bucket.left.saturating_add(u32::try_from(refills).unwrap_or(BURST)));
            bucket.filled_at_seconds += refills * REFILL_SECONDS;
        }
        let may = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        may
    }
}

/// Events of what has no namespace stand in `default`.
fn event_namespace(subject: &Subject) -> &str {
    if subject.namespace.is_empty() { "default" } else { &subject.namespace }
}

fn event(happening: &Happening, name: &str, namespace: &str, node: &str, wall_nanos: i64) -> Value {
    let Happening { subject, warning, reason, message } = happening;
    let mut involved =
        json!({"kind": subject.kind, "name": subject.name, "uid": subject.uid, "apiVersion": "v1"});
    if !subject.namespace.is_empty() {
        involved["namespace"] = json!(subject.namespace);
    }
    if let Some(path) = &subject.field_path {
        involved["fieldPath"] = json!(path);
    }
    let at = seconds(wall_nanos);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "source": {"component": "kubelet", "host": node},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "type": if *warning { "Warning" } else { "Normal" },
        "reportingComponent": "kubelet",
        "reportingInstance": node,
    })
}

#[cfg(test)]
mod tests;
