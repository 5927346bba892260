//! `/stats/summary`: the `Summary` of `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use engine::streams::{PodUsage, Usage};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Measured;

/// The summary. Usage per second comes from the difference to the measurement before, if there is one.
pub(crate) fn summary(measured: &Measured, before: Option<&Measured>) -> Value {
    let pods: Vec<Value> = measured
        .pods
        .iter()
        .map(|pod| {
            let same = |other: &&PodUsage| other.uid == pod.uid;
            pod_stats(pod, before.and_then(|before| before.pods.iter().find(same)))
        })
        .collect();
    json!({ "node": node_stats(measured, before), "pods": pods })
}

fn node_stats(measured: &Measured, before: Option<&Measured>) -> Value {
    let mut stats = json!({ "nodeName": measured.node_name });
    if let Some(node) = &measured.node {
        let before = before.and_then(|before| before.node.as_ref());
        stats["startTime"] = time(node.booted_wall_nanos);
        stats["cpu"] = cpu(
            (node.cpu_nanos, node.wall_nanos),
            before.map(|before| (before.cpu_nanos, before.wall_nanos)),
        );
        stats["memory"] = json!({
            "time": time(node.wall_nanos),
            "availableBytes": node.available_bytes,
            "usageBytes": node.usage_bytes,
            "workingSetBytes": node.working_set_bytes,
        });
    }
    stats
}

fn pod_stats(pod: &PodUsage, before: Option<&PodUsage>) -> Value {
    let at = pod.wall_nanos;
    let then = before.map_or(0, |before| before.wall_nanos);
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|(name, usage)| {
            let before = before.and_then(|before| before.containers.get(name));
            let mut stats = json!({ "name": name, "startTime": time(usage.started_wall_nanos) });
            add_usage(&mut stats, (usage, at), before.map(|before| (before, then)));
            stats
        })
        .collect();
    let mut stats = json!({
        "podRef": { "name": pod.pod, "namespace": pod.namespace, "uid": pod.uid },
        "startTime": time(pod.whole.started_wall_nanos),
        "containers": containers,
    });
    add_usage(&mut stats, (&pod.whole, at), before.map(|before| (&before.whole, then)));
    stats
}

fn add_usage(stats: &mut Value, (usage, at): (&Usage, i64), before: Option<(&Usage, i64)>) {
    stats["cpu"] = cpu((usage.cpu_nanos, at), before.map(|(before, then)| (before.cpu_nanos, then)));
    stats["memory"] = json!({
        "time": time(at),
        "usageBytes": usage.memory_bytes,
        "workingSetBytes": usage.working_set_bytes,
    });
}

fn cpu((nanos, at): (u64, i64), before: Option<(u64, i64)>) -> Value {
    let mut stats = json!({ "time": time(at) });
    // A container that was started anew counts from zero again: then there is no rate yet.
    if let Some((before, then)) = before
        && nanos >= before
        && at > then
    {
        let rate = u128::from(nanos - before) * 1_000_000_000 / (at - then) as u128;
        stats["usageNanoCores"] = u64::try_from(rate).unwrap_or(u64::MAX).into();
    }
    stats["usageCoreNanoSeconds"] = nanos.into();
    stats
}

fn time(wall_nanos: i64) -> Value {
    // metav1.Time has whole seconds.
    Timestamp::from_second(wall_nanos.div_euclid(1_000_000_000))
        .map_or(Value::Null, |at| at.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::super::example::measured;
    use super::*;

    #[test]
    fn the_first_has_no_rate_and_the_second_has() {
        let first = measured(0);
        let summary_first = summary(&first, None);
        let container = &summary_first["pods"][0]["containers"][0];
        assert_eq!(container["name"], "app");
        assert_eq!(container["startTime"], "2023-11-14T22:13:20Z");
        assert_eq!(
            container["cpu"],
            json!({ "time": "1970-01-01T00:00:00Z", "usageCoreNanoSeconds": 1_500_000_000 })
        );
        assert_eq!(container["memory"]["workingSetBytes"], 1_048_576);
        let second = summary(&measured(2), Some(&first));
        assert_eq!(second["pods"][0]["containers"][0]["cpu"]["usageNanoCores"], 250_000_000);
        assert_eq!(second["pods"][0]["cpu"]["usageNanoCores"], 250_000_000);
        assert_eq!(second["node"]["cpu"]["usageNanoCores"], 0);
        assert_eq!(
            second["pods"][0]["podRef"],
            json!({ "name": "web", "namespace": "default", "uid": "1-2" })
        );
    }

    #[test]
    fn a_counter_that_went_back_gives_no_rate() {
        let summary = summary(&measured(0), Some(&measured(2)));
        assert!(summary["pods"][0]["containers"][0]["cpu"].get("usageNanoCores").is_none());
    }
}
