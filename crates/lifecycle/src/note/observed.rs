//! What follows from seeing the world: incarnations that appeared, ended or were lost, a dead sandbox, the
//! init containers that are behind us, the causes to stop everything, and the outcome.

use model::pod::{Pod, Resources, RestartPolicy};

use crate::action::Action;
use crate::event::Event;
use crate::memory::{
    ConditionMemory, ContainerMemory, Ended, InstanceMemory, Memory, Outcome, ProbeMemory, StopCause,
};
use crate::observation::{Exit, Instance, InstanceState, Observation, Sandbox};
use crate::report;
use crate::resize;
use crate::restart::{Verdict, verdict};
use crate::role::{Member, Role, mains, member, members};
use crate::status::{Phase, TerminatedReason};
use crate::time::{Now, SECOND, seconds};

impl Memory {
    pub(super) fn note_observed(
        &mut self,
        pod: &Pod,
        seen: &Observation,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        if !seen.pod_ips.is_empty() {
            self.pod_ips.clone_from(&seen.pod_ips);
        }
        for member in members(pod) {
            if !self.containers.contains_key(member.name()) {
                self.containers.insert(member.name().to_owned(), ContainerMemory::default());
            }
            if let (Some(image), Some(memory)) =
                (seen.images.get(member.name()), self.containers.get_mut(member.name()))
                && memory.image_id != image.image_id
            {
                memory.image_id.clone_from(&image.image_id);
            }
            self.note_instance(pod, &member, seen.containers.get(member.name()), now, events);
        }
        self.note_sandbox(pod, seen.sandbox, now, events);
        self.note_resize_in_place(pod, events);
        self.note_edited_images(pod, now, events);
        self.advance(pod);
        self.note_stop_causes(pod, now, events);
        if !self.is_anything_to_stop_alive(pod, seen) {
            self.conclude_stop(pod, seen.sandbox);
        }
        let since_wall_nanos = now.wall_nanos;
        for (kind, status) in report::condition_values(pod, self, seen) {
            match self.conditions.get_mut(kind) {
                Some(known) if known.status == status => {}
                Some(known) => *known = ConditionMemory { status, since_wall_nanos },
                None => {
                    self.conditions.insert(kind.to_owned(), ConditionMemory { status, since_wall_nanos });
                }
            }
        }
    }

    /// Brings what is remembered of a container up to what is seen of it.
    fn note_instance(
        &mut self,
        pod: &Pod,
        member: &Member<'_>,
        instance: Option<&Instance>,
        now: &Now,
        events: &mut Vec<Event>,
    ) {
        let name = member.name();
        let known = self.container(name).current.as_ref().map(|current| current.attempt);
        let is_newer = |i: &&Instance| known.is_none_or(|known| i.attempt >= known);
        let Some(instance) = instance.filter(is_newer) else {
            // What ran and is not there any more ended unseen.
            if self.container(name).running().is_some() {
                self.end_instance(pod, name, self.lost(name, now), events);
            }
            return;
        };
        if known.is_none_or(|known| instance.attempt > known) {
            if self.container(name).running().is_some() {
                self.end_instance(pod, name, self.lost(name, now), events);
            }
            let resources = self.allocated.of_container(member.container).clone();
            let memory = self.containers.entry(name.to_owned()).or_default();
            let obtained = memory.pulled.as_ref().map(|(_, image)| image.clone());
            let image = obtained.unwrap_or_else(|| member.container.image.clone());
            memory.begin_instance(instance.attempt, &image, resources, Some(instance));
            if let Some(current) = &mut memory.current {
                current.post_start_done = member.container.post_start.is_none();
            }
        }
        if let InstanceState::Exited { started_at, finished_at, exit } = &instance.state
            && self.container(name).running().is_some()
        {
            let ended = ended_from(exit, *started_at, *finished_at, &instance.container_id);
            self.end_instance(pod, name, ended, events);
        }
        if let Some(current) = self.containers.get_mut(name).and_then(|memory| memory.current.as_mut())
            && current.ended.is_none()
            && current.started.is_none()
            && current.post_start_done
            && member.container.startup_probe.is_none()
        {
            current.started = Some(*now);
        }
    }

