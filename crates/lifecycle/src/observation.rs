//! What the engine sees each round, rebuilt from the shim, the image store and its own tasks: never from memory.
//!
//! The one rule for the engine: **observe after taking over completions.** A completion is noted, its action
//! leaves `in_flight`, and only then is the observation of that round made; so what is neither observed nor
//! in flight does not exist.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::time::Now;

/// The world of one Pod at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Pause and its namespaces.
    pub sandbox: Sandbox,
    /// The newest incarnation of each container, by name; absent when there was none or it cannot be found.
    pub containers: BTreeMap<String, Instance>,
    /// The image that was obtained for each container, by the container's name; absent until there is one.
    pub images: BTreeMap<String, Image>,
    /// The Pod's volumes, all together.
    pub volumes: Volumes,
    /// The Pod's addresses, while it has a sandbox.
    pub pod_ips: Vec<String>,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// `status.conditions` that others set and `readinessGates` ask for: True ones only.
    pub gates: BTreeSet<String>,
    /// Actions begun and not yet completed, also those that an earlier daemon began and the shim still works on.
    pub in_flight: BTreeSet<Action>,
}

/// The Pod's sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// Nothing is there, and nothing is left of an earlier one.
    #[default]
    Absent,
    /// Pause runs.
    Ready {
        /// Which one.
        attempt: u32,
    },
    /// Pause is dead, or the sandbox was made only in part; something is left to remove.
    Dead {
        /// Which one.
        attempt: u32,
    },
}

/// One incarnation of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Which one; the number that its `Start` had.
    pub attempt: u32,
    /// `podling://<64 hex digits>`.
    pub container_id: String,
    /// Whom its first process runs as; absent when that is not known.
    pub user: Option<User>,
    /// The signal that stops it, such as `SIGTERM`; absent when that is not known.
    pub stop_signal: Option<String>,
    /// Running or exited.
    pub state: InstanceState,
}

/// `status.containerStatuses[].user.linux` (KEP-3619).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `uid`.
    pub uid: u32,
    /// `gid`.
    pub gid: u32,
    /// `supplementalGroups`.
    pub supplemental_groups: Vec<u32>,
}

/// State of an incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Its first process lives.
    Running {
        /// When it was started.
        started_at: Now,
    },
    /// Its first process is gone, and with it the rest of its cgroup.
    Exited {
        /// When it was started.
        started_at: Now,
        /// When it ended.
        finished_at: Now,
        /// How.
        exit: Exit,
    },
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + N when signal N ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel's OOM killer took one of its processes.
    pub oom_killed: bool,
    /// Termination message, from its file or the end of the log.
    pub message: Option<String>,
}

/// An image on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its digest, as `status.containerStatuses[].imageID` shows it.
    pub image_id: String,
}

/// The Pod's volumes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volumes {
    /// Nothing is there.
    #[default]
    Absent,
    /// A preparation failed or was cut short.
    Partial,
    /// Every volume can be mounted.
    Ready,
}
