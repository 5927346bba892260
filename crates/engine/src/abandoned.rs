//! Nodes whose directories somebody removed while their Pods ran. Nobody can start such a node again, or find its Pods by
//! its files; they are found by what the kernel has of them: the shims, whose command line names the directory, and the
//! links, tables and address ranges that tell their owner.
//!
//! A directory that is not there is looked for where its shim would see it, so that a node within a container of somebody
//! else's is not taken for one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use network::leftovers::{self, Leftover};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::reclaim::ReclaimError;

/// What the shim calls itself.
const SHIM: &str = "podling-shim";

/// Everything that is left of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The directory that is gone.
    pub run_dir: PathBuf,
    shims: Vec<OrphanedShim>,
    network: Vec<Leftover>,
}

/// A shim whose Pod's directory is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OrphanedShim {
    pid: i32,
    run_dir: PathBuf,
    /// The Pod's cgroup.
    cgroup: String,
}

/// Looks for them. What cannot be read is nobody's.
pub fn find() -> Vec<Abandoned> {
    let mut found = BTreeMap::new();
    for shim in orphaned_shims() {
        node_in(&mut found, &shim.run_dir).shims.push(shim);
    }
    for leftover in orphaned_network() {
        if let Some(run_dir) = &leftover.run_dir {
            node_in(&mut found, Path::new(run_dir)).network.push(leftover);
        }
    }
    found.into_values().collect()
}

fn node_in<'f>(found: &'f mut BTreeMap<PathBuf, Abandoned>, run_dir: &Path) -> &'f mut Abandoned {
    found.entry(run_dir.to_owned()).or_insert_with(|| Abandoned {
        run_dir: run_dir.to_owned(),
        shims: Vec::new(),
        network: Vec::new(),
    })
}

fn orphaned_shims() -> impl Iterator<Item = OrphanedShim> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| orphaned_shim(entry.file_name().to_str()?.parse().ok()?))
}

/// The process `pid`, if it is a shim whose node's directory is gone.
fn orphaned_shim(pid: i32) -> Option<OrphanedShim> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let (run_dir, cgroup) = parse(&String::from_utf8(line).ok()?)?;
    // It runs from memory; another program may call itself what it likes.
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let is_shim = program.to_string_lossy().starts_with("/memfd:");
    let seen_by_it = PathBuf::from(format!("/proc/{pid}/root{}", run_dir.display()));
    let is_gone = !seen_by_it.try_exists().unwrap_or(true);
    (is_shim && is_gone).then_some(OrphanedShim { pid, run_dir, cgroup })
}

/// The run directory of a shim's node and the Pod's cgroup, from the shim's command line: `podling-shim RUN/pods/UID CGROUP`.
fn parse(command_line: &str) -> Option<(PathBuf, String)> {
    let mut words = command_line.split('\0');
    let (name, pod_dir, cgroup) = (words.next()?, Path::new(words.next()?), words.next()?);
    let run_dir = pod_dir.parent().filter(|pods| pods.ends_with("pods"))?.parent()?;
    let is_ours = name == SHIM && run_dir.is_absolute() && cgroup.starts_with("/podling/");
    is_ours.then(|| (run_dir.to_owned(), cgroup.to_owned()))
}

fn orphaned_network() -> Vec<Leftover> {
    let claims = Path::new(network::CLAIMS_DIR);
    if !claims.exists() {
        return Vec::new();
    }
    leftovers::find(claims, |run_dir| run_dir.try_exists().unwrap_or(true)).unwrap_or_default()
}

impl Abandoned {
    /// How many Pods still run.
    pub fn pods(&self) -> usize {
        self.shims.len()
    }

    /// Ends the Pods, and takes away cgroups and network. Goes on after an error and returns all.
    pub fn end(&self) -> Vec<ReclaimError> {
        let mut errors = Vec::new();
        // Somebody has started it again meanwhile: it is nobody's leftover any more.
        if self.run_dir.exists() {
            return errors;
        }
        let name = self.run_dir.display().to_string();
        for shim in &self.shims {
            // Its containers die with it.
            if let Some(process) =
                Pid::from_raw(shim.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
                && orphaned_shim(shim.pid).as_ref() == Some(shim)
            {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            let ended = crate::cgroups::end(&shim.cgroup).and_then(|()| {
                let node = shim.cgroup.trim_start_matches("/podling/").split('/').next();
                crate::cgroups::remove_node(node.unwrap_or_default())
            });
            errors.extend(ended.err().map(|source| ReclaimError::Cgroup { node: name.clone(), source }));
        }
        let claims = Path::new(network::CLAIMS_DIR);
        let left = self.network.iter().filter_map(|leftover| leftovers::remove(claims, leftover).err());
        errors.extend(left.flatten().map(|source| ReclaimError::Network { node: name.clone(), source }));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_command_line() {
        let line = "podling-shim\0/run/x/pods/uid\0/podling/node/poduid\0";
        assert_eq!(parse(line), Some(("/run/x".into(), "/podling/node/poduid".to_owned())));
        for other in [
            "podling-shim\0/run/x/pods/uid\0",
            "podling-shim\0/run/x/other/uid\0/podling/node/poduid\0",
            "podling-shim\0pods/uid\0/podling/node/poduid\0",
            "podling-shim\0/run/x/pods/uid\0/elsewhere\0",
            "other\0/run/x/pods/uid\0/podling/node/poduid\0",
            "",
        ] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
