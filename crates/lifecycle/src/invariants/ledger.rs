//! What the [`Ledger`] keeps of a Pod's life, and the rules by which it expects things, from the documents.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use model::pod::{ExitCodeOperator, Pod, RestartPolicy, RestartRuleAction};

use crate::action::{Action, Done, Failure, ProbeKind, Reason, Retry};
use crate::decide::Decision;
use crate::memory::Fact;
use crate::observation::{Instance, InstanceState, Observation, Sandbox};
use crate::policy::Policy;
use crate::role::{Member, Role, mains, member, members};
use crate::schedule::probe_of;
use crate::status::Phase;
use crate::time::{Now, SECOND, seconds};

/// One Pod's life as seen from outside. Clone it with the Memory when a crash is simulated.
#[derive(Debug, Clone)]
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
}

/// Everything stops.
#[derive(Debug, Clone)]
pub(super) struct Teardown {
    pub(super) is_final: bool,
    pub(super) restarts_all: bool,
    pub(super) at_once: bool,
    pub(super) deadline_boot_nanos: u64,
}

/// A step that failed: how often in a row, and when it may be tried again.
#[derive(Debug, Clone, Default)]
pub(super) struct StepFailure {
    pub(super) count: u32,
    pub(super) due_boot_nanos: u64,
}

impl StepFailure {
    fn fail(&mut self, failure: &Failure, initial_seconds: u64, max_seconds: u64, now: &Now) {
        self.count += 1;
        let delay = seconds(initial_seconds).saturating_mul(1 << (self.count - 1).min(30));
        self.due_boot_nanos = match failure.retry {
            Retry::Backoff => now.boot_nanos.saturating_add(delay.min(seconds(max_seconds))),
            Retry::OnChange => u64::MAX,
        };
    }
}

/// Of a container that the Pod does not have.
static UNKNOWN: LazyLock<Track> = LazyLock::new(Track::default);

/// One container's life.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    pub(super) attempt: Option<u32>,
    pub(super) image: String,
    pub(super) first_of_run: u32,
    pub(super) running_since: Option<Now>,
    pub(super) end: Option<End>,
    pub(super) restarts_in_row: u32,
    pub(super) restart_requested: bool,
    /// An init container that succeeded in this run, or a sidecar that started in it.
    pub(super) passed_in_run: bool,
    pub(super) post_start_done: bool,
    pub(super) pre_stop_done: bool,
    pub(super) started: Option<Now>,
    pub(super) signalled_at: Option<Now>,
    pub(super) kill_done: bool,
    /// The end of its grace, when it is stopped alone.
    pub(super) alone: Option<u64>,
    pub(super) failures: BTreeMap<ProbeKind, u32>,
    pub(super) probed_at: BTreeMap<ProbeKind, Now>,
    pub(super) successes: u32,
    pub(super) create_failure: StepFailure,
    pub(super) pull_failure: StepFailure,
    pub(super) pulled: Option<(u32, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) code: i32,
    pub(super) finished_at: Now,
}

impl Track {
    /// When the next incarnation may start.
    pub(super) fn restart_due(&self, policy: &Policy, now: &Now) -> u64 {
        let Some(end) = self.end.as_ref().filter(|end| end.finished_at.boot_id == now.boot_id) else {
            return 0;
        };
        if self.restart_requested || self.restarts_in_row == 0 {
            return 0;
        }
        let doubled = seconds(policy.restart.initial_seconds) << (self.restarts_in_row - 1).min(20);
        end.finished_at.boot_nanos.saturating_add(doubled.min(seconds(policy.restart.max_seconds)))
    }

    fn begin(&mut self, attempt: u32, image: &str, running_since: Option<Now>) {
        let is_restart = self.attempt.is_some();
        let restarts_in_row = match self.restart_requested {
            true => 0,
            false => self.restarts_in_row + u32::from(is_restart),
        };
        *self = Track {
            attempt: Some(attempt),
            image: image.to_owned(),
            first_of_run: self.first_of_run,
            passed_in_run: self.passed_in_run,
            pulled: self.pulled.take(),
            restarts_in_row,
            running_since,
            ..Track::default()
        };
    }

    fn finish(&mut self, code: i32, finished_at: Now, policy: &Policy) {
        let ran_nanos = self.running_since.map_or(0, |since| finished_at.nanos_since(&since));
        if ran_nanos >= policy.restart_reset_seconds.saturating_mul(SECOND) {
            self.restarts_in_row = 0;
        }
        self.end = Some(End { code, finished_at });
        self.running_since = None;
        self.alone = None;
    }

    pub(super) fn ended_in_run(&self) -> Option<&End> {
        self.end.as_ref().filter(|_| self.attempt.is_some_and(|attempt| attempt >= self.first_of_run))
    }
}

/// The action that the first matching rule of a container asks for.
fn rule(member: &Member<'_>, code: i32) -> Option<RestartRuleAction> {
    let matching = member
        .container
        .restart_policy_rules
        .iter()
        .find(|rule| rule.codes.contains(&code) == (rule.operator == ExitCodeOperator::In));
    matching.map(|rule| rule.action)
}

