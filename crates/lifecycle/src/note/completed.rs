//! What the end of an action leaves in the Memory.

use model::pod::Pod;

use super::count_failure;
use crate::action::{Action, Done, Failure, ProbeKind, Reason};
use crate::event::Event;
use crate::memory::{ContainerStopCause, Ended, InstanceMemory, Memory};
use crate::restart::restarts_after_probe;
use crate::role::member;
use crate::schedule::{Schedule, probe_of};
use crate::status::TerminatedReason;
use crate::time::Now;

impl Memory {
    pub(super) fn note_completed(
        &mut self,
        pod: &Pod,
        action: &Action,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        if matches!(result, Err(Failure { reason: Reason::Canceled, .. })) {
            return;
        }
        match action {
            Action::PrepareVolumes { .. } => match result {
                Ok(_) => self.volumes_failure = None,
                Err(failure) => {
                    count_failure(&mut self.volumes_failure, failure, now);
                    events.push(Event::pod_warning("FailedMount", failure.message.clone()));
                }
            },
            Action::CreateSandbox { attempt } => {
                self.next_sandbox = self.next_sandbox.max(attempt.saturating_add(1));
                if let Err(failure) = result {
                    count_failure(&mut self.sandbox_failure, failure, now);
                    let message = format!("Failed to create pod sandbox: {}", failure.message);
                    events.push(Event::pod_warning("FailedCreatePodSandBox", message));
                }
            }
            Action::RemoveSandbox { .. } | Action::RemoveVolumes => match result {
                Ok(_) => self.removal_failure = None,
                Err(failure) => {
                    count_failure(&mut self.removal_failure, failure, now);
                    let message = format!("error killing pod: {}", failure.message);
                    events.push(Event::pod_warning("FailedKillPod", message));
                }
            },
            Action::Pull { container, image, attempt, .. } if pod.spec.container(container).is_some() => {
                self.note_pulled(container, image, *attempt, result, now, events);
            }
            Action::Pull { .. } => {}
            Action::Start { container, attempt, .. } => {
                self.note_started(pod, container, *attempt, result, now, events);
            }
            Action::PostStart { container, attempt }
            | Action::PreStop { container, attempt }
            | Action::Signal { container, attempt }
            | Action::Kill { container, attempt } => {
                self.note_hook_or_signal(pod, action, container, *attempt, result, now, events);
            }
            Action::AllocateResources { resources, .. } => {
                self.note_allocated(pod, resources, result, now, events);
            }
            Action::ResizePod { .. } | Action::ResizeContainer { .. } => {
                self.note_resized(action, result, now, events);
            }
            Action::Probe { container, attempt, kind, round } => {
                self.note_probed(pod, container, *attempt, (*kind, *round), result, now, events);
            }
        }
    }

    fn note_pulled(
        &mut self,
        name: &str,
        image: &str,
        attempt: u32,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        let memory = self.containers.entry(name.to_owned()).or_default();
        match result {
            Ok(done) => {
                memory.pulled = Some((attempt, image.to_owned()));
                memory.pull_failure = None;
                let message = match done {
                    Done::Pulled { took_nanos, size_bytes } => {
                        let millis = took_nanos / 1_000_000;
                        let (seconds, millis) = (millis / 1000, millis % 1000);
                        format!(
                            "Successfully pulled image {image:?} in {seconds}.{millis:03}s. \
                             Image size: {size_bytes} bytes."
                        )
                    }
                    _ => already_present(image),
                };
                events.push(Event::normal("Pulled", name, message));
            }
            Err(failure) => {
                count_failure(&mut memory.pull_failure, failure, now);
                let message = failure.message.clone();
                events.push(match failure.reason {
                    Reason::ErrImageNeverPull => Event::warning("ErrImageNeverPull", name, message),
                    Reason::InvalidImageName => Event::warning("InspectFailed", name, message),
                    _ => Event::warning("Failed", name, format!("Failed to pull image {image:?}: {message}")),
                });
                events.push(Event::warning("Failed", name, format!("Error: {}", failure.reason)));
                if failure.reason == Reason::ErrImagePull {
                    let message = format!("Back-off pulling image {image:?}");
                    events.push(Event::normal("BackOff", name, message));
                }
            }
        }
    }

