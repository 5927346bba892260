//! `conditions`: their values, which `Memory::note` watches for transitions, and their reasons.

use model::pod::{Pod, RestartRuleAction};

use crate::memory::{Memory, StopCause};
use crate::observation::{Observation, Sandbox};
use crate::report::containers::{is_ready, is_started};
use crate::role::{Member, Role, members};
use crate::status::{
    ALL_CONTAINERS_RESTARTING, CONTAINERS_READY, Condition, DISRUPTION_TARGET, INITIALIZED,
    POD_READY_TO_START_CONTAINERS, POD_RESIZE_IN_PROGRESS, POD_RESIZE_PENDING, POD_SCHEDULED, Phase, READY,
};

/// Conditions that are absent rather than False.
const ONLY_TRUE: [&str; 3] = [DISRUPTION_TARGET, POD_RESIZE_PENDING, POD_RESIZE_IN_PROGRESS];

/// Every condition with its value.
pub(crate) fn condition_values(pod: &Pod, memory: &Memory, seen: &Observation) -> [(&'static str, bool); 9] {
    let ended = memory.outcome.is_some();
    let going = !ended && memory.stopping.is_none();
    let containers_ready = !ended && unready(pod, memory).next().is_none();
    let gates_open = pod.spec.readiness_gates.iter().all(|gate| seen.gates.contains(gate));
    let has_sandbox = matches!(seen.sandbox, Sandbox::Ready { .. });
    let succeeded = memory.outcome.as_ref().is_some_and(|outcome| outcome.phase == Phase::Succeeded);
    let initialized = memory.progress >= pod.spec.init_containers.len();
    [
        (POD_READY_TO_START_CONTAINERS, has_sandbox),
        (INITIALIZED, initialized || succeeded),
        (READY, containers_ready && gates_open),
        (CONTAINERS_READY, containers_ready),
        (POD_SCHEDULED, true),
        (ALL_CONTAINERS_RESTARTING, restarts_all(memory).is_some() && !ended),
        (DISRUPTION_TARGET, disruption(memory).is_some()),
        (POD_RESIZE_PENDING, going && memory.allocation_failure.is_some()),
        (POD_RESIZE_IN_PROGRESS, going && memory.resizing.is_some()),
    ]
}

/// `conditions`, with reasons and times.
pub(super) fn conditions(pod: &Pod, memory: &Memory, seen: &Observation) -> Vec<Condition> {
    let shown = |(kind, status): &(&str, bool)| match *kind {
        // It is False in a Pod to which it can happen, and absent in others.
        ALL_CONTAINERS_RESTARTING => may_restart_all(pod),
        kind => *status || !ONLY_TRUE.contains(&kind),
    };
    let values = condition_values(pod, memory, seen).into_iter().filter(shown);
    let of = |(kind, status): (&'static str, bool)| {
        let (reason, message) = reason(pod, memory, seen, kind, status);
        let known = memory.conditions.get(kind).map(|known| known.since_wall_nanos);
        Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.map(str::to_owned),
            message,
            last_transition_wall_nanos: known.unwrap_or(memory.admitted_at.wall_nanos),
            observed_generation: match kind {
                POD_RESIZE_IN_PROGRESS => memory.resizing.unwrap_or(pod.meta.generation),
                _ => pod.meta.generation,
            },
        }
    };
    values.map(of).collect()
}

/// Whether any rule restarts all containers (KEP-5532).
fn may_restart_all(pod: &Pod) -> bool {
    let mut rules = members(pod).flat_map(|member| &member.container.restart_policy_rules);
    rules.any(|rule| rule.action == RestartRuleAction::RestartAllContainers)
}

/// Kubernetes' reason and message for the value of a condition.
fn reason(
    pod: &Pod,
    memory: &Memory,
    seen: &Observation,
    kind: &str,
    status: bool,
) -> (Option<&'static str>, Option<String>) {
    let phase = memory.outcome.as_ref().map(|outcome| outcome.phase);
    let names = |names: Vec<&str>| names.join(" ");
    match (kind, status, phase) {
        (INITIALIZED, true, Some(Phase::Succeeded)) => (Some("PodCompleted"), None),
        (INITIALIZED, false, _) => {
            let incomplete = members(pod)
                .filter(|m| matches!(m.role, Role::Init | Role::Sidecar) && m.index >= memory.progress)
                .map(|m| m.name());
            let message = format!("containers with incomplete status: [{}]", names(incomplete.collect()));
            (Some("ContainersNotInitialized"), Some(message))
        }
        (ALL_CONTAINERS_RESTARTING, true, _) => {
            let message = restarts_all(memory)
                .map(|container| format!("container {container} exited with restart policy rule"));
            (Some("RestartAllContainersStarted"), message)
        }
        (READY | CONTAINERS_READY | ALL_CONTAINERS_RESTARTING, false, Some(Phase::Succeeded)) => {
            (Some("PodCompleted"), None)
        }
        (READY | CONTAINERS_READY | ALL_CONTAINERS_RESTARTING, false, Some(_)) => (Some("PodFailed"), None),
        (READY, false, None) if unready(pod, memory).next().is_none() => {
            let shut = pod.spec.readiness_gates.iter().filter(|gate| !seen.gates.contains(*gate));
            let each = shut.map(|gate| format!("the status of pod readiness gate {gate:?} is not \"True\""));
            (Some("ReadinessGatesNotReady"), Some(each.collect::<Vec<_>>().join(", ")))
        }
        (READY | CONTAINERS_READY, false, None) => {
            let unready = unready(pod, memory).map(|member| member.name());
            let message = format!("containers with unready status: [{}]", names(unready.collect()));
            (Some("ContainersNotReady"), Some(message))
        }
        (DISRUPTION_TARGET, true, _) => {
            let message = disruption(memory).map(str::to_owned);
            (Some("TerminationByKubelet"), message)
        }
        (POD_RESIZE_PENDING, true, _) => {
            let failure = memory.allocation_failure.as_ref();
            (failure.map(|f| f.reason.as_str()), failure.map(|f| f.message.clone()))
        }
        (POD_RESIZE_IN_PROGRESS, true, _) => {
            let failure = memory.resize_failure.as_ref();
            (failure.map(|f| f.reason.as_str()), failure.map(|f| f.message.clone()))
        }
        _ => (None, None),
    }
}

/// Whose exit restarts all containers, while they are being stopped for it.
fn restarts_all(memory: &Memory) -> Option<&str> {
    match &memory.stopping.as_ref()?.why {
        StopCause::RestartAll { container } => Some(container),
        _ => None,
    }
}

/// What the node said when it ended the Pod for its own sake.
fn disruption(memory: &Memory) -> Option<&str> {
    match &memory.stopping.as_ref()?.why {
        StopCause::Evicted { why, message } if why.is_disruption() => Some(message),
        _ => None,
    }
}

/// Main containers and sidecars that are not ready.
fn unready<'a>(pod: &'a Pod, memory: &'a Memory) -> impl Iterator<Item = Member<'a>> {
    members(pod).filter(|member| {
        matches!(member.role, Role::Main | Role::Sidecar)
            && !(is_started(memory, member) && is_ready(memory, member))
    })
}