/// Whether a container that ended with `code` is not to start again.
pub(super) fn stays_ended(pod: &Pod, member: &Member<'_>, code: i32) -> bool {
    if member.role == Role::Sidecar {
        return false;
    }
    match rule(member, code) {
        Some(RestartRuleAction::RestartAllContainers) => return false,
        Some(RestartRuleAction::Restart) if member.role == Role::Main || code != 0 => return false,
        _ => {}
    }
    let policy = member.container.restart_policy.unwrap_or(pod.spec.restart_policy);
    policy == RestartPolicy::Never
        || code == 0 && (policy == RestartPolicy::OnFailure || member.role == Role::Init)
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
                if *fact == Fact::PodChanged {
                    self.note_images(pod, now);
                }
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

    /// An edited image restarts what runs, init containers excepted.
    fn note_images(&mut self, pod: &Pod, now: &Now) {
        if self.teardown.is_some() || self.terminal.is_some() {
            return;
        }
        let until = now.boot_nanos.saturating_add(seconds(pod.spec.termination_grace_period_seconds));
        for member in members(pod).filter(|member| member.role != Role::Init) {
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
            if !wanted || member.role == Role::Init && track.passed_in_run {
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
            self.note_instance(&member, seen.containers.get(member.name()), now);
        }
        let grace = pod.spec.termination_grace_period_seconds;
        match (self.sandbox, seen.sandbox) {
            (None, Sandbox::Ready { attempt }) => {
                self.sandbox = Some(attempt);
                self.setup_failures[1] = StepFailure::default();
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
        let starting = seen.in_flight.iter().any(|action| matches!(action, Action::Start { .. }));
        if !starting && self.tracks.values().all(|track| track.running_since.is_none()) {
            self.begin_new_run(seen.sandbox);
        }
    }

    /// All main containers ended for good, or an init container failed for good.
    fn is_over(&self, pod: &Pod) -> bool {
        let stays = |member: &Member<'_>, end: &End| {
            stays_ended(pod, member, end.code) && !self.track(member.name()).restart_requested
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

    fn begin_new_run(&mut self, sandbox: Sandbox) {
        let Some(teardown) = self.teardown.take_if(|teardown| !teardown.is_final) else { return };
        self.reruns_all = teardown.restarts_all;
        if self.sandbox.is_some_and(|attempt| sandbox != (Sandbox::Ready { attempt })) {
            self.sandbox = None;
        }
        for track in self.tracks.values_mut() {
            track.first_of_run = track.attempt.map_or(0, |attempt| attempt.saturating_add(1));
            track.passed_in_run = false;
            track.restart_requested = false;
        }
    }

    fn note_instance(&mut self, member: &Member<'_>, instance: Option<&Instance>, now: &Now) {
        let policy = self.policy;
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
            track.begin(instance.attempt, &member.container.image, Some(started_at));
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
        let grace = pod.spec.termination_grace_period_seconds;
        let stops_alone = self.teardown.is_none() && self.terminal.is_none();
        let (policy, alone_until) =
            (self.policy, |grace| stops_alone.then(|| now.boot_nanos.saturating_add(seconds(grace))));
        let Some(member) = action.container().and_then(|name| member(pod, name)) else { return };
        let Some(track) = self.tracks.get_mut(member.name()) else { return };
        match (action, result) {
            (Action::Pull { .. }, Err(failure)) => {
                track.pull_failure.fail(failure, policy.pull.initial_seconds, policy.pull.max_seconds, now);
            }
            (Action::Pull { attempt, .. }, Ok(_)) => {
                track.pull_failure = StepFailure::default();
                track.pulled = Some((*attempt, member.container.image.clone()));
            }
            (Action::Start { .. }, Ok(_)) => track.create_failure = StepFailure::default(),
            (Action::Start { attempt, .. }, Err(failure)) => match failure.reason {
                Reason::StartError | Reason::RunContainerError => {
                    if track.attempt.is_none_or(|known| known < *attempt) {
                        track.begin(*attempt, &member.container.image, None);
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
                track.probed_at.insert(*kind, *now);
                let failures = track.failures.entry(*kind).or_default();
                match result {
                    Ok(Done::Unhealthy { .. }) => {
                        *failures += 1;
                        if *kind == ProbeKind::Startup {
                            track.successes = 0;
                        }
                        let own = probe.termination_grace_period_seconds.unwrap_or(grace);
                        let fatal = *failures >= probe.failure_threshold && *kind != ProbeKind::Readiness;
                        if fatal && track.running_since.is_some() {
                            track.alone = track.alone.or(alone_until(own));
                        }
                    }
                    Ok(_) => {
                        *failures = 0;
                        if *kind == ProbeKind::Startup {
                            track.successes += 1;
                            if track.successes >= probe.success_threshold {
                                track.started = track.started.or(Some(*now));
                            }
                        }
                    }
                    Err(_) => {}
                }
            }
            _ => {}
        }
    }
}
