//! Instants as this crate is given them. It never reads a clock: every function takes a [`Now`].
//!
//! Grace, backoff and probes count boot time (CLOCK_BOOTTIME, immune to clock jumps);
//! `activeDeadlineSeconds` and every timestamp that a user sees are wall time, as in Kubernetes.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// One instant on both clocks, and the boot to which the first one belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Now {
    /// CLOCK_BOOTTIME.
    pub boot_nanos: u64,
    /// /proc/sys/kernel/random/boot_id as a number. Written as text, because JSON readers keep 64 bits at most.
    #[serde(with = "hexadecimal")]
    pub boot_id: u128,
    /// CLOCK_REALTIME, since 1970.
    pub wall_nanos: i64,
}

impl Now {
    /// Boot time since `earlier`. An instant of another boot lies infinitely far back: what was awaited then
    /// ran in a machine that is gone, so no wait of it is worth continuing.
    pub fn nanos_since(&self, earlier: &Now) -> u64 {
        if self.boot_id == earlier.boot_id {
            self.boot_nanos.saturating_sub(earlier.boot_nanos)
        } else {
            u64::MAX
        }
    }

    /// The boot-time instant `nanos` after `self`, as seen from `now`: an instant of another boot is past.
    pub(crate) fn plus(&self, nanos: u64, now: &Now) -> u64 {
        if self.boot_id == now.boot_id { self.boot_nanos.saturating_add(nanos) } else { 0 }
    }
}

/// Seconds as nanoseconds, saturating: a manifest may ask for any number.
pub(crate) fn seconds(count: u64) -> u64 {
    count.saturating_mul(SECOND)
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}
