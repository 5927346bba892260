//! What a Pod needs as a whole, from what its containers ask for.
//!
//! Init containers run one at a time, sidecars stay (KEP-753): the effective request is
//! `max(max over init i of (init_i + sidecars before i), sum(sidecars) + sum(mains))`, for each resource. Pod-level
//! resources (KEP-2837) win where they are set.

use std::collections::{BTreeMap, BTreeSet};

use crate::pod::{Container, PodSpec};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// The effective requests.
pub fn pod_requests(spec: &PodSpec) -> Amounts {
    let mut requests = effective(spec, |container| &container.resources.requests);
    if let Some(of_pod) = &spec.resources {
        requests.extend(of_pod.requests.clone());
    }
    requests
}

/// The effective limits: of those resources only that every container limits, since one without a limit may
/// take all that there is.
pub fn pod_limits(spec: &PodSpec) -> Amounts {
    let mut limits = effective(spec, |container| &container.resources.limits);
    limits.retain(|name, _| {
        spec.all_containers().all(|container| container.resources.limits.contains_key(name.as_str()))
    });
    if let Some(of_pod) = &spec.resources {
        limits.extend(of_pod.limits.clone());
    }
    limits
}

fn effective(spec: &PodSpec, amounts: impl Fn(&Container) -> &Amounts) -> Amounts {
    let names: BTreeSet<&String> = spec.all_containers().flat_map(|container| amounts(container).keys()).collect();
    let of = |container: &Container, name: &str| amounts(container).get(name).map_or(0, Quantity::nanos);
    names
        .into_iter()
        .map(|name| {
            let mut sidecars = 0;
            let mut peak = 0;
            for init in &spec.init_containers {
                peak = peak.max(sidecars + of(init, name));
                if init.is_sidecar() {
                    sidecars += of(init, name);
                }
            }
            let mains: i128 = spec.containers.iter().map(|container| of(container, name)).sum();
            (name.clone(), Quantity::from_nanos(peak.max(sidecars + mains)))
        })
        .collect()
}
