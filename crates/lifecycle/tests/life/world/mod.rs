//! A machine on which Pods can live without one: shim, images, volumes and processes as a few maps, and time
//! as a number. Actions take time and fail as the [`Fate`] says; nothing here knows what `decide` wants.

pub mod fate;
pub mod pods;

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::{
    Action, Done, Exit, Fact, Failure, Image, Instance, InstanceState, Now, Observation, Reason, Retry,
    Sandbox, Volumes,
};
use model::pod::Pod;

use fate::{Fate, Plan};

pub const SECOND: u64 = 1_000_000_000;

/// An action under way.
#[derive(Debug, Clone)]
struct Flight {
    action: Action,
    lands_at: u64,
    result: Result<Done, Failure>,
    /// What a container is started from.
    image: String,
}

/// A process that lives, and what it is going to do.
#[derive(Debug, Clone)]
struct Process {
    exits_at: Option<(u64, Exit)>,
    on_signal: Option<(u64, i32)>,
    is_signalled: bool,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct World {
    pub now: Now,
    pub sandbox: Sandbox,
    pub volumes: Volumes,
    /// Conditions that others set to True.
    pub gates: BTreeSet<String>,
    /// The image that was obtained last for each container; the daemon's own knowledge.
    obtained: BTreeMap<String, String>,
    /// What each container that runs was started from.
    pub running_images: BTreeMap<String, String>,
    pub instances: BTreeMap<String, Instance>,
    processes: BTreeMap<String, Process>,
    flights: Vec<Flight>,
    /// What must never happen on a machine, whatever was decided.
    pub accidents: Vec<String>,
}

impl World {
    pub fn new() -> World {
        World {
            now: Now { boot_nanos: 100 * SECOND, boot_id: 1, wall_nanos: 1_700_000_000 * 1_000_000_000 },
            sandbox: Sandbox::Absent,
            volumes: Volumes::Absent,
            gates: BTreeSet::new(),
            obtained: BTreeMap::new(),
            running_images: BTreeMap::new(),
            instances: BTreeMap::new(),
            processes: BTreeMap::new(),
            flights: Vec::new(),
            accidents: Vec::new(),
        }
    }

    /// What the engine would see.
    pub fn observe(&self, pod: &Pod) -> Observation {
        let mut seen = Observation {
            sandbox: self.sandbox,
            containers: self.instances.clone(),
            volumes: self.volumes,
            gates: self.gates.clone(),
            in_flight: self.flights.iter().map(|flight| flight.action.clone()).collect(),
            ..Observation::default()
        };
        if matches!(self.sandbox, Sandbox::Ready { .. }) {
            seen.pod_ips.push("10.88.0.2".to_owned());
        }
        for name in self.obtained.keys().filter(|name| pod.spec.container(name).is_some()) {
            seen.images.insert(name.clone(), Image { image_id: "sha256:1".to_owned() });
        }
        seen
    }

    /// When something happens next by itself.
    pub fn next_at(&self) -> Option<u64> {
        let landings = self.flights.iter().map(|flight| flight.lands_at);
        let exits = self.processes.values().filter_map(|process| Some(process.exits_at.as_ref()?.0));
        landings.chain(exits).min()
    }

    pub fn begin(&mut self, action: &Action, fate: &mut dyn Fate) {
        if self.flights.iter().any(|flight| flight.action == *action) {
            self.accidents.push(format!("{action:?} begun twice"));
            return;
        }
        let Plan { takes_nanos, result } = fate.plan(action);
        let lands_at = self.now.boot_nanos + takes_nanos;
        let image = action.container().and_then(|name| self.obtained.get(name)).cloned().unwrap_or_default();
        self.flights.push(Flight { action: action.clone(), lands_at, result, image });
    }

    /// Gives an action up, as the engine does with those that `Decision::cancel` names.
    pub fn cancel(&mut self, action: &Action) -> Option<Fact> {
        let position = self.flights.iter().position(|flight| flight.action == *action)?;
        let action = self.flights.remove(position).action;
        let message = "given up".to_owned();
        let failure = Failure { reason: Reason::Canceled, message, retry: Retry::Backoff };
        Some(Fact::Completed { action, result: Err(failure) })
    }

