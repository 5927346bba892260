//! What changed between two statuses, as the lines of `podling run` tell it.

use serde::Serialize;

use crate::status::{ContainerState, ContainerStatus, Phase, Status, Terminated, TerminatedReason};

/// One change that a person watching the Pod wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Transition {
    /// An init container succeeded.
    InitDone {
        /// 1 for the first.
        index: usize,
        /// Number of init containers, sidecars included.
        total: usize,
        /// Its name.
        container: String,
        /// How long it ran.
        took_nanos: u64,
    },
    /// A container was started.
    Started {
        /// The container.
        container: String,
        /// Its restart count.
        restart_count: u32,
    },
    /// A container ended, whether or not it will restart; init containers that succeeded are told as done.
    Exited {
        /// The container.
        container: String,
        /// How.
        terminated: Terminated,
    },
    /// A container waits, and why.
    Waiting {
        /// The container.
        container: String,
        /// `CrashLoopBackOff`, `ImagePullBackOff`, `CreateContainerConfigError`, ...
        reason: String,
        /// Its message, such as `back-off 10s restarting failed container=web ...`.
        message: String,
    },
    /// The Pod became Ready.
    Ready,
    /// The Pod is no longer Ready.
    NotReady,
    /// The phase became terminal.
    Finished(Phase),
}

/// The changes from `old` to `new`, in the order in which they are told: init containers, main containers,
/// ephemeral ones, readiness, the end. `old` is absent for the first status of a Pod.
pub fn transitions(old: Option<&Status>, new: &Status) -> Vec<Transition> {
    let mut told = Vec::new();
    let total = new.init_container_statuses.len();
    for (index, container) in new.init_container_statuses.iter().enumerate() {
        let before = old.and_then(|old| old.container(&container.name));
        of_container(before, container, Some((index + 1, total)), &mut told);
    }
    for container in new.container_statuses.iter().chain(&new.ephemeral_container_statuses) {
        let before = old.and_then(|old| old.container(&container.name));
        of_container(before, container, None, &mut told);
    }
    match (old.is_some_and(Status::is_ready), new.is_ready()) {
        (false, true) => told.push(Transition::Ready),
        (true, false) if !new.phase.is_terminal() => told.push(Transition::NotReady),
        _ => {}
    }
    if new.phase.is_terminal() && old.is_none_or(|old| !old.phase.is_terminal()) {
        told.push(Transition::Finished(new.phase));
    }
    told
}

/// The end of an incarnation, wherever the status shows it.
fn shown_end(status: &ContainerStatus) -> Option<&Terminated> {
    match &status.state {
        ContainerState::Terminated(terminated) => Some(terminated),
        _ => status.last_state.as_ref(),
    }
}

/// The start of an incarnation that ended before any status showed it running.
fn untold_start(
    old: Option<&ContainerStatus>,
    new: &ContainerStatus,
    end: &Terminated,
) -> Option<Transition> {
    let was_running = old.is_some_and(|old| matches!(old.state, ContainerState::Running { .. }));
    if was_running || end.started_at_wall_nanos.is_none() || end.reason == TerminatedReason::StartError {
        return None;
    }
    // The count of the incarnation that ended: one that runs already is the next.
    let restart_count = match new.state {
        ContainerState::Running { .. } => new.restart_count.saturating_sub(1),
        _ => new.restart_count,
    };
    Some(Transition::Started { container: new.name.clone(), restart_count })
}

fn of_container(
    old: Option<&ContainerStatus>,
    new: &ContainerStatus,
    init: Option<(usize, usize)>,
    told: &mut Vec<Transition>,
) {
    let container = new.name.clone();
    let end_before = old.and_then(shown_end);
    if let Some(terminated) = shown_end(new).filter(|end| Some(*end) != end_before) {
        told.extend(untold_start(old, new, terminated));
        match init {
            Some((index, total)) if terminated.exit_code == 0 && new.ready => {
                let started_at =
                    terminated.started_at_wall_nanos.unwrap_or(terminated.finished_at_wall_nanos);
                let took = terminated.finished_at_wall_nanos.saturating_sub(started_at);
                let took_nanos = u64::try_from(took).unwrap_or(0);
                told.push(Transition::InitDone { index, total, container: container.clone(), took_nanos });
            }
            _ => {
                told.push(Transition::Exited { container: container.clone(), terminated: terminated.clone() })
            }
        }
    }
    match &new.state {
        ContainerState::Running { .. } => {
            let was_running = old.is_some_and(|old| {
                matches!(old.state, ContainerState::Running { .. }) && old.restart_count == new.restart_count
            });
            if !was_running {
                told.push(Transition::Started { container, restart_count: new.restart_count });
            }
        }
        ContainerState::Waiting { reason, message: Some(message) } => {
            let was_the_same = old.is_some_and(|old| {
                matches!(&old.state, ContainerState::Waiting { reason: before, .. } if before == reason)
                    && old.restart_count == new.restart_count
            });
            if !was_the_same {
                let reason = reason.as_str().to_owned();
                told.push(Transition::Waiting { container, reason, message: message.clone() });
            }
        }
        ContainerState::Waiting { .. } | ContainerState::Terminated(_) => {}
    }
}
