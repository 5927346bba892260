//! `status` of a Pod, field by field as in `core/v1`, with one addition: `cause`.
//!
//! Only the types stand here; [`crate::decide()`] fills them. Instants are wall time in nanoseconds since 1970.

use std::collections::BTreeMap;

use model::pod::Resources;
use model::quantity::Quantity;
pub use model::resources::QosClass;
use serde::{Deserialize, Serialize};

use crate::action::Reason;
pub use crate::observation::User;

/// What is true of a Pod now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `phase`.
    pub phase: Phase,
    /// `reason`, such as `DeadlineExceeded`.
    pub reason: Option<String>,
    /// `message` to the reason.
    pub message: Option<String>,
    /// `conditions`, in the order in which the kubelet writes them.
    pub conditions: Vec<Condition>,
    /// `initContainerStatuses`, sidecars included, in spec order.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// `containerStatuses`, in spec order.
    pub container_statuses: Vec<ContainerStatus>,
    /// `ephemeralContainerStatuses`, in spec order.
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
    /// `podIPs`.
    pub pod_ips: Vec<String>,
    /// `hostIPs`.
    pub host_ips: Vec<String>,
    /// `resources`: what the Pod's cgroup has, when the Pod has resources of its own (KEP-2837).
    pub resources: Option<Resources>,
    /// `allocatedResources`: what is set aside for them.
    pub allocated_resources: BTreeMap<String, Quantity>,
    /// `startTime`.
    pub start_time_wall_nanos: i64,
    /// `qosClass`.
    pub qos_class: QosClass,
    /// `observedGeneration`.
    pub observed_generation: i64,
    /// Why the Pod is not what was asked, in one sentence; absent when it is.
    pub cause: Option<String>,
}

impl Status {
    /// The status of one container, whatever its role.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.init_container_statuses
            .iter()
            .chain(&self.container_statuses)
            .chain(&self.ephemeral_container_statuses)
            .find(|container| container.name == name)
    }

    /// Whether a condition is True.
    pub fn is_true(&self, condition: &str) -> bool {
        self.conditions.iter().any(|c| c.kind == condition && c.status)
    }

    /// Whether the Pod is Ready.
    pub fn is_ready(&self) -> bool {
        self.is_true(READY)
    }
}

/// Condition `PodReadyToStartContainers`: the sandbox has its network.
pub const POD_READY_TO_START_CONTAINERS: &str = "PodReadyToStartContainers";
/// Condition `Initialized`: init containers are done, sidecars started.
pub const INITIALIZED: &str = "Initialized";
/// Condition `Ready`.
pub const READY: &str = "Ready";
/// Condition `ContainersReady`.
pub const CONTAINERS_READY: &str = "ContainersReady";
/// Condition `PodScheduled`.
pub const POD_SCHEDULED: &str = "PodScheduled";
/// Condition `AllContainersRestarting` (KEP-5532), of Pods to which it can happen.
pub const ALL_CONTAINERS_RESTARTING: &str = "AllContainersRestarting";

/// Condition `DisruptionTarget`, only while it is True.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Condition `PodResizePending` (KEP-1287), only while it is True.
pub const POD_RESIZE_PENDING: &str = "PodResizePending";
/// Condition `PodResizeInProgress` (KEP-1287), only while it is True.
pub const POD_RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// `phase`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Some container has not yet been started for the first time.
    #[default]
    Pending,
    /// All were started; at least one runs or will.
    Running,
    /// Every main container ended with code 0 and stays ended.
    Succeeded,
    /// Everything ended, and not all is well.
    Failed,
}

impl Phase {
    /// Whether the Pod's life is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// One of `conditions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `type`.
    pub kind: String,
    /// `status`: True or False.
    pub status: bool,
    /// `reason`, when False.
    pub reason: Option<String>,
    /// `message`, when False.
    pub message: Option<String>,
    /// `lastTransitionTime`.
    pub last_transition_wall_nanos: i64,
    /// `observedGeneration`: the generation of the spec that it speaks of (KEP-5067).
    pub observed_generation: i64,
}

