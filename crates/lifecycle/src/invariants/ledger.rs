//! What the [`Ledger`] keeps of a Pod's life, and the rules by which it expects things, from the documents.

use std::collections::BTreeMap;

use model::pod::{Pod, RestartRuleAction};
use serde::{Deserialize, Serialize};

use super::resources::Resizing;
use super::track::{End, StepFailure, Track, UNKNOWN, rule, stays_ended};
use crate::action::{Action, Done, Failure, ProbeKind, Reason};
use crate::decide::Decision;
use crate::memory::Fact;
use crate::observation::{Instance, InstanceState, Observation, Sandbox};
use crate::policy::Policy;
use crate::role::{Member, Role, mains, member, members};
use crate::schedule::probe_of;
use crate::status::Phase;
use crate::time::{Now, seconds};

/// One Pod's life as seen from outside. Saved with the Memory, and cloned with it when a crash is simulated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ledger {
    pub(super) policy: Policy,
    pub(super) admitted_at: Now,
    pub(super) stop_requested: bool,
    pub(super) terminal: Option<Phase>,
    pub(super) sandbox: Option<u32>,
    /// The present run repeats what had completed.
    pub(super) reruns_all: bool,
    pub(super) teardown: Option<Teardown>,
    pub(super) tracks: BTreeMap<String, Track>,
    /// When volumes, sandbox and removal may be tried again after a failure.
    pub(super) setup_failures: [StepFailure; 3],
    pub(super) resizing: Resizing,
}

/// Everything stops.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Teardown {
    pub(super) is_final: bool,
    pub(super) restarts_all: bool,
    pub(super) at_once: bool,
    pub(super) deadline_boot_nanos: u64,
}

impl Ledger {
    /// The ledger of a Pod that has just been admitted.
    pub fn new(pod: &Pod, policy: Policy, now: Now) -> Ledger {
        Ledger {
            policy,
            admitted_at: now,
            stop_requested: false,
            terminal: None,
            sandbox: None,
            reruns_all: false,
            teardown: None,
            tracks: members(pod).map(|member| (member.name().to_owned(), Track::default())).collect(),
            setup_failures: Default::default(),
            resizing: Resizing::new(pod),
        }
    }

    /// Takes a fact in; to be called for every fact that the Memory is told, in the same order.
    pub fn note(&mut self, pod: &Pod, fact: &Fact, now: &Now) {
        match fact {
            Fact::Observed(seen) => self.note_observed(pod, seen, now),
            Fact::Completed { action, result } => self.note_completed(pod, action, result, now),
            Fact::StopRequested { grace_seconds } => {
                self.stop_requested = true;
                let grace = grace_seconds.unwrap_or(pod.spec.termination_grace_period_seconds);
                self.tear_down(true, false, grace, now);
            }
            Fact::Evicted { grace_seconds, .. } => {
                let grace = grace_seconds.unwrap_or(pod.spec.termination_grace_period_seconds);
                self.tear_down(true, false, grace, now);
            }
            Fact::RestartRequested { container } => self.note_restart(pod, container.as_deref(), now),
            Fact::DependencyChanged | Fact::PodChanged => {
                self.resizing.retry_now(pod);
                self.setup_failures.iter_mut().for_each(|failure| failure.due_boot_nanos = 0);
                for track in self.tracks.values_mut() {
                    track.create_failure.due_boot_nanos = 0;
                    track.pull_failure.due_boot_nanos = 0;
                }
            }
            Fact::PolicyChanged(policy) => self.policy = *policy,
        }
    }

    pub(super) fn track(&self, name: &str) -> &Track {
        self.tracks.get(name).unwrap_or(&UNKNOWN)
    }

    pub(super) fn index_of(&self, pod: &Pod, name: &str) -> usize {
        member(pod, name).map_or(0, |member| member.index)
    }

    /// What a decision promised.
    pub(super) fn take_over(&mut self, decision: &Decision) {
        if decision.status.phase.is_terminal() {
            self.terminal = self.terminal.or(Some(decision.status.phase));
        }
    }

