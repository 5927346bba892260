//! The status of a Pod, derived anew in every round from what is asked, remembered and seen.
//!
//! Nothing here is remembered but the times at which conditions changed, which `Memory::note` keeps.

mod cause;
mod conditions;
mod containers;

use model::pod::Pod;

pub(crate) use conditions::condition_values;

use crate::memory::Memory;
use crate::observation::Observation;
use crate::role::{Role, mains, members};
use crate::status::{Phase, Status};
use crate::time::Now;

/// The status of the Pod now.
pub(crate) fn status(pod: &Pod, memory: &Memory, seen: &Observation, now: &Now) -> Status {
    let (mut init_container_statuses, mut container_statuses) = (Vec::new(), Vec::new());
    let mut ephemeral_container_statuses = Vec::new();
    for member in members(pod) {
        let list = match member.role {
            Role::Init | Role::Sidecar => &mut init_container_statuses,
            Role::Main => &mut container_statuses,
            Role::Ephemeral => &mut ephemeral_container_statuses,
        };
        list.push(containers::container_status(pod, memory, seen, &member, now));
    }
    let outcome = memory.outcome.as_ref();
    let pod_ips = if seen.pod_ips.is_empty() && outcome.is_some() { &memory.pod_ips } else { &seen.pod_ips };
    let own_allocation = memory.allocated.pod.as_ref();
    Status {
        phase: phase(pod, memory),
        reason: outcome.and_then(|outcome| outcome.reason.clone()),
        message: outcome.and_then(|outcome| outcome.message.clone()),
        conditions: conditions::conditions(pod, memory, seen),
        cause: cause::cause(pod, memory, seen, now),
        init_container_statuses,
        container_statuses,
        ephemeral_container_statuses,
        pod_ips: pod_ips.clone(),
        host_ips: seen.host_ips.clone(),
        resources: own_allocation.map(|_| memory.pod_cgroup.clone()),
        allocated_resources: own_allocation.map(|own| own.requests.clone()).unwrap_or_default(),
        start_time_wall_nanos: memory.admitted_at.wall_nanos,
        qos_class: model::resources::qos_class(&pod.spec),
        observed_generation: pod.meta.generation,
    }
}

/// Pending until every main container has been started once in the present run, Running then, until the outcome.
fn phase(pod: &Pod, memory: &Memory) -> Phase {
    if let Some(outcome) = &memory.outcome {
        return outcome.phase;
    }
    let is_initialized = memory.progress >= pod.spec.init_containers.len();
    let all_started = mains(pod).all(|main| memory.container(main.name()).current.is_some());
    if is_initialized && all_started { Phase::Running } else { Phase::Pending }
}
