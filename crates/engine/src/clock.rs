//! The machine's clocks, read in one place.

use std::sync::OnceLock;

use lifecycle::Now;
use rustix::time::{ClockId, clock_gettime};

/// This instant on both clocks.
pub(crate) fn now() -> Now {
    Now {
        boot_nanos: nanos(ClockId::Boottime) as u64,
        boot_id: boot_id(),
        wall_nanos: nanos(ClockId::Realtime),
    }
}

/// The instant of a wall time that another process of this boot took, such as a container's exit.
pub(crate) fn at_wall(wall_nanos: i64) -> Now {
    let now = now();
    let ago = u64::try_from(now.wall_nanos.saturating_sub(wall_nanos)).unwrap_or(0);
    Now { boot_nanos: now.boot_nanos.saturating_sub(ago), wall_nanos, ..now }
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// /proc/sys/kernel/random/boot_id (random(4)); 0 where it cannot be read, which only makes every restart of
/// the daemon look like the same boot.
fn boot_id() -> u128 {
    static BOOT_ID: OnceLock<u128> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
    })
}