    fn tear_down(&mut self, is_final: bool, restarts_all: bool, grace_seconds: u64, now: &Now) {
        if self.terminal.is_some() {
            return;
        }
        let deadline = now.boot_nanos.saturating_add(seconds(grace_seconds));
        let teardown = self.teardown.get_or_insert(Teardown {
            is_final: false,
            restarts_all: false,
            at_once: false,
            deadline_boot_nanos: deadline,
        });
        teardown.is_final |= is_final;
        teardown.restarts_all |= restarts_all;
        teardown.at_once |= restarts_all || grace_seconds == 0;
        teardown.deadline_boot_nanos = teardown.deadline_boot_nanos.min(deadline);
    }

    /// What runs another image than is asked for restarts, init containers excepted.
    fn note_images(&mut self, pod: &Pod, now: &Now) {
        if self.teardown.is_some() || self.terminal.is_some() {
            return;
        }
        let until = now.boot_nanos.saturating_add(seconds(pod.spec.termination_grace_period_seconds));
        for member in members(pod).filter(|member| matches!(member.role, Role::Main | Role::Sidecar)) {
            let Some(track) = self.tracks.get_mut(member.name()) else { continue };
            if track.running_since.is_some() && track.alone.is_none() && track.image != member.container.image
            {
                track.alone = Some(until);
                track.restart_requested = true;
            }
        }
    }

    fn note_restart(&mut self, pod: &Pod, only: Option<&str>, now: &Now) {
        if self.terminal.is_some() || self.teardown.as_ref().is_some_and(|teardown| teardown.is_final) {
            return;
        }
        let grace = pod.spec.termination_grace_period_seconds;
        let is_tearing_down = self.teardown.is_some();
        for member in members(pod) {
            let wanted = only.map_or(member.role != Role::Init, |only| member.name() == only);
            let Some(track) = self.tracks.get_mut(member.name()) else { continue };
            let is_behind = member.role == Role::Init && track.passed_in_run;
            if !wanted || is_behind || member.role == Role::Ephemeral {
                continue;
            }
            track.restarts_in_row = 0;
            track.create_failure.due_boot_nanos = 0;
            track.pull_failure.due_boot_nanos = 0;
            if track.attempt.is_some_and(|attempt| attempt >= track.first_of_run) {
                track.restart_requested = true;
            }
            if track.running_since.is_some() && !is_tearing_down {
                track.alone = track.alone.or(Some(now.boot_nanos.saturating_add(seconds(grace))));
            }
        }
    }

