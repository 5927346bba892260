//! Plays a journal again: every fact is noted, every round decided anew, and each decision compared with the one that
//! was recorded. A fault seen in the field can so be looked at, and a mended `decide` be held against it.

use std::fmt;

use model::pod::Pod;

use crate::decide::{Decision, decide};
use crate::journal::{Entry, FORMAT, Head, Round, Start};
use crate::memory::{Fact, Memory};
use crate::observation::Observation;
use crate::status::Status;
use crate::time::Now;

/// What a replay went through without finding a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions that came out as recorded.
    pub rounds: u64,
    /// Facts noted beside the observations.
    pub facts: u64,
    /// Places where entries are missing; what stands before is not compared with what stands after.
    pub gaps: u64,
}

/// Where the replay differs from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which entry, from 0.
    pub entry: usize,
    /// When it was written, if it says so.
    pub now: Option<Now>,
    /// In words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.entry + 1, self.what)
    }
}

impl std::error::Error for Difference {}

/// Plays the entries of one Pod's journal and returns the first difference. Nothing of what a journal says can make it
/// panic.
pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry<'a>>) -> Result<Replayed, Difference> {
    let mut replayed = Replayed::default();
    let mut life: Option<Life> = None;
    for (index, entry) in entries.into_iter().enumerate() {
        let differs = |what: String| Difference { entry: index, now: entry.now().copied(), what };
        match (entry, &mut life) {
            (Entry::Began(head), life) => {
                if let (Some(life), Start::Continued) = (&life, head.start) {
                    life.meet(head).map_err(differs)?;
                } else if life.is_some() {
                    replayed.gaps += 1;
                }
                *life = Some(Life::of(head).map_err(differs)?);
            }
            (_, None) => return Err(differs("a journal begins with `began`, and this one does not".into())),
            (Entry::Asked(pod), Some(life)) => life.pod = Pod::clone(pod),
            (Entry::Noted { now, fact, .. }, Some(life)) => {
                life.memory.note(&life.pod, fact, now);
                replayed.facts += 1;
            }
            (Entry::Round(round), Some(life)) => {
                life.decide(round).map_err(differs)?;
                replayed.rounds += 1;
            }
            (Entry::Breach { .. }, Some(_)) => {}
        }
    }
    Ok(replayed)
}

/// A Pod's life as it is played again.
struct Life {
    pod: Pod,
    memory: Memory,
    seen: Observation,
    /// The status as recorded last.
    status: Option<Status>,
}

impl Life {
    fn of(head: &Head<'_>) -> Result<Life, String> {
        if head.format != FORMAT {
            return Err(format!(
                "the journal has format {}, written by podling {}; this podling reads format {FORMAT}",
                head.format, head.podling
            ));
        }
        let memory = match &head.memory {
            Some(memory) => Memory::clone(memory),
            None => Memory::new(&head.pod, head.policy, head.now),
        };
        Ok(Life { pod: head.pod.clone(), memory, seen: Observation::clone(&head.seen), status: None })
    }

    /// Where nothing is missing, the Memory of the replay is the one that was recorded.
    fn meet(&self, head: &Head<'_>) -> Result<(), String> {
        if head.memory.as_deref().is_some_and(|recorded| *recorded != self.memory) {
            return Err(
                "the Memory at the beginning of this segment is not what the segment before leads to".into(),
            );
        }
        if *head.seen != self.seen {
            return Err("what was seen before this segment is not what the segment before saw last".into());
        }
        Ok(())
    }

    fn decide(&mut self, round: &Round<'_>) -> Result<(), String> {
        round.seen.apply(&mut self.seen);
        let observed = Fact::Observed(self.seen.clone());
        self.memory.note(&self.pod, &observed, &round.now);
        let decision = decide(&self.pod, &self.memory, &self.seen, &round.now);
        if let Some(status) = &round.status {
            self.status = Some(Status::clone(status));
        }
        match difference(round, self.status.as_ref(), &decision) {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }
}

/// What is decided otherwise than it was.
fn difference(then: &Round<'_>, status: Option<&Status>, now: &Decision) -> Option<String> {
    lists("begin", &then.actions, &now.actions)
        .or_else(|| lists("give up", &then.cancel, &now.cancel))
        .or_else(|| values("the next deadline", &then.wake_at.as_deref(), &now.wake_at.as_ref()))
        .or_else(|| values("the end", &then.end, &now.end))
        .or_else(|| values("what blocks the Pod", &then.blocked.as_deref(), &now.blocked.as_ref()))
        .or_else(|| statuses(status?, &now.status))
}

fn lists<T: PartialEq + fmt::Debug>(verb: &str, then: &[T], now: &[T]) -> Option<String> {
    if then == now {
        return None;
    }
    if let Some(missing) = then.iter().find(|item| !now.contains(item)) {
        return Some(format!("it was decided to {verb} {missing:?}, and now it is not"));
    }
    if let Some(added) = now.iter().find(|item| !then.contains(item)) {
        return Some(format!("it is decided to {verb} {added:?}, and then it was not"));
    }
    Some(format!("it is decided to {verb} the same in another order or number: {then:?}, and now {now:?}"))
}

fn values<T: PartialEq + fmt::Debug>(what: &str, then: &T, now: &T) -> Option<String> {
    (then != now).then(|| format!("{what} was {then:?}, and is {now:?} now"))
}

fn statuses(then: &Status, now: &Status) -> Option<String> {
    if then == now {
        return None;
    }
    values("the phase", &then.phase, &now.phase)
        .or_else(|| values("the reason", &then.reason, &now.reason))
        .or_else(|| values("the message", &then.message, &now.message))
        .or_else(|| values("the cause", &then.cause, &now.cause))
        .or_else(|| values("the addresses", &then.pod_ips, &now.pod_ips))
        .or_else(|| items("the condition", &then.conditions, &now.conditions))
        .or_else(|| items("the init container", &then.init_container_statuses, &now.init_container_statuses))
        .or_else(|| items("the container", &then.container_statuses, &now.container_statuses))
        .or_else(|| values("the status", then, now))
}

fn items<T: PartialEq + fmt::Debug>(what: &str, then: &[T], now: &[T]) -> Option<String> {
    let (then, now) = then.iter().zip(now).find(|(then, now)| then != now)?;
    values(&format!("{what} in the status"), then, now)
}
