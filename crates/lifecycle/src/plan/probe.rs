//! Which probes run now and when the next ones are due.

use super::Plan;
use crate::action::{Action, ProbeKind};
use crate::decide::Due;
use crate::role::{Role, members};
use crate::schedule::{Schedule, probe_of};

impl Plan<'_> {
    /// Starts the rounds that are due. Liveness and startup probes end when their container or the Pod stops;
    /// readiness goes on, because a stopping Pod may still serve.
    pub(super) fn probe(&mut self) {
        let pod_is_stopping = self.memory.stopping.is_some();
        for member in members(self.pod) {
            let Some(running) = self.memory.container(member.name()).running() else { continue };
            let is_stopping = pod_is_stopping || running.stopping.is_some();
            for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
                let Some(probe) = probe_of(member.container, kind) else { continue };
                if member.role == Role::Init || is_stopping && kind != ProbeKind::Readiness {
                    continue;
                }
                let Some(schedule) = Schedule::of(probe, kind, running, self.now) else { continue };
                let name = member.name();
                let is_under_way = self.flying(|action| match action {
                    Action::Probe { container, attempt, kind: of, .. } => {
                        container == name && *attempt == running.attempt && *of == kind
                    }
                    _ => false,
                });
                if is_under_way {
                    continue;
                }
                let next = running.probe(kind).next_round;
                let due = schedule.due(next);
                if due > self.now.boot_nanos {
                    self.wake(due, || Due::Probe { container: name.to_owned(), kind });
                } else {
                    let round = next.max(schedule.round_at(self.now.boot_nanos));
                    let container = name.to_owned();
                    self.act(Action::Probe { container, attempt: running.attempt, kind, round });
                }
            }
        }
    }
}
