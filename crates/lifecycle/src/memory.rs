//! What cannot be observed again: deadlines, hook results, probe counters, backoff, the outcome.
//!
//! Small, serialisable, saved before anything is acted on. [`Memory::note`] (in `note.rs`) is the only
//! function that changes it.

use std::collections::BTreeMap;

use model::pod::{Pod, Resources};
use serde::{Deserialize, Serialize};

use crate::action::{Action, Done, Failure, ProbeKind, Reason};
use crate::observation::{Observation, User};
use crate::policy::Policy;
use crate::resize::{self, Allocation};
use crate::role::{Role, members};
use crate::status::{Phase, TerminatedReason};
use crate::time::Now;

/// Something that happened. The engine notes facts in the order in which it learns them, then the
/// observation of the round as [`Fact::Observed`], and then decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The world as it is now; noted once a round, last.
    Observed(Observation),
    /// An action came to its end.
    Completed {
        /// Which one.
        action: Action,
        /// How.
        result: Result<Done, Failure>,
    },
    /// Somebody wants the Pod gone: a deletion, or Ctrl-C.
    StopRequested {
        /// Grace instead of the Pod's own; 0 is "at once". A later request can only shorten.
        grace_seconds: Option<u64>,
    },
    /// The node must end the Pod, whatever the Pod would like: it ends as Failed.
    Evicted {
        /// What for.
        why: Eviction,
        /// One line for a human, such as `The node was low on resource: memory.`
        message: String,
        /// Grace instead of the Pod's own; 0 is "at once".
        grace_seconds: Option<u64>,
    },
    /// `podling restart POD [-c NAME]`: start again now, without waiting out any delay.
    RestartRequested {
        /// Only this container; every main container and sidecar when absent.
        container: Option<String>,
    },
    /// A ConfigMap, Secret or image that somebody waits for may be there now: failed steps are tried again at once.
    DependencyChanged,
    /// The Pod's spec was edited; the Pod given with this fact is the new one.
    PodChanged,
    /// The node's restart delays are others now.
    PolicyChanged(Policy),
}

/// Why a node ends a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Eviction {
    /// The node is short of memory, disk or PIDs. The Pod gets the condition DisruptionTarget.
    NodePressure,
    /// The Pod uses more local storage than it may.
    LocalStorage,
    /// The node shuts down. The Pod gets the condition DisruptionTarget.
    NodeShutdown,
}

impl Eviction {
    /// `status.reason` of the Pod, and the reason of the event.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Eviction::NodePressure | Eviction::LocalStorage => "Evicted",
            Eviction::NodeShutdown => "Terminated",
        }
    }

    /// Whether the Pod goes for a reason that lies in the node rather than in itself.
    pub(crate) fn is_disruption(self) -> bool {
        self != Eviction::LocalStorage
    }
}

/// What the engine must not forget about one Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub(crate) policy: Policy,
    /// Admission, which is `status.startTime`.
    pub(crate) admitted_at: Now,
    /// A stop was requested (as opposed to an end that the Pod found itself).
    pub(crate) stop_requested: bool,
    /// Everything is being stopped.
    pub(crate) stopping: Option<Stopping>,
    /// How the Pod ended; never changes once it is there.
    pub(crate) outcome: Option<Outcome>,
    /// Number of the next sandbox.
    pub(crate) next_sandbox: u32,
    /// The sandbox in which this run's containers live, once it has been seen ready.
    pub(crate) sandbox: Option<u32>,
    pub(crate) sandbox_failure: Option<FailureMemory>,
    pub(crate) volumes_failure: Option<FailureMemory>,
    pub(crate) removal_failure: Option<FailureMemory>,
    /// How many init containers of this run are behind us: classic ones that succeeded, sidecars that started.
    pub(crate) progress: usize,
    /// This run starts everything, also what had completed (RestartAllContainers).
    pub(crate) rerun_completed: bool,
    pub(crate) containers: BTreeMap<String, ContainerMemory>,
    /// What the node has set aside.
    pub(crate) allocated: Allocation,
    /// The node does not set aside what the Pod asks for.
    pub(crate) allocation_failure: Option<FailureMemory>,
    /// What the Pod's cgroup has.
    pub(crate) pod_cgroup: Resources,
    /// The generation of the spec whose resources are being applied.
    pub(crate) resizing: Option<i64>,
    pub(crate) resize_failure: Option<FailureMemory>,
    /// How many actions of resizing have ended.
    pub(crate) resizes: u32,
    /// The last addresses seen; an ended Pod still shows them.
    pub(crate) pod_ips: Vec<String>,
    /// Value and last transition of each condition.
    pub(crate) conditions: BTreeMap<String, ConditionMemory>,
}

