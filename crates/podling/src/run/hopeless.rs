//! When to give up: what Kubernetes would try again for days is, in the foreground, an error to be told now.
//!
//! Pure. A Pod whose program merely fails is not hopeless: its restart policy decides.

use lifecycle::Reason;
use lifecycle::status::{ContainerState, ContainerStatus, Status, TerminatedReason, WaitingReason};

/// Why going on with this Pod is hopeless, if it is.
pub(super) fn status(status: &Status) -> Option<String> {
    if status.phase.is_terminal() {
        return None;
    }
    status.init_container_statuses.iter().chain(&status.container_statuses).find_map(container)
}

fn container(container: &ContainerStatus) -> Option<String> {
    let ContainerState::Waiting { reason, message } = &container.state else { return None };
    let why = match reason {
        // It will be started again, and fail in the same way, when it was its start that failed.
        WaitingReason::ContainerCreating
        | WaitingReason::PodInitializing
        | WaitingReason::CrashLoopBackOff => {
            let last = container.last_state.as_ref()?;
            if last.reason != TerminatedReason::StartError {
                return None;
            }
            last.message.as_deref().unwrap_or(Reason::StartError.as_str())
        }
        WaitingReason::ImagePullBackOff => message.as_deref().unwrap_or("the image cannot be had"),
        // A hook is part of what the container does.
        WaitingReason::Failed(Reason::FailedPostStartHook | Reason::FailedPreStopHook) => return None,
        WaitingReason::Failed(reason) => message.as_deref().unwrap_or(reason.as_str()),
    };
    Some(format!("{}: {why}", container.name))
}

/// Why going on is hopeless after this event, if it is: what concerns the whole Pod has no waiting container.
pub(super) fn event(warning: bool, reason: &str, message: &str) -> Option<String> {
    let is_hopeless =
        warning && [Reason::FailedCreatePodSandBox, Reason::FailedMount].iter().any(|r| r.as_str() == reason);
    is_hopeless.then(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::status::Terminated;

    fn waiting(reason: WaitingReason, last_reason: Option<TerminatedReason>) -> ContainerStatus {
        let last = last_reason.map(|reason| Terminated {
            exit_code: 1,
            signal: None,
            reason,
            message: Some("no such program".into()),
            started_at_wall_nanos: None,
            finished_at_wall_nanos: 1,
            container_id: None,
        });
        ContainerStatus {
            name: "web".into(),
            state: ContainerState::Waiting { reason, message: Some("it is so".into()) },
            last_state: last,
            ready: false,
            started: false,
            restart_count: 0,
            image: String::new(),
            image_id: String::new(),
            container_id: None,
            resources: Default::default(),
            allocated_resources: Default::default(),
            volume_mounts: Vec::new(),
            user: None,
            stop_signal: None,
        }
    }

    #[test]
    fn waiting_for_ones_turn_or_for_a_restart_is_not_hopeless() {
        for (reason, last) in [
            (WaitingReason::ContainerCreating, None),
            (WaitingReason::PodInitializing, None),
            (WaitingReason::CrashLoopBackOff, Some(TerminatedReason::Error)),
        ] {
            assert_eq!(container(&waiting(reason, last)), None);
        }
    }

    #[test]
    fn what_nobody_will_mend_is_hopeless() {
        let failed = |reason| container(&waiting(WaitingReason::Failed(reason), None));
        for reason in [Reason::ErrImagePull, Reason::ErrImageNeverPull, Reason::CreateContainerConfigError] {
            assert_eq!(failed(reason).unwrap(), "web: it is so");
        }
        let looping = waiting(WaitingReason::CrashLoopBackOff, Some(TerminatedReason::StartError));
        assert_eq!(container(&looping).unwrap(), "web: no such program");
    }

    #[test]
    fn events_about_sandbox_and_volumes_are_hopeless() {
        assert!(event(true, "FailedMount", "m").is_some());
        assert!(event(true, "FailedCreatePodSandBox", "m").is_some());
        assert!(event(true, "Unhealthy", "m").is_none());
    }
}
