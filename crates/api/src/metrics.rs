//! What the server counts of itself, in the names of kube-apiserver's metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use store::Store;

use crate::call::Call;

/// Seconds; the interesting part of kube-apiserver's buckets.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
    code: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    group: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: String,
    resource: String,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter<u64, AtomicU64>>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    watchers: Family<Watched, Gauge>,
    objects: Gauge,
    object_bytes: Gauge,
    revision: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("apiserver_request", "Requests about resources", requests.clone());
        let durations: Family<Asked, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("apiserver_request_duration_seconds", "Time to an answer", durations.clone());
        let watchers = Family::default();
        registry.register("apiserver_longrunning_requests", "Watches that go on", watchers.clone());
        let (objects, object_bytes, revision) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("podling_store_objects", "Objects in the store", objects.clone());
        registry.register("podling_store_object_bytes", "Bytes of keys and values", object_bytes.clone());
        registry.register("podling_store_revision", "The newest resourceVersion", revision.clone());
        Metrics { registry, requests, durations, watchers, objects, object_bytes, revision }
    }
}

/// Counts a watch until it is dropped.
pub(crate) struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn request(&self, call: &Call, code: u16, took: Duration) {
        let (group, resource) = (call.kind.resource.group.clone(), call.kind.resource.plural.clone());
        let verb = call.verb.as_str();
        let subresource = call.route.subresource.clone().unwrap_or_default();
        let answered = Answered {
            verb,
            group: group.clone(),
            resource: resource.clone(),
            subresource,
            code: u64::from(code),
        };
        self.requests.get_or_create(&answered).inc();
        if !call.goes_on() {
            self.durations.get_or_create(&Asked { verb, group, resource }).observe(took.as_secs_f64());
        }
    }

    /// Counts a watch.
    pub(crate) fn watcher(&self, call: &Call) -> Watching {
        let (group, resource) = (call.kind.resource.group.clone(), call.kind.resource.plural.clone());
        let gauge = self.watchers.get_or_create(&Watched { group, resource }).clone();
        gauge.inc();
        Watching(gauge)
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self, store: &Store) -> String {
        let statistics = store.statistics();
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.objects.set(signed(statistics.objects));
        self.object_bytes.set(signed(statistics.objects_bytes));
        self.revision.set(i64::try_from(statistics.revision.get()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
