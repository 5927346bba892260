//! The numbered promises of a Pod's life, as checks.
//!
//! A [`Ledger`] is told the same facts as the [`crate::Memory`] and shown every [`Decision`]. It knows nothing
//! of the Memory and shares no rule with `decide`: what it expects is written from the Kubernetes documents.
//! The simulation checks every round of every world with it, the daemon may do so too (a round costs microseconds).
//!
//!  1. One live incarnation of a container at most; numbers only grow.
//!  2. Main containers start only after every init container of the run succeeded and every sidecar started.
//!  3. Init containers start one at a time, in order.
//!  4. No start, pull or creation after a stop request or a terminal phase.
//!  5. Restart delays follow the table: none, then 10 s doubling to 300 s, and again none after 10 min of running.
//!  6. The stop signal goes once to an incarnation; KILL neither before the grace ends nor before 2 s after the signal.
//!  7. A terminal phase never changes.
//!  8. The restart policy is obeyed, per container where it has its own (KEP-5307).
//!  9. The sandbox outlives its containers; the volumes outlive the sandbox.
//! 10. Sidecars get their signal last, in reverse order (KEP-753).
//! 11. No liveness or readiness probe before the startup probe has passed, none before its initial delay.
//! 12. Everything that is due is begun in the round in which it is due, and `wake_at` is never later than the next.
//! 13. Nothing is begun twice; when all is as asked, nothing is begun at all.
//! 14. All of it holds when the daemon restarts at any instant: the Ledger is kept with the Memory.
//! 15. Main containers and sidecars alone decide readiness, main containers alone the end; an ephemeral container
//!     starts at most once (KEP-277), and goes on while all others restart (KEP-5532).
//! 16. Cgroups have what the node has set aside, and the Pod's has room for its containers' at every step (KEP-1287).
//!
//! That a stop in a fair world ends in [`crate::End::Gone`] (13) is seen by the simulation only: it needs time.

mod lateness;
mod ledger;
mod resources;
mod standing;
mod track;

use std::fmt;

use model::pod::Pod;

use crate::action::{Action, ProbeKind};
use crate::decide::Decision;
use crate::observation::{InstanceState, Observation, Sandbox, Volumes};
use crate::role::{Role, member, members};
use crate::schedule::probe_of;
use crate::time::{Now, seconds};

pub use ledger::Ledger;
use track::{Track, stays_ended};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in the list above.
    pub number: u8,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} broken: {}", self.number, self.what)
    }
}

/// One round under examination.
struct Round<'a> {
    ledger: &'a Ledger,
    pod: &'a Pod,
    seen: &'a Observation,
    decision: &'a Decision,
    now: &'a Now,
    violations: Vec<Violation>,
}

impl Ledger {
    /// Checks a decision against everything that was noted before it. Notes what the decision itself promises.
    pub fn check(&mut self, pod: &Pod, seen: &Observation, decision: &Decision, now: &Now) -> Vec<Violation> {
        let mut round = Round { ledger: self, pod, seen, decision, now, violations: vec![] };
        for (position, action) in decision.actions.iter().enumerate() {
            round.check_action(action, &decision.actions[..position]);
        }
        round.check_phase();
        round.check_standing();
        round.check_lateness();
        let violations = round.violations;
        self.take_over(decision);
        violations
    }
}

