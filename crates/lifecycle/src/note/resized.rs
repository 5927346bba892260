//! What an answer of the node and a changed cgroup leave in the Memory (KEP-1287).

use model::pod::{Pod, Resources};

use super::count_failure;
use crate::action::{Action, Done, Failure, Reason};
use crate::event::Event;
use crate::memory::{ContainerStopCause, Memory};
use crate::resize::{self, Allocation, is_resizable, needs_restart};
use crate::role::members;
use crate::time::Now;

impl Memory {
    /// The node has answered whether the Pod gets `resources`.
    pub(super) fn note_allocated(
        &mut self,
        pod: &Pod,
        resources: &Resources,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        self.resizes = self.resizes.saturating_add(1);
        // An answer to what is not asked for any more answers nothing.
        if *resources != resize::of_pod(pod) {
            return;
        }
        let generation = pod.meta.generation;
        if let Err(failure) = result {
            let reason =
                if failure.reason == Reason::Deferred { "ResizeDeferred" } else { "ResizeInfeasible" };
            let is_news =
                self.allocation_failure.as_ref().is_none_or(|known| known.message != failure.message);
            if is_news {
                let message = format!("Pod resize {}: {}", failure.reason, failure.message);
                events.push(Event::pod_warning(reason, message));
            }
            return count_failure(&mut self.allocation_failure, failure, now);
        }
        self.allocation_failure = None;
        self.resize_failure = None;
        if self.allocated.is_as_asked(pod) {
            return;
        }
        self.allocated = Allocation::of(pod);
        self.resizing = Some(generation);
        events
            .push(Event::pod_normal("ResizeStarted", format!("Pod resize started: generation {generation}")));
        let grace = pod.spec.termination_grace_period_seconds;
        for member in members(pod).filter(is_resizable) {
            let name = member.name();
            let restarts = self.container(name).running().is_some_and(|running| {
                needs_restart(member.container, &running.resources, &member.container.resources)
            });
            if restarts && self.stop_container(name, ContainerStopCause::Resized, None, grace, now) {
                self.containers.entry(name.to_owned()).or_default().restart_requested = true;
                let message = format!("Container {name} resize requires restart");
                events.push(Event::normal("Killing", name, message));
            }
        }
    }

    /// A cgroup was given other limits, or refused them.
    pub(super) fn note_resized(
        &mut self,
        action: &Action,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        self.resizes = self.resizes.saturating_add(1);
        if let Err(failure) = result {
            let is_news = self.resize_failure.as_ref().is_none_or(|known| known.message != failure.message);
            if is_news {
                let message = format!("Pod resize error: {}", failure.message);
                events.push(Event::pod_warning("ResizeError", message));
            }
            return count_failure(&mut self.resize_failure, failure, now);
        }
        match action {
            Action::ResizePod { resources, sandbox, .. } if self.sandbox == Some(*sandbox) => {
                self.pod_cgroup.clone_from(resources);
            }
            Action::ResizeContainer { container, attempt, resources, .. } => {
                if let Some(instance) = self.instance_mut(container, *attempt) {
                    instance.resources.clone_from(resources);
                }
            }
            _ => {}
        }
    }

    /// Whether the resize that is under way has come to its end.
    pub(super) fn note_resize_in_place(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        let Some(generation) = self.resizing.filter(|_| self.is_resize_in_place(pod)) else { return };
        self.resizing = None;
        self.resize_failure = None;
        let message = format!("Pod resize completed: generation {generation}");
        events.push(Event::pod_normal("ResizeCompleted", message));
    }

    fn is_resize_in_place(&self, pod: &Pod) -> bool {
        let allocated = self.pod_as_allocated(pod);
        let has_pod = self.sandbox.is_none() || self.pod_cgroup == resize::of_pod(&allocated);
        has_pod
            && members(&allocated).filter(is_resizable).all(|member| {
                let container = self.container(member.name());
                match container.running() {
                    Some(running) => running.resources == member.container.resources,
                    // It was stopped to start with other resources, and has not started yet.
                    None => !container.restart_requested,
                }
            })
    }
}