    /// How the running incarnation must be told when it is gone without a trace.
    fn lost(&self, name: &str, now: &Now) -> Ended {
        let current = self.container(name).current.as_ref();
        Ended {
            code: 137,
            signal: None,
            reason: TerminatedReason::ContainerStatusUnknown,
            message: Some("The container could not be located. It used to be Running".to_owned()),
            started_at: current.and_then(|current| current.started_at),
            finished_at: *now,
            container_id: current.and_then(|current| current.container_id.clone()),
            stopped_for: None,
        }
    }

    /// Notes the end of the newest incarnation and whether the row of restarts goes on.
    pub(super) fn end_instance(&mut self, pod: &Pod, name: &str, ended: Ended, events: &mut Vec<Event>) {
        let reset_nanos = self.policy.restart_reset_seconds.saturating_mul(SECOND);
        let restart = self.policy.restart;
        let ending = self.stopping.is_some();
        let Some(memory) = self.containers.get_mut(name) else { return };
        let Some(current) = &mut memory.current else { return };
        // A long run ends the row; so does a reboot, which is not the container's fault.
        let ran_nanos = ended.started_at.map_or(0, |started_at| ended.finished_at.nanos_since(&started_at));
        if ran_nanos >= reset_nanos {
            memory.streak = 0;
        }
        let stopped_for = current.stopping.take();
        let ended = current.ended.insert(Ended { stopped_for, ..ended });
        let Some(member) = member(pod, name) else { return };
        let restarts = verdict(pod, member.role, member.container, ended) == Verdict::Restart;
        if restarts && !ending && !memory.restart_requested && restart.nanos(memory.streak) > 0 {
            let message = format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                pod.meta.name, pod.meta.namespace, pod.meta.uid
            );
            events.push(Event::warning("BackOff", name, message));
        }
    }

    fn note_sandbox(&mut self, pod: &Pod, sandbox: Sandbox, now: &Now, events: &mut Vec<Event>) {
        if let Sandbox::Ready { attempt } | Sandbox::Dead { attempt } = sandbox {
            self.next_sandbox = self.next_sandbox.max(attempt.saturating_add(1));
        }
        match (self.sandbox, sandbox) {
            (None, Sandbox::Ready { attempt }) => {
                self.sandbox = Some(attempt);
                self.sandbox_failure = None;
                self.pod_cgroup = resize::of_pod(&self.pod_as_allocated(pod));
            }
            (Some(known), seen)
                if seen != (Sandbox::Ready { attempt: known })
                    && self.stopping.is_none()
                    && self.outcome.is_none() =>
            {
                let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
                events.push(Event::pod_normal("SandboxChanged", message));
                let grace = pod.spec.termination_grace_period_seconds;
                self.stop(pod, StopCause::SandboxChanged, grace, now, events);
            }
            _ => {}
        }
    }

    /// Counts the init containers that are behind us. What is passed once in a run stays passed: a sidecar
    /// that crashes later holds nobody back (k8s#136969).
    fn advance(&mut self, pod: &Pod) {
        while let Some(container) = pod.spec.init_containers.get(self.progress) {
            let Some(instance) = self.container(&container.name).of_this_run() else { return };
            let passed = match &instance.ended {
                None => container.is_sidecar() && instance.started.is_some(),
                Some(ended) => {
                    !container.is_sidecar()
                        && ended.code == 0
                        && !self.container(&container.name).restart_requested
                        && verdict(pod, Role::Init, container, ended) == Verdict::Stay
                }
            };
            if !passed {
                return;
            }
            self.progress += 1;
        }
    }

    fn note_stop_causes(&mut self, pod: &Pod, now: &Now, events: &mut Vec<Event>) {
        if self.outcome.is_some() || self.stopping.as_ref().is_some_and(|stopping| stopping.why.is_final()) {
            return;
        }
        let grace = pod.spec.termination_grace_period_seconds;
        if let Some(limit_seconds) = pod.spec.active_deadline_seconds {
            let end = i128::from(self.admitted_at.wall_nanos) + i128::from(seconds(limit_seconds));
            if i128::from(now.wall_nanos) >= end {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                events.push(Event::pod_normal("DeadlineExceeded", message));
                return self.stop(pod, StopCause::DeadlineExceeded, grace, now, events);
            }
        }
        if let Some(container) = self.container_that_restarts_all(pod) {
            if !matches!(&self.stopping, Some(s) if matches!(s.why, StopCause::RestartAll { .. })) {
                self.stop(pod, StopCause::RestartAll { container }, grace, now, events);
            }
            return;
        }
        if let Some(container) = self.failed_init_container(pod) {
            return self.stop(pod, StopCause::InitFailed { container }, grace, now, events);
        }
        if mains(pod).all(|main| self.is_main_finished(pod, &main)) {
            self.stop(pod, StopCause::Completed, grace, now, events);
        }
    }

    fn container_that_restarts_all(&self, pod: &Pod) -> Option<String> {
        let asks = |member: &Member<'_>| {
            let ended = self.container(member.name()).of_this_run().and_then(|i| i.ended.as_ref());
            ended.is_some_and(|ended| {
                verdict(pod, member.role, member.container, ended) == Verdict::RestartAll
            })
        };
        members(pod).find(asks).map(|member| member.name().to_owned())
    }

    fn failed_init_container(&self, pod: &Pod) -> Option<String> {
        let container = pod.spec.init_containers.get(self.progress).filter(|c| !c.is_sidecar())?;
        let memory = self.container(&container.name);
        let ended = memory.of_this_run()?.ended.as_ref()?;
        let stays = verdict(pod, Role::Init, container, ended) == Verdict::Stay;
        (stays && ended.code != 0 && !memory.restart_requested).then(|| container.name.clone())
    }

    /// Whether a main container has ended and stays so.
    pub(crate) fn is_main_finished(&self, pod: &Pod, main: &Member<'_>) -> bool {
        let memory = self.container(main.name());
        let counts = !self.rerun_completed || memory.of_this_run().is_some();
        counts
            && !memory.restart_requested
            && memory
                .ended()
                .is_some_and(|ended| verdict(pod, Role::Main, main.container, ended) == Verdict::Stay)
    }

    fn is_anything_to_stop_alive(&self, pod: &Pod, seen: &Observation) -> bool {
        let counts = |name: &str| !member(pod, name).is_some_and(|m| self.spares(m.role, seen.sandbox));
        let is_starting =
            |action: &Action| matches!(action, Action::Start { container, .. } if counts(container));
        self.containers.iter().any(|(name, memory)| memory.running().is_some() && counts(name))
            || seen.in_flight.iter().any(is_starting)
    }

    /// Whether the stop that is under way leaves containers of that role alone.
    pub(crate) fn spares(&self, role: Role, sandbox: Sandbox) -> bool {
        let stands = self.sandbox.is_some_and(|attempt| sandbox == (Sandbox::Ready { attempt }));
        stands && self.stopping.as_ref().is_some_and(|stopping| stopping.why.spares(role))
    }

    /// Everything is stopped: the Pod ends, or a new run begins.
    fn conclude_stop(&mut self, pod: &Pod, sandbox: Sandbox) {
        let spares_ephemeral = self.spares(Role::Ephemeral, sandbox);
        let Some(mut stopping) = self.stopping.take() else { return };
        if stopping.why == StopCause::SandboxChanged && !self.may_start_again(pod) {
            stopping.why = StopCause::SandboxLost;
        }
        if stopping.why.is_final() {
            if self.outcome.is_none() {
                self.outcome = Some(self.outcome_of(pod, &stopping.why));
            }
            self.stopping = Some(stopping);
            return;
        }
        if self.sandbox.is_some_and(|attempt| sandbox != (Sandbox::Ready { attempt })) {
            self.sandbox = None;
        }
        self.rerun_completed = matches!(stopping.why, StopCause::RestartAll { .. });
        self.progress = 0;
        let is_spared =
            |name: &str| spares_ephemeral && member(pod, name).is_some_and(|m| m.role == Role::Ephemeral);
        for (_, memory) in self.containers.iter_mut().filter(|(name, _)| !is_spared(name)) {
            memory.first_attempt = memory.next_attempt();
            memory.restart_requested = false;
        }
    }

    /// Whether a lost sandbox is replaced. With `restartPolicy: Never` nothing that ran may start again,
    /// unless a container's own policy or rules say so.
    fn may_start_again(&self, pod: &Pod) -> bool {
        let nothing_started = self.containers.values().all(|container| container.current.is_none());
        let may_restart = |member: Member<'_>| {
            self.container(member.name()).ended().is_some_and(|ended| {
                member.role != Role::Sidecar
                    && verdict(pod, member.role, member.container, ended) != Verdict::Stay
            })
        };
        pod.spec.restart_policy != RestartPolicy::Never || nothing_started || members(pod).any(may_restart)
    }

    fn outcome_of(&self, pod: &Pod, why: &StopCause) -> Outcome {
        let plain = |phase| Outcome { phase, reason: None, message: None };
        match why {
            StopCause::DeadlineExceeded => Outcome {
                phase: Phase::Failed,
                reason: Some("DeadlineExceeded".to_owned()),
                message: Some("Pod was active on the node longer than the specified deadline".to_owned()),
            },
            StopCause::SandboxLost => Outcome {
                phase: Phase::Failed,
                reason: None,
                message: Some("the Pod's sandbox died, and restartPolicy Never forbids a new one".to_owned()),
            },
            StopCause::Evicted { why, message } => Outcome {
                phase: Phase::Failed,
                reason: Some(why.reason().to_owned()),
                message: Some(message.clone()),
            },
            StopCause::InitFailed { .. } => plain(Phase::Failed),
            _ => {
                let succeeded = |main: Member<'_>| {
                    self.container(main.name()).ended().is_some_and(|ended| ended.code == 0)
                };
                plain(if mains(pod).all(succeeded) { Phase::Succeeded } else { Phase::Failed })
            }
        }
    }
}

