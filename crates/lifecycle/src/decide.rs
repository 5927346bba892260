//! `decide`: what a Pod needs next, from what is asked, what is remembered and what is seen.

use model::pod::Pod;
use serde::{Deserialize, Serialize};

use crate::action::{Action, ProbeKind, Reason};
use crate::memory::Memory;
use crate::observation::Observation;
use crate::plan::{self, Plan};
use crate::report;
use crate::status::{Phase, Status};
use crate::time::Now;

/// All that the engine does in a round; it adds no choice of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// To begin now, in this order, without waiting for one another. None of them is in flight.
    pub actions: Vec<Action>,
    /// In flight and no longer wanted: to be given up. They leave `in_flight`, as
    /// [`Reason::Canceled`] or as whatever they came to.
    pub cancel: Vec<Action>,
    /// What is true of the Pod now.
    pub status: Status,
    /// When to decide again if nothing happens before. A jump of the wall clock must lead to a round too.
    pub wake_at: Option<Deadline>,
    /// Set when nothing is left to do.
    pub end: Option<End>,
    /// Set when only a change from outside lets the Pod go on; `podling run` gives up then.
    pub blocked: Option<Blocked>,
}

/// The next instant at which something is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline {
    /// When, as boot time.
    pub boot_nanos: u64,
    /// What.
    pub what: Due,
}

/// Everything that can be due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Due {
    /// `activeDeadlineSeconds` ends.
    ActiveDeadline,
    /// The grace of a container ends: its signal, then KILL.
    Grace {
        /// The container.
        container: String,
    },
    /// A restart delay ends.
    Restart {
        /// The container.
        container: String,
    },
    /// A pull is tried again.
    Pull {
        /// The container.
        container: String,
    },
    /// A creation is tried again.
    Create {
        /// The container.
        container: String,
    },
    /// A probe's next round.
    Probe {
        /// The container.
        container: String,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Other limits of a cgroup are tried again.
    Resize,
    /// The sandbox is tried again.
    Sandbox,
    /// The volumes are tried again.
    Volumes,
    /// A removal is tried again.
    Removal,
}

/// The end of the engine's work on a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The Pod ended by itself and everything it held is released; it stays visible until a stop is requested.
    Finished(Phase),
    /// A stop was requested and everything is released: forget the Pod.
    Gone(Phase),
}

/// Why the Pod cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The container, unless it is the sandbox or the volumes.
    pub container: Option<String>,
    /// What failed.
    pub reason: Reason,
    /// One line for a human.
    pub message: String,
}

/// What `pod` needs next. The observation is the one that was noted last, in this same round.
pub fn decide(pod: &Pod, memory: &Memory, observation: &Observation, now: &Now) -> Decision {
    let plan = Plan::of(pod, memory, observation, now);
    let status = report::status(pod, memory, observation, now);
    Decision {
        actions: plan.actions,
        cancel: plan.cancel,
        status,
        wake_at: plan.wake_at,
        end: plan.end,
        blocked: plan::blocked(pod, memory),
    }
}
