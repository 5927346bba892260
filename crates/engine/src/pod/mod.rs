//! One Pod's task: the only owner of its Memory.
//!
//! ```text
//!     completions, requests, shim events
//!          │
//!          ▼
//!   note ─► observe ─► note ─► decide ─► save ─► begin actions ─► record ─► wait ─┐
//!     ▲                                                                          │
//!     └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! No decision is taken while acting, and none is taken here: what to do is [`lifecycle::decide`]'s.

mod context;
mod exec;
mod incarnations;
mod records;
mod recover;
mod tokens;
mod world;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifecycle::invariants::Ledger;
use lifecycle::{
    Action, Deadline, Decision, Done, Due, End, Event, Fact, Failure, Memory, Now, Observation, Reason, Retry,
};
use model::pod::Pod;
use model::resources::effective;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::allocations::Amounts;
use crate::checkpoint::Checkpoint;
use crate::control_plane::ReportKind;
use crate::journal::{self, Journal};
use crate::{clock, diagnose, perform};

pub(crate) use context::{PodContext, PodDirectories, key};
pub(crate) use exec::{ExecEnd, RunningExec, new_key};
pub(crate) use incarnations::{Incarnation, IncarnationState};
pub(crate) use records::{ContainerRecord, SandboxRecord, StandingSandbox};
pub(crate) use world::{Change, Ended};

/// What reaches a Pod's task from outside.
#[derive(Debug)]
pub(crate) enum Input {
    /// A request.
    Fact(Fact),
    /// The Pod's spec was edited.
    PodChanged(Arc<Pod>),
    /// A ConfigMap or Secret of which the Pod speaks changed.
    DependencyChanged,
    /// These readiness gates are open.
    Gates(BTreeSet<String>),
    /// An incarnation of a container ended.
    ContainerEnded {
        /// The container.
        container: String,
        /// Which incarnation.
        attempt: u32,
        /// How.
        ended: Ended,
    },
    /// Pause died.
    SandboxDied,
    /// The shim died, and everything that it had started.
    ShimDied,
}

/// What an action came to.
type Performed = (Result<Done, Failure>, Change);

/// An action under way.
struct UnderWay {
    begun: Instant,
    task: AbortHandle,
}

/// The task's own state.
pub(crate) struct PodTask {
    context: Arc<PodContext>,
    /// The Pod as it is asked for; what things are made from is the context's.
    asked: Arc<Pod>,
    memory: Memory,
    /// Holds every decision against the numbered invariants.
    ledger: Ledger,
    /// Invariants that were seen broken, so that each is told once.
    broken: BTreeSet<u8>,
    journal: Journal,
    world: world::World,
    in_flight: BTreeMap<Action, UnderWay>,
    /// What performs them.
    performing: JoinSet<Performed>,
    inputs: mpsc::Receiver<Input>,
    checkpoint: Option<Checkpoint>,
    /// Told already, and not saved since.
    is_checkpoint_failing: bool,
    reported: Option<lifecycle::Status>,
    blocked: Option<lifecycle::Blocked>,
    finished: bool,
    /// Its daemon died, and what it left has not been looked at yet.
    is_resumed: bool,
}

/// Probes wake their Pods at whole multiples of this, so that what is due at about the same time costs one waking of the
/// machine. They are late by no more than that, and only where they are as rare as a second.
const PROBE_SLACK: Duration = Duration::from_millis(50);

impl PodTask {
    /// Admits a Pod.
    pub(crate) fn admit(context: Arc<PodContext>, inputs: mpsc::Receiver<Input>) -> PodTask {
        let (asked, policy, now) = (context.pod(), context.node.policy, clock::now());
        let memory = Memory::new(&asked, policy, now);
        let ledger = Ledger::new(&asked, policy, now);
        let journal = Journal::new(&context.node.config.data_dir, asked, policy, now);
        Self::new(context, inputs, memory, ledger, journal)
    }