impl Round<'_> {
    fn demand(&mut self, number: u8, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation { number, what: what() });
        }
    }

    fn check_action(&mut self, action: &Action, before: &[Action]) {
        let is_new = !self.seen.in_flight.contains(action) && !before.contains(action);
        self.demand(13, is_new, || format!("{action:?} is already under way"));
        match action {
            Action::Start { container, attempt, sandbox, .. } => {
                self.check_making();
                self.check_no_new_life(action);
                self.check_start(container, *attempt, *sandbox, before);
            }
            Action::CreateSandbox { .. } => {
                self.check_no_new_life(action);
                self.check_making();
            }
            Action::Pull { .. } | Action::PrepareVolumes { .. } | Action::PostStart { .. } => {
                self.check_no_new_life(action)
            }
            Action::AllocateResources { resources, .. } => {
                self.check_no_new_life(action);
                self.check_ask(resources);
            }
            Action::ResizePod { resources, .. } => {
                self.check_no_new_life(action);
                self.check_resize_pod(resources);
            }
            Action::ResizeContainer { container, attempt, resources, .. } => {
                self.check_no_new_life(action);
                self.check_resize_container(container, *attempt, resources);
            }
            Action::Signal { container, .. } => self.check_signal(container),
            Action::Kill { container, .. } => self.check_kill(container),
            Action::RemoveSandbox { .. } => {
                let alive = self.anyone_alive(|_, _| true);
                self.demand(9, !alive, || "the sandbox goes before its containers".to_owned());
            }
            Action::RemoveVolumes => {
                let creating = |a: &Action| matches!(a, Action::CreateSandbox { .. });
                let is_last =
                    self.seen.sandbox == Sandbox::Absent && !self.seen.in_flight.iter().any(creating);
                self.demand(9, is_last, || "the volumes go before the sandbox".to_owned());
            }
            Action::Probe { container, kind, .. } => self.check_probe(container, *kind),
            Action::PreStop { .. } => {}
        }
    }

    fn check_no_new_life(&mut self, action: &Action) {
        let over = self.ledger.stop_requested || self.ledger.terminal.is_some();
        self.demand(4, !over, || format!("{action:?} after a stop request or the end"));
    }

    fn check_start(&mut self, name: &str, attempt: u32, sandbox: u32, before: &[Action]) {
        let Some(member) = member(self.pod, name) else { return };
        let track = self.ledger.track(name);
        let is_start =
            |action: &Action| matches!(action, Action::Start { container, .. } if container == name);
        let alive = self.is_alive(name) || before.iter().any(is_start);
        self.demand(1, !alive, || format!("{name} starts while it runs"));
        let is_next = attempt == track.attempt.map_or(0, |known| known.saturating_add(1));
        self.demand(1, is_next, || format!("{name} starts as {attempt} after {:?}", track.attempt));
        let in_sandbox = self.seen.sandbox == (Sandbox::Ready { attempt: sandbox });
        let is_prepared = in_sandbox && self.seen.volumes == Volumes::Ready;
        self.demand(9, is_prepared, || format!("{name} starts without sandbox or volumes"));

        if member.role == Role::Ephemeral {
            let is_first = track.attempt.is_none();
            return self.demand(15, is_first, || format!("{name} is ephemeral and starts again"));
        }
        let number = if member.role == Role::Main { 2 } else { 3 };
        let earlier = members(self.pod).filter(|m| {
            matches!(m.role, Role::Init | Role::Sidecar)
                && (member.role == Role::Main || m.index < member.index)
        });
        for init in earlier {
            let passed = self.ledger.track(init.name()).passed_in_run;
            self.demand(number, passed, || format!("{name} starts before {} is done", init.name()));
        }
        if member.role == Role::Init {
            let other = self.anyone_alive(|role, other| role == Role::Init && other != name);
            self.demand(3, !other, || format!("{name} starts beside another init container"));
        }

        let Some(end) = &track.end else { return };
        let due = track.restart_due(&self.ledger.policy, self.now);
        self.demand(5, due <= self.now.boot_nanos, || format!("{name} restarts before its delay is over"));
        let is_rerun = attempt == track.first_of_run && (member.role != Role::Main || self.ledger.reruns_all);
        let obeys = is_rerun || track.restart_requested || !stays_ended(self.pod, &member, end);
        self.demand(8, obeys, || format!("{name} restarts after code {}, against its policy", end.code));
    }

    fn check_signal(&mut self, name: &str) {
        let Some(member) = member(self.pod, name) else { return };
        let track = self.ledger.track(name);
        self.demand(6, track.signalled_at.is_none(), || format!("{name} is signalled twice"));
        let is_over = self.deadline(track).is_some_and(|deadline| deadline <= self.now.boot_nanos);
        if member.role == Role::Sidecar && track.alone.is_none() && !is_over {
            let later = |role: Role, other: &str| {
                matches!(role, Role::Init | Role::Main)
                    || role == Role::Sidecar && self.ledger.index_of(self.pod, other) > member.index
            };
            let holds = !self.anyone_alive(later);
            self.demand(10, holds, || format!("sidecar {name} is signalled before its turn"));
        }
    }

    fn check_kill(&mut self, name: &str) {
        let is_spared = self.ledger.is_spared(self.pod, name, self.seen.sandbox);
        self.demand(15, !is_spared, || format!("{name} is ephemeral and is killed while others restart"));
        let track = self.ledger.track(name);
        let at_once = self.ledger.teardown.as_ref().is_some_and(|t| t.at_once);
        if at_once || self.ledger.terminal.is_some() {
            return;
        }
        let is_over = self.deadline(track).is_some_and(|deadline| deadline <= self.now.boot_nanos);
        self.demand(6, is_over, || format!("{name} is killed before its grace is over"));
        let had_its_signal = track.signalled_at.is_some_and(|at| self.now.nanos_since(&at) >= seconds(2));
        self.demand(6, had_its_signal, || format!("{name} is killed without 2 s after its signal"));
    }

    fn check_probe(&mut self, name: &str, kind: ProbeKind) {
        let Some(member) = member(self.pod, name) else { return };
        let Some(probe) = probe_of(member.container, kind) else { return };
        let track = self.ledger.track(name);
        let startup_passed = kind == ProbeKind::Startup || track.started.is_some();
        self.demand(11, startup_passed, || format!("{kind} probe of {name} before startup"));
        let ran = track.running_since.map_or(0, |since| self.now.nanos_since(&since));
        let delay_is_over = ran >= seconds(u64::from(probe.initial_delay_seconds));
        self.demand(11, delay_is_over, || format!("{kind} probe of {name} before its initial delay"));
    }

    fn check_phase(&mut self) {
        if let Some(terminal) = self.ledger.terminal {
            let phase = self.decision.status.phase;
            self.demand(7, phase == terminal, || format!("the phase goes from {terminal} to {phase}"));
        }
    }

    fn is_alive(&self, name: &str) -> bool {
        let runs = |i: &crate::Instance| matches!(i.state, InstanceState::Running { .. });
        self.seen.containers.get(name).is_some_and(runs) || self.is_starting(name)
    }

    fn is_starting(&self, name: &str) -> bool {
        let starts = |action: &Action| matches!(action, Action::Start { container, .. } if container == name);
        self.seen.in_flight.iter().any(starts)
    }

    fn anyone_alive(&self, is: impl Fn(Role, &str) -> bool) -> bool {
        members(self.pod).any(|member| is(member.role, member.name()) && self.is_alive(member.name()))
    }

    /// When a running container's grace ends.
    fn deadline(&self, track: &Track) -> Option<u64> {
        let of_pod = self.ledger.teardown.as_ref().map(|teardown| teardown.deadline_boot_nanos);
        of_pod.into_iter().chain(track.alone).min()
    }
}
