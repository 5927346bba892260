//! The fair and quiet world: shim, images, volumes and processes as a few maps, and time as a number.
//!
//! Nothing fails. A probe that has passed is asked again and never answers, so that a Pod that is up is quiet.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::{
    Action, Done, Exit, Fact, Failure, Image, Instance, InstanceState, Now, Observation, ProbeKind, Reason,
    Retry, Sandbox, Volumes,
};
use model::pod::{Pod, Probe};

use super::{Life, Pace, Script};

pub(super) const SECOND: u64 = 1_000_000_000;
/// Some instant; boot and wall clock go side by side from here.
const BEGIN: Now = Now { boot_nanos: 100 * SECOND, boot_id: 1, wall_nanos: 1_700_000_000 * SECOND as i64 };

/// An action under way; one without an instant never lands.
struct Flight {
    action: Action,
    lands_at: Option<u64>,
}

pub(super) struct World<'a> {
    pub(super) now: Now,
    /// Seconds from the beginning to the first start of each container.
    pub(super) started: BTreeMap<String, u64>,
    /// Whose preStop hook was cut off.
    pub(super) cut_off: BTreeSet<String>,
    pod: &'a Pod,
    script: &'a Script,
    sandbox: Sandbox,
    volumes: Volumes,
    images: BTreeSet<String>,
    instances: BTreeMap<String, Instance>,
    /// When each running container ends by itself; none for one that does not.
    exits_at: BTreeMap<String, Option<u64>>,
    passed: BTreeSet<(String, ProbeKind)>,
    flights: Vec<Flight>,
}

impl<'a> World<'a> {
    pub(super) fn new(pod: &'a Pod, script: &'a Script) -> World<'a> {
        World {
            now: BEGIN,
            started: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            pod,
            script,
            sandbox: Sandbox::Absent,
            volumes: Volumes::Absent,
            images: BTreeSet::new(),
            instances: BTreeMap::new(),
            exits_at: BTreeMap::new(),
            passed: BTreeSet::new(),
            flights: Vec::new(),
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let image = |name: &String| (name.clone(), Image { image_id: "sha256:1".to_owned() });
        let gates = self.pod.spec.readiness_gates.iter().cloned();
        Observation {
            sandbox: self.sandbox,
            containers: self.instances.clone(),
            images: self.images.iter().map(image).collect(),
            volumes: self.volumes,
            pod_ips: vec!["192.0.2.1".to_owned()],
            gates: gates.collect(),
            in_flight: self.flights.iter().map(|flight| flight.action.clone()).collect(),
            ..Observation::default()
        }
    }

    /// When something happens next by itself.
    pub(super) fn next_at(&self) -> Option<u64> {
        let landings = self.flights.iter().filter_map(|flight| flight.lands_at);
        landings.chain(self.exits_at.values().copied().flatten()).min()
    }

    /// Lets time pass up to an instant; it never goes back.
    pub(super) fn pass_until(&mut self, boot_nanos: u64) {
        let passed = boot_nanos.saturating_sub(self.now.boot_nanos);
        self.now.boot_nanos = self.now.boot_nanos.saturating_add(passed);
        self.now.wall_nanos = self.now.wall_nanos.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
    }

    pub(super) fn begin(&mut self, action: Action) {
        if let Action::Signal { container, .. } | Action::Kill { container, .. } = &action
            && self
                .flights
                .iter()
                .any(|f| matches!(&f.action, Action::PreStop { container: c, .. } if c == container))
        {
            self.cut_off.insert(container.clone());
        }
        let lands_at = self.takes_nanos(&action).map(|nanos| self.now.boot_nanos.saturating_add(nanos));
        self.flights.push(Flight { action, lands_at });
    }

    /// How long an action takes; `None` for ever.
    fn takes_nanos(&self, action: &Action) -> Option<u64> {
        let hook = |seconds: &BTreeMap<String, u64>, container| {
            seconds.get(container).copied().unwrap_or_default().saturating_mul(SECOND)
        };
        match action {
            Action::PostStart { container, .. } => Some(hook(&self.script.post_start_seconds, container)),
            Action::PreStop { container, .. } => Some(hook(&self.script.pre_stop_seconds, container)),
            Action::Probe { container, kind, .. } => {
                let has_passed = self.passed.contains(&(container.clone(), *kind));
                let probe = self.pod.spec.container(container).and_then(|container| match kind {
                    ProbeKind::Startup => container.startup_probe.as_ref(),
                    ProbeKind::Liveness => container.liveness_probe.as_ref(),
                    ProbeKind::Readiness => container.readiness_probe.as_ref(),
                });
                (!has_passed).then(|| match (kind, self.script.pace) {
                    (ProbeKind::Startup, Pace::Slowest) => probe.map_or(0, allowance_nanos),
                    _ => 0,
                })
            }
            _ => Some(0),
        }
    }

