//! What the engine can be asked to do, and how it tells what came of it.
//!
//! An [`Action`] is its own idempotency key: it names the incarnation it is about, so performing the same
//! action twice must have the effect of performing it once (the shim remembers the keys that it has served).
//! This is what makes a crash of the daemon between "decided" and "done" harmless: the next round decides
//! the same key again. An action whose repetition must be a new act carries a `retry` number.

use std::fmt;

use model::pod::Resources;
use serde::{Deserialize, Serialize};

/// One thing to do. The order of the variants is the order in which a Pod usually meets them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Make every volume and the Pod's directories.
    PrepareVolumes {
        /// How many preparations failed before.
        retry: u32,
    },
    /// Make namespaces, pause and network.
    CreateSandbox {
        /// Number of this sandbox in the Pod's life, failed ones included.
        attempt: u32,
    },
    /// Obtain the image of a container by its `imagePullPolicy`: find it on the machine ([`Done::Performed`])
    /// or pull it ([`Done::Pulled`]).
    Pull {
        /// The container.
        container: String,
        /// Its reference, as written in the manifest.
        image: String,
        /// The incarnation that needs it; with `imagePullPolicy: Always` each asks the registry anew.
        attempt: u32,
        /// How many pulls for this incarnation failed before.
        retry: u32,
    },
    /// Create and start one incarnation of a container.
    Start {
        /// The container.
        container: String,
        /// Its incarnation; the first is 0, so this is also the restart count.
        attempt: u32,
        /// How many creations of this incarnation failed before any process existed.
        retry: u32,
        /// The sandbox in which it starts; if that is gone, the start must fail.
        sandbox: u32,
    },
    /// Run the postStart hook.
    PostStart {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
    },
    /// Run one probe, within its own timeout.
    Probe {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
        /// Which of its probes.
        kind: ProbeKind,
        /// Number of this round in the probe's schedule; skipped rounds have numbers too.
        round: u64,
    },
    /// Set aside on the node what the Pod asks for now, in place of what it has (KEP-1287). Refused with
    /// [`Reason::Deferred`] or [`Reason::Infeasible`], both to be asked again after a change from outside.
    AllocateResources {
        /// What the Pod as a whole asks for ([`model::resources::effective`]).
        resources: Resources,
        /// How many actions of resizing this Pod ended before.
        number: u32,
    },
    /// Set cpu and memory of the Pod's cgroup. Fails with [`Reason::ResizeError`] where the kernel refuses, or
    /// where the memory in use is above the limit.
    ResizePod {
        /// The sandbox.
        sandbox: u32,
        /// What the cgroup shall have: the request of cpu, and limits of cpu and memory; none is unlimited.
        resources: Resources,
        /// How many actions of resizing this Pod ended before.
        number: u32,
    },
    /// Set cpu and memory of the cgroup of a running container. Fails as [`Action::ResizePod`] does.
    ResizeContainer {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
        /// What the cgroup shall have.
        resources: Resources,
        /// How many actions of resizing this Pod ended before.
        number: u32,
    },
    /// Run the preStop hook. The container's end ends the hook too.
    PreStop {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
    },
    /// Send the stop signal (`lifecycle.stopSignal`, image STOPSIGNAL, TERM).
    Signal {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
    },
    /// Send KILL to everything in the container.
    Kill {
        /// The container.
        container: String,
        /// Its incarnation.
        attempt: u32,
    },
    /// Stop pause, release namespaces, network and address. Also cleans up after a sandbox that is dead or
    /// was made only in part.
    RemoveSandbox {
        /// The sandbox.
        attempt: u32,
    },
    /// Unmount and remove every volume and the Pod's directories, logs excepted.
    RemoveVolumes,
}

impl Action {
    /// The container that the action is about.
    pub fn container(&self) -> Option<&str> {
        match self {
            Action::Pull { container, .. }
            | Action::Start { container, .. }
            | Action::PostStart { container, .. }
            | Action::Probe { container, .. }
            | Action::ResizeContainer { container, .. }
            | Action::PreStop { container, .. }
            | Action::Signal { container, .. }
            | Action::Kill { container, .. } => Some(container),
            Action::PrepareVolumes { .. }
            | Action::CreateSandbox { .. }
            | Action::AllocateResources { .. }
            | Action::ResizePod { .. }
            | Action::RemoveSandbox { .. }
            | Action::RemoveVolumes => None,
        }
    }
}

