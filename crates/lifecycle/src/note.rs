//! `Memory::note`: the only function that changes a [`Memory`], and the source of nearly all events.
//!
//! Requests stand here, completions in `note/completed.rs`, what follows from seeing the world in
//! `note/observed.rs`. No action is chosen here: that is [`crate::decide()`]'s.

mod completed;
mod observed;
mod resized;

use model::pod::Pod;

use crate::event::Event;
use crate::memory::{
    ContainerMemory, ContainerStopCause, ContainerStopping, Fact, FailureMemory, Memory, StopCause, Stopping,
    Wait,
};
use crate::role::{Role, members};
use crate::time::{Now, seconds};

impl Memory {
    /// Takes a fact in, and tells the events that it amounts to. `pod` is the Pod as it is after the fact.
    pub fn note(&mut self, pod: &Pod, fact: &Fact, now: &Now) -> Vec<Event> {
        let mut events = Vec::new();
        match fact {
            Fact::Observed(observation) => self.note_observed(pod, observation, now, &mut events),
            Fact::Completed { action, result } => {
                self.note_completed(pod, action, result, now, &mut events);
            }
            Fact::StopRequested { grace_seconds } => {
                self.stop_requested = true;
                let grace = grace_seconds.unwrap_or(pod.spec.termination_grace_period_seconds);
                self.stop(pod, StopCause::Requested, grace, now, &mut events);
            }
            Fact::Evicted { why, message, grace_seconds } => {
                let grace = grace_seconds.unwrap_or(pod.spec.termination_grace_period_seconds);
                let is_ending =
                    self.outcome.is_some() || self.stopping.as_ref().is_some_and(|s| s.why.is_final());
                if !is_ending {
                    events.push(Event::pod_warning(why.reason(), message.clone()));
                }
                let why = StopCause::Evicted { why: *why, message: message.clone() };
                self.stop(pod, why, grace, now, &mut events);
            }
            Fact::RestartRequested { container } => {
                self.note_restart_requested(pod, container.as_deref(), now, &mut events);
            }
            Fact::DependencyChanged => self.retry_now(),
            Fact::PodChanged => self.note_pod_changed(pod),
            Fact::PolicyChanged(policy) => self.policy = *policy,
        }
        events
    }

    /// Begins to stop everything, or hastens a stop that is under way. A final cause replaces one after which
    /// the Pod would start again, never another final one; the deadline only moves earlier.
    fn stop(&mut self, pod: &Pod, why: StopCause, grace_seconds: u64, now: &Now, events: &mut Vec<Event>) {
        if self.outcome.is_some() {
            return;
        }
        let at_once = grace_seconds == 0 || matches!(why, StopCause::RestartAll { .. });
        let grace_nanos = seconds(grace_seconds);
        match &mut self.stopping {
            None => {
                let stopped = members(pod).filter(|member| !why.spares(member.role));
                for member in stopped {
                    if self.container(member.name()).running().is_some() {
                        events.push(Event::normal(
                            "Killing",
                            member.name(),
                            format!("Stopping container {}", member.name()),
                        ));
                    }
                }
                self.stopping = Some(Stopping { why, since: *now, grace_nanos, at_once });
            }
            Some(stopping) => {
                let new_total = now.nanos_since(&stopping.since).saturating_add(grace_nanos);
                stopping.grace_nanos = stopping.grace_nanos.min(new_total);
                stopping.at_once |= at_once;
                let restarts_all = matches!(why, StopCause::RestartAll { .. });
                if !stopping.why.is_final() && (why.is_final() || restarts_all) {
                    stopping.why = why;
                }
            }
        }
    }

