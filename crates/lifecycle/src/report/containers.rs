//! `containerStatuses`: the state of each container in the words that kubectl shows.

use model::pod::{Pod, RecursiveReadOnly, VolumeMount};

use crate::action::{Action, Reason};
use crate::memory::{Ended, Memory, Wait};
use crate::observation::Observation;
use crate::restart::{Gate, Verdict, restart_gate, verdict};
use crate::role::{Member, Role};
use crate::status::{
    ContainerState, ContainerStatus, Terminated, TerminatedReason, VolumeMountStatus, WaitingReason,
};
use crate::time::{Now, SECOND};

/// The status of one container.
pub(super) fn container_status(
    pod: &Pod,
    memory: &Memory,
    seen: &Observation,
    member: &Member<'_>,
    now: &Now,
) -> ContainerStatus {
    let container = memory.container(member.name());
    let current = container.current.as_ref();
    let allocated = memory.allocated.of_container(member.container);
    let (state, shows_end) = state(pod, memory, seen, member, now);
    let last_state = match container.ended() {
        Some(ended) if !shows_end => Some(ended),
        _ => container.previous.as_ref(),
    };
    ContainerStatus {
        name: member.name().to_owned(),
        state,
        last_state: last_state.map(terminated),
        ready: is_ready(memory, member),
        started: is_started(memory, member),
        restart_count: current.map_or(0, |current| current.attempt),
        image: container.running().map_or(&member.container.image, |running| &running.image).clone(),
        image_id: container.image_id.clone(),
        container_id: current.and_then(|current| current.container_id.clone()),
        resources: container.running().map_or(allocated, |running| &running.resources).clone(),
        allocated_resources: allocated.requests.clone(),
        volume_mounts: member.container.volume_mounts.iter().map(volume_mount).collect(),
        user: current.and_then(|current| current.user.clone()),
        stop_signal: current.and_then(|current| current.stop_signal.clone()),
    }
}

/// The kernels that podling runs on make everything below read-only where that is asked for (`mount_setattr(2)`),
/// so `IfPossible` is as good as `Enabled`.
fn volume_mount(mount: &VolumeMount) -> VolumeMountStatus {
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount
            .read_only
            .then_some(mount.recursive_read_only != RecursiveReadOnly::Disabled),
    }
}

/// `ready`: an init container when it has succeeded, any other when it has started and its readiness probe,
/// if there is one, has passed.
pub(super) fn is_ready(memory: &Memory, member: &Member<'_>) -> bool {
    match memory.container(member.name()).running() {
        _ if member.role == Role::Init => member.index < memory.progress,
        Some(running) => {
            let has_probe = member.container.readiness_probe.is_some();
            running.started.is_some() && (!has_probe || running.readiness.passed == Some(true))
        }
        None => false,
    }
}

/// `started`: running, postStart done, startup probe passed.
pub(super) fn is_started(memory: &Memory, member: &Member<'_>) -> bool {
    memory.container(member.name()).running().is_some_and(|running| running.started.is_some())
}

/// `state`, and whether it shows the end of the newest incarnation.
fn state(
    pod: &Pod,
    memory: &Memory,
    seen: &Observation,
    member: &Member<'_>,
    now: &Now,
) -> (ContainerState, bool) {
    let container = memory.container(member.name());
    if let Some(running) = container.running() {
        let started_at_wall_nanos = running.started_at.map_or(0, |at| at.wall_nanos);
        return (ContainerState::Running { started_at_wall_nanos }, false);
    }
    let is_ending = memory.outcome.is_some() || memory.stopping.is_some();
    if let Some(ended) = container.ended()
        && (is_ending || stays_ended(pod, memory, member, ended))
    {
        return (ContainerState::Terminated(terminated(ended)), true);
    }
    if let Some((reason, message)) = failure(memory, seen, member) {
        return (ContainerState::Waiting { reason, message: Some(message) }, false);
    }
    match container.ended() {
        Some(_) if matches!(restart_gate(memory, container, now), Gate::Until(_)) => {
            let delay_seconds = memory.policy.restart.nanos(container.streak) / SECOND;
            let message = format!(
                "back-off {delay_seconds}s restarting failed container={} pod={}_{}({})",
                member.name(),
                pod.meta.name,
                pod.meta.namespace,
                pod.meta.uid
            );
            (
                ContainerState::Waiting { reason: WaitingReason::CrashLoopBackOff, message: Some(message) },
                false,
            )
        }
        // What could not be started waits with that for its reason (the kubelet's reasonCache), and its end is the last.
        Some(ended) if container.of_this_run().is_some() && ended.reason == TerminatedReason::StartError => {
            let reason = WaitingReason::Failed(Reason::RunContainerError);
            (ContainerState::Waiting { reason, message: ended.message.clone() }, false)
        }
        // Between its end and the restart that is due, a container still shows its end, as in the kubelet.
        Some(ended) if container.of_this_run().is_some() => {
            (ContainerState::Terminated(terminated(ended)), true)
        }
        _ => {
            let is_initialized = memory.progress >= pod.spec.init_containers.len();
            let reason = if is_initialized || member.role == Role::Ephemeral {
                WaitingReason::ContainerCreating
            } else {
                WaitingReason::PodInitializing
            };
            (ContainerState::Waiting { reason, message: None }, false)
        }
    }
}

/// Whether an ended container is not to be started again in this run.
fn stays_ended(pod: &Pod, memory: &Memory, member: &Member<'_>, ended: &Ended) -> bool {
    match member.role {
        Role::Init if member.index < memory.progress => true,
        Role::Main => memory.is_main_finished(pod, member),
        Role::Init => {
            memory.container(member.name()).of_this_run().is_some()
                && verdict(pod, Role::Init, member.container, ended) == Verdict::Stay
        }
        Role::Sidecar => false,
        Role::Ephemeral => true,
    }
}

/// The failure for which a container waits. Between two pulls Kubernetes says ImagePullBackOff, during one
/// ErrImagePull.
fn failure(memory: &Memory, seen: &Observation, member: &Member<'_>) -> Option<(WaitingReason, String)> {
    let container = memory.container(member.name());
    if let Some(failure) = &container.create_failure {
        return Some((WaitingReason::Failed(failure.reason), failure.message.clone()));
    }
    let failure = container.pull_failure.as_ref()?;
    let is_pulling = seen
        .in_flight
        .iter()
        .any(|action| matches!(action, Action::Pull { container, .. } if container == member.name()));
    if failure.reason != Reason::ErrImagePull || failure.wait == Wait::OnChange || is_pulling {
        return Some((WaitingReason::Failed(failure.reason), failure.message.clone()));
    }
    let image = &member.container.image;
    let message = format!("Back-off pulling image {image:?}: {}: {}", failure.reason, failure.message);
    Some((WaitingReason::ImagePullBackOff, message))
}

pub(super) fn terminated(ended: &Ended) -> Terminated {
    Terminated {
        exit_code: ended.code,
        signal: ended.signal,
        reason: ended.reason,
        message: ended.message.clone(),
        started_at_wall_nanos: ended.started_at.map(|at| at.wall_nanos),
        finished_at_wall_nanos: ended.finished_at.wall_nanos,
        container_id: ended.container_id.clone(),
    }
}
