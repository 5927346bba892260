//! `/metrics/resource`: the kubelet's `pkg/kubelet/metrics/collectors/resource_metrics.go`, in the text format of Prometheus.

use std::fmt::Write;

use super::Measured;

/// A metric's family: its name, its kind and what it says.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const CONTAINER_CPU: Family = Family {
    name: "container_cpu_usage_seconds_total",
    kind: "counter",
    help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
};
const CONTAINER_MEMORY: Family = Family {
    name: "container_memory_working_set_bytes",
    kind: "gauge",
    help: "[STABLE] Current working set of the container in bytes",
};
const CONTAINER_START: Family = Family {
    name: "container_start_time_seconds",
    kind: "gauge",
    help: "[STABLE] Start time of the container since unix epoch in seconds",
};
const NODE_CPU: Family = Family {
    name: "node_cpu_usage_seconds_total",
    kind: "counter",
    help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
};
const NODE_MEMORY: Family = Family {
    name: "node_memory_working_set_bytes",
    kind: "gauge",
    help: "[STABLE] Current working set of the node in bytes",
};
const POD_CPU: Family = Family {
    name: "pod_cpu_usage_seconds_total",
    kind: "counter",
    help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
};
const POD_MEMORY: Family = Family {
    name: "pod_memory_working_set_bytes",
    kind: "gauge",
    help: "[STABLE] Current working set of the pod in bytes",
};
const SCRAPE_ERROR: Family = Family {
    name: "resource_scrape_error",
    kind: "gauge",
    help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
};

/// The whole text, families in the order of their names.
pub(crate) fn text(measured: &Measured) -> String {
    let mut text = String::new();
    let containers = || {
        measured.pods.iter().flat_map(|pod| {
            pod.containers.iter().map(move |(name, usage)| {
                let labels = format!(
                    "{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}",
                    escaped(name),
                    escaped(&pod.namespace),
                    escaped(&pod.pod)
                );
                (labels, usage, pod.wall_nanos)
            })
        })
    };
    let pods = || {
        measured.pods.iter().map(|pod| {
            let labels =
                format!("{{namespace=\"{}\",pod=\"{}\"}}", escaped(&pod.namespace), escaped(&pod.pod));
            (labels, &pod.whole, pod.wall_nanos)
        })
    };
    family(&mut text, &CONTAINER_CPU, containers().map(|(l, u, at)| (l, seconds(u.cpu_nanos), Some(at))));
    let bytes = |bytes: u64| bytes.to_string();
    family(
        &mut text,
        &CONTAINER_MEMORY,
        containers().map(|(l, u, at)| (l, bytes(u.working_set_bytes), Some(at))),
    );
    let started = containers().filter(|(_, usage, _)| usage.started_wall_nanos > 0);
    family(
        &mut text,
        &CONTAINER_START,
        started.map(|(l, u, _)| (l, seconds(u.started_wall_nanos.unsigned_abs()), None)),
    );
    let node = measured.node.iter();
    family(
        &mut text,
        &NODE_CPU,
        node.clone().map(|node| (String::new(), seconds(node.cpu_nanos), Some(node.wall_nanos))),
    );
    family(
        &mut text,
        &NODE_MEMORY,
        node.map(|node| (String::new(), bytes(node.working_set_bytes), Some(node.wall_nanos))),
    );
    family(&mut text, &POD_CPU, pods().map(|(l, u, at)| (l, seconds(u.cpu_nanos), Some(at))));
    family(&mut text, &POD_MEMORY, pods().map(|(l, u, at)| (l, bytes(u.working_set_bytes), Some(at))));
    let error = u8::from(measured.node.is_none()).to_string();
    family(&mut text, &SCRAPE_ERROR, std::iter::once((String::new(), error, None)));
    text
}

/// Writes a family, unless it is empty. A sample is labels, value and the instant it was measured at.
fn family(text: &mut String, family: &Family, samples: impl Iterator<Item = (String, String, Option<i64>)>) {
    let Family { name, kind, help } = family;
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value, wall_nanos) in samples {
        let _ = match wall_nanos {
            Some(nanos) => writeln!(text, "{name}{labels} {value} {}", nanos / 1_000_000),
            None => writeln!(text, "{name}{labels} {value}"),
        };
    }
}

fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_kubelets() {
        let text = text(&super::super::example::measured(2));
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"} 2 2000"#,
                r#"container_memory_working_set_bytes{container="app",namespace="default",pod="web"} 1048576 2000"#,
                r#"container_start_time_seconds{container="app",namespace="default",pod="web"} 1700000000.5"#,
                "node_cpu_usage_seconds_total 90 2000",
                "node_memory_working_set_bytes 4194304 2000",
                r#"pod_cpu_usage_seconds_total{namespace="default",pod="web"} 2 2000"#,
                r#"pod_memory_working_set_bytes{namespace="default",pod="web"} 1200000 2000"#,
                "resource_scrape_error 0",
            ]
        );
        assert!(text.starts_with(
            "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds\n# TYPE container_cpu_usage_seconds_total counter\n"
        ));
    }

    #[test]
    fn a_family_without_samples_is_not_there() {
        let nothing = Measured { node_name: "here".into(), node: None, pods: vec![] };
        let text = text(&nothing);
        assert!(text.ends_with("resource_scrape_error 1\n"));
        assert_eq!(text.lines().count(), 3);
    }
}