/// One of `containerStatuses`, `initContainerStatuses` or `ephemeralContainerStatuses`. `allocatedResourcesStatus` speaks
/// of devices (KEP-4680), which podling does not hand out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// `name`.
    pub name: String,
    /// `state`.
    pub state: ContainerState,
    /// `lastState.terminated`.
    pub last_state: Option<Terminated>,
    /// `ready`.
    pub ready: bool,
    /// `started`.
    pub started: bool,
    /// `restartCount`.
    pub restart_count: u32,
    /// `image`, as written in the manifest.
    pub image: String,
    /// `imageID`, empty until known.
    pub image_id: String,
    /// `containerID` of the newest incarnation.
    pub container_id: Option<String>,
    /// `resources`: what its cgroup has, or will have once it is started (KEP-1287).
    pub resources: Resources,
    /// `allocatedResources`: the requests that the node has set aside for it.
    pub allocated_resources: BTreeMap<String, Quantity>,
    /// `volumeMounts` (KEP-3857).
    pub volume_mounts: Vec<VolumeMountStatus>,
    /// `user.linux` of the newest incarnation (KEP-3619).
    pub user: Option<User>,
    /// `stopSignal` of the newest incarnation (KEP-4960).
    pub stop_signal: Option<String>,
}

/// One of `volumeMounts` of a container's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMountStatus {
    /// `name`.
    pub name: String,
    /// `mountPath`.
    pub mount_path: String,
    /// `readOnly`.
    pub read_only: bool,
    /// `recursiveReadOnly`: whether that holds below too; absent for what can be written.
    pub recursive_read_only: Option<bool>,
}

/// `state` of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not running, and it will or may.
    Waiting {
        /// `reason`.
        reason: WaitingReason,
        /// `message`.
        message: Option<String>,
    },
    /// Running.
    Running {
        /// `startedAt`.
        started_at_wall_nanos: i64,
    },
    /// Ended, and it stays so.
    Terminated(Terminated),
}

/// `state.waiting.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitingReason {
    /// Its turn has come, and it is being made.
    ContainerCreating,
    /// Init containers go first.
    PodInitializing,
    /// It ended and waits out its restart delay.
    CrashLoopBackOff,
    /// The pull failed, and the next waits out its delay.
    ImagePullBackOff,
    /// A failure, as the reason names it.
    Failed(Reason),
}

impl WaitingReason {
    /// The word as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitingReason::ContainerCreating => "ContainerCreating",
            WaitingReason::PodInitializing => "PodInitializing",
            WaitingReason::CrashLoopBackOff => "CrashLoopBackOff",
            WaitingReason::ImagePullBackOff => "ImagePullBackOff",
            WaitingReason::Failed(reason) => reason.as_str(),
        }
    }
}

/// `state.terminated` and `lastState.terminated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// `exitCode`.
    pub exit_code: i32,
    /// `signal`.
    pub signal: Option<i32>,
    /// `reason`.
    pub reason: TerminatedReason,
    /// `message`.
    pub message: Option<String>,
    /// `startedAt`; absent when it never ran.
    pub started_at_wall_nanos: Option<i64>,
    /// `finishedAt`.
    pub finished_at_wall_nanos: i64,
    /// `containerID`.
    pub container_id: Option<String>,
}

/// `state.terminated.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminatedReason {
    /// Code 0.
    Completed,
    /// Another code, or a signal.
    Error,
    /// The OOM killer.
    OOMKilled,
    /// It was made and could not be started, in containerd's word. ContainerCannotRun is Docker's word for the same, and
    /// nobody says it any more.
    StartError,
    /// The exit was lost, as by a reboot; the code is 137.
    ContainerStatusUnknown,
}

impl TerminatedReason {
    /// The word as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            TerminatedReason::Completed => "Completed",
            TerminatedReason::Error => "Error",
            TerminatedReason::OOMKilled => "OOMKilled",
            TerminatedReason::StartError => "StartError",
            TerminatedReason::ContainerStatusUnknown => "ContainerStatusUnknown",
        }
    }
}
