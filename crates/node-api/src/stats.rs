//! What Pods and node use: for programs in `/stats/summary` ([`summary`]), for Prometheus in `/metrics/resource`
//! ([`metrics`]). Both are written from one measurement, made when it was asked for.

pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod summary;

use engine::streams::PodUsage;

use self::node::NodeUsage;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// The node's name.
    pub(crate) node_name: String,
    /// The node as a whole; nothing when the kernel did not tell.
    pub(crate) node: Option<NodeUsage>,
    /// Its Pods.
    pub(crate) pods: Vec<PodUsage>,
}

#[cfg(test)]
pub(crate) mod example {
    //! A measurement for the tests of both formats.

    use std::collections::BTreeMap;

    use engine::streams::{PodUsage, Usage};

    use super::Measured;
    use super::node::NodeUsage;

    /// A node with one Pod of one container, measured at this second.
    pub(crate) fn measured(second: i64) -> Measured {
        let usage = Usage {
            cpu_nanos: 1_500_000_000 + second as u64 * 250_000_000,
            working_set_bytes: 1_048_576,
            memory_bytes: 2_097_152,
            started_wall_nanos: 1_700_000_000_500_000_000,
        };
        Measured {
            node_name: "here".into(),
            node: Some(NodeUsage {
                cpu_nanos: 90_000_000_000,
                working_set_bytes: 4 << 20,
                usage_bytes: 5 << 20,
                available_bytes: 6 << 20,
                booted_wall_nanos: 1_600_000_000_000_000_000,
                wall_nanos: second * 1_000_000_000,
            }),
            pods: vec![PodUsage {
                namespace: "default".into(),
                pod: "web".into(),
                uid: "1-2".into(),
                containers: BTreeMap::from([("app".into(), usage)]),
                whole: Usage { working_set_bytes: 1_200_000, ..usage },
                wall_nanos: second * 1_000_000_000,
            }],
        }
    }
}
