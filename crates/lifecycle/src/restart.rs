//! Whether an ended container starts again: the Pod's policy, the container's own, its rules (KEP-5307,
//! KEP-5532), and the delay before it.

use model::pod::{Container, ExitCodeOperator, Pod, RestartPolicy, RestartRuleAction};

use crate::memory::{ContainerMemory, Ended, FailureMemory, Memory, Wait};
use crate::policy::Backoff;
use crate::role::Role;
use crate::time::Now;

/// What an exit leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays ended.
    Stay,
    /// It starts again.
    Restart,
    /// The whole Pod starts again in place.
    RestartAll,
}

/// What the end of a container leads to. The first matching rule decides, then the container's own policy, then
/// the Pod's. A sidecar always restarts; an init container that succeeded never does, nor any ephemeral one.
pub(crate) fn verdict(pod: &Pod, role: Role, container: &Container, ended: &Ended) -> Verdict {
    let code = ended.code;
    let rule = container.restart_policy_rules.iter().find(|rule| match rule.operator {
        ExitCodeOperator::In => rule.codes.contains(&code),
        ExitCodeOperator::NotIn => !rule.codes.contains(&code),
    });
    if rule.is_some_and(|rule| rule.action == RestartRuleAction::RestartAllContainers) {
        return Verdict::RestartAll;
    }
    let restarts = match role {
        Role::Sidecar => true,
        Role::Ephemeral => false,
        Role::Init if code == 0 => false,
        Role::Init | Role::Main if rule.is_some() => true,
        Role::Init | Role::Main => match policy(pod, container) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0 || ended.failed_probe(),
            RestartPolicy::Never => false,
        },
    };
    if restarts { Verdict::Restart } else { Verdict::Stay }
}

/// Whether a container that is stopped for a failed probe starts again: also when it then ends with code 0.
pub(crate) fn restarts_after_probe(pod: &Pod, role: Role, container: &Container) -> bool {
    role == Role::Sidecar || policy(pod, container) != RestartPolicy::Never
}

fn policy(pod: &Pod, container: &Container) -> RestartPolicy {
    container.restart_policy.unwrap_or(pod.spec.restart_policy)
}

/// When the next try of something may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Now.
    Open,
    /// At this boot time.
    Until(u64),
    /// Not before a change from outside.
    Shut,
}

impl Gate {
    fn at(due_boot_nanos: u64, now: &Now) -> Gate {
        if due_boot_nanos <= now.boot_nanos { Gate::Open } else { Gate::Until(due_boot_nanos) }
    }
}

/// When a failed step may be tried again.
pub(crate) fn retry_gate(failure: Option<&FailureMemory>, backoff: Backoff, now: &Now) -> Gate {
    match failure {
        None => Gate::Open,
        Some(failure) => match failure.wait {
            Wait::Over => Gate::Open,
            Wait::OnChange => Gate::Shut,
            Wait::Backoff => Gate::at(failure.at.plus(backoff.nanos(failure.count), now), now),
        },
    }
}

/// When an ended container may start again. Without an earlier incarnation: now.
pub(crate) fn restart_gate(memory: &Memory, container: &ContainerMemory, now: &Now) -> Gate {
    match container.ended() {
        Some(ended) if !container.restart_requested => {
            let delay_nanos = memory.policy.restart.nanos(container.streak);
            Gate::at(ended.finished_at.plus(delay_nanos, now), now)
        }
        _ => Gate::Open,
    }
}
