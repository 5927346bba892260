//! How much memory a process takes: its proportional set size, proc_pid_smaps(5), and who its children are.

use std::fs;
use std::path::Path;

use crate::failure::{Attempt, Failure, Result};

/// The process whose command line contains `part` and whose name is `name`.
pub(crate) fn find(name: &str, part: &Path) -> Result<u32> {
    let part = part.to_string_lossy();
    let found = pids()?.into_iter().find(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        comm(*pid) == name && String::from_utf8_lossy(&arguments).contains(&*part)
    });
    found.ok_or_else(|| Failure::new(format!("there is no process {name} of {part}")))
}

/// The child of that name.
pub(crate) fn child(parent: u32, name: &str) -> Result<u32> {
    let found = pids()?.into_iter().find(|pid| comm(*pid) == name && parent_of(*pid) == Some(parent));
    found.ok_or_else(|| Failure::new(format!("process {parent} has no child {name}")))
}

/// All children of that name.
pub(crate) fn children(parent: u32, name: &str) -> Result<Vec<u32>> {
    Ok(pids()?.into_iter().filter(|pid| comm(*pid) == name && parent_of(*pid) == Some(parent)).collect())
}

/// The proportional set size in KiB.
pub(crate) fn pss_kib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
    parse_pss_kib(&text).ok_or_else(|| Failure::new(format!("{path} has no Pss")))
}

fn parse_pss_kib(rollup: &str) -> Option<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn pids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").attempt("reading /proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_string()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportional_size_is_read() {
        let rollup = "00400000-7ffd [rollup]\nRss:    900 kB\nPss:                 123 kB\nPss_Anon: 4 kB\n";
        assert_eq!(parse_pss_kib(rollup), Some(123.0));
        assert_eq!(parse_pss_kib(""), None);
    }
}
