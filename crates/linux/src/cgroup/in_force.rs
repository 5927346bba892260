//! The limits that hold in a cgroup, read back from the kernel: it rounds, and others may have written.

use super::limits::weight_from_shares;
use super::usage::read_if_exists;
use super::{Cgroup, CgroupError, Limits};

/// What v1's memory files hold without a limit is the greatest number of whole pages; no machine has half as much.
const NO_LIMIT_V1: i64 = i64::MAX / 2;

impl Cgroup {
    /// CPU shares, quota and period, and the memory limit, in the meaning of [`Limits`]; -1 where there is no limit.
    /// On v2 the shares are the least that give the weight, because several do.
    pub fn limits_in_force(&self) -> Result<Limits, CgroupError> {
        let text = |controller, file: &str| -> Result<String, CgroupError> {
            Ok(read_if_exists(&self.controller_directory(controller)?.join(file))?.unwrap_or_default())
        };
        if self.is_v2() {
            let maximum = text("cpu", "cpu.max")?;
            let mut fields = maximum.split_whitespace();
            return Ok(Limits {
                cpu_shares: text("cpu", "cpu.weight")?.trim().parse().ok().map(shares_from_weight),
                cpu_quota_us: fields.next().and_then(limit),
                cpu_period_us: fields.next().and_then(|period| period.parse().ok()),
                memory_limit_bytes: limit(text("memory", "memory.max")?.trim()),
                ..Limits::default()
            });
        }
        let memory = limit(text("memory", "memory.limit_in_bytes")?.trim());
        Ok(Limits {
            cpu_shares: text("cpu", "cpu.shares")?.trim().parse().ok(),
            cpu_quota_us: limit(text("cpu", "cpu.cfs_quota_us")?.trim()),
            cpu_period_us: text("cpu", "cpu.cfs_period_us")?.trim().parse().ok(),
            memory_limit_bytes: memory.map(|bytes| if bytes > NO_LIMIT_V1 { -1 } else { bytes }),
            ..Limits::default()
        })
    }
}

/// A number, or "max" for none.
fn limit(text: &str) -> Option<i64> {
    if text == "max" { Some(-1) } else { text.parse().ok() }
}

/// The inverse of [`weight_from_shares`], which never falls.
fn shares_from_weight(weight: u64) -> u64 {
    let (mut low, mut high) = (2, 262_144);
    while low < high {
        let middle = (low + high) / 2;
        if weight_from_shares(middle) < weight {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_to_their_weight() {
        for shares in [2, 3, 102, 512, 1024, 2048, 100_000, 262_144] {
            let weight = weight_from_shares(shares);
            let back = shares_from_weight(weight);
            assert_eq!(weight_from_shares(back), weight, "{shares}");
            assert!(back <= shares, "{shares} became {back}");
        }
    }

    #[test]
    fn no_limit_is_minus_one() {
        assert_eq!(
            (limit("max"), limit("4096"), limit("-1"), limit("")),
            (Some(-1), Some(4096), Some(-1), None)
        );
    }
}
