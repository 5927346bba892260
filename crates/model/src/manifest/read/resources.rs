//! `resources`: requests and limits, of a container or of the whole Pod.

use std::collections::BTreeMap;

use super::quantity;
use crate::manifest::names;
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::pod::Resources;
use crate::quantity::Quantity;

/// Reads `resources`; a limit without a request becomes the request too.
pub(crate) fn resources(report: &mut Report<'_, '_>, parent: &Node) -> Resources {
    let Some(node) = parent.get("resources") else { return Resources::default() };
    let limits = amounts(report, node, "limits");
    let mut requests = amounts(report, node, "requests");
    for (name, request) in &requests {
        let Some(limit) = limits.get(name) else { continue };
        let Some(written) = node.get("requests").and_then(|requests| requests.get(name)) else { continue };
        let is_exact = name.starts_with("hugepages-") || name.contains('/');
        if request > limit {
            report.invalid(written, &format!("must be less than or equal to {name} limit of {limit}"));
        } else if is_exact && request != limit {
            report.invalid(written, &format!("must be equal to {name} limit of {limit}"));
        }
    }
    for (name, limit) in &limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    Resources { requests, limits }
}

fn amounts(report: &mut Report<'_, '_>, node: &Node, field: &str) -> BTreeMap<String, Quantity> {
    let Some(list) = node.get(field) else { return BTreeMap::new() };
    let mut amounts = BTreeMap::new();
    for (index, entry) in list.entries().iter().enumerate() {
        name(report, list, index);
        let Some(amount) = quantity(report, &entry.value) else { continue };
        let is_in_bytes = matches!(entry.key.as_str(), "memory" | "ephemeral-storage")
            || entry.key.starts_with("hugepages-");
        if is_in_bytes && amount.nanos() % 1_000_000_000 != 0 {
            let hint = amount
                .text()
                .strip_suffix('m')
                .map(|number| format!("m is a thousandth; did you mean {number}Mi?"));
            let message = format!("fractional byte value {:?} is invalid, must be an integer", amount.text());
            report.warn(Target::Value(&entry.value), ProblemKind::Suspicious, &message, hint.as_deref());
        }
        amounts.insert(entry.key.clone(), amount);
    }
    amounts
}

/// A resource that containers have, or one with a domain (a device), which podling does not have.
fn name(report: &mut Report<'_, '_>, list: &Node, index: usize) {
    let key = list.entries()[index].key.as_str();
    if matches!(key, "cpu" | "memory" | "ephemeral-storage") || key.starts_with("hugepages-") {
        return;
    }
    if !key.contains('/') {
        let known = ["cpu", "memory", "ephemeral-storage"];
        let hint = crate::manifest::suggest::nearest(key, known.into_iter());
        let message = format!("Invalid value: {key:?}: must be a standard resource for containers");
        let hint = hint.map(|nearest| format!("did you mean {nearest}?"));
        report.add(Target::Key(list, index), ProblemKind::Invalid, message, hint);
    } else if let Err(broken) = names::qualified_name(key) {
        report.invalid_key(list, index, broken);
    } else {
        let message = "podling has no such resource: the container runs without it";
        report.warn(Target::Key(list, index), ProblemKind::NotHonoured, message, None);
    }
}
