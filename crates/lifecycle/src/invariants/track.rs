//! What the [`super::Ledger`] keeps of one container, and whether one that ended may start again.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use model::pod::{ExitCodeOperator, Pod, Probe, Resources, RestartPolicy, RestartRuleAction};
use serde::{Deserialize, Serialize};

use crate::action::{Done, Failure, ProbeKind, Retry};
use crate::policy::Policy;
use crate::role::{Member, Role};
use crate::time::{Now, SECOND, seconds};

/// A step that failed: how often in a row, and when it may be tried again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StepFailure {
    pub(super) count: u32,
    pub(super) due_boot_nanos: u64,
}

impl StepFailure {
    pub(super) fn fail(&mut self, failure: &Failure, initial_seconds: u64, max_seconds: u64, now: &Now) {
        self.count += 1;
        let delay = seconds(initial_seconds).saturating_mul(1 << (self.count - 1).min(30));
        self.due_boot_nanos = match failure.retry {
            Retry::Backoff => now.boot_nanos.saturating_add(delay.min(seconds(max_seconds))),
            Retry::OnChange => u64::MAX,
        };
    }
}

/// Of a container that the Pod does not have.
pub(super) static UNKNOWN: LazyLock<Track> = LazyLock::new(Track::default);

/// One container's life.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// What it is stopped for is a failed probe.
    pub(super) fails_probe: bool,
    /// The end of its grace, when it is stopped alone.
    pub(super) alone: Option<u64>,
    pub(super) failures: BTreeMap<ProbeKind, u32>,
    pub(super) probed_at: BTreeMap<ProbeKind, Now>,
    pub(super) successes: BTreeMap<ProbeKind, u32>,
    pub(super) create_failure: StepFailure,
    pub(super) pull_failure: StepFailure,
    pub(super) pulled: Option<(u32, String)>,
    /// What the readiness probe has made of it.
    pub(super) ready: bool,
    /// What its cgroup has.
    pub(super) cgroup: Resources,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) code: i32,
    /// It was stopped for a failed probe, so `OnFailure` restarts it also with code 0.
    pub(super) failed_probe: bool,
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

    pub(super) fn begin(
        &mut self,
        attempt: u32,
        image: &str,
        cgroup: Option<&Resources>,
        running_since: Option<Now>,
    ) {
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
            cgroup: cgroup.cloned().unwrap_or_default(),
            ..Track::default()
        };
    }

    pub(super) fn finish(&mut self, code: i32, finished_at: Now, policy: &Policy) {
        let ran_nanos = self.running_since.map_or(0, |since| finished_at.nanos_since(&since));
        if ran_nanos >= policy.restart_reset_seconds.saturating_mul(SECOND) {
            self.restarts_in_row = 0;
        }
        let failed_probe = std::mem::take(&mut self.fails_probe);
        self.end = Some(End { code, failed_probe, finished_at });
        self.running_since = None;
        self.alone = None;
    }

    /// Counts what a probe saw; the kubelet counts anew after each answer of the other kind.
    pub(super) fn note_probe(
        &mut self,
        probe: &Probe,
        kind: ProbeKind,
        result: &Result<Done, Failure>,
        now: &Now,
    ) {
        self.probed_at.insert(kind, *now);
        let (failures, successes) =
            (self.failures.entry(kind).or_default(), self.successes.entry(kind).or_default());
        match result {
            Ok(Done::Unhealthy { .. }) => {
                *failures += 1;
                *successes = 0;
                if kind == ProbeKind::Readiness && *failures >= probe.failure_threshold {
                    self.ready = false;
                }
            }
            Ok(_) => {
                *failures = 0;
                *successes += 1;
                let is_passed = *successes >= probe.success_threshold;
                if is_passed && kind == ProbeKind::Startup {
                    self.started = self.started.or(Some(*now));
                }
                self.ready |= is_passed && kind == ProbeKind::Readiness;
            }
            Err(_) => {}
        }
    }

    pub(super) fn ended_in_run(&self) -> Option<&End> {
        self.end.as_ref().filter(|_| self.attempt.is_some_and(|attempt| attempt >= self.first_of_run))
    }
}

/// The action that the first matching rule of a container asks for.
pub(super) fn rule(member: &Member<'_>, code: i32) -> Option<RestartRuleAction> {
    let matching = member
        .container
        .restart_policy_rules
        .iter()
        .find(|rule| rule.codes.contains(&code) == (rule.operator == ExitCodeOperator::In));
    matching.map(|rule| rule.action)
}

/// Whether a container that ended so is not to start again.
pub(super) fn stays_ended(pod: &Pod, member: &Member<'_>, end: &End) -> bool {
    let code = end.code;
    match member.role {
        Role::Sidecar => return false,
        Role::Ephemeral => return true,
        Role::Init | Role::Main => {}
    }
    match rule(member, code) {
        Some(RestartRuleAction::RestartAllContainers) => return false,
        Some(RestartRuleAction::Restart) if member.role == Role::Main || code != 0 => return false,
        _ => {}
    }
    let policy = member.container.restart_policy.unwrap_or(pod.spec.restart_policy);
    policy == RestartPolicy::Never
        || code == 0 && (policy == RestartPolicy::OnFailure && !end.failed_probe || member.role == Role::Init)
}
