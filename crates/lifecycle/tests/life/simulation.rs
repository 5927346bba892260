//! Random worlds from numbered seeds, every round of each checked by the [`Ledger`].
//!
//! `LIFECYCLE_SEEDS=5000000 cargo nextest run -p lifecycle simulation` runs more of them,
//! `LIFECYCLE_SEED=42` runs one and tells its story.

use lifecycle::invariants::{Ledger, Violation};
use lifecycle::{Decision, End, Eviction, Fact, Memory, Now, Observation, Policy, decide};
use model::pod::Pod;

use crate::cause;
use crate::recording::Recording;
use crate::world::fate::{Dice, DiceFate};
use crate::world::pods::{add_ephemeral, random_pod, resize};
use crate::world::{SECOND, World};

/// More than any Pod of the simulation needs when every action takes no time.
const MOST_ROUNDS_AT_AN_INSTANT: u32 = 30;

/// A decision function that may be wrong.
pub type Mutation = fn(&Pod, &Observation, &mut Decision, &Now);

/// Memory and ledger as the daemon has them.
#[derive(Clone)]
struct Node {
    memory: Memory,
    ledger: Ledger,
}

pub struct Simulation {
    pod: Pod,
    world: World,
    fate: DiceFate,
    node: Node,
    pub mutation: Option<Mutation>,
    /// A daemon that comes back has lost its Memory.
    pub forgets: bool,
    /// The journal, when one is kept.
    recording: Option<Recording>,
    tells: bool,
    /// The daemon died in the last round, so its decision came to nothing.
    just_died: bool,
    last_round_at: u64,
    rounds_at_instant: u32,
    rounds: u64,
    edits: u32,
}

