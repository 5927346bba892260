//! A probe's schedule: which round is due when. Rounds lie on a fixed grid; those that a long probe or a
//! stopped daemon missed are skipped, as a ticker would skip them.

use model::pod::{Container, Probe};

use crate::action::ProbeKind;
use crate::memory::InstanceMemory;
use crate::time::{Now, seconds};

/// The grid of one probe of one incarnation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    base_boot_nanos: u64,
    period_nanos: u64,
}

impl Schedule {
    /// The schedule, once the probe has one: startup from postStart's end on, the others from the startup
    /// probe's success on; none of them before `initialDelaySeconds` after the container's start.
    pub(crate) fn of(
        probe: &Probe,
        kind: ProbeKind,
        instance: &InstanceMemory,
        now: &Now,
    ) -> Option<Schedule> {
        let earliest = match kind {
            ProbeKind::Startup if instance.started.is_none() && instance.post_start_done => 0,
            ProbeKind::Startup => return None,
            ProbeKind::Liveness | ProbeKind::Readiness => instance.started?.plus(0, now),
        };
        let delayed = instance.started_at?.plus(seconds(u64::from(probe.initial_delay_seconds)), now);
        Some(Schedule {
            base_boot_nanos: earliest.max(delayed),
            period_nanos: seconds(u64::from(probe.period_seconds.max(1))),
        })
    }

    /// When a round is due.
    pub(crate) fn due(&self, round: u64) -> u64 {
        self.base_boot_nanos.saturating_add(self.period_nanos.saturating_mul(round))
    }

    /// The newest round that is due at `boot_nanos`.
    pub(crate) fn round_at(&self, boot_nanos: u64) -> u64 {
        boot_nanos.saturating_sub(self.base_boot_nanos) / self.period_nanos
    }
}

/// The probe of a kind.
pub(crate) fn probe_of(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    }
}
