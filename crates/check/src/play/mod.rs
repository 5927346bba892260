//! A Pod played forward through `lifecycle::decide`, in a fair and quiet world: what is asked for is there, programs
//! start, probes and hooks succeed, and every container does what the [`Script`] says.
//!
//! The round is the engine's: note → observe → decide → begin. The play ends when the Pod has, or when nothing happens any
//! more by itself but the passing of `activeDeadlineSeconds`.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::status::{Phase, Status};
use lifecycle::{Due, End, Fact, Memory, Policy, decide};
use model::pod::Pod;

use self::world::World;

/// What the containers do, and how fast everything goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// What each container does; one that is not here runs for ever, or ends at once when it is an init container.
    pub(crate) lives: BTreeMap<String, Life>,
    /// How long each container's hooks take, in seconds.
    pub(crate) post_start_seconds: BTreeMap<String, u64>,
    pub(crate) pre_stop_seconds: BTreeMap<String, u64>,
    pub(crate) pace: Pace,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    /// Runs until it is stopped.
    Forever,
    /// Ends with code 0 after so many seconds.
    EndsAfter { seconds: u64 },
    /// Ends with code 0 once one of these containers runs, for each of the lists.
    EndsWhenRunning(Vec<BTreeSet<String>>),
}

/// How fast startup probes pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The first time that they are asked.
    #[default]
    Quick,
    /// The last time that they may be asked.
    Slowest,
}

/// How a play ended.
#[derive(Debug)]
pub(crate) struct Played {
    /// The Pod's status then.
    pub(crate) status: Status,
    /// Its phase, if it came to its own end.
    pub(crate) ended: Option<Phase>,
    /// Containers that were started, and how many seconds after the Pod.
    pub(crate) started: BTreeMap<String, u64>,
    /// Containers whose preStop hook was still running when they got their signal or were killed.
    pub(crate) cut_off: BTreeSet<String>,
}

impl Played {
    /// Whether every main container was started.
    pub(crate) fn all_started(&self, pod: &Pod) -> bool {
        pod.spec.containers.iter().all(|container| self.started.contains_key(&container.name))
    }
}

/// A play that goes on for more rounds than this has no end that is worth waiting for.
const MOST_ROUNDS: usize = 5_000;

/// Plays the Pod's life. `None` when it comes to no end.
pub(crate) fn play(pod: &Pod, script: &Script) -> Option<Played> {
    Play::new(pod, script).finish()
}

/// Plays the Pod's life until nothing happens, then stops it as somebody would who deletes it.
pub(crate) fn play_and_stop(pod: &Pod, script: &Script) -> Option<Played> {
    let mut play = Play::new(pod, script);
    play.run()?;
    play.facts.push(Fact::StopRequested { grace_seconds: None });
    play.finish()
}

struct Play<'a> {
    pod: &'a Pod,
    world: World<'a>,
    memory: Memory,
    facts: Vec<Fact>,
}

impl<'a> Play<'a> {
    fn new(pod: &'a Pod, script: &'a Script) -> Play<'a> {
        let world = World::new(pod, script);
        Play { pod, memory: Memory::new(pod, Policy::default(), world.now), world, facts: Vec::new() }
    }

    fn finish(mut self) -> Option<Played> {
        let (status, ended) = self.run()?;
        Some(Played { status, ended, started: self.world.started, cut_off: self.world.cut_off })
    }

    /// Rounds until nothing happens any more.
    fn run(&mut self) -> Option<(Status, Option<Phase>)> {
        for _ in 0..MOST_ROUNDS {
            let now = self.world.now;
            for fact in self.facts.drain(..) {
                self.memory.note(self.pod, &fact, &now);
            }
            let seen = self.world.observe();
            self.memory.note(self.pod, &Fact::Observed(seen.clone()), &now);
            let decision = decide(self.pod, &self.memory, &seen, &now);
            if let Some(End::Finished(phase) | End::Gone(phase)) = decision.end {
                return Some((decision.status, Some(phase)));
            }
            self.facts.extend(decision.cancel.iter().filter_map(|action| self.world.cancel(action)));
            for action in decision.actions {
                self.world.begin(action);
            }
            let by_itself = self.world.next_at();
            let deadline = decision.wake_at;
            let is_quiet = by_itself.is_none()
                && self.facts.is_empty()
                && deadline.as_ref().is_none_or(|deadline| deadline.what == Due::ActiveDeadline);
            if is_quiet {
                return Some((decision.status, None));
            }
            if self.facts.is_empty() {
                let wake_at = deadline.map(|deadline| deadline.boot_nanos);
                self.world.pass_until(by_itself.into_iter().chain(wake_at).min()?);
            }
            self.facts.extend(self.world.settle());
        }
        None
    }
}

#[cfg(test)]
mod tests;