/// The stop of everything that runs: why, since when, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    pub(crate) why: StopCause,
    pub(crate) since: Now,
    /// Nanoseconds after `since`; only ever shrinks.
    pub(crate) grace_nanos: u64,
    /// No hook, no signal, KILL now.
    pub(crate) at_once: bool,
}

/// Why everything is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StopCause {
    /// The sandbox died; afterwards everything starts again in a new one.
    SandboxChanged,
    /// A container's exit asks for a new run of all of them (KEP-5532).
    RestartAll { container: String },
    /// Nothing is left to run but sidecars.
    Completed,
    /// The sandbox died, and `restartPolicy: Never` forbids to start again what ran in it.
    SandboxLost,
    /// An init container failed and may not restart.
    InitFailed { container: String },
    /// `activeDeadlineSeconds` is over.
    DeadlineExceeded,
    /// The node must end it.
    Evicted { why: Eviction, message: String },
    /// Somebody asked.
    Requested,
}

impl StopCause {
    /// Whether the Pod ends when all is stopped, rather than starting again.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, StopCause::SandboxChanged | StopCause::RestartAll { .. })
    }

    /// Whether containers of that role go on, as long as their sandbox stands: whoever debugs a Pod sees how it starts again
    /// (KEP-5532, "Containers in Runtime").
    pub(crate) fn spares(&self, role: Role) -> bool {
        matches!(self, StopCause::RestartAll { .. }) && role == Role::Ephemeral
    }
}

/// How the Pod ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) phase: Phase,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

/// A step that failed and is to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureMemory {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// Failures in a row.
    pub(crate) count: u32,
    pub(crate) at: Now,
    pub(crate) wait: Wait,
}

/// What the next try of a failed step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// The delay that belongs to the count.
    Backoff,
    /// A change from outside.
    OnChange,
    /// Nothing: such a change has come.
    Over,
}

/// What is remembered of one container over all its incarnations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerMemory {
    /// First incarnation of this run; older ones belong to an earlier sandbox or run.
    pub(crate) first_attempt: u32,
    /// The newest incarnation that was ever seen.
    pub(crate) current: Option<InstanceMemory>,
    /// The end of the one before.
    pub(crate) previous: Option<Ended>,
    /// Restarts in a row without a long run between them; indexes the delay table.
    pub(crate) streak: u32,
    /// The next incarnation could not be created.
    pub(crate) create_failure: Option<FailureMemory>,
    /// The image could not be pulled for the next incarnation.
    pub(crate) pull_failure: Option<FailureMemory>,
    /// The incarnation for which the image was obtained last, and its reference then.
    pub(crate) pulled: Option<(u32, String)>,
    /// Start again whatever the policy says.
    pub(crate) restart_requested: bool,
    /// Last known image digest.
    pub(crate) image_id: String,
}

/// Of a container of which nothing is known yet.
static UNKNOWN: ContainerMemory = ContainerMemory {
    first_attempt: 0,
    current: None,
    previous: None,
    streak: 0,
    create_failure: None,
    pull_failure: None,
    pulled: None,
    restart_requested: false,
    image_id: String::new(),
};

impl ContainerMemory {
    /// The number of the incarnation that a start would make.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.attempt.saturating_add(1))
    }

    /// The newest incarnation, if it belongs to this run.
    pub(crate) fn of_this_run(&self) -> Option<&InstanceMemory> {
        self.current.as_ref().filter(|current| current.attempt >= self.first_attempt)
    }

    /// The incarnation that runs.
    pub(crate) fn running(&self) -> Option<&InstanceMemory> {
        self.current.as_ref().filter(|current| current.ended.is_none())
    }

    /// How the newest incarnation ended.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.current.as_ref()?.ended.as_ref()
    }
}

/// What is remembered of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceMemory {
    pub(crate) attempt: u32,
    /// The image reference with which it was started; an edit of it restarts the container.
    pub(crate) image: String,
    /// What its cgroup has.
    pub(crate) resources: Resources,
    pub(crate) container_id: Option<String>,
    pub(crate) user: Option<User>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) started_at: Option<Now>,
    pub(crate) ended: Option<Ended>,
    pub(crate) post_start_done: bool,
    pub(crate) pre_stop_done: bool,
    /// The stop signal was sent.
    pub(crate) signalled_at: Option<Now>,
    /// KILL was sent.
    pub(crate) killed: bool,
    pub(crate) kill_failure: Option<FailureMemory>,
    /// This container alone is being stopped.
    pub(crate) stopping: Option<ContainerStopping>,
    /// The startup probe has passed, or there is none and postStart is done.
    pub(crate) started: Option<Now>,
    pub(crate) startup: ProbeMemory,
    pub(crate) liveness: ProbeMemory,
    pub(crate) readiness: ProbeMemory,
}