    /// Stops one container alone, with a grace of its own.
    fn stop_container(
        &mut self,
        name: &str,
        why: ContainerStopCause,
        seen: Option<String>,
        grace_seconds: u64,
        now: &Now,
    ) -> bool {
        let pod_is_stopping = self.stopping.is_some() || self.outcome.is_some();
        let Some(instance) = self.containers.get_mut(name).and_then(|c| c.current.as_mut()) else {
            return false;
        };
        if pod_is_stopping || instance.ended.is_some() || instance.stopping.is_some() {
            return false;
        }
        instance.stopping =
            Some(ContainerStopping { why, seen, since: *now, grace_nanos: seconds(grace_seconds) });
        true
    }

    fn note_pod_changed(&mut self, pod: &Pod) {
        self.retry_now();
        if self.allocated.is_as_asked(pod) {
            self.allocation_failure = None;
        }
    }

    /// A main container or sidecar that runs another image than it should restarts, whatever the policy. This looks at
    /// what is, not at the edit: the edit may have come while the image was obtained or the container started.
    fn note_edited_images(&mut self, pod: &Pod, now: &Now, events: &mut Vec<Event>) {
        let grace = pod.spec.termination_grace_period_seconds;
        for member in members(pod).filter(|member| matches!(member.role, Role::Main | Role::Sidecar)) {
            let name = member.name();
            let is_edited =
                self.container(name).running().is_some_and(|running| running.image != member.container.image);
            if is_edited && self.stop_container(name, ContainerStopCause::ImageChanged, None, grace, now) {
                self.containers.entry(name.to_owned()).or_default().restart_requested = true;
                let message = format!("Container {name} definition changed, will be restarted");
                events.push(Event::normal("Killing", name, message));
            }
        }
    }

    fn note_restart_requested(&mut self, pod: &Pod, only: Option<&str>, now: &Now, events: &mut Vec<Event>) {
        let ending = self.outcome.is_some() || self.stopping.as_ref().is_some_and(|s| s.why.is_final());
        if ending {
            return;
        }
        for member in members(pod) {
            let name = member.name();
            let wanted = match only {
                Some(only) => name == only,
                None => member.role != Role::Init,
            };
            if member.role == Role::Ephemeral {
                continue;
            }
            // An init container that is behind us stays so: only a new run of the Pod repeats it.
            let is_behind = member.role == Role::Init && member.index < self.progress;
            if !wanted || is_behind {
                continue;
            }
            let Some(memory) = self.containers.get_mut(name) else { continue };
            retry_container_now(memory);
            memory.streak = 0;
            if memory.of_this_run().is_none() {
                continue;
            }
            memory.restart_requested = true;
            let grace = pod.spec.termination_grace_period_seconds;
            if self.stop_container(name, ContainerStopCause::RestartRequested, None, grace, now) {
                let message = format!("Container {name} will be restarted on request");
                events.push(Event::normal("Killing", name, message));
            }
        }
    }

    /// What failed is tried again now. The counts stay, so that no action key is used for a second act.
    fn retry_now(&mut self) {
        let steps = [
            &mut self.sandbox_failure,
            &mut self.volumes_failure,
            &mut self.removal_failure,
            &mut self.allocation_failure,
            &mut self.resize_failure,
        ];
        for failure in steps.into_iter().flatten() {
            failure.wait = Wait::Over;
        }
        self.containers.values_mut().for_each(retry_container_now);
    }
}

fn retry_container_now(memory: &mut ContainerMemory) {
    for failure in [&mut memory.create_failure, &mut memory.pull_failure].into_iter().flatten() {
        failure.wait = Wait::Over;
    }
}

/// Counts a failure of a step.
fn count_failure(memory: &mut Option<FailureMemory>, failure: &crate::action::Failure, now: &Now) {
    let count = memory.as_ref().map_or(0, |earlier| earlier.count).saturating_add(1);
    let wait = match failure.retry {
        crate::action::Retry::Backoff => Wait::Backoff,
        crate::action::Retry::OnChange => Wait::OnChange,
    };
    *memory = Some(FailureMemory {
        reason: failure.reason,
        message: failure.message.clone(),
        count,
        at: *now,
        wait,
    });
}