/// The three probes of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Holds the other two back until it has passed.
    Startup,
    /// A failure restarts the container.
    Liveness,
    /// A failure makes the container not ready.
    Readiness,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        })
    }
}

/// What a successful action yields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// It is done; nothing more to tell.
    Performed,
    /// The image is here.
    Pulled {
        /// How long the pull took.
        took_nanos: u64,
        /// Size of the image.
        size_bytes: u64,
    },
    /// The probe succeeded.
    Healthy,
    /// The probe was answered, and the answer is a failure (a timeout is one too).
    Unhealthy {
        /// What the probe saw, as kubectl shows it: `HTTP probe failed with statuscode: 500`.
        message: String,
    },
}

/// Why an action failed. A probe that could not be carried out at all fails too; it counts neither way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What machines react to.
    pub reason: Reason,
    /// What was attempted on what, and why it did not work; one line for a human.
    pub message: String,
    /// Whether trying again can help.
    pub retry: Retry,
}

/// Whether a failed action is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Again after a growing delay.
    Backoff,
    /// Not before something changes from outside: [`crate::Fact::DependencyChanged`], `PodChanged` or
    /// `RestartRequested`.
    OnChange,
}

/// Reasons of failures, in Kubernetes' words: they appear as `state.waiting.reason`, in `lastState` and in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The registry or the archive did not give the image.
    ErrImagePull,
    /// `imagePullPolicy: Never` and the image is not here.
    ErrImageNeverPull,
    /// The reference cannot be parsed.
    InvalidImageName,
    /// A ConfigMap, Secret, key, user or field that the container needs is missing or wrong.
    CreateContainerConfigError,
    /// The container could not be made (mounts, root filesystem, cgroups).
    CreateContainerError,
    /// The container was made and its first program could not be executed: the incarnation ended with code 128.
    StartError,
    /// As `StartError`, for other failures after creation: a mount, a limit, an identity that the kernel refuses. It is
    /// also what a container waits with that could not be started and is about to be again.
    RunContainerError,
    /// A volume could not be made.
    FailedMount,
    /// The sandbox could not be made.
    FailedCreatePodSandBox,
    /// The sandbox or the volumes could not be removed, or a signal not be sent.
    FailedKillPod,
    /// postStart failed.
    FailedPostStartHook,
    /// preStop failed.
    FailedPreStopHook,
    /// The probe could not be carried out.
    ProbeError,
    /// The node has not now what the Pod asks for, and may have it later.
    Deferred,
    /// The node never has what the Pod asks for.
    Infeasible,
    /// The cgroup could not be given other limits, or more memory is in use than the new limit allows.
    ResizeError,
    /// The engine gave the action up because [`crate::Decision::cancel`] named it.
    Canceled,
}

impl Reason {
    /// The word as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ErrImagePull => "ErrImagePull",
            Reason::ErrImageNeverPull => "ErrImageNeverPull",
            Reason::InvalidImageName => "InvalidImageName",
            Reason::CreateContainerConfigError => "CreateContainerConfigError",
            Reason::CreateContainerError => "CreateContainerError",
            Reason::StartError => "StartError",
            Reason::RunContainerError => "RunContainerError",
            Reason::FailedMount => "FailedMount",
            Reason::FailedCreatePodSandBox => "FailedCreatePodSandBox",
            Reason::FailedKillPod => "FailedKillPod",
            Reason::FailedPostStartHook => "FailedPostStartHook",
            Reason::FailedPreStopHook => "FailedPreStopHook",
            Reason::ProbeError => "ProbeError",
            Reason::Deferred => "Deferred",
            Reason::Infeasible => "Infeasible",
            Reason::ResizeError => "Error",
            Reason::Canceled => "Canceled",
        }
    }

    /// Whether the failed Start used its incarnation up, because a container was made before it failed.
    pub(crate) fn consumes_incarnation(self) -> bool {
        matches!(self, Reason::StartError | Reason::RunContainerError)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
