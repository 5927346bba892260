//! What the node as a whole uses, from proc(5), counted as the kubelet's cAdvisor counts its root cgroup.

use std::io;

use jiff::Timestamp;

/// Usage of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeUsage {
    /// Processor time since boot.
    pub(crate) cpu_nanos: u64,
    /// Memory that cannot be reclaimed easily.
    pub(crate) working_set_bytes: u64,
    /// All memory in use, with the page cache.
    pub(crate) usage_bytes: u64,
    /// What is not in the working set.
    pub(crate) available_bytes: u64,
    /// When the machine booted, in nanoseconds since 1970.
    pub(crate) booted_wall_nanos: i64,
    /// When it was measured, in nanoseconds since 1970.
    pub(crate) wall_nanos: i64,
}

/// Reads /proc/stat and /proc/meminfo.
pub(crate) fn observe() -> io::Result<NodeUsage> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let wall_nanos = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    parse(&stat, &meminfo, wall_nanos).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "/proc/stat or /proc/meminfo lacks a field")
    })
}

fn parse(stat: &str, meminfo: &str, wall_nanos: i64) -> Option<NodeUsage> {
    // USER_HZ is 100 on every architecture that podling runs on.
    const NANOS_PER_TICK: u64 = 10_000_000;
    let line = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let ticks: Vec<u64> = line("cpu")?.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system; not idle and iowait; irq, softirq, steal. Guests are within user and nice.
    let busy: u64 = ticks.get(..3)?.iter().chain(ticks.get(5..8)?).sum();
    let kib = |name: &str| -> Option<u64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok()? * 1024)
    };
    let total = kib("MemTotal")?;
    let usage_bytes = total.saturating_sub(kib("MemFree")?);
    let working_set_bytes = usage_bytes.saturating_sub(kib("Inactive(file)")?);
    Some(NodeUsage {
        cpu_nanos: busy * NANOS_PER_TICK,
        working_set_bytes,
        usage_bytes,
        available_bytes: total.saturating_sub(working_set_bytes),
        booted_wall_nanos: line("btime")?.trim().parse::<i64>().ok()? * 1_000_000_000,
        wall_nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_count() {
        let stat = "cpu  1 2 4 1000 1000 8 16 32 5 5\ncpu0 9 9 9 9 9 9 9 9 9 9\nbtime 1600000000\n";
        let meminfo = "MemTotal:  100 kB\nMemFree:   30 kB\nInactive(file):  20 kB\nInactive: 50 kB\n";
        let usage = parse(stat, meminfo, 7).unwrap();
        assert_eq!(usage.cpu_nanos, 63 * 10_000_000);
        assert_eq!(usage.usage_bytes, 70 * 1024);
        assert_eq!(usage.working_set_bytes, 50 * 1024);
        assert_eq!(usage.available_bytes, 50 * 1024);
        assert_eq!(usage.booted_wall_nanos, 1_600_000_000_000_000_000);
        assert_eq!(parse("cpu 1 2", meminfo, 7), None);
    }

    #[test]
    fn this_machine_tells() {
        let usage = observe().unwrap();
        assert!(usage.cpu_nanos > 0 && usage.working_set_bytes > 0);
        assert!(usage.booted_wall_nanos < usage.wall_nanos);
    }
}
