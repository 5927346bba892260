//! Time since podling was started, on the clock that the engine's reports carry.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The instant of the start, in boot time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started_boot_nanos: u64,
}

impl Clock {
    /// Starts counting.
    pub(crate) fn start() -> Clock {
        Clock { started_boot_nanos: boot_nanos() }
    }

    /// Time from the start to now.
    pub(crate) fn elapsed(&self) -> Duration {
        self.at(boot_nanos())
    }

    /// Time from the start to an instant of boot time.
    pub(crate) fn at(&self, boot_nanos: u64) -> Duration {
        Duration::from_nanos(boot_nanos.saturating_sub(self.started_boot_nanos))
    }
}

fn boot_nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
