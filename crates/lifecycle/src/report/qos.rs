//! `qosClass`, as Kubernetes computes it from requests and limits of cpu and memory.

use model::pod::{Pod, Resources};

use crate::status::QosClass;

/// The class of the Pod. Pod-level resources (KEP-2837), where given, decide alone.
pub(super) fn qos_class(pod: &Pod) -> QosClass {
    if let Some(resources) = &pod.spec.resources {
        return class_of(std::iter::once(resources));
    }
    class_of(pod.spec.all_containers().map(|container| &container.resources))
}

fn class_of<'a>(all: impl Iterator<Item = &'a Resources>) -> QosClass {
    let (mut any_set, mut all_guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let value = |map: &std::collections::BTreeMap<String, model::quantity::Quantity>| {
                map.get(name).map(|quantity| quantity.nanos()).filter(|nanos| *nanos > 0)
            };
            let (request, limit) = (value(&resources.requests), value(&resources.limits));
            any_set |= request.is_some() || limit.is_some();
            all_guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any_set, all_guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}