/// Why one container is stopped while the Pod goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerStopping {
    pub(crate) why: ContainerStopCause,
    /// What the probe or the hook saw that failed.
    pub(crate) seen: Option<String>,
    pub(crate) since: Now,
    pub(crate) grace_nanos: u64,
}

/// What made the one container stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContainerStopCause {
    Probe(ProbeKind),
    PostStart,
    RestartRequested,
    ImageChanged,
    Resized,
}

/// Counters of one probe of one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeMemory {
    /// The next round that may run.
    pub(crate) next_round: u64,
    /// In a row, not counted beyond the threshold.
    pub(crate) successes: u32,
    /// In a row, not counted beyond the threshold.
    pub(crate) failures: u32,
    /// What the thresholds have made of it: passed or failed.
    pub(crate) passed: Option<bool>,
    /// What the last failure saw.
    pub(crate) message: Option<String>,
}

/// What is remembered of an incarnation, as far as others than the lifecycle need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The container.
    pub container: String,
    /// Which start of it, from 0.
    pub attempt: u32,
    /// When it started, if it did.
    pub started_at: Option<Now>,
    /// Whether it was running when this was noted.
    pub is_running: bool,
    /// How it ended, if it has.
    pub exit_code: Option<i32>,
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: TerminatedReason,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Option<Now>,
    pub(crate) finished_at: Now,
    pub(crate) container_id: Option<String>,
    /// It was stopped alone, for this.
    #[serde(default)]
    pub(crate) stopped_for: Option<ContainerStopping>,
}

impl Ended {
    /// It was stopped because a liveness or startup probe failed: whatever its code, that is a failure.
    pub(crate) fn failed_probe(&self) -> bool {
        self.stopped_for.as_ref().is_some_and(|stopping| matches!(stopping.why, ContainerStopCause::Probe(_)))
    }
}

/// Value of a condition and when it last changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConditionMemory {
    pub(crate) status: bool,
    pub(crate) since_wall_nanos: i64,
}

impl InstanceMemory {
    /// The counters of one of its probes.
    pub(crate) fn probe(&self, kind: ProbeKind) -> &ProbeMemory {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }

    /// The counters of one of its probes, to change them.
    pub(crate) fn probe_mut(&mut self, kind: ProbeKind) -> &mut ProbeMemory {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}

impl Memory {
    /// All of it but how far the probes are. Two that are equal without that differ only in rounds which changed nothing:
    /// whoever goes on from the earlier one goes on like somebody who missed these rounds.
    #[must_use]
    pub fn without_rounds(&self) -> Memory {
        let mut rest = self.clone();
        for instance in rest.containers.values_mut().filter_map(|container| container.current.as_mut()) {
            for probe in [&mut instance.startup, &mut instance.liveness, &mut instance.readiness] {
                probe.next_round = 0;
            }
        }
        rest
    }

    /// The memory of a Pod that has just been admitted.
    pub fn new(pod: &Pod, policy: Policy, now: Now) -> Memory {
        let containers = members(pod).map(|m| (m.name().to_owned(), ContainerMemory::default())).collect();
        Memory {
            policy,
            admitted_at: now,
            stop_requested: false,
            stopping: None,
            outcome: None,
            next_sandbox: 0,
            sandbox: None,
            sandbox_failure: None,
            volumes_failure: None,
            removal_failure: None,
            progress: 0,
            rerun_completed: false,
            containers,
            allocated: Allocation::of(pod),
            allocation_failure: None,
            pod_cgroup: resize::of_pod(pod),
            resizing: None,
            resize_failure: None,
            resizes: 0,
            pod_ips: Vec::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// The delays that hold for the Pod.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// What is known of a container; nothing, for one that the Pod did not have when it was admitted.
    pub(crate) fn container(&self, name: &str) -> &ContainerMemory {
        self.containers.get(name).unwrap_or(&UNKNOWN)
    }

    /// The newest incarnation of each container, for an engine that takes the Pod over.
    pub fn incarnations(&self) -> Vec<Remembered> {
        let of = |(name, memory): (&String, &ContainerMemory)| {
            let current = memory.current.as_ref()?;
            Some(Remembered {
                container: name.clone(),
                attempt: current.attempt,
                started_at: current.started_at,
                is_running: current.ended.is_none(),
                exit_code: current.ended.as_ref().map(|ended| ended.code),
            })
        };
        self.containers.iter().filter_map(of).collect()
    }

    /// Whether a stop was requested.
    pub fn is_stop_requested(&self) -> bool {
        self.stop_requested
    }
}