/// What a world came to.
struct Story {
    rounds: u64,
    violations: Vec<Violation>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut dice = Dice::new(seed);
        let pod = random_pod(&mut dice);
        let world = World::new();
        let node = Node {
            memory: Memory::new(&pod, Policy::default(), world.now),
            ledger: Ledger::new(&pod, Policy::default(), world.now),
        };
        let fate = DiceFate { dice, is_fair: false };
        Simulation {
            pod,
            world,
            fate,
            node,
            mutation: None,
            forgets: false,
            recording: None,
            tells: false,
            just_died: false,
            last_round_at: 0,
            rounds_at_instant: 0,
            rounds: 0,
            edits: 0,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            let at = self.world.now.boot_nanos as f64 / 1e9 - 100.0;
            println!("t={at:.3}s {}", what());
        }
    }

    fn note(&mut self, fact: &Fact) {
        self.tell(|| match fact {
            Fact::Observed(seen) => format!("  sees {seen:?}"),
            fact => format!("  {fact:?}"),
        });
        if let Some(recording) = &mut self.recording {
            recording.noted(&self.pod, fact, self.world.now);
        }
        self.node.ledger.note(&self.pod, fact, &self.world.now);
        for event in self.node.memory.note(&self.pod, fact, &self.world.now) {
            self.tell(|| format!("    event {}: {}", event.reason, event.message));
        }
    }

    /// One round of the engine. The daemon may die before or after saving.
    fn round(&mut self, facts: Vec<Fact>) -> Result<Decision, Vec<Violation>> {
        self.rounds += 1;
        self.just_died = false;
        let dies_at = if self.fate.is_fair { 99 } else { self.fate.dice.below(60) };
        // What stands on disk is the node as the last round left it.
        let on_disk = (dies_at == 0).then(|| self.node.clone());
        facts.iter().for_each(|fact| self.note(fact));
        let observed = Fact::Observed(self.world.observe(&self.pod));
        self.note(&observed);
        let Fact::Observed(seen) = observed else { unreachable!() };
        let mut decision = decide(&self.pod, &self.node.memory, &seen, &self.world.now);
        if let Some(recording) = &mut self.recording {
            recording.round(&self.pod, &self.node.memory, seen.clone(), &decision, self.world.now);
        }
        let untold = cause::untold(&self.pod, &decision);
        if let Some(mutation) = self.mutation {
            mutation(&self.pod, &seen, &mut decision, &self.world.now);
        }
        self.tell(|| format!("{:?} cancel {:?}", decision.actions, decision.cancel));
        self.tell(|| format!("{:?} {:?}", decision.wake_at, decision.status.cause));
        let mut violations = self.node.ledger.check(&self.pod, &seen, &decision, &self.world.now);
        let accident = |what: String| Violation { number: 0, what };
        violations.extend(self.world.accidents.drain(..).map(accident));
        violations.extend(untold.map(|what| Violation { number: 0, what }));
        if decision.wake_at.as_ref().is_some_and(|wake_at| wake_at.boot_nanos <= self.world.now.boot_nanos) {
            violations.push(Violation { number: 13, what: format!("spins: {:?}", decision.wake_at) });
        }
        // What is begun only to be given up, again and again, takes no time and is no rest either.
        let is_same_instant = self.last_round_at == self.world.now.boot_nanos;
        self.rounds_at_instant = if is_same_instant { self.rounds_at_instant + 1 } else { 0 };
        self.last_round_at = self.world.now.boot_nanos;
        if self.rounds_at_instant > MOST_ROUNDS_AT_AN_INSTANT {
            violations.push(Violation { number: 13, what: format!("spins: {:?}", decision.actions) });
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        if let Some(on_disk) = on_disk {
            self.node = on_disk;
            if let Some(recording) = &mut self.recording {
                recording.lost(&self.pod, &self.node.memory, self.world.now);
            }
        }
        if dies_at <= 1 {
            self.restart_daemon();
            return Ok(decision);
        }
        for action in &decision.cancel {
            if let Some(fact) = self.world.cancel(action) {
                self.note(&fact);
            }
        }
        for action in &decision.actions {
            self.world.begin(action, &mut self.fate);
        }
        Ok(decision)
    }

    /// The daemon dies here and comes back some time later; the world goes on without it.
    fn restart_daemon(&mut self) {
        self.tell(|| "the daemon dies".to_owned());
        self.just_died = true;
        self.world.lose_daemon();
        if self.fate.dice.percent(50) {
            self.world.forget_images();
        }
        // What was saved is text; a reader must find in it what was written.
        let saved = serde_json::to_value(&self.node.memory).unwrap();
        let read: Memory = serde_json::from_value(saved).unwrap();
        assert_eq!(read, self.node.memory, "the Memory survives being saved");
        self.node.memory = read;
        if self.forgets {
            self.node.memory = Memory::new(&self.pod, Policy::default(), self.world.now);
        }
        let back_at = self.world.now.boot_nanos + self.fate.dice.pick(&[0, 1, 20, 1_000]) * SECOND / 10;
        while let Some(at) = self.world.next_at().filter(|at| *at <= back_at) {
            self.world.set_time(at);
            self.world.settle(&mut self.fate);
        }
        self.world.set_time(back_at);
    }

    /// Something that nobody could foresee.
    fn disturb(&mut self, facts: &mut Vec<Fact>) {
        let dice = &mut self.fate.dice;
        let running = self.world.running();
        match dice.below(18) {
            0 => {
                let grace_seconds = dice.pick(&[None, Some(0), Some(3), Some(60)]);
                facts.push(Fact::StopRequested { grace_seconds });
            }
            1 => self.world.kill_pause(),
            2 | 3 if !running.is_empty() => {
                let name = &running[dice.below(running.len() as u64) as usize];
                let oom_killed = dice.percent(50);
                self.world.exit(name, 137, oom_killed);
            }
            4 => self.world.now.wall_nanos += dice.pick(&[-4000, -1, 1, 90, 4000]) * SECOND as i64,
            5 => {
                let mut names: Vec<_> = self.pod.spec.all_containers().map(|c| c.name.clone()).collect();
                names.extend(self.pod.spec.ephemeral_containers.iter().map(|e| e.container.name.clone()));
                let any = dice.below(names.len() as u64 + 1) as usize;
                facts.push(Fact::RestartRequested { container: names.get(any).cloned() });
            }
            6 => facts.push(Fact::DependencyChanged),
            7 if dice.percent(20) => {
                self.world.reboot();
                self.world.forget_images();
                facts.clear();
            }
            8 => self.restart_daemon(),
            9 => {
                self.edits += 1;
                let edited = format!("edited:{}", self.edits);
                let spec = &mut self.pod.spec;
                let all = spec.init_containers.iter_mut().chain(&mut spec.containers);
                all.filter(|_| dice.percent(50)).for_each(|container| container.image = edited.clone());
                if dice.percent(30) {
                    spec.active_deadline_seconds = Some(dice.pick(&[1, 50, 1000]));
                }
                self.pod.meta.generation += 1;
                facts.push(Fact::PodChanged);
            }
            10 | 11 => {
                resize(dice, &mut self.pod);
                self.pod.meta.generation += 1;
                facts.push(Fact::PodChanged);
            }
            12 if self.pod.spec.ephemeral_containers.len() < 3 => {
                add_ephemeral(dice, &mut self.pod);
                self.pod.meta.generation += 1;
                facts.push(Fact::PodChanged);
            }
            13 if dice.percent(30) => {
                let why =
                    dice.pick(&[Eviction::NodePressure, Eviction::LocalStorage, Eviction::NodeShutdown]);
                let grace_seconds = dice.pick(&[None, Some(0), Some(3)]);
                facts.push(Fact::Evicted { why, message: "low on memory".to_owned(), grace_seconds });
            }
            14 if dice.percent(30) => {
                let mut policy = Policy::default();
                policy.restart.max_seconds = dice.pick(&[1, 60, 300]);
                facts.push(Fact::PolicyChanged(policy));
            }
            _ => {}
        }
    }

    /// Lives and dies, and gives the lines of its journal.
    fn record(mut self) -> Vec<String> {
        self.recording = Some(Recording::new(&self.pod, self.world.now));
        let patience = 15 + self.fate.dice.below(40);
        self.live(patience).and_then(|()| self.die()).unwrap();
        self.recording.map(Recording::into_lines).unwrap_or_default()
    }

    /// Lives until everything is quiet or patience ends, is stopped then, and must end.
    fn run(mut self) -> Story {
        let patience = 15 + self.fate.dice.below(40);
        let result = self.live(patience).and_then(|()| self.die());
        Story { rounds: self.rounds, violations: result.err().unwrap_or_default() }
    }

    fn live(&mut self, patience: u64) -> Result<(), Vec<Violation>> {
        let mut facts = vec![];
        for _ in 0..patience {
            if self.fate.dice.percent(8) {
                self.disturb(&mut facts);
            }
            let decision = self.round(std::mem::take(&mut facts))?;
            // What was given up is a completion, and leads to a round as any other.
            if self.just_died || !decision.cancel.is_empty() {
                continue;
            }
            let Some(next) = self.next_instant(&decision) else { return self.expect_quiet() };
            self.world.set_time(next);
            facts = self.world.settle(&mut self.fate);
        }
        Ok(())
    }

    fn next_instant(&mut self, decision: &Decision) -> Option<u64> {
        let wake_at = decision.wake_at.as_ref().map(|deadline| deadline.boot_nanos);
        let at = self.world.next_at().into_iter().chain(wake_at).min()?;
        // Sometimes the engine looks without a reason.
        let now = self.world.now.boot_nanos;
        match self.fate.dice.percent(5) && at > now {
            true => Some(now + self.fate.dice.below(at - now)),
            false => Some(at.max(now)),
        }
    }

    /// Nothing is under way and nothing is due: looking again must lead to nothing.
    fn expect_quiet(&mut self) -> Result<(), Vec<Violation>> {
        self.fate.is_fair = true;
        let again = self.round(vec![])?;
        self.fate.is_fair = false;
        if !again.actions.is_empty() {
            return Err(vec![Violation { number: 13, what: format!("not quiet: {:?}", again.actions) }]);
        }
        let running = self.world.running();
        let sidecars = self.pod.spec.init_containers.iter().filter(|init| init.is_sidecar());
        let mut lasting = self.pod.spec.containers.iter().chain(sidecars);
        match lasting
            .find(|c| running.contains(&c.name) && self.world.running_images.get(&c.name) != Some(&c.image))
        {
            None => Ok(()),
            Some(old) => Err(vec![Violation { number: 12, what: format!("{} runs an old image", old.name) }]),
        }
    }

    fn die(&mut self) -> Result<(), Vec<Violation>> {
        self.fate.is_fair = true;
        let mut facts = vec![Fact::StopRequested { grace_seconds: None }];
        for _ in 0..600 {
            let decision = self.round(std::mem::take(&mut facts))?;
            if let Some(End::Gone(_)) = decision.end {
                let is_clean = self.world.running().is_empty() && decision.actions.is_empty();
                let what = "gone, and something is left".to_owned();
                return if is_clean { Ok(()) } else { Err(vec![Violation { number: 13, what }]) };
            }
            if !decision.cancel.is_empty() {
                continue;
            }
            let Some(next) = self.next_instant(&decision) else { break };
            self.world.set_time(next);
            facts = self.world.settle(&mut self.fate);
        }
        Err(vec![Violation { number: 13, what: "a stop in a fair world does not end".to_owned() }])
    }
}