    fn note_started(
        &mut self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        let Some(container) = pod.spec.container(name) else { return };
        let image = container.image.as_str();
        let resources = self.allocated.of_container(container).clone();
        let memory = self.containers.entry(name.to_owned()).or_default();
        match result {
            Ok(_) => {
                memory.create_failure = None;
                if memory.pulled.as_ref().is_none_or(|(obtained_for, _)| *obtained_for != attempt) {
                    events.push(Event::normal("Pulled", name, already_present(image)));
                }
                events.push(Event::normal("Created", name, format!("Created container: {name}")));
                events.push(Event::normal("Started", name, format!("Started container {name}")));
            }
            Err(failure) => {
                events.push(Event::warning("Failed", name, format!("Error: {}", failure.message)));
                if !failure.reason.consumes_incarnation() {
                    count_failure(&mut memory.create_failure, failure, now);
                } else if memory.next_attempt() <= attempt {
                    memory.begin_instance(attempt, image, resources, None);
                    let ended = Ended {
                        code: 128,
                        signal: None,
                        reason: TerminatedReason::StartError,
                        message: Some(failure.message.clone()),
                        started_at: None,
                        finished_at: *now,
                        container_id: None,
                        stopped_for: None,
                    };
                    self.end_instance(pod, name, ended, events);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one fact, taken apart once")]
    fn note_hook_or_signal(
        &mut self,
        pod: &Pod,
        action: &Action,
        name: &str,
        attempt: u32,
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        let Some(instance) = self.instance_mut(name, attempt) else { return };
        match (action, result) {
            (Action::PostStart { .. }, Ok(_)) => instance.post_start_done = true,
            (Action::PostStart { .. }, Err(failure)) => {
                let message = format!("PostStartHook failed: {}", failure.message);
                events.push(Event::warning("FailedPostStartHook", name, message));
                let grace = pod.spec.termination_grace_period_seconds;
                let seen = Some(failure.message.clone());
                if self.stop_container(name, ContainerStopCause::PostStart, seen, grace, now) {
                    events.push(Event::normal("Killing", name, "FailedPostStartHook".to_owned()));
                }
            }
            (Action::PreStop { .. }, result) => {
                instance.pre_stop_done = true;
                if let Err(failure) = result {
                    let message = format!("PreStopHook failed: {}", failure.message);
                    events.push(Event::warning("FailedPreStopHook", name, message));
                }
            }
            // A signal that could not be sent had nobody to go to; KILL follows if that is wrong.
            (Action::Signal { .. }, _) => instance.signalled_at = instance.signalled_at.or(Some(*now)),
            (_, Ok(_)) => {
                instance.killed = true;
                instance.kill_failure = None;
            }
            (_, Err(failure)) => {
                count_failure(&mut instance.kill_failure, failure, now);
                let message = format!("error killing container {name}: {}", failure.message);
                events.push(Event::warning("FailedKillPod", name, message));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one fact, taken apart once")]
    fn note_probed(
        &mut self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        (kind, round): (ProbeKind, u64),
        result: &Result<Done, Failure>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        let Some(member) = member(pod, name) else { return };
        let Some(probe) = probe_of(member.container, kind) else { return };
        let Some(instance) = self.instance_mut(name, attempt) else { return };
        let next_round = match Schedule::of(probe, kind, instance, now) {
            Some(schedule) => round.max(schedule.round_at(now.boot_nanos)).saturating_add(1),
            None => round.saturating_add(1),
        };
        let counters = instance.probe_mut(kind);
        counters.next_round = counters.next_round.max(next_round);
        match result {
            Ok(Done::Unhealthy { message }) => {
                counters.successes = 0;
                counters.failures = (counters.failures + 1).min(probe.failure_threshold.max(1));
                counters.message = Some(message.clone());
                let reached = counters.failures >= probe.failure_threshold.max(1);
                if reached {
                    counters.passed = Some(false);
                }
                events.push(Event::warning("Unhealthy", name, format!("{kind} probe failed: {message}")));
                if reached && kind != ProbeKind::Readiness {
                    let grace = probe
                        .termination_grace_period_seconds
                        .unwrap_or(pod.spec.termination_grace_period_seconds);
                    let seen = Some(message.clone());
                    if self.stop_container(name, ContainerStopCause::Probe(kind), seen, grace, now) {
                        let what = if kind == ProbeKind::Liveness { "liveness" } else { "startup" };
                        let restarts = restarts_after_probe(pod, member.role, member.container);
                        let tail = if restarts { ", will be restarted" } else { "" };
                        let message = format!("Container {name} failed {what} probe{tail}");
                        events.push(Event::normal("Killing", name, message));
                    }
                }
            }
            Ok(_) => {
                counters.failures = 0;
                counters.successes = (counters.successes + 1).min(probe.success_threshold.max(1));
                if counters.successes >= probe.success_threshold.max(1) {
                    counters.passed = Some(true);
                    counters.message = None;
                    if kind == ProbeKind::Startup && instance.started.is_none() {
                        instance.started = Some(*now);
                    }
                }
            }
            // A probe that could not be carried out counts neither way, as in the kubelet.
            Err(failure) => {
                let message =
                    format!("{kind} probe errored and resulted in Unknown state: {}", failure.message);
                events.push(Event::warning("Unhealthy", name, message));
            }
        }
    }

    /// The incarnation `attempt`, if it is the newest one.
    pub(super) fn instance_mut(&mut self, name: &str, attempt: u32) -> Option<&mut InstanceMemory> {
        self.containers.get_mut(name)?.current.as_mut().filter(|current| current.attempt == attempt)
    }
}

fn already_present(image: &str) -> String {
    format!("Container image {image:?} already present on machine and can be accessed by the pod")
}