    /// Goes on with a Pod whose daemon died; the context is made of the saved Pod.
    pub(crate) fn resume(
        context: Arc<PodContext>,
        inputs: mpsc::Receiver<Input>,
        memory: Memory,
        ledger: Ledger,
    ) -> PodTask {
        let data_dir = &context.node.config.data_dir;
        let journal = Journal::resumed(data_dir, &context.pod(), &memory, clock::now());
        PodTask { is_resumed: true, ..Self::new(context, inputs, memory, ledger, journal) }
    }

    fn new(
        context: Arc<PodContext>,
        inputs: mpsc::Receiver<Input>,
        memory: Memory,
        ledger: Ledger,
        journal: Journal,
    ) -> PodTask {
        let asked = context.pod();
        let allocated = memory.pod_as_allocated(&asked);
        context.node.allocations.admit(&asked.meta.uid, Amounts::requested(&effective(&allocated.spec)));
        drop(allocated);
        PodTask {
            context,
            asked,
            memory,
            ledger,
            broken: BTreeSet::new(),
            journal,
            world: world::World::default(),
            in_flight: BTreeMap::new(),
            performing: JoinSet::new(),
            inputs,
            checkpoint: None,
            is_checkpoint_failing: false,
            reported: None,
            blocked: None,
            finished: false,
            is_resumed: false,
        }
    }

    /// Lives the Pod's life until nothing of it is left.
    pub(crate) async fn run(mut self) {
        self.begin_checkpoint();
        if std::mem::take(&mut self.is_resumed) {
            self.world = recover::recover(&self.context, &self.memory).await;
        }
        loop {
            let now = clock::now();
            let (observation, decision) = self.decide(now);
            self.save();
            self.tell(&decision);
            let is_gone = matches!(decision.end, Some(End::Gone(_)));
            if !is_gone {
                self.act(&decision);
            }
            // While the actions are under way.
            let wake_at = decision.wake_at.as_ref().map(|deadline| waking_at(deadline, &now));
            self.record(observation, decision, now);
            if is_gone {
                break;
            }
            self.wait(wake_at).await;
        }
        self.journal.flush(&self.asked, &self.memory, clock::now());
        if !self.context.node.config.keep_journals {
            self.journal.remove();
        }
        self.context.node.allocations.release(&self.asked.meta.uid);
        self.context.forget().await;
    }

    /// Observes, notes what is observed, and decides.
    fn decide(&mut self, now: Now) -> (Observation, Decision) {
        let in_flight: BTreeSet<Action> = self.in_flight.keys().cloned().collect();
        let observation = self.world.observe(&in_flight);
        self.note(Fact::Observed(observation.clone()), now, None);
        let decision = lifecycle::decide(&self.asked, &self.memory, &observation, &now);
        (observation, decision)
    }

    /// Takes a fact in; of a completion with the time that its action took.
    fn note(&mut self, fact: Fact, now: Now, took: Option<Duration>) {
        self.ledger.note(&self.asked, &fact, &now);
        let events = self.memory.note(&self.asked, &fact, &now);
        self.journal.noted(fact, now, took.map(|took| took.as_nanos() as u64));
        match self.memory.pod_as_allocated(&self.asked) {
            Cow::Borrowed(_) => self.context.set_pod(Arc::clone(&self.asked)),
            Cow::Owned(allocated) => self.context.set_pod(Arc::new(allocated)),
        }
        for event in events {
            self.context.report_event(event);
        }
    }

    /// Puts the round into the journal, and holds it against the invariants. A breach is a mistake of podling: it is
    /// told as loudly as can be, and the Pod goes on.
    fn record(&mut self, observation: Observation, decision: Decision, now: Now) {
        let pod = Arc::clone(&self.asked);
        let violations = self.ledger.check(&pod, &observation, &decision, &now);
        self.journal.round(observation, decision, now);
        for violation in violations {
            tracing::error!(pod = %pod.meta.name, journal = %self.journal.directory().display(), "{violation}");
            if self.broken.insert(violation.number) {
                self.context.report_event(Event {
                    warning: true,
                    reason: "InvariantBroken",
                    message: format!(
                        "{violation}. This is a mistake of podling: please report it with the journal in {}, which \
                         `podling journal {}` shows",
                        self.journal.directory().display(),
                        pod.meta.name
                    ),
                    container: None,
                });
            }
            self.journal.breach(violation, now);
        }
        if self.journal.is_full() {
            self.journal.flush(&pod, &self.memory, now);
        }
    }

