//! After the outcome: the sandbox goes, then volumes, then the Pod is at its end.

use super::Plan;
use crate::action::Action;
use crate::decide::{Due, End};
use crate::observation::{Sandbox, Volumes};
use crate::restart::retry_gate;
use crate::role::members;

impl Plan<'_> {
    pub(super) fn clean_up(&mut self) {
        let Some(outcome) = &self.memory.outcome else { return };
        let mut anything_alive = false;
        for member in members(self.pod) {
            // Nothing can run here; should something all the same, it does not stay.
            if let Some(running) = self.memory.container(member.name()).running() {
                anything_alive = true;
                let container = member.name().to_owned();
                if !running.killed {
                    self.act(Action::Kill { container, attempt: running.attempt });
                }
            }
            anything_alive |= self.is_starting(member.name());
        }
        if anything_alive {
            return;
        }
        let sandbox_changes =
            self.flying(|a| matches!(a, Action::CreateSandbox { .. } | Action::RemoveSandbox { .. }));
        let volumes_change =
            self.flying(|a| matches!(a, Action::PrepareVolumes { .. } | Action::RemoveVolumes));
        match (self.seen.sandbox, self.seen.volumes) {
            _ if sandbox_changes => {}
            (Sandbox::Ready { attempt } | Sandbox::Dead { attempt }, _) => self.remove_sandbox(attempt),
            _ if volumes_change => {}
            (Sandbox::Absent, Volumes::Ready | Volumes::Partial) => {
                let gate =
                    retry_gate(self.memory.removal_failure.as_ref(), self.memory.policy.setup, self.now);
                self.act_when(gate, || Due::Removal, Action::RemoveVolumes);
            }
            (Sandbox::Absent, Volumes::Absent) => {
                if self.seen.in_flight.is_empty() {
                    self.end = Some(match self.memory.stop_requested {
                        true => End::Gone(outcome.phase),
                        false => End::Finished(outcome.phase),
                    });
                }
            }
        }
    }
}
