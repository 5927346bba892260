//! What is there of one Pod, as the shim and the engine's own tasks told it.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::{Action, Exit, Image, Instance, InstanceState, Now, Observation, Sandbox, Volumes};

/// The world of one Pod, kept current by its task and turned into an [`Observation`] each round.
#[derive(Debug, Default)]
pub(super) struct World {
    sandbox: Sandbox,
    containers: BTreeMap<String, Instance>,
    images: BTreeMap<String, Image>,
    volumes: Volumes,
    pod_ips: Vec<String>,
    host_ips: Vec<String>,
    /// Readiness gates that are open.
    gates: BTreeSet<String>,
    /// Exits that were told before the start that they belong to was: a program may end within microseconds.
    early_exits: BTreeMap<(String, u32), Ended>,
}

/// The end of one incarnation.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) at: Now,
    pub(crate) exit: Exit,
}

/// What an action changed in the world.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing that is observed.
    Nothing,
    /// Every volume is there.
    VolumesReady,
    /// Volumes were made in part.
    VolumesPartial,
    /// No volume is left.
    VolumesAbsent,
    /// Pause runs and the Pod has its addresses.
    SandboxReady { attempt: u32, pod_ips: Vec<String>, host_ips: Vec<String> },
    /// Something of a sandbox is there that is of no use.
    SandboxDead { attempt: u32 },
    /// Nothing of a sandbox is left.
    SandboxAbsent,
    /// The image of a container is here.
    ImagePresent { container: String, image_id: String },
    /// A container runs.
    Started { container: String, instance: Instance },
}

impl World {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::VolumesReady => self.volumes = Volumes::Ready,
            Change::VolumesPartial => self.volumes = Volumes::Partial,
            Change::VolumesAbsent => self.volumes = Volumes::Absent,
            Change::SandboxReady { attempt, pod_ips, host_ips } => {
                self.sandbox = Sandbox::Ready { attempt };
                self.pod_ips = pod_ips;
                self.host_ips = host_ips;
            }
            Change::SandboxDead { attempt } => self.sandbox = Sandbox::Dead { attempt },
            Change::SandboxAbsent => {
                self.sandbox = Sandbox::Absent;
                self.pod_ips.clear();
            }
            Change::ImagePresent { container, image_id } => {
                self.images.insert(container, Image { image_id });
            }
            Change::Started { container, instance } => {
                let attempt = instance.attempt;
                self.containers.insert(container.clone(), instance);
                if let Some(ended) = self.early_exits.remove(&(container.clone(), attempt)) {
                    self.container_ended(&container, attempt, ended);
                }
            }
        }
    }

    /// Takes the end of an incarnation.
    pub(super) fn container_ended(&mut self, container: &str, attempt: u32, ended: Ended) {
        match self.containers.get_mut(container) {
            Some(instance) if instance.attempt == attempt => {
                if let InstanceState::Running { started_at } = instance.state {
                    instance.state =
                        InstanceState::Exited { started_at, finished_at: ended.at, exit: ended.exit };
                }
            }
            Some(instance) if instance.attempt > attempt => {}
            _ => {
                self.early_exits.insert((container.to_owned(), attempt), ended);
            }
        }
    }

    /// Others opened or closed readiness gates.
    pub(super) fn set_gates(&mut self, open: BTreeSet<String>) {
        self.gates = open;
    }

    /// Pause died.
    pub(super) fn sandbox_died(&mut self) {
        if let Sandbox::Ready { attempt } = self.sandbox {
            self.sandbox = Sandbox::Dead { attempt };
        }
    }

    /// The shim died: what it had started is gone, and so is pause. How a container ended that was not told before
    /// will never be known.
    pub(super) fn shim_died(&mut self) {
        self.containers.retain(|_, instance| matches!(instance.state, InstanceState::Exited { .. }));
        self.sandbox_died();
    }

    pub(super) fn observe(&self, in_flight: &BTreeSet<Action>) -> Observation {
        Observation {
            sandbox: self.sandbox,
            containers: self.containers.clone(),
            images: self.images.clone(),
            volumes: self.volumes,
            pod_ips: self.pod_ips.clone(),
            host_ips: self.host_ips.clone(),
            gates: self.gates.clone(),
            in_flight: in_flight.clone(),
        }
    }
}