    fn act(&mut self, decision: &Decision) {
        for action in decision.cancel.iter().filter(|action| may_be_interrupted(action)) {
            if let Some(under_way) = self.in_flight.get(action) {
                under_way.task.abort();
            }
        }
        for action in &decision.actions {
            let under_way = self.begin(action.clone());
            self.in_flight.insert(action.clone(), under_way);
        }
    }

    /// Performs an action in a task of its own. Its completion always arrives, also when it is given up or
    /// when it panics: an action that stayed in flight for ever would hold the Pod for ever.
    fn begin(&mut self, action: Action) -> UnderWay {
        let context = Arc::clone(&self.context);
        let begun = Instant::now();
        let task = self.performing.spawn(async move { perform::perform(&context, &action).await });
        UnderWay { begun, task }
    }

    /// Waits for something to happen, then takes over all that has.
    async fn wait(&mut self, wake_at_boot_nanos: Option<u64>) {
        let sleep =
            wake_at_boot_nanos.map(|at| Duration::from_nanos(at.saturating_sub(clock::now().boot_nanos)));
        let due = async {
            match sleep {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(due);
        // A Pod that wakes up soon writes its journal then: waking up costs more than writing.
        let is_soon = sleep.is_some_and(|sleep| sleep <= journal::PATIENCE);
        loop {
            let journal_due_at = if is_soon { None } else { self.journal.due_at() };
            let journal_due = async {
                match journal_due_at {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(ended) = self.performing.join_next_with_id() => self.take_completion(ended),
                Some(input) = self.inputs.recv() => self.take_input(input),
                () = &mut due => {}
                () = journal_due => {
                    self.journal.flush(&self.asked, &self.memory, clock::now());
                    continue;
                }
            }
            break;
        }
        if self.journal.is_due() {
            self.journal.flush(&self.asked, &self.memory, clock::now());
        }
        while let Some(ended) = self.performing.try_join_next_with_id() {
            self.take_completion(ended);
        }
        while let Ok(input) = self.inputs.try_recv() {
            self.take_input(input);
        }
    }

    fn take_completion(&mut self, ended: Result<(Id, Performed), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let of = self.in_flight.iter().find(|(_, under_way)| under_way.task.id() == id);
        let Some(action) = of.map(|(action, _)| action.clone()) else { return };
        let took = self.in_flight.remove(&action).map(|under_way| under_way.begun.elapsed());
        let (result, change) = match ended {
            Ok((_, performed)) => performed,
            Err(error) => (Err(given_up(&action, &error)), Change::Nothing),
        };
        self.world.apply(change);
        let is_resize = matches!(action, Action::AllocateResources { .. });
        self.note(Fact::Completed { action, result }, clock::now(), took);
        if is_resize {
            // Resources stand in files.
            perform::refresh_volumes(&self.context);
        }
    }

    fn take_input(&mut self, input: Input) {
        match input {
            Input::Fact(fact) => self.note(fact, clock::now(), None),
            Input::PodChanged(pod) => {
                self.journal.asked(Arc::clone(&pod));
                self.asked = pod;
                self.save_pod();
                self.note(Fact::PodChanged, clock::now(), None);
                // Labels and annotations stand in files. After a restart of the daemon, this is also what brings up to
                // date what changed meanwhile, and fetches tokens anew.
                perform::refresh_volumes(&self.context);
            }
            Input::DependencyChanged => {
                perform::refresh_volumes(&self.context);
                self.note(Fact::DependencyChanged, clock::now(), None);
            }
            Input::Gates(open) => self.world.set_gates(open),
            Input::ContainerEnded { container, attempt, ended } => {
                diagnose::after_exit(&self.context, &container, attempt, &ended);
                self.world.container_ended(&container, attempt, ended);
            }
            Input::SandboxDied => self.world.sandbox_died(),
            Input::ShimDied => self.world.shim_died(),
        }
    }

    /// Tells the control plane what is new.
    fn tell(&mut self, decision: &Decision) {
        if self.reported.as_ref() != Some(&decision.status) {
            self.reported = Some(decision.status.clone());
            self.context.set_status(decision.status.clone());
            self.context.report(ReportKind::Status(Box::new(decision.status.clone())));
        }
        if decision.blocked.is_some() && self.blocked != decision.blocked {
            self.blocked.clone_from(&decision.blocked);
            if let Some(blocked) = decision.blocked.clone() {
                self.context.report(ReportKind::Blocked(blocked));
            }
        }
        if let (Some(End::Finished(phase)), false) = (decision.end, self.finished) {
            self.finished = true;
            self.context.report(ReportKind::Finished(phase));
        }
    }

    fn begin_checkpoint(&mut self) {
        let directories = &self.context.directories;
        let made = directories.create().and_then(|()| Checkpoint::begin(&directories.data, &self.asked));
        match made {
            Ok(checkpoint) => self.checkpoint = Some(checkpoint),
            Err(error) => self.warn_of_checkpoint(&error),
        }
    }

    fn save_pod(&self) {
        if let Some(checkpoint) = &self.checkpoint
            && let Err(error) = checkpoint.save_pod(&self.asked)
        {
            self.warn_of_checkpoint(&error);
        }
    }

    /// A Pod whose Memory cannot be saved (disk full) goes on: stopping it would lose more.
    fn save(&mut self) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        match checkpoint.save(&self.memory, &self.ledger) {
            Ok(()) => self.is_checkpoint_failing = false,
            Err(_) if self.is_checkpoint_failing => {}
            Err(error) => {
                self.is_checkpoint_failing = true;
                self.warn_of_checkpoint(&error);
            }
        }
    }

    fn warn_of_checkpoint(&self, error: &std::io::Error) {
        self.context.report_event(Event {
            warning: true,
            reason: "CheckpointFailed",
            message: format!(
                "cannot save the state of the Pod in {}: {error}; it runs on, and a restarted podling would \
                 decide from what it sees only",
                self.context.directories.data.display()
            ),
            container: None,
        });
    }
}

/// What leaves nothing half-made behind when it is given up. The others come to their own end: a container
/// whose start was forgotten half-way would run unseen.
fn may_be_interrupted(action: &Action) -> bool {
    matches!(
        action,
        Action::Pull { .. } | Action::Probe { .. } | Action::PostStart { .. } | Action::PreStop { .. }
    )
}

/// When a Pod wakes up for what is due next, as boot time.
fn waking_at(deadline: &Deadline, now: &Now) -> u64 {
    let slack = PROBE_SLACK.as_nanos() as u64;
    match deadline {
        Deadline { boot_nanos, what: Due::Probe { .. } }
            if boot_nanos.saturating_sub(now.boot_nanos) >= slack * 10 =>
        {
            boot_nanos.next_multiple_of(slack)
        }
        Deadline { boot_nanos, .. } => *boot_nanos,
    }
}

/// An action that ended without a result of its own.
fn given_up(action: &Action, ended: &JoinError) -> Failure {
    if ended.is_cancelled() {
        let message = "given up, as it is no longer wanted".to_owned();
        return Failure { reason: Reason::Canceled, message, retry: Retry::Backoff };
    }
    let reason = match action {
        Action::PrepareVolumes { .. } => Reason::FailedMount,
        Action::CreateSandbox { .. } => Reason::FailedCreatePodSandBox,
        Action::Pull { .. } => Reason::ErrImagePull,
        Action::Start { .. } => Reason::CreateContainerError,
        Action::PostStart { .. } => Reason::FailedPostStartHook,
        Action::PreStop { .. } => Reason::FailedPreStopHook,
        Action::Probe { .. } => Reason::ProbeError,
        Action::AllocateResources { .. } => Reason::Infeasible,
        Action::ResizePod { .. } | Action::ResizeContainer { .. } => Reason::ResizeError,
        Action::Signal { .. }
        | Action::Kill { .. }
        | Action::RemoveSandbox { .. }
        | Action::RemoveVolumes => Reason::FailedKillPod,
    };
    let message = format!("podling itself failed in it, please report this: {ended}");
    Failure { reason, message, retry: Retry::Backoff }
}
