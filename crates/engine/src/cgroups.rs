//! The node's branch of the cgroup tree: `/podling/NODE/podUID/CONTAINER`. The shim makes and removes what is
//! below the Pod's; the node's own is removed here.

use std::time::Duration;

use linux::cgroup::{Cgroup, CgroupError, Hierarchy};

/// How long the last zombies may keep a cgroup busy.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Pids in the cgroup of one container.
pub(crate) fn processes(pod_cgroup: &str, container: &str) -> Result<Vec<i32>, CgroupError> {
    let cgroup = Cgroup::open(&Hierarchy::detect()?, &format!("{pod_cgroup}/{container}"))?;
    Ok(cgroup.procs()?.into_iter().filter_map(|pid| i32::try_from(pid).ok()).collect())
}

/// How long killed processes may take to be gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// Kills everything in a cgroup whose shim is gone, and removes it.
pub(crate) fn end(path: &str) -> Result<(), CgroupError> {
    let cgroup = Cgroup::open(&Hierarchy::detect()?, path)?;
    if cgroup.exists() {
        cgroup.kill_until_empty(DEATH_TIMEOUT)?;
        cgroup.remove(REMOVAL_TIMEOUT)?;
    }
    Ok(())
}

/// Removes the node's own cgroup, and `/podling` with the last node.
pub(crate) fn remove_node(node: &str) -> Result<(), CgroupError> {
    let hierarchy = Hierarchy::detect()?;
    let cgroup = Cgroup::open(&hierarchy, &format!("/podling/{node}"))?;
    if cgroup.exists() {
        cgroup.remove(REMOVAL_TIMEOUT)?;
    }
    cgroup.remove_empty_parents(&hierarchy);
    Ok(())
}