    /// Gives an action up.
    pub(super) fn cancel(&mut self, action: &Action) -> Option<Fact> {
        let position = self.flights.iter().position(|flight| flight.action == *action)?;
        let action = self.flights.remove(position).action;
        let failure =
            Failure { reason: Reason::Canceled, message: "given up".to_owned(), retry: Retry::Backoff };
        Some(Fact::Completed { action, result: Err(failure) })
    }

    /// Lets everything happen that is due, and tells the completions.
    pub(super) fn settle(&mut self) -> Vec<Fact> {
        let now = self.now.boot_nanos;
        let (landed, flying): (Vec<_>, Vec<_>) =
            self.flights.drain(..).partition(|flight| flight.lands_at.is_some_and(|at| at <= now));
        self.flights = flying;
        let facts = landed.into_iter().map(|flight| self.land(flight.action)).collect();
        self.end_those_that_waited();
        let is_due = |at: &Option<u64>| at.is_some_and(|at| at <= now);
        let due: Vec<String> =
            self.exits_at.iter().filter(|(_, at)| is_due(at)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.end(&name);
        }
        facts
    }

    fn land(&mut self, action: Action) -> Fact {
        let mut done = Done::Performed;
        match &action {
            Action::PrepareVolumes { .. } => self.volumes = Volumes::Ready,
            Action::RemoveVolumes => self.volumes = Volumes::Absent,
            Action::CreateSandbox { attempt } => self.sandbox = Sandbox::Ready { attempt: *attempt },
            Action::RemoveSandbox { .. } => self.sandbox = Sandbox::Absent,
            Action::Pull { container, .. } => {
                // One pull is for every container that names the same image.
                let image = self.pod.spec.container(container).map(|container| container.image.clone());
                let same =
                    self.pod.spec.all_containers().filter(|other| Some(&other.image) == image.as_ref());
                self.images.extend(same.map(|container| container.name.clone()));
            }
            Action::Start { container, attempt, .. } => self.start(container, *attempt),
            Action::Signal { container, .. } | Action::Kill { container, .. } => self.end(container),
            Action::Probe { container, kind, .. } => {
                self.passed.insert((container.clone(), *kind));
                done = Done::Healthy;
            }
            _ => {}
        }
        Fact::Completed { action, result: Ok(done) }
    }

    fn start(&mut self, name: &str, attempt: u32) {
        let after_seconds = (self.now.boot_nanos - BEGIN.boot_nanos) / SECOND;
        self.started.entry(name.to_owned()).or_insert(after_seconds);
        let state = InstanceState::Running { started_at: self.now };
        let container_id = format!("podling://{name}");
        let instance = Instance { attempt, container_id, user: None, stop_signal: None, state };
        self.instances.insert(name.to_owned(), instance);
        let is_init =
            self.pod.spec.init_containers.iter().any(|init| init.name == name && !init.is_sidecar());
        let at_once = Some(self.now.boot_nanos);
        let exits_at = match self.script.lives.get(name) {
            None => at_once.filter(|_| is_init),
            Some(Life::EndsAfter { seconds }) => {
                at_once.map(|now| now.saturating_add(seconds.saturating_mul(SECOND)))
            }
            Some(Life::Forever | Life::EndsWhenRunning(_)) => None,
        };
        self.exits_at.insert(name.to_owned(), exits_at);
    }

    fn end_those_that_waited(&mut self) {
        let runs = |name: &String| self.exits_at.contains_key(name);
        let has_what_it_waits_for = |name: &&String| match self.script.lives.get(*name) {
            Some(Life::EndsWhenRunning(openers)) => openers.iter().all(|any_of| any_of.iter().any(runs)),
            _ => false,
        };
        let over: Vec<String> = self.exits_at.keys().filter(has_what_it_waits_for).cloned().collect();
        for name in over {
            self.end(&name);
        }
    }

    fn end(&mut self, name: &str) {
        if self.exits_at.remove(name).is_some()
            && let Some(instance) = self.instances.get_mut(name)
            && let InstanceState::Running { started_at } = instance.state
        {
            instance.state =
                InstanceState::Exited { started_at, finished_at: self.now, exit: Exit::default() };
        }
    }
}

/// From a startup probe's first round to the last one that may still pass.
fn allowance_nanos(probe: &Probe) -> u64 {
    let rounds = u64::from(probe.failure_threshold.saturating_sub(1));
    rounds.saturating_mul(u64::from(probe.period_seconds)).saturating_mul(SECOND)
}
