//! Invariant 15: who decides how the Pod stands. Main containers and sidecars make it ready, main containers end it;
//! an ephemeral container runs once and decides nothing (KEP-753, KEP-277).

use super::Round;
use crate::role::{Role, mains, members};
use crate::status::{CONTAINERS_READY, Phase};

impl Round<'_> {
    pub(super) fn check_standing(&mut self) {
        let phase = self.decision.status.phase;
        let is_ready = self.decision.status.is_true(CONTAINERS_READY);
        let expects_ready = !phase.is_terminal()
            && members(self.pod).filter(|m| matches!(m.role, Role::Main | Role::Sidecar)).all(|member| {
                let track = self.ledger.track(member.name());
                let is_probed = member.container.readiness_probe.is_some();
                track.running_since.is_some() && track.started.is_some() && (!is_probed || track.ready)
            });
        self.demand(15, is_ready == expects_ready, || format!("ContainersReady is {is_ready}"));
        let is_initialized = members(self.pod)
            .filter(|m| matches!(m.role, Role::Init | Role::Sidecar))
            .all(|member| self.ledger.track(member.name()).passed_in_run);
        let all_started = mains(self.pod).all(|main| self.ledger.track(main.name()).attempt.is_some());
        let holds = match phase {
            Phase::Pending => !(is_initialized && all_started),
            Phase::Running => is_initialized && all_started,
            Phase::Succeeded => mains(self.pod)
                .all(|main| self.ledger.track(main.name()).end.as_ref().is_some_and(|end| end.code == 0)),
            Phase::Failed => true,
        };
        self.demand(15, holds, || format!("the phase is {phase}"));
    }
}
