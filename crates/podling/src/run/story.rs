//! From changes of a Pod's status to what is told of them. Pure.

use std::time::Duration;

use lifecycle::Transition;
use lifecycle::status::{ContainerState, ContainerStatus, Phase, Status, Terminated, WaitingReason};

use super::cast::{Cast, Member};
use crate::console::{Role, Told, human};

/// The container that ended with this change: all that it printed is there by now.
pub(super) fn ended_container(transition: &Transition) -> Option<&str> {
    match transition {
        Transition::InitDone { container, .. } | Transition::Exited { container, .. } => Some(container),
        _ => None,
    }
}

/// What is told of one change; nothing for what is told by another.
pub(super) fn tell<'a>(
    transition: &'a Transition,
    cast: &'a Cast,
    uid: &str,
    pod: &'a str,
    status: &'a Status,
    is_stopping: bool,
) -> Option<Told<'a>> {
    Some(match transition {
        Transition::InitDone { container, took_nanos, .. } => {
            let member = cast.find(uid, container)?;
            Told::Exited {
                pod,
                container,
                label: &member.label,
                role: member.role,
                init: cast.place_among_init(member),
                code: 0,
                signal: None,
                reason: "Completed",
                message: None,
                ran_ms: Some(millis(*took_nanos)),
                is_stopped: false,
            }
        }
        Transition::Started { container, restart_count } => {
            let member = cast.find(uid, container)?;
            let (label, role) = (member.label.as_str(), member.role);
            Told::Started { pod, container, label, role, attempt: *restart_count }
        }
        Transition::Exited { container, terminated } => {
            let member = cast.find(uid, container)?;
            let is_stopped = is_stopping || (member.role == Role::Sidecar && is_over(status));
            exited(pod, member, cast.place_among_init(member), terminated, is_stopped)
        }
        Transition::Waiting { container, reason, message } => Told::Waiting {
            pod,
            container,
            label: &cast.find(uid, container)?.label,
            reason,
            message,
            restart_delay: restart_delay(reason, message),
            last_code: status.container(container).and_then(|c| Some(c.last_state.as_ref()?.exit_code)),
        },
        Transition::Ready => Told::Ready { pod, pod_ips: &status.pod_ips },
        // A Pod whose work is done is not ready, and nobody misses it.
        Transition::NotReady if is_over(status) => return None,
        Transition::NotReady => Told::NotReady { pod, cause: status.cause.as_deref() },
        Transition::Finished(phase) => Told::Finished {
            pod,
            phase: phase_name(*phase),
            reason: status.reason.as_deref(),
            message: status.message.as_deref(),
            is_stopped: is_stopping,
        },
    })
}

/// The end of a container, however it came to it.
fn exited<'a>(
    pod: &'a str,
    member: &'a Member,
    init: Option<(usize, usize)>,
    ended: &'a Terminated,
    is_stopped: bool,
) -> Told<'a> {
    let ran_nanos = ended
        .started_at_wall_nanos
        .and_then(|started| u64::try_from(ended.finished_at_wall_nanos.saturating_sub(started)).ok());
    Told::Exited {
        pod,
        container: &member.name,
        label: &member.label,
        role: member.role,
        init,
        code: ended.exit_code,
        signal: ended.signal,
        reason: ended.reason.as_str(),
        message: ended.message.as_deref(),
        ran_ms: ran_nanos.map(millis),
        is_stopped,
    }
}

/// How long a restart is put off: `10 s`, from Kubernetes' `back-off 10s restarting failed container=...`.
fn restart_delay(reason: &str, message: &str) -> Option<String> {
    if reason != WaitingReason::CrashLoopBackOff.as_str() {
        return None;
    }
    let seconds = message.strip_prefix("back-off ")?.split_once("s ")?.0.parse().ok()?;
    Some(human::duration(Duration::from_secs(seconds)))
}

/// Whether the Pod's work is done: what still runs is stopped, and that is how it should be.
fn is_over(status: &Status) -> bool {
    let is_ended = |container: &ContainerStatus| matches!(container.state, ContainerState::Terminated(_));
    status.phase.is_terminal() || status.container_statuses.iter().all(is_ended)
}

/// The phase as Kubernetes writes it.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

/// The signals that stop podling, as people call them.
pub(super) fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "Ctrl-C".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_a_restart_is_read_from_kubernetes_words() {
        let message = "back-off 2m40s restarting";
        assert_eq!(restart_delay("CrashLoopBackOff", message), None, "a form that Kubernetes does not write");
        let message = "back-off 10s restarting failed container=a pod=p_default(uid)";
        assert_eq!(restart_delay("CrashLoopBackOff", message).as_deref(), Some("10 s"));
        assert_eq!(restart_delay("ImagePullBackOff", message), None);
    }
}
