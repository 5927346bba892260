//! From the entries of a journal to the rows of its timeline: an action and what came of it are one row, what a probe
//! says again and again is one too. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lifecycle::journal::{Entry, Head, Round, Start};
use lifecycle::status::{ContainerState, Phase, Status};
use lifecycle::{Action, Done, End, Fact, Failure, Instance, InstanceState, Now, ProbeKind, Sandbox};
use model::pod::Pod;

use super::words;

/// A cause that held for less is not shown: nobody would have read it.
const SHORTEST_CAUSE: Duration = Duration::from_millis(500);

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// When, from the first entry on.
    pub(super) at: Duration,
    /// Whom it is about.
    pub(super) who: Who,
    /// What was done or happened.
    pub(super) what: String,
    /// What came of it.
    pub(super) outcome: String,
    /// How long it took.
    pub(super) took: Option<Duration>,
    /// How it is to be taken.
    pub(super) tone: Tone,
}

/// Whom a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// The node.
    Podling,
    /// The Pod as a whole.
    Pod,
    /// A container.
    Container(String),
}

/// How a row is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it goes.
    Plain,
    /// What was asked for is there.
    Good,
    /// It needs a look.
    Warning,
    /// It went wrong.
    Bad,
}

/// The rows of a journal, in the order of time.
pub(super) fn rows(entries: &[Entry<'_>]) -> Vec<Row> {
    let start = entries.iter().find_map(Entry::now).copied().unwrap_or_default();
    let mut teller = Teller { start, ..Teller::default() };
    for entry in entries {
        teller.take(entry);
    }
    teller.end_cause(None);
    let mut rows = teller.rows;
    // What ended is told with the round that saw it; it happened before.
    rows.sort_by_key(|row| row.at);
    rows
}

#[derive(Default)]
struct Teller {
    start: Now,
    rows: Vec<Row>,
    /// Actions under way, and their rows.
    begun: HashMap<Action, usize>,
    /// The last row of each probe, and how often it said the same.
    probes: BTreeMap<(String, ProbeKind), (usize, bool, u64)>,
    sandbox: Sandbox,
    status: Option<Status>,
    cause: Option<(Now, String)>,
}

impl Teller {
    fn at(&self, now: &Now) -> Duration {
        words::between(&self.start, now)
    }

    fn tell(&mut self, now: &Now, who: Who, what: impl Into<String>, outcome: &str, tone: Tone) -> usize {
        let (what, outcome) = (what.into(), words::one_line(outcome));
        self.rows.push(Row { at: self.at(now), who, what, outcome, took: None, tone });
        self.rows.len() - 1
    }

    fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Began(head) => self.began(head),
            // The fact that follows tells it.
            Entry::Asked(_) => {}
            Entry::Noted { now, fact, took_nanos } => match fact.as_ref() {
                Fact::Completed { action, result } => {
                    self.completed(now, action, result, took_nanos.map(Duration::from_nanos));
                }
                fact => {
                    let (what, outcome) = words::request(fact);
                    self.tell(now, Who::Pod, what, &outcome, Tone::Plain);
                }
            },
            Entry::Round(round) => self.round(round),
            Entry::Breach { now, number, what } => {
                self.tell(now, Who::Podling, format!("invariant {number}"), what, Tone::Bad);
            }
        }
    }

    fn began(&mut self, head: &Head<'_>) {
        match head.start {
            Start::Admitted => {
                let containers = containers(&head.pod);
                self.tell(&head.now, Who::Pod, "admitted", &containers, Tone::Plain);
            }
            Start::Continued if self.rows.is_empty() => {
                self.sandbox = head.seen.sandbox;
                let outcome = "what was before was dropped, as the journal is bounded";
                self.tell(&head.now, Who::Podling, "journal", outcome, Tone::Plain);
            }
            Start::Continued => {}
            Start::AfterGap => {
                self.sandbox = head.seen.sandbox;
                let outcome = "some of what was before could not be written";
                self.tell(&head.now, Who::Podling, "gap", outcome, Tone::Warning);
            }
        }
    }

    fn round(&mut self, round: &Round<'_>) {
        for (name, instance) in &round.seen.containers {
            self.container(&round.now, name, instance.as_ref());
        }
        if let Some(seen) = round.seen.sandbox {
            let was_ready = matches!(self.sandbox, Sandbox::Ready { .. });
            if was_ready && matches!(seen, Sandbox::Dead { .. }) {
                self.tell(&round.now, Who::Pod, "sandbox", "died", Tone::Bad);
            }
            self.sandbox = seen;
        }
        if let Some(status) = &round.status {
            self.status(&round.now, status);
        }
        for action in round.actions.iter() {
            if matches!(action, Action::Probe { .. }) {
                continue;
            }
            let row = self.tell(&round.now, who(action), words::action(action), "", Tone::Plain);
            self.begun.insert(action.clone(), row);
        }
        match round.end {
            Some(End::Gone(_)) => drop(self.tell(&round.now, Who::Pod, "gone", "", Tone::Plain)),
            Some(End::Finished(_)) | None => {}
        }
    }

    /// A container that was seen otherwise than before. Its start is told by the action.
    fn container(&mut self, now: &Now, name: &str, instance: Option<&Instance>) {
        let who = Who::Container(name.to_owned());
        match instance.map(|instance| &instance.state) {
            Some(InstanceState::Running { .. }) => {}
            Some(InstanceState::Exited { started_at, finished_at, exit }) => {
                let outcome = words::exit(exit, words::between(started_at, finished_at));
                let tone = if exit.code == 0 { Tone::Plain } else { Tone::Bad };
                self.tell(finished_at, who, "ended", &outcome, tone);
            }
            None => drop(self.tell(now, who, "lost", "it ended unseen", Tone::Bad)),
        }
    }

    fn status(&mut self, now: &Now, status: &Status) {
        let before = self.status.replace(status.clone());
        let was_ready = before.as_ref().is_some_and(Status::is_ready);
        if status.is_ready() && !was_ready {
            let addresses = status.pod_ips.join(", ");
            let outcome = if addresses.is_empty() { addresses } else { format!("at {addresses}") };
            self.tell(now, Who::Pod, "ready", &outcome, Tone::Good);
        } else if was_ready && !status.is_ready() && !is_over(status) {
            self.tell(now, Who::Pod, "not ready", "", Tone::Warning);
        }
        if status.phase.is_terminal() && before.is_none_or(|before| !before.phase.is_terminal()) {
            let why = status.cause.as_deref().or(status.message.as_deref()).unwrap_or_default();
            let succeeded = status.phase == Phase::Succeeded;
            let tone = if succeeded { Tone::Good } else { Tone::Bad };
            self.tell(now, Who::Pod, status.phase.to_string().to_lowercase(), why, tone);
        }
        let cause = status.cause.as_ref().filter(|_| !status.phase.is_terminal());
        if cause != self.cause.as_ref().map(|(_, cause)| cause) {
            self.end_cause(Some(now));
            self.cause = cause.map(|cause| (*now, cause.clone()));
        }
    }

    /// Tells the cause that held until now, if it held long enough to be of interest; the last one in any case.
    fn end_cause(&mut self, now: Option<&Now>) {
        let Some((since, cause)) = self.cause.take() else { return };
        if now.is_none_or(|now| words::between(&since, now) >= SHORTEST_CAUSE) {
            self.tell(&since, Who::Pod, "because", &cause, Tone::Warning);
        }
    }

    fn completed(
        &mut self,
        now: &Now,
        action: &Action,
        result: &Result<Done, Failure>,
        took: Option<Duration>,
    ) {
        let outcome = words::outcome(action, result);
        let tone = match result {
            Ok(Done::Unhealthy { .. }) => Tone::Warning,
            Err(Failure { reason: lifecycle::Reason::Canceled, .. }) | Ok(_) => Tone::Plain,
            Err(_) => Tone::Bad,
        };
        let row = match action {
            Action::Probe { container, kind, .. } => {
                let passed = matches!(result, Ok(Done::Healthy));
                let key = (container.clone(), *kind);
                match self.probes.get_mut(&key) {
                    Some((row, before, times)) if *before == passed => {
                        *times += 1;
                        self.rows[*row].outcome = format!("{} ({times} times)", words::one_line(&outcome));
                        self.rows[*row].took = None;
                        return;
                    }
                    _ => {
                        let row = self.tell(now, who(action), words::action(action), &outcome, tone);
                        self.probes.insert(key, (row, passed, 1));
                        row
                    }
                }
            }
            // One that was begun before the first entry has its row here.
            action => match self.begun.remove(action) {
                Some(row) => row,
                None => self.tell(now, who(action), words::action(action), "", Tone::Plain),
            },
        };
        let row = &mut self.rows[row];
        (row.outcome, row.took, row.tone) = (words::one_line(&outcome), took, tone);
    }
}

/// Whether the Pod's work is done; that it is not ready any more is as it should be.
fn is_over(status: &Status) -> bool {
    let has_ended = |state: &ContainerState| matches!(state, ContainerState::Terminated(_));
    status.phase.is_terminal() || status.container_statuses.iter().all(|status| has_ended(&status.state))
}

fn who(action: &Action) -> Who {
    match action.container() {
        Some(name) => Who::Container(name.to_owned()),
        None => Who::Podling,
    }
}

/// The containers of a Pod by their names, for its first row.
fn containers(pod: &Pod) -> String {
    let names: Vec<_> = pod.spec.all_containers().map(|container| container.name.as_str()).collect();
    format!("with {}", names.join(", "))
}
