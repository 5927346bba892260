//! In-place resize (KEP-1287): what the Pod asks for, what the node has set aside for it, and what its cgroups
//! have, which are three things while a resize is under way.
//!
//! ```text
//!   spec ──AllocateResources──► allocated ──ResizePod, ResizeContainer, restarts──► applied
//!            │ Deferred, Infeasible              │ Error
//!            ▼                                   ▼
//!     PodResizePending                   PodResizeInProgress
//! ```
//!
//! Only cpu and memory can be resized, of main containers, of sidecars and of the Pod itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::pod::{Container, Pod, ResizePolicy, Resources};
use model::quantity::Quantity;
use model::resources::effective;
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::role::{Member, Role, members};

/// The resources whose amount can change while a Pod runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// What the node has set aside for the Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pub(crate) pod: Option<Resources>,
    /// By name, of all that can be resized.
    pub(crate) containers: BTreeMap<String, Resources>,
}

impl Allocation {
    /// All that the Pod asks for.
    pub(crate) fn of(pod: &Pod) -> Allocation {
        let containers = members(pod)
            .filter(is_resizable)
            .map(|member| (member.name().to_owned(), member.container.resources.clone()))
            .collect();
        Allocation { pod: pod.spec.resources.clone(), containers }
    }

    /// Whether the Pod asks for what it has.
    pub(crate) fn is_as_asked(&self, pod: &Pod) -> bool {
        let has = |member: Member<'_>| {
            self.containers.get(member.name()).is_none_or(|has| *has == member.container.resources)
        };
        self.pod == pod.spec.resources && members(pod).filter(is_resizable).all(has)
    }

    /// What is set aside for a container.
    pub(crate) fn of_container<'a>(&'a self, container: &'a Container) -> &'a Resources {
        self.containers.get(&container.name).unwrap_or(&container.resources)
    }
}

impl Memory {
    /// The Pod with the resources that the node has set aside in place of those that it asks for: the one that
    /// sandboxes and containers are made from.
    pub fn pod_as_allocated<'a>(&self, pod: &'a Pod) -> Cow<'a, Pod> {
        if self.allocated.is_as_asked(pod) {
            return Cow::Borrowed(pod);
        }
        let mut allocated = pod.clone();
        allocated.spec.resources.clone_from(&self.allocated.pod);
        let spec = &mut allocated.spec;
        for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
            if let Some(resources) = self.allocated.containers.get(&container.name) {
                container.resources.clone_from(resources);
            }
        }
        Cow::Owned(allocated)
    }
}

/// Main containers and sidecars can be resized.
pub(crate) fn is_resizable(member: &Member<'_>) -> bool {
    matches!(member.role, Role::Main | Role::Sidecar)
}

/// What of a Pod's resources a resize is about.
pub(crate) fn of_pod(pod: &Pod) -> Resources {
    let mut whole = effective(&pod.spec);
    whole.requests.retain(|name, _| RESIZABLE.contains(&name.as_str()));
    whole.limits.retain(|name, _| RESIZABLE.contains(&name.as_str()));
    whole
}

/// Whether a change from one to the other takes a restart of the container.
pub(crate) fn needs_restart(container: &Container, old: &Resources, new: &Resources) -> bool {
    let policies = [("cpu", container.resize_policy.cpu), ("memory", container.resize_policy.memory)];
    policies.iter().any(|(name, policy)| {
        let differs = old.requests.get(*name) != new.requests.get(*name)
            || old.limits.get(*name) != new.limits.get(*name);
        *policy == ResizePolicy::RestartContainer && differs
    })
}

/// Of each amount the greater one; no limit is the greatest.
pub(crate) fn wider(one: &Resources, other: &Resources) -> Resources {
    let mut requests = one.requests.clone();
    for (name, amount) in &other.requests {
        let widest = requests.entry(name.clone()).or_insert_with(|| amount.clone());
        if *widest < *amount {
            widest.clone_from(amount);
        }
    }
    let both = |(name, amount): (&String, &Quantity)| {
        let widest = other.limits.get(name)?.max(amount);
        Some((name.clone(), widest.clone()))
    };
    Resources { requests, limits: one.limits.iter().filter_map(both).collect() }
}