    pub fn set_time(&mut self, boot_nanos: u64) {
        let passed = boot_nanos.saturating_sub(self.now.boot_nanos);
        self.now.boot_nanos += passed;
        self.now.wall_nanos += passed as i64;
    }

    /// Lets everything happen that is due, and tells the completions.
    pub fn settle(&mut self, fate: &mut dyn Fate) -> Vec<Fact> {
        let now = self.now.boot_nanos;
        let due: Vec<_> = self
            .processes
            .iter()
            .filter_map(|(name, process)| {
                let (at, exit) = process.exits_at.as_ref()?;
                (*at <= now).then(|| (name.clone(), exit.clone()))
            })
            .collect();
        for (name, exit) in due {
            self.end_process(&name, exit);
        }
        let (landed, flying): (Vec<_>, Vec<_>) =
            self.flights.drain(..).partition(|flight| flight.lands_at <= now);
        self.flights = flying;
        let mut facts = Vec::with_capacity(landed.len());
        for Flight { action, result, image, .. } in landed {
            if let Action::Start { container, .. } = &action {
                self.running_images.insert(container.clone(), image);
            }
            let result = self.land(&action, result, fate);
            facts.push(Fact::Completed { action, result });
        }
        facts
    }

    fn land(
        &mut self,
        action: &Action,
        result: Result<Done, Failure>,
        fate: &mut dyn Fate,
    ) -> Result<Done, Failure> {
        match action {
            Action::PrepareVolumes { .. } => {
                self.volumes = if result.is_ok() { Volumes::Ready } else { Volumes::Partial };
            }
            Action::CreateSandbox { attempt } => {
                if self.sandbox != Sandbox::Absent {
                    self.accidents.push("a sandbox is made beside another".to_owned());
                }
                self.sandbox = match &result {
                    Ok(_) => Sandbox::Ready { attempt: *attempt },
                    Err(failure) if failure.message.contains("half") => Sandbox::Dead { attempt: *attempt },
                    Err(_) => Sandbox::Absent,
                };
            }
            Action::Pull { container, image, .. } if result.is_ok() => {
                self.obtained.insert(container.clone(), image.clone());
            }
            Action::Start { container, attempt, sandbox, .. } => {
                return self.land_start(container, *attempt, *sandbox, result, fate);
            }
            Action::ResizeContainer { container, attempt, .. } => {
                let runs = self.instances.get(container).is_some_and(|i| i.attempt == *attempt);
                if !runs || !self.processes.contains_key(container) {
                    let (reason, retry) = (Reason::ResizeError, Retry::Backoff);
                    return Err(Failure { reason, message: "it has ended".to_owned(), retry });
                }
            }
            Action::Signal { container, attempt } => self.land_signal(container, *attempt),
            Action::Kill { container, attempt } if result.is_ok() => {
                let runs = self.instances.get(container).is_some_and(|i| i.attempt == *attempt);
                if runs && self.processes.contains_key(container) {
                    let exit = Exit { code: 137, signal: Some(9), ..Exit::default() };
                    self.end_process(container, exit);
                }
            }
            Action::RemoveSandbox { .. } if result.is_ok() => {
                if !self.processes.is_empty() {
                    self.accidents.push("the sandbox is removed under living containers".to_owned());
                }
                self.sandbox = Sandbox::Absent;
            }
            Action::RemoveVolumes if result.is_ok() => {
                if !self.processes.is_empty() || self.sandbox != Sandbox::Absent {
                    self.accidents.push("the volumes are removed under a living Pod".to_owned());
                }
                self.volumes = Volumes::Absent;
            }
            _ => {}
        }
        result
    }

