//! What a cgroup holds and uses, read from its accounting files.

use std::fs;
use std::io;
use std::path::Path;

use super::group::Tree;
use super::{Cgroup, CgroupError};

/// Used resources of a cgroup and everything below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since creation.
    pub cpu_ns: u64,
    /// Memory charged now, page cache included.
    pub memory_bytes: u64,
    /// Memory without page cache that has not been touched lately: what Kubernetes calls the working set.
    pub memory_working_set_bytes: u64,
    /// Processes and threads now.
    pub pids: u64,
}

impl Cgroup {
    /// The processes in this cgroup itself, not below; empty when it does not exist. Zeros, which stand for
    /// processes outside the caller's PID namespace, are left out.
    pub fn procs(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        // On hybrid machines a process may be in the v1 hierarchies only (an external runtime put it there).
        let v1 = match &self.tree {
            Tree::V2 { .. } => None,
            Tree::V1 { .. } => Some(self.controller_directory("pids")?),
        };
        for directory in self.v2_directory().into_iter().chain(v1) {
            let Some(text) = read_if_exists(&directory.join("cgroup.procs"))? else { continue };
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// How many processes the kernel has killed here for lack of memory.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        let path = self.controller_directory("memory")?.join(file);
        Ok(read_if_exists(&path)?.and_then(|text| keyed(&text, "oom_kill")).unwrap_or(0))
    }

    /// What is used at this moment; zeros when the cgroup does not exist.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let memory = self.controller_directory("memory")?;
        let pids = self.number("pids", "pids.current")?;
        let stat = read_if_exists(&memory.join("memory.stat"))?.unwrap_or_default();
        let (memory_bytes, inactive_key, cpu_ns) = if self.is_v2() {
            let cpu = read_if_exists(&self.controller_directory("cpu")?.join("cpu.stat"))?;
            let cpu_us = cpu.and_then(|text| keyed(&text, "usage_usec")).unwrap_or(0);
            (self.number("memory", "memory.current")?, "inactive_file", cpu_us.saturating_mul(1000))
        } else {
            let cpu_ns = self.number("cpuacct", "cpuacct.usage")?;
            (self.number("memory", "memory.usage_in_bytes")?, "total_inactive_file", cpu_ns)
        };
        let inactive = keyed(&stat, inactive_key).unwrap_or(0);
        let memory_working_set_bytes = memory_bytes.saturating_sub(inactive);
        Ok(Usage { cpu_ns, memory_bytes, memory_working_set_bytes, pids })
    }

    fn number(&self, controller: &'static str, file: &str) -> Result<u64, CgroupError> {
        let text = read_if_exists(&self.controller_directory(controller)?.join(file))?;
        Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }
}

/// The value of `key` in a "key value" file.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The text of a file; `None` when the cgroup, or the file, is not there. ENODEV is what an open file of a
/// removed cgroup answers.
pub(super) fn read_if_exists(path: &Path) -> Result<Option<String>, CgroupError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(CgroupError::at("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_a_prefix() {
        let text = "low 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 7\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom"), Some(1));
        assert_eq!(keyed(text, "o"), None);
    }
}
