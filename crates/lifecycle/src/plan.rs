//! The actions of a round: everything of [`crate::decide()`] but the status.
//!
//! ```text
//!            nothing runs,                             all stopped
//!   bring up ──────────────► stop all ──────────────────────────────► clean up ──► end
//!      ▲   any StopCause        │ all stopped, cause not final
//!      └────────────────────────┘ (new run: `Memory` counts init containers from 0 again)
//! ```
//!
//! Which of the three it is stands in the Memory; the files below say what each does. A plan only ever reads.

mod bring_up;
mod clean_up;
mod probe;
mod resize;
mod stop;

use model::pod::Pod;

use crate::action::{Action, ProbeKind, Reason};
use crate::decide::{Blocked, Deadline, Due, End};
use crate::memory::{InstanceMemory, Memory, Wait};
use crate::observation::Observation;
use crate::restart::Gate;
use crate::role::{Role, members};
use crate::time::{Now, seconds};

/// What is being decided, and what it is decided from.
pub(crate) struct Plan<'a> {
    pod: &'a Pod,
    memory: &'a Memory,
    seen: &'a Observation,
    now: &'a Now,
    /// The node is being asked, or about to be, what sandbox and containers may have.
    is_allocating: bool,
    pub(crate) actions: Vec<Action>,
    pub(crate) cancel: Vec<Action>,
    pub(crate) wake_at: Option<Deadline>,
    pub(crate) end: Option<End>,
}

impl<'a> Plan<'a> {
    /// The plan for this round.
    pub(crate) fn of(pod: &'a Pod, memory: &'a Memory, seen: &'a Observation, now: &'a Now) -> Plan<'a> {
        let (actions, cancel) = (vec![], vec![]);
        let mut plan =
            Plan { pod, memory, seen, now, is_allocating: false, actions, cancel, wake_at: None, end: None };
        if memory.outcome.is_some() {
            plan.clean_up();
        } else if memory.stopping.is_some() {
            plan.stop_all();
            plan.probe();
        } else {
            plan.resize();
            plan.bring_up();
            plan.stop_single_containers();
            plan.probe();
        }
        plan.watch_active_deadline();
        plan.cancel_unwanted();
        plan
    }

    /// Adds an action, unless it is under way.
    fn act(&mut self, action: Action) {
        if !self.seen.in_flight.contains(&action) {
            self.actions.push(action);
        }
    }

    /// Adds an action as soon as the gate opens.
    fn act_when(&mut self, gate: Gate, due: impl FnOnce() -> Due, action: Action) {
        match gate {
            Gate::Open => self.act(action),
            Gate::Until(boot_nanos) => self.wake(boot_nanos, due),
            Gate::Shut => {}
        }
    }

    /// Wants another round at that time.
    fn wake(&mut self, boot_nanos: u64, what: impl FnOnce() -> Due) {
        if self.wake_at.as_ref().is_none_or(|earlier| boot_nanos < earlier.boot_nanos) {
            self.wake_at = Some(Deadline { boot_nanos, what: what() });
        }
    }

    /// Whether any action under way is of this kind.
    fn flying(&self, is: impl Fn(&Action) -> bool) -> bool {
        self.seen.in_flight.iter().any(is)
    }

    /// Whether a start of that container is under way.
    fn is_starting(&self, name: &str) -> bool {
        self.flying(|action| matches!(action, Action::Start { container, .. } if container == name))
    }

    /// Whether a container runs or is about to.
    fn is_alive(&self, name: &str) -> bool {
        self.memory.container(name).running().is_some() || self.is_starting(name)
    }

    /// `activeDeadlineSeconds` is wall time; it is turned into boot time anew in every round.
    fn watch_active_deadline(&mut self) {
        let is_ending = self.memory.outcome.is_some()
            || self.memory.stopping.as_ref().is_some_and(|stopping| stopping.why.is_final());
        let Some(limit_seconds) = self.pod.spec.active_deadline_seconds.filter(|_| !is_ending) else {
            return;
        };
        let end = i128::from(self.memory.admitted_at.wall_nanos) + i128::from(seconds(limit_seconds));
        let left = u64::try_from(end - i128::from(self.now.wall_nanos)).unwrap_or(0);
        self.wake(self.now.boot_nanos.saturating_add(left), || Due::ActiveDeadline);
    }

    /// Gives up what is under way for nothing: pulls, probes and hooks. Starts, sandboxes, volumes and
    /// removals always come to their end, and are then dealt with as they are found.
    fn cancel_unwanted(&mut self) {
        let memory = self.memory;
        let ending = memory.stopping.is_some() || memory.outcome.is_some();
        let running = |name: &str, attempt: u32| -> Option<&InstanceMemory> {
            memory.container(name).running().filter(|running| running.attempt == attempt)
        };
        for action in &self.seen.in_flight {
            let wanted = match action {
                Action::Pull { container, image, attempt, .. } => {
                    let is_asked = self.pod.spec.container(container).is_some_and(|c| c.image == *image);
                    !ending && is_asked && memory.container(container).next_attempt() == *attempt
                }
                Action::PostStart { container, attempt } => {
                    !ending && running(container, *attempt).is_some_and(|i| i.stopping.is_none())
                }
                Action::PreStop { container, attempt } => {
                    running(container, *attempt).is_some_and(|i| i.signalled_at.is_none() && !i.killed)
                }
                Action::Probe { container, attempt, kind, .. } => running(container, *attempt)
                    .is_some_and(|i| *kind == ProbeKind::Readiness || !ending && i.stopping.is_none()),
                _ => true,
            };
            if !wanted {
                self.cancel.push(action.clone());
            }
        }
    }
}

/// The failure that only a change from outside ends, if there is one.
pub(crate) fn blocked(pod: &Pod, memory: &Memory) -> Option<Blocked> {
    if memory.stopping.is_some() || memory.outcome.is_some() {
        return None;
    }
    let of = |container: Option<&str>, failure: &Option<crate::memory::FailureMemory>| {
        let failure = failure.as_ref().filter(|failure| failure.wait == Wait::OnChange)?;
        let container = container.map(str::to_owned);
        Some(Blocked { container, reason: Reason::clone(&failure.reason), message: failure.message.clone() })
    };
    of(None, &memory.volumes_failure).or_else(|| of(None, &memory.sandbox_failure)).or_else(|| {
        members(pod).filter(|member| member.role != Role::Ephemeral).find_map(|member| {
            let container = memory.container(member.name());
            of(Some(member.name()), &container.create_failure)
                .or_else(|| of(Some(member.name()), &container.pull_failure))
        })
    })
}
