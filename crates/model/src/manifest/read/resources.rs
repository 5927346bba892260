//! `resources`: requests and limits, of a container or of the whole Pod (KEP-2837), and `resizePolicy` (KEP-1287).

use std::collections::BTreeMap;

use super::{choice, quantity};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{PodSpec, ResizePolicies, ResizePolicy, Resources};
use crate::quantity::Quantity;
use crate::resources::of_containers;

/// Reads a container's `resources`; a limit without a request becomes the request too.
pub(crate) fn resources(report: &mut Report<'_, '_>, parent: &Node) -> Resources {
    let Some(node) = parent.get("resources") else { return Resources::default() };
    let mut read = written(report, node, name);
    for (name, limit) in &read.limits {
        read.requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    read
}

/// Reads the Pod's own `resources`. What it does not say follows from its containers, and only then from its limits.
pub(crate) fn of_pod(report: &mut Report<'_, '_>, parent: &Node, spec: &PodSpec) -> Option<Resources> {
    let node = parent.get("resources")?;
    if let Some(claims) = node.get("claims").filter(|claims| !claims.items().is_empty()) {
        report.forbidden(claims, "claims may not be set for Resources at pod-level");
    }
    let mut own = written(report, node, pod_name);
    let (requested, limited) = (of_containers(spec, |r| &r.requests), of_containers(spec, |r| &r.limits));
    contain_containers(report, node, parent, &requested, &own);
    let is_overcommittable = |name: &String| matches!(name.as_str(), "cpu" | "memory");
    if !own.limits.is_empty() || !own.requests.is_empty() {
        for (name, limit) in limited.iter().filter(|(name, _)| name.starts_with("hugepages-")) {
            if !own.requests.contains_key(name) {
                own.limits.entry(name.clone()).or_insert_with(|| limit.clone());
            }
        }
    }
    if !own.limits.is_empty() {
        for (name, request) in requested.iter().filter(|(name, _)| is_overcommittable(name)) {
            own.requests.entry(name.clone()).or_insert_with(|| request.clone());
        }
        for (name, limit) in &own.limits {
            let request = own.requests.entry(name.clone()).or_insert_with(|| limit.clone());
            if let Some(written) = node.get("limits").and_then(|limits| limits.get(name))
                && *request > *limit
                && requested.get(name) == Some(request)
            {
                let rule =
                    format!("must be greater than or equal to aggregate container requests of {request}");
                report.invalid(written, &rule);
            }
        }
    } else if !own.requests.is_empty() {
        for (name, limit) in limited.into_iter().filter(|(name, _)| is_overcommittable(name)) {
            if !spec.all_containers().all(|container| container.resources.limits.contains_key(&name)) {
                continue;
            }
            if let Some(written) = node.get("requests").and_then(|requests| requests.get(&name))
                && own.requests.get(&name).is_some_and(|request| *request > limit)
            {
                report.invalid(written, &format!("must be less than or equal to {name} limit of {limit}"));
            }
            own.limits.insert(name, limit);
        }
    }
    Some(own)
}

/// No container may ask for more than the Pod has, nor all of them together.
fn contain_containers(
    report: &mut Report<'_, '_>,
    node: &Node,
    spec: &Node,
    requested: &BTreeMap<String, Quantity>,
    own: &Resources,
) {
    for (name, request) in &own.requests {
        if let Some(all) = requested.get(name).filter(|all| *all > request)
            && let Some(written) = node.get("requests").and_then(|requests| requests.get(name))
        {
            let rule = format!("must be greater than or equal to aggregate container requests of {all}");
            report.invalid(written, &rule);
        }
    }
    for container in spec.list("initContainers").iter().chain(spec.list("containers")) {
        let limits = container.get("resources").and_then(|resources| resources.get("limits"));
        for entry in limits.map(Node::entries).unwrap_or_default() {
            let limit = entry.value.quantity_text().and_then(|text| Quantity::parse(&text).ok());
            if let (Some(limit), Some(most)) = (limit, own.limits.get(&entry.key))
                && limit > *most
            {
                report.invalid(&entry.value, &format!("must be less than or equal to pod limits of {most}"));
            }
        }
    }
}

/// Reads `resizePolicy`.
pub(crate) fn resize_policies(
    report: &mut Report<'_, '_>,
    container: &Node,
    spec: &Node,
    is_classic_init: bool,
) -> ResizePolicies {
    let mut read = ResizePolicies::default();
    let mut seen: Vec<&str> = Vec::new();
    let list = container.list("resizePolicy");
    if let (true, false, Some(written)) = (is_classic_init, list.is_empty(), container.get("resizePolicy")) {
        report.forbidden(written, "may not be set for init containers without restartPolicy=Always");
    }
    let policies =
        [("NotRequired", ResizePolicy::NotRequired), ("RestartContainer", ResizePolicy::RestartContainer)];
    for node in list {
        let resources = [("cpu", "cpu"), ("memory", "memory")];
        let policy = choice(report, node, "restartPolicy", &policies);
        if policy == Some(ResizePolicy::RestartContainer)
            && spec.text("restartPolicy") == Some("Never")
            && let Some(written) = node.get("restartPolicy")
        {
            report.invalid(written, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
        let Some(resource) = choice(report, node, "resourceName", &resources) else { continue };
        if let (true, Some(written)) = (seen.contains(&resource), node.get("resourceName")) {
            report.duplicate(written);
        }
        seen.push(resource);
        let policy = policy.unwrap_or_default();
        if resource == "cpu" {
            read.cpu = policy;
        } else {
            read.memory = policy;
        }
    }
    read
}

/// What stands there, amount by amount.
fn written(
    report: &mut Report<'_, '_>,
    node: &Node,
    check_name: fn(&mut Report<'_, '_>, &Node, usize),
) -> Resources {
    let limits = amounts(report, node, "limits", check_name);
    let requests = amounts(report, node, "requests", check_name);
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
    Resources { requests, limits }
}

fn amounts(
    report: &mut Report<'_, '_>,
    node: &Node,
    field: &str,
    check_name: fn(&mut Report<'_, '_>, &Node, usize),
) -> BTreeMap<String, Quantity> {
    let Some(list) = node.get(field) else { return BTreeMap::new() };
    let mut amounts = BTreeMap::new();
    for (index, entry) in list.entries().iter().enumerate() {
        check_name(report, list, index);
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

/// A resource that a Pod as a whole can have.
fn pod_name(report: &mut Report<'_, '_>, list: &Node, index: usize) {
    let key = list.entries()[index].key.as_str();
    if !matches!(key, "cpu" | "memory") && !key.starts_with("hugepages-") {
        let message =
            format!("Unsupported value: {key:?}: supported values: \"cpu\", \"hugepages-\", \"memory\"");
        report.add(Target::Key(list, index), ProblemKind::Unsupported, message, None);
    }
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
