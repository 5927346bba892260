//! Ephemeral containers, which only a Pod that an API server holds can have (KEP-277).

use super::container::{self, Surroundings};
use super::ruled;
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::EphemeralContainer;

/// What is of no use to a container that is never restarted and has no say in the Pod's life
/// (Kubernetes' `allowedEphemeralContainerFields`).
const FORBIDDEN: [&str; 9] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
];

/// Reads `ephemeralContainers` of a Pod's spec.
pub(super) fn containers(report: &mut Report<'_, '_>, spec: &Node) -> Vec<EphemeralContainer> {
    let host_network = spec.bool("hostNetwork").unwrap_or(false);
    let around = Surroundings { spec, is_init: false, host_network, grace_seconds: 0 };
    spec.list("ephemeralContainers").iter().map(|node| one(report, node, &around)).collect()
}

fn one(report: &mut Report<'_, '_>, node: &Node, around: &Surroundings<'_>) -> EphemeralContainer {
    for field in FORBIDDEN {
        let empty =
            |value: &Node| value.scalar().is_none() && value.items().is_empty() && value.entries().is_empty();
        if let Some(written) = node.get(field).filter(|value| !empty(value)) {
            report.forbidden(written, "cannot be set for an Ephemeral Container");
        }
    }
    let mut container = container::container(report, node, around);
    // It has no restart policy of its own, whatever is written: it never restarts.
    container.restart_policy = None;
    let others = ["initContainers", "containers"];
    let taken = |name: &str| {
        let named = |other: &&Node| other.text("name") == Some(name);
        others.iter().any(|list| around.spec.list(list).iter().any(|other| named(&other)))
            || around.spec.list("ephemeralContainers").iter().filter(|other| named(other)).count() > 1
    };
    if let Some(name) = node.get("name").filter(|name| name.as_text().is_some_and(taken)) {
        report.duplicate(name);
    }
    let target = ruled(report, node, "targetContainerName", names::dns_label).map(str::to_owned);
    if let (Some(name), Some(written)) = (&target, node.get("targetContainerName")) {
        let exists =
            others.iter().any(|list| around.spec.list(list).iter().any(|c| c.text("name") == Some(name)));
        if !exists {
            let message = format!("Not found: {name:?}");
            report.add(Target::Value(written), ProblemKind::NotFound, message, None);
        }
    }
    EphemeralContainer { container, target }
}