/// The lines of the journal of a world.
pub fn recorded(seed: u64) -> Vec<String> {
    Simulation::new(seed).record()
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all cores; tells the first that breaks something.
pub fn first_violation(
    seeds: u64,
    setup: impl Fn(&mut Simulation) + Sync,
) -> (u64, Option<(u64, Vec<Violation>)>) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        let setup = &setup;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut rounds = 0;
                    for seed in (worker..seeds).step_by(threads as usize) {
                        let mut simulation = Simulation::new(seed);
                        setup(&mut simulation);
                        let story = simulation.run();
                        rounds += story.rounds;
                        if !story.violations.is_empty() {
                            return (rounds, Some((seed, story.violations)));
                        }
                    }
                    (rounds, None)
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        let rounds = results.iter().map(|(rounds, _)| rounds).sum();
        (rounds, results.into_iter().filter_map(|(_, found)| found).min_by_key(|(seed, _)| *seed))
    })
}

#[test]
fn every_invariant_holds_in_every_world() {
    if let Some(seed) = number_from_env("LIFECYCLE_SEED") {
        let mut simulation = Simulation::new(seed);
        simulation.tells = true;
        println!("{:#?}", simulation.pod.spec);
        let story = simulation.run();
        assert!(story.violations.is_empty(), "seed {seed}: {:#?}", story.violations);
        return;
    }
    let seeds = number_from_env("LIFECYCLE_SEEDS").unwrap_or(100_000);
    let begun = std::time::Instant::now();
    let (rounds, found) = first_violation(seeds, |_| {});
    println!("{seeds} worlds, {rounds} decisions in {:?}", begun.elapsed());
    if let Some((seed, violations)) = found {
        panic!("LIFECYCLE_SEED={seed} tells the story of {violations:#?}");
    }
}