fn ended_from(exit: &Exit, started_at: Now, finished_at: Now, container_id: &str) -> Ended {
    let reason = if exit.oom_killed {
        TerminatedReason::OOMKilled
    } else if exit.code == 0 {
        TerminatedReason::Completed
    } else {
        TerminatedReason::Error
    };
    Ended {
        code: exit.code,
        signal: exit.signal,
        reason,
        message: exit.message.clone(),
        started_at: Some(started_at),
        finished_at,
        container_id: Some(container_id.to_owned()),
        stopped_for: None,
    }
}

impl ContainerMemory {
    /// A new incarnation has appeared; what belonged to the one before is over.
    pub(super) fn begin_instance(
        &mut self,
        attempt: u32,
        image: &str,
        resources: Resources,
        seen: Option<&Instance>,
    ) {
        if let Some(before) = self.current.take() {
            self.previous = before.ended.or(self.previous.take());
            self.streak = if self.restart_requested { 0 } else { self.streak.saturating_add(1) };
        }
        self.restart_requested = false;
        self.create_failure = None;
        self.pull_failure = None;
        let started_at = seen.map(|instance| match &instance.state {
            InstanceState::Running { started_at } | InstanceState::Exited { started_at, .. } => *started_at,
        });
        self.current = Some(InstanceMemory {
            attempt,
            image: image.to_owned(),
            resources,
            container_id: seen.map(|instance| instance.container_id.clone()),
            user: seen.and_then(|instance| instance.user.clone()),
            stop_signal: seen.and_then(|instance| instance.stop_signal.clone()),
            started_at,
            ended: None,
            post_start_done: false,
            pre_stop_done: false,
            signalled_at: None,
            killed: false,
            kill_failure: None,
            stopping: None,
            started: None,
            startup: ProbeMemory::default(),
            liveness: ProbeMemory::default(),
            readiness: ProbeMemory::default(),
        });
    }
}
