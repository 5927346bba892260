//! Invariant 12: safety alone would be kept by doing nothing, so every duty has its "no later than".
//!
//! Each duty is due at an instant. If that has come, its action must be under way or begun in this round;
//! if it has not, `wake_at` must not lie behind it.

use model::pod::ImagePullPolicy;

use super::Round;
use super::track::{Track, stays_ended};
use crate::action::{Action, ProbeKind};
use crate::observation::{Sandbox, Volumes};
use crate::role::{Member, Role, members};
use crate::schedule::probe_of;
use crate::time::seconds;

impl Round<'_> {
    pub(super) fn check_lateness(&mut self) {
        let is_ended = self.decision.status.phase.is_terminal();
        let is_stopping = self.ledger.teardown.is_some();
        if is_ended {
            return self.check_cleaning_up();
        }
        for member in members(self.pod) {
            let track = self.ledger.track(member.name());
            if track.running_since.is_some() {
                if is_stopping || track.alone.is_some() {
                    self.check_stop_of(&member, track);
                }
                self.check_probes_of(&member, track);
                if !is_stopping {
                    self.check_post_start_of(&member, track);
                }
            } else if !is_stopping {
                self.check_start_of(&member, track);
            }
        }
        if !is_stopping {
            self.check_setup();
            self.check_resize_lateness();
        }
        if let Some(limit) = self.pod.spec.active_deadline_seconds
            && !self.ledger.teardown.as_ref().is_some_and(|teardown| teardown.is_final)
        {
            let end = i128::from(self.ledger.admitted_at.wall_nanos) + i128::from(seconds(limit));
            let left = u64::try_from(end - i128::from(self.now.wall_nanos)).unwrap_or(0);
            self.owe(self.now.boot_nanos.saturating_add(left), "activeDeadlineSeconds", |_| false);
        }
    }

    /// A duty: what must be under way once `due` has come.
    pub(super) fn owe(&mut self, due_boot_nanos: u64, what: &str, is: impl Fn(&Action) -> bool) {
        let (now, wake_at) = (self.now.boot_nanos, self.decision.wake_at.as_ref());
        let under_way = self.decision.actions.iter().chain(&self.seen.in_flight).any(is);
        if under_way || due_boot_nanos == u64::MAX {
            return;
        }
        let in_time =
            due_boot_nanos > now && wake_at.is_some_and(|wake_at| wake_at.boot_nanos <= due_boot_nanos);
        self.demand(12, in_time, || match due_boot_nanos > now {
            true => format!("{what}: due at {due_boot_nanos}, but wakes up at {wake_at:?}"),
            false => format!("{what}: due and not begun"),
        });
    }

    fn check_stop_of(&mut self, member: &Member<'_>, track: &Track) {
        let name = member.name();
        let attempt = track.attempt.unwrap_or(0);
        let is_kill = |action: &Action| matches!(action, Action::Kill { container, .. } if container == name);
        if track.kill_done || self.ledger.is_spared(self.pod, name, self.seen.sandbox) {
            return;
        }
        if self.ledger.teardown.as_ref().is_some_and(|teardown| teardown.at_once) {
            return self.owe(0, &format!("KILL of {name}"), is_kill);
        }
        let Some(deadline) = self.deadline(track) else { return };
        if let Some(signalled_at) = track.signalled_at {
            let due = deadline.max(signalled_at.boot_nanos.saturating_add(seconds(2)));
            return self.owe(due, &format!("KILL of {name}"), is_kill);
        }
        let hook = Action::PreStop { container: name.to_owned(), attempt };
        let needs_hook = member.container.pre_stop.is_some() && !track.pre_stop_done;
        if needs_hook && deadline > self.now.boot_nanos {
            self.owe(0, &format!("preStop of {name}"), |action| *action == hook);
            return self.owe(deadline, &format!("signal of {name} at the end of its grace"), |_| false);
        }
        let later = |role: Role, other: &str| {
            matches!(role, Role::Init | Role::Main)
                || role == Role::Sidecar && self.ledger.index_of(self.pod, other) > member.index
        };
        let waits = member.role == Role::Sidecar && track.alone.is_none() && self.anyone_alive(later);
        let due = if waits { deadline } else { 0 };
        let signal = Action::Signal { container: name.to_owned(), attempt };
        self.owe(due, &format!("signal of {name}"), |action| *action == signal);
    }

    fn check_post_start_of(&mut self, member: &Member<'_>, track: &Track) {
        if member.container.post_start.is_some() && !track.post_start_done && track.alone.is_none() {
            let container = member.name().to_owned();
            let hook = Action::PostStart { container, attempt: track.attempt.unwrap_or(0) };
            self.owe(0, &format!("postStart of {}", member.name()), |action| *action == hook);
        }
    }

    fn check_probes_of(&mut self, member: &Member<'_>, track: &Track) {
        let stopping = self.ledger.teardown.is_some() || track.alone.is_some();
        for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
            let Some(probe) = probe_of(member.container, kind) else { continue };
            let starting_up = track.started.is_none();
            let is_on = match kind {
                ProbeKind::Startup => starting_up && track.post_start_done && !stopping,
                ProbeKind::Liveness => !starting_up && !stopping,
                ProbeKind::Readiness => !starting_up,
            };
            if !is_on || member.role == Role::Init {
                continue;
            }
            let since = track.running_since.map_or(0, |since| since.boot_nanos);
            let delayed = since.saturating_add(seconds(u64::from(probe.initial_delay_seconds)));
            let first = delayed.max(track.started.map_or(0, |started| started.boot_nanos));
            let period = seconds(u64::from(probe.period_seconds.max(1)));
            // The next point of the grid after the last answer.
            let due = match track.probed_at.get(&kind) {
                Some(at) => first
                    .saturating_add(period.saturating_mul(at.boot_nanos.saturating_sub(first) / period + 1)),
                None => first,
            };
            let is_it = |action: &Action| matches!(action, Action::Probe { container, kind: of, .. } if container == member.name() && *of == kind);
            let is_under_way = self.seen.in_flight.iter().any(is_it);
            if !is_under_way {
                self.owe(due, &format!("{kind} probe of {}", member.name()), is_it);
            }
        }
    }

    /// A container that does not run and should: an init container whose turn it is, a sidecar that has been
    /// reached, a main container after initialisation.
    fn check_start_of(&mut self, member: &Member<'_>, track: &Track) {
        let is_here = self.seen.images.contains_key(member.name());
        let next = track.attempt.map_or(0, |attempt| attempt.saturating_add(1));
        let is_for_next = |(attempt, image): &(u32, String)| {
            let is_fresh = member.container.image_pull_policy != ImagePullPolicy::Always || *attempt == next;
            is_fresh && *image == member.container.image
        };
        let has_image = is_here && track.pulled.as_ref().is_some_and(is_for_next);
        let in_sandbox =
            matches!(self.seen.sandbox, Sandbox::Ready { attempt } if self.ledger.sandbox == Some(attempt));
        let is_first = track.attempt.is_none_or(|attempt| attempt < track.first_of_run);
        let is_reached = members(self.pod)
            .filter(|m| {
                matches!(m.role, Role::Init | Role::Sidecar)
                    && member.role != Role::Ephemeral
                    && (member.role == Role::Main || m.index < member.index)
            })
            .all(|m| self.ledger.track(m.name()).passed_in_run);
        // First starts of main containers wait for those before them, so only the first of them is a duty.
        let waits_for_others = member.role == Role::Main
            && is_first
            && members(self.pod).any(|m| {
                let other = self.ledger.track(m.name());
                m.role == Role::Main
                    && m.index < member.index
                    && (other.attempt.is_none_or(|attempt| attempt < other.first_of_run)
                        || other.attempt == Some(other.first_of_run)
                            && !other.post_start_done
                            && other.running_since.is_some())
            });
        let is_done = match &track.end {
            _ if member.role == Role::Init && track.passed_in_run => true,
            _ if member.role == Role::Ephemeral => track.attempt.is_some(),
            _ if is_first && (member.role != Role::Main || self.ledger.reruns_all) => false,
            Some(end) => stays_ended(self.pod, member, end) && !track.restart_requested,
            None => false,
        };
        let restart_due = track.restart_due(&self.ledger.policy, self.now);
        let wants_image =
            track.attempt.is_none() || is_reached && !is_done && restart_due <= self.now.boot_nanos;
        if wants_image && !has_image && !self.is_starting(member.name()) {
            self.check_pull_of(member, track);
        }
        if !is_reached || waits_for_others || is_done || !in_sandbox || self.waits_for_grant() {
            return;
        }
        let ready = has_image && self.seen.volumes == Volumes::Ready;
        let due = restart_due.max(track.create_failure.due_boot_nanos);
        let is_it =
            |action: &Action| matches!(action, Action::Start { container, .. } if container == member.name());
        if ready {
            self.owe(due, &format!("start of {}", member.name()), is_it);
        }
    }

    /// An image is obtained for one container, and found there by the others that are content with any.
    fn check_pull_of(&mut self, member: &Member<'_>, track: &Track) {
        let finds_any = member.container.image_pull_policy == ImagePullPolicy::IfNotPresent;
        let is_it = |action: &Action| match action {
            Action::Pull { container, image, .. } => {
                *image == member.container.image && (container == member.name() || finds_any)
            }
            _ => false,
        };
        self.owe(track.pull_failure.due_boot_nanos, &format!("pull for {}", member.name()), is_it);
    }

    fn check_setup(&mut self) {
        let [volumes, sandbox, removal] = self.ledger.setup_failures.clone().map(|f| f.due_boot_nanos);
        if self.seen.volumes != Volumes::Ready {
            let is_it = |action: &Action| matches!(action, Action::PrepareVolumes { .. });
            self.owe(volumes, "the volumes", is_it);
        }
        let changes =
            |action: &Action| matches!(action, Action::CreateSandbox { .. } | Action::RemoveSandbox { .. });
        match self.seen.sandbox {
            Sandbox::Absent if self.waits_for_grant() => {}
            Sandbox::Absent if self.ledger.sandbox.is_none() => self.owe(sandbox, "the sandbox", changes),
            Sandbox::Dead { .. } => self.owe(removal, "the removal of the dead sandbox", changes),
            _ => {}
        }
    }

    fn check_cleaning_up(&mut self) {
        if self.decision.end.is_some() || !self.seen.in_flight.is_empty() || self.anyone_alive(|_, _| true) {
            return;
        }
        if self.seen.sandbox == Sandbox::Absent && self.seen.volumes == Volumes::Absent {
            return self.demand(13, false, || "nothing is left, and the end is not told".to_owned());
        }
        let removal = self.ledger.setup_failures[2].due_boot_nanos;
        let removes =
            |action: &Action| matches!(action, Action::RemoveSandbox { .. } | Action::RemoveVolumes);
        self.owe(removal, "the removal of what is left", removes);
    }
}
