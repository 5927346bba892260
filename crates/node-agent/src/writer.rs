//! Tells the control plane what became of Pods: status, events, the final delete.
//!
//! Of each Pod one request is under way at most, and only the newest status waits: a status that was overtaken is never
//! written. The final delete comes after the last status, and only for the UID that is meant.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use client::{Client, Deletion, PatchKind, kinds};
use engine::{Report, ReportKind};
use lifecycle::Status;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::events::{Correlator, Happening, Subject, Written};
use crate::plane::{Message, Paths};
use crate::status;

/// The first wait for a control plane that is away, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long what is seen on a Pod's way to its start may wait: a start takes a few milliseconds of both the node and whoever
/// tells of it, and what it has come to then is worth more than each step.
const PATIENCE: Duration = Duration::from_millis(20);
/// Events that may wait to be written; more are dropped, as Kubernetes does.
const MOST_EVENTS: usize = 1000;

/// Writes until its task is aborted.
pub(crate) async fn run(
    client: Client,
    node: String,
    mut messages: mpsc::UnboundedReceiver<Message>,
    paths: Arc<RwLock<HashMap<String, Paths>>>,
) {
    let (events, waiting) = mpsc::channel(MOST_EVENTS);
    let mut jobs: JoinSet<Job> = JoinSet::new();
    // Ends with this task: the set aborts what it holds.
    let mut recorder = JoinSet::new();
    recorder.spawn(record(client.clone(), node, waiting));
    let mut writer = Writer { client, pods: HashMap::new(), events, paths, flushes: Vec::new() };
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => writer.take(message, &mut jobs),
                None => return,
            },
            Some(done) = jobs.join_next() => {
                if let Ok(done) = done {
                    writer.done(done, &mut jobs);
                }
            }
        }
        writer.answer_flushes().await;
    }
}

/// What is under way or to be told of one Pod.
#[derive(Default)]
struct Telling {
    namespace: String,
    name: String,
    status: Option<Box<Status>>,
    told: Option<Box<Status>>,
    is_gone: bool,
    is_busy: bool,
    patience: Patience,
}

impl Telling {
    /// Whether something is being written, or waits to be.
    fn has_more(&self) -> bool {
        self.is_busy || self.status.is_some()
    }
}

/// Whether a status that may wait does.
#[derive(Default, PartialEq)]
enum Patience {
    #[default]
    Fresh,
    Waiting,
    Over,
}

/// What came to its end for one Pod.
struct Job {
    uid: String,
    done: Done,
}

enum Done {
    /// This status was written.
    Told(Box<Status>),
    /// The final delete.
    Deleted,
    /// What might wait has waited.
    Waited,
}

struct Writer {
    client: Client,
    pods: HashMap<String, Telling>,
    events: mpsc::Sender<Recorded>,
    paths: Arc<RwLock<HashMap<String, Paths>>>,
    flushes: Vec<oneshot::Sender<()>>,
}

/// What the recorder of events is given.
enum Recorded {
    Happening(Happening, i64),
    Forget(String),
    Flush(oneshot::Sender<()>),
}

impl Writer {
    fn take(&mut self, message: Message, jobs: &mut JoinSet<Job>) {
        match message {
            Message::Report(report) => self.report(*report, jobs),
            Message::Ending { uid, namespace, name } => {
                self.telling(&uid, &namespace, &name);
            }
            Message::Flush(done) => self.flushes.push(done),
        }
    }

    fn report(&mut self, report: Report, jobs: &mut JoinSet<Job>) {
        let Report { uid, pod, wall_nanos, kind, .. } = report;
        let (namespace, name) = pod.split_once('/').unwrap_or(("", &pod));
        match kind {
            ReportKind::Status(status) => {
                let telling = self.telling(&uid, namespace, name);
                telling.status = Some(status);
            }
            // Of a Pod that the engine never had it knows no name; whoever deleted the object knows it is gone.
            ReportKind::Gone if name.is_empty() && !self.pods.contains_key(&uid) => return,
            ReportKind::Gone => self.telling(&uid, namespace, name).is_gone = true,
            ReportKind::Event { warning, reason, message, container } => {
                let field_path = container.and_then(|container| {
                    let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
                    paths.get(&uid)?.get(&container).cloned()
                });
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                let subject = Subject { kind: "Pod", namespace, name, uid: uid.clone(), field_path };
                let happening = Happening { subject, warning, reason, message };
                if self.events.try_send(Recorded::Happening(happening, wall_nanos)).is_err() {
                    tracing::warn!(pod, "an event was dropped: too many wait to be written");
                }
                return;
            }
            // Steps, progress and log files are for whoever watches in the foreground.
            ReportKind::Log { .. }
            | ReportKind::Step { .. }
            | ReportKind::Progress { .. }
            | ReportKind::Blocked(_)
            | ReportKind::Finished(_) => return,
        }
        self.begin(&uid, jobs);
    }

    fn telling(&mut self, uid: &str, namespace: &str, name: &str) -> &mut Telling {
        let telling = self.pods.entry(uid.to_owned()).or_default();
        if telling.name.is_empty() {
            (telling.namespace, telling.name) = (namespace.to_owned(), name.to_owned());
        }
        telling
    }

