//! A Pod's QoS class, from requests and limits of cpu and memory alone.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>

use crate::pod::{PodSpec, Resources};

/// Which Pods go first when the node runs out of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits of cpu and memory, equal to its requests.
    Guaranteed,
    /// Some request or limit of cpu or memory is set.
    Burstable,
    /// None is.
    BestEffort,
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// The class. Pod-level resources (KEP-2837) stand in for the containers' where they are set.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let sets: Vec<&Resources> = match &spec.resources {
        Some(of_pod) if is_set(of_pod) => vec![of_pod],
        _ => spec.all_containers().map(|container| &container.resources).collect(),
    };
    if !sets.iter().any(|resources| is_set(resources)) {
        QosClass::BestEffort
    } else if sets.iter().all(|resources| is_guaranteed(resources)) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

fn is_set(resources: &Resources) -> bool {
    [&resources.requests, &resources.limits]
        .iter()
        .any(|list| COUNTED.iter().any(|name| list.get(*name).is_some_and(|quantity| quantity.nanos() != 0)))
}

fn is_guaranteed(resources: &Resources) -> bool {
    COUNTED.iter().all(|name| match (resources.requests.get(*name), resources.limits.get(*name)) {
        (Some(request), Some(limit)) => request.nanos() == limit.nanos() && limit.nanos() != 0,
        _ => false,
    })
}