    fn note_observed(&mut self, pod: &Pod, seen: &Observation, now: &Now) {
        for member in members(pod) {
            if !self.tracks.contains_key(member.name()) {
                self.tracks.insert(member.name().to_owned(), Track::default());
            }
            self.note_instance(&member, seen.containers.get(member.name()), now);
        }
        self.note_in_place(pod);
        self.note_images(pod, now);
        let grace = pod.spec.termination_grace_period_seconds;
        match (self.sandbox, seen.sandbox) {
            (None, Sandbox::Ready { attempt }) => {
                self.sandbox = Some(attempt);
                self.setup_failures[1] = StepFailure::default();
                self.resizing.take_sandbox();
            }
            (Some(known), seen) if seen != (Sandbox::Ready { attempt: known }) && self.teardown.is_none() => {
                self.tear_down(false, false, grace, now);
            }
            _ => {}
        }
        if !self.teardown.as_ref().is_some_and(|teardown| teardown.is_final) {
            let asks = |member: &Member<'_>| {
                self.track(member.name()).ended_in_run().is_some_and(|end| {
                    rule(member, end.code) == Some(RestartRuleAction::RestartAllContainers)
                })
            };
            let deadline = pod
                .spec
                .active_deadline_seconds
                .map(|limit| i128::from(self.admitted_at.wall_nanos) + i128::from(seconds(limit)));
            if deadline.is_some_and(|deadline| deadline <= i128::from(now.wall_nanos)) {
                self.tear_down(true, false, grace, now);
            } else if members(pod).any(|member| asks(&member)) {
                self.tear_down(false, true, grace, now);
            } else if self.is_over(pod) {
                self.tear_down(true, false, grace, now);
            }
        }
        let counts = |name: &str| !self.is_spared(pod, name, seen.sandbox);
        let is_start =
            |action: &Action| matches!(action, Action::Start { container, .. } if counts(container));
        let starting = seen.in_flight.iter().any(is_start);
        if !starting && self.tracks.iter().all(|(name, track)| track.running_since.is_none() || !counts(name))
        {
            self.begin_new_run(pod, seen.sandbox);
        }
    }

    /// Ephemeral containers go on while all others restart in the same sandbox (KEP-5532).
    pub(super) fn is_spared(&self, pod: &Pod, name: &str, sandbox: Sandbox) -> bool {
        let stands = self.sandbox.is_some_and(|attempt| sandbox == (Sandbox::Ready { attempt }));
        let restarts =
            self.teardown.as_ref().is_some_and(|teardown| teardown.restarts_all && !teardown.is_final);
        stands && restarts && member(pod, name).is_some_and(|member| member.role == Role::Ephemeral)
    }

    /// All main containers ended for good, or an init container failed for good.
    fn is_over(&self, pod: &Pod) -> bool {
        let stays = |member: &Member<'_>, end: &End| {
            stays_ended(pod, member, end) && !self.track(member.name()).restart_requested
        };
        let init_failed = members(pod).any(|member| {
            let end = self.track(member.name()).ended_in_run();
            member.role == Role::Init && end.is_some_and(|end| end.code != 0 && stays(&member, end))
        });
        let done = |main: Member<'_>| {
            let track = self.track(main.name());
            let end = if self.reruns_all { track.ended_in_run() } else { track.end.as_ref() };
            end.is_some_and(|end| stays(&main, end))
        };
        init_failed || mains(pod).all(done)
    }

    fn begin_new_run(&mut self, pod: &Pod, sandbox: Sandbox) {
        let spared: Vec<String> =
            self.tracks.keys().filter(|name| self.is_spared(pod, name, sandbox)).cloned().collect();
        let Some(teardown) = self.teardown.take_if(|teardown| !teardown.is_final) else { return };
        self.reruns_all = teardown.restarts_all;
        if self.sandbox.is_some_and(|attempt| sandbox != (Sandbox::Ready { attempt })) {
            self.sandbox = None;
        }
        for (_, track) in self.tracks.iter_mut().filter(|(name, _)| !spared.contains(name)) {
            track.first_of_run = track.attempt.map_or(0, |attempt| attempt.saturating_add(1));
            track.passed_in_run = false;
            track.restart_requested = false;
        }
    }

    fn note_instance(&mut self, member: &Member<'_>, instance: Option<&Instance>, now: &Now) {
        let policy = self.policy;
        let granted = self.resizing.granted_to(member).cloned();
        let Some(track) = self.tracks.get_mut(member.name()) else { return };
        let instance =
            instance.filter(|instance| track.attempt.is_none_or(|known| instance.attempt >= known));
        if track.running_since.is_some() && instance.is_none_or(|i| Some(i.attempt) != track.attempt) {
            track.finish(137, *now, &policy);
        }
        let Some(instance) = instance else { return };
        let (InstanceState::Running { started_at } | InstanceState::Exited { started_at, .. }) =
            instance.state;
        if Some(instance.attempt) != track.attempt {
            let obtained = track.pulled.as_ref().map(|(_, image)| image.clone());
            let image = obtained.unwrap_or_else(|| member.container.image.clone());
            track.begin(instance.attempt, &image, granted.as_ref(), Some(started_at));
            track.post_start_done = member.container.post_start.is_none();
        }
        if let InstanceState::Exited { finished_at, exit, .. } = &instance.state
            && track.running_since.is_some()
        {
            track.finish(exit.code, *finished_at, &policy);
            track.passed_in_run |= member.role == Role::Init
                && exit.code == 0
                && !track.restart_requested
                && rule(member, 0) != Some(RestartRuleAction::RestartAllContainers);
        }
        let has_startup = member.container.startup_probe.is_some();
        if track.running_since.is_some() && track.post_start_done && !has_startup {
            track.started = track.started.or(Some(*now));
        }
        track.passed_in_run |= member.role == Role::Sidecar && track.started.is_some() && track.end.is_none();
    }

    /// One arm for each action: the length is that of the list of actions.
    fn note_completed(&mut self, pod: &Pod, action: &Action, result: &Result<Done, Failure>, now: &Now) {
        let setup = self.policy.setup;
        if matches!(result, Err(Failure { reason: Reason::Canceled, .. })) {
            return;
        }
        let step = match action {
            Action::PrepareVolumes { .. } => Some(0),
            Action::CreateSandbox { .. } => Some(1),
            Action::RemoveSandbox { .. } | Action::RemoveVolumes => Some(2),
            _ => None,
        };
        if let Some(step) = step {
            match result {
                Err(failure) => {
                    self.setup_failures[step].fail(failure, setup.initial_seconds, setup.max_seconds, now);
                }
                Ok(_) if step != 1 => self.setup_failures[step] = StepFailure::default(),
                Ok(_) => {}
            }
            return;
        }
        if self.note_resize(pod, action, result, now) {
            return;
        }
        let grace = pod.spec.termination_grace_period_seconds;
        let stops_alone = self.teardown.is_none() && self.terminal.is_none();
        let (policy, alone_until) =
            (self.policy, |grace| stops_alone.then(|| now.boot_nanos.saturating_add(seconds(grace))));
        let Some(member) = action.container().and_then(|name| member(pod, name)) else { return };
        let track = self.tracks.entry(member.name().to_owned()).or_default();
        match (action, result) {
            (Action::Pull { .. }, Err(failure)) => {
                track.pull_failure.fail(failure, policy.pull.initial_seconds, policy.pull.max_seconds, now);
            }
            (Action::Pull { attempt, image, .. }, Ok(_)) => {
                track.pull_failure = StepFailure::default();
                track.pulled = Some((*attempt, image.clone()));
            }
            (Action::Start { .. }, Ok(_)) => track.create_failure = StepFailure::default(),
            (Action::Start { attempt, .. }, Err(failure)) => match failure.reason {
                Reason::StartError | Reason::RunContainerError => {
                    if track.attempt.is_none_or(|known| known < *attempt) {
                        track.begin(*attempt, &member.container.image, None, None);
                        track.finish(128, *now, &policy);
                    }
                }
                _ => track.create_failure.fail(failure, setup.initial_seconds, setup.max_seconds, now),
            },
            (
                Action::PostStart { attempt, .. }
                | Action::PreStop { attempt, .. }
                | Action::Signal { attempt, .. }
                | Action::Kill { attempt, .. }
                | Action::Probe { attempt, .. },
                _,
            ) if track.attempt != Some(*attempt) => {}
            (Action::PostStart { .. }, Ok(_)) => track.post_start_done = true,
            (Action::PostStart { .. }, Err(_)) if track.running_since.is_some() => {
                track.alone = track.alone.or(alone_until(grace));
            }
            (Action::PreStop { .. }, _) => track.pre_stop_done = true,
            (Action::Signal { .. }, _) => track.signalled_at = track.signalled_at.or(Some(*now)),
            (Action::Kill { .. }, _) => track.kill_done = true,
            (Action::Probe { kind, .. }, result) => {
                let Some(probe) = probe_of(member.container, *kind) else { return };
                let own = probe.termination_grace_period_seconds.unwrap_or(grace);
                track.note_probe(probe, *kind, result, now);
                let is_fatal = *kind != ProbeKind::Readiness
                    && track.failures.get(kind).is_some_and(|failures| *failures >= probe.failure_threshold);
                if is_fatal && track.running_since.is_some() && track.alone.is_none() {
                    track.alone = alone_until(own);
                    track.fails_probe = track.alone.is_some();
                }
            }
            _ => {}
        }
    }
}