    fn land_start(
        &mut self,
        name: &str,
        attempt: u32,
        sandbox: u32,
        result: Result<Done, Failure>,
        fate: &mut dyn Fate,
    ) -> Result<Done, Failure> {
        if self.instances.get(name).is_some_and(|instance| instance.attempt == attempt) {
            return Ok(Done::Performed);
        }
        if self.processes.contains_key(name) {
            self.accidents.push(format!("{name} runs twice"));
        }
        if self.sandbox != (Sandbox::Ready { attempt: sandbox }) {
            let message = "the sandbox is gone".to_owned();
            return Err(Failure { reason: Reason::CreateContainerError, message, retry: Retry::Backoff });
        }
        result?;
        let life = fate.life(name, attempt);
        let now = self.now;
        let instance = Instance {
            attempt,
            container_id: format!("podling://{name}-{attempt}"),
            user: None,
            stop_signal: None,
            state: InstanceState::Running { started_at: now },
        };
        self.instances.insert(name.to_owned(), instance);
        let exits_at = life.exits_after.map(|(nanos, code, oom_killed)| {
            let exit = Exit { code, signal: None, oom_killed, message: None };
            (now.boot_nanos + nanos, exit)
        });
        let process = Process { exits_at, on_signal: life.on_signal, is_signalled: false };
        self.processes.insert(name.to_owned(), process);
        Ok(Done::Performed)
    }

    /// The shim delivers one key once.
    fn land_signal(&mut self, name: &str, attempt: u32) {
        let now = self.now.boot_nanos;
        if self.instances.get(name).is_none_or(|instance| instance.attempt != attempt) {
            return;
        }
        if let Some(process) = self.processes.get_mut(name)
            && !process.is_signalled
        {
            process.is_signalled = true;
            if let Some((nanos, code)) = process.on_signal {
                let signal = (code == 143).then_some(15);
                let exit = Exit { code, signal, ..Exit::default() };
                let at = now + nanos;
                if process.exits_at.as_ref().is_none_or(|(earlier, _)| *earlier > at) {
                    process.exits_at = Some((at, exit));
                }
            }
        }
    }

    fn end_process(&mut self, name: &str, exit: Exit) {
        self.processes.remove(name);
        if let Some(instance) = self.instances.get_mut(name)
            && let InstanceState::Running { started_at } = instance.state
        {
            instance.state = InstanceState::Exited { started_at, finished_at: self.now, exit };
        }
    }

    /// A running container ends now.
    pub fn exit(&mut self, name: &str, code: i32, oom_killed: bool) {
        if self.processes.contains_key(name) {
            self.end_process(name, Exit { code, signal: None, oom_killed, message: None });
        }
    }

    pub fn running(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    /// Pause dies.
    pub fn kill_pause(&mut self) {
        if let Sandbox::Ready { attempt } = self.sandbox {
            self.sandbox = Sandbox::Dead { attempt };
        }
    }

    /// What the daemon itself was working on is gone with it; the shim goes on with the rest.
    pub fn lose_daemon(&mut self) {
        self.flights.retain(|flight| {
            !matches!(
                flight.action,
                Action::Pull { .. }
                    | Action::Probe { .. }
                    | Action::PreStop { .. }
                    | Action::PostStart { .. }
                    | Action::PrepareVolumes { .. }
                    | Action::AllocateResources { .. }
                    | Action::ResizePod { .. }
                    | Action::ResizeContainer { .. }
            )
        });
    }

    /// A daemon that comes back knows no image that was obtained.
    pub fn forget_images(&mut self) {
        self.obtained.clear();
    }

    /// The machine boots anew: nothing runs, nothing is known of what ran.
    pub fn reboot(&mut self) {
        self.now = Now {
            boot_nanos: 5 * SECOND,
            boot_id: self.now.boot_id + 1,
            wall_nanos: self.now.wall_nanos + 30 * SECOND as i64,
        };
        self.sandbox = Sandbox::Absent;
        self.volumes = match self.volumes {
            Volumes::Absent => Volumes::Absent,
            _ => Volumes::Partial,
        };
        self.instances.clear();
        self.processes.clear();
        self.flights.clear();
    }
}
