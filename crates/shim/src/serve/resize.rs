//! Limits of what runs already.

use std::io;

use linux::cgroup::{Cgroup, Limits};

use super::Shim;
use super::requests::{Answer, refusal};
use crate::execute::Attempt;
use crate::protocol::{ContainerState, Reply, StartError, StartErrorKind, Step};

impl Shim {
    /// Writes limits to the cgroup of a running container, or of the Pod, and reads back what holds.
    pub(super) fn resize(&self, key: Option<&str>, limits: &Limits) -> Answer {
        let cgroup = self.cgroup_of(key)?;
        let describe = || format!("change the limits of cgroup {}", cgroup.path());
        let act = || -> Result<Reply, linux::cgroup::CgroupError> {
            let bytes = cgroup.usage()?.memory_working_set_bytes;
            // v2 takes a limit below what is in use, and kills.
            let has_room =
                |limit: i64| u64::try_from(limit).map_or(true, |limit| limit == 0 || bytes < limit);
            if !limits.memory_limit_bytes.is_none_or(has_room) {
                return Ok(Reply::MemoryInUse { bytes });
            }
            // What this kernel has no file for was told when the container started.
            cgroup.apply(limits)?;
            Ok(Reply::Resized { in_force: cgroup.limits_in_force()? })
        };
        let reply = act().map_err(io::Error::other).attempt(Step::Cgroup, describe)?;
        Ok(Some((reply, Vec::new())))
    }

    fn cgroup_of(&self, key: Option<&str>) -> Result<Cgroup, StartError> {
        let Some(key) = key else {
            return Cgroup::open(&self.hierarchy, &self.cgroup)
                .map_err(io::Error::other)
                .attempt(Step::Cgroup, || format!("open cgroup {}", self.cgroup));
        };
        let running = self
            .containers
            .get(key)
            .filter(|container| matches!(container.state, ContainerState::Running { .. }));
        running
            .map(|container| container.cgroup.clone())
            .ok_or_else(|| refusal(StartErrorKind::NoSuchContainer, format!("container {key} does not run")))
    }
}