    /// Begins the next request of a Pod, unless one is under way or nothing is urgent.
    fn begin(&mut self, uid: &str, jobs: &mut JoinSet<Job>) {
        let Some(telling) = self.pods.get_mut(uid).filter(|telling| !telling.is_busy) else { return };
        let (client, uid) = (self.client.clone(), uid.to_owned());
        let (namespace, name) = (telling.namespace.clone(), telling.name.clone());
        if let Some(status) = &telling.status
            && telling.patience != Patience::Over
            && status::is_on_its_way(status, telling.told.as_deref())
        {
            if telling.patience == Patience::Fresh {
                telling.patience = Patience::Waiting;
                jobs.spawn(async move {
                    tokio::time::sleep(PATIENCE).await;
                    Job { uid, done: Done::Waited }
                });
            }
        } else if let Some(status) = telling.status.take() {
            let patch = status::patch(&uid, &status, telling.told.as_deref());
            telling.is_busy = true;
            if telling.patience == Patience::Over {
                telling.patience = Patience::Fresh;
            }
            jobs.spawn(async move {
                write_status(&client, &namespace, &name, &patch).await;
                Job { uid, done: Done::Told(status) }
            });
        } else if telling.is_gone {
            telling.is_busy = true;
            jobs.spawn(async move {
                delete(&client, &namespace, &name, &uid).await;
                Job { uid, done: Done::Deleted }
            });
        }
    }

    fn done(&mut self, Job { uid, done }: Job, jobs: &mut JoinSet<Job>) {
        if let Done::Deleted = done {
            self.pods.remove(&uid);
            self.paths.write().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            // A recorder that is too busy to forget only remembers longer.
            let _ = self.events.try_send(Recorded::Forget(uid));
            return;
        }
        if let Some(telling) = self.pods.get_mut(&uid) {
            match done {
                Done::Told(status) => {
                    telling.is_busy = false;
                    telling.told = Some(status);
                }
                // What waited may have been written meanwhile, with something urgent.
                Done::Waited if telling.status.is_none() => telling.patience = Patience::Fresh,
                Done::Waited => telling.patience = Patience::Over,
                Done::Deleted => {}
            }
        }
        self.begin(&uid, jobs);
    }

    /// Tells those who wait for it that nothing is left to write.
    async fn answer_flushes(&mut self) {
        if self.flushes.is_empty() || self.pods.values().any(Telling::has_more) {
            return;
        }
        let (done, recorded) = oneshot::channel();
        if self.events.send(Recorded::Flush(done)).await.is_ok() {
            // A recorder that ended has nothing more to write.
            let _ = recorded.await;
        }
        for waiting in self.flushes.drain(..) {
            // Whoever does not wait any more need not be told.
            let _ = waiting.send(());
        }
    }
}

async fn write_status(client: &Client, namespace: &str, name: &str, patch: &Value) {
    let mut wait = FIRST_WAIT;
    loop {
        let body = (PatchKind::Strategic, patch);
        match client.patch(&kinds::PODS, Some(namespace), name, Some("status"), body).await {
            Ok(_) => return,
            // The Pod is gone, or another one has its name.
            Err(error) if error.is_not_found() || error.is_conflict() => return,
            Err(error) if error.may_pass() => {
                tracing::warn!(namespace, name, %error, "cannot write the Pod's status yet")
            }
            Err(error) => {
                tracing::error!(namespace, name, %error, "the Pod's status is refused");
                return;
            }
        }
        pause(&mut wait).await;
    }
}

async fn delete(client: &Client, namespace: &str, name: &str, uid: &str) {
    let mut wait = FIRST_WAIT;
    let deletion =
        Deletion { grace_period_seconds: Some(0), uid: Some(uid.to_owned()), ..Deletion::default() };
    loop {
        match client.delete(&kinds::PODS, Some(namespace), name, &deletion).await {
            Ok(_) => return,
            Err(error) if error.is_not_found() || error.is_conflict() => return,
            Err(error) if error.may_pass() => {
                tracing::warn!(namespace, name, %error, "cannot delete the Pod yet")
            }
            Err(error) => {
                tracing::error!(namespace, name, %error, "the Pod's final delete is refused");
                return;
            }
        }
        pause(&mut wait).await;
    }
}

async fn pause(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(LONGEST_WAIT);
}

/// The next to be recorded; what comes after a silence waits for its like.
async fn next(happenings: &mut mpsc::Receiver<Recorded>) -> Option<Recorded> {
    if let Ok(recorded) = happenings.try_recv() {
        return Some(recorded);
    }
    let recorded = happenings.recv().await;
    if let Some(Recorded::Happening(..)) = recorded {
        tokio::time::sleep(PATIENCE).await;
    }
    recorded
}

/// Writes events, one after another.
async fn record(client: Client, node: String, mut happenings: mpsc::Receiver<Recorded>) {
    let mut correlator = Correlator::default();
    while let Some(recorded) = next(&mut happenings).await {
        let (happening, wall_nanos) = match recorded {
            Recorded::Happening(happening, wall_nanos) => (happening, wall_nanos),
            Recorded::Forget(uid) => {
                correlator.forget(&uid);
                continue;
            }
            Recorded::Flush(done) => {
                // Whoever does not wait any more need not be told.
                let _ = done.send(());
                continue;
            }
        };
        let Some(written) = correlator.take(happening.clone(), &node, wall_nanos) else { continue };
        let Err(error) = write_event(&client, &written).await else { continue };
        if let (true, Written::Repeat { name, .. }) = (error.is_not_found(), &written) {
            // It has expired: told anew.
            correlator.is_lost(name);
            let again = correlator.take(happening, &node, wall_nanos);
            if let Some(again) = again
                && let Err(error) = write_event(&client, &again).await
            {
                tracing::warn!(%error, "cannot write an event");
            }
            continue;
        }
        tracing::warn!(%error, "cannot write an event");
    }
}

async fn write_event(client: &Client, written: &Written) -> Result<Value, client::Error> {
    match written {
        Written::Create { namespace, event } => client.create(&kinds::EVENTS, Some(namespace), event).await,
        Written::Repeat { namespace, name, patch } => {
            client.patch(&kinds::EVENTS, Some(namespace), name, None, (PatchKind::Merge, patch)).await
        }
    }
}
