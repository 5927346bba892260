//! Where Pods come from and where what happens to them goes.
//!
//! Three implementations: a manifest (`podling run`), the embedded store (`podling serve`), and later a
//! remote kube-apiserver (`podling join`). The engine treats them all alike.

use model::pod::{KeyedObject, ObjectKind, Pod};
use tokio::sync::mpsc;

/// The source of desired state and the sink of observed state, for one node.
pub trait ControlPlane: Send + Sync + 'static {
    /// Pods for this node: every one that exists at first, then every change. Called once.
    fn watch_pods(&self) -> mpsc::Receiver<PodChange>;

    /// A ConfigMap or Secret as it is now; `None` when there is none.
    fn object(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<KeyedObject>;

    /// Whether an object that is missing now can still appear. A manifest has said all it will ever say, so a
    /// Pod that lacks a ConfigMap fails at once; a store may get it later, so the Pod waits.
    fn objects_may_appear(&self) -> bool;

    /// Takes what happened. Must not block: implementations queue.
    fn report(&self, report: Report);
}

/// A change of what is wanted on this node.
#[derive(Debug, Clone)]
pub enum PodChange {
    /// The Pod is wanted, as it stands here; its UID is set.
    Apply(Box<Pod>),
    /// The Pod is to be stopped and removed. `grace_period_seconds` of `None` is the Pod's own.
    Delete {
        /// UID of the Pod.
        uid: String,
        /// Grace in seconds; 0 is at once.
        grace_period_seconds: Option<u64>,
    },
    /// A ConfigMap or Secret of which the Pod speaks is another now, or there, or gone.
    DependencyChanged {
        /// UID of the Pod.
        uid: String,
    },
    /// Other readiness gates of the Pod are open than before.
    Gates {
        /// UID of the Pod.
        uid: String,
        /// Condition types that are True, of those that the Pod names as gates.
        open: std::collections::BTreeSet<String>,
    },
    /// Every Pod that existed at the beginning has been told. A Pod that this node still has and was not told is wanted
    /// no more.
    Synced,
}

/// Something that happened to a Pod.
#[derive(Debug, Clone)]
pub struct Report {
    /// UID of the Pod.
    pub uid: String,
    /// `namespace/name`.
    pub pod: String,
    /// When, in nanoseconds since the epoch.
    pub wall_nanos: i64,
    /// When, in nanoseconds of boot time: differences of these are durations.
    pub boot_nanos: u64,
    /// What.
    pub kind: ReportKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum ReportKind {
    /// The status changed.
    Status(Box<lifecycle::Status>),
    /// A Kubernetes event.
    Event {
        /// `Warning` rather than `Normal`.
        warning: bool,
        /// Kubernetes' reason, such as `Pulled`.
        reason: String,
        /// The sentence that kubectl shows.
        message: String,
        /// The container concerned.
        container: Option<String>,
    },
    /// A container has a log file: whoever shows logs follows it. Sent before the container writes anything.
    Log {
        /// The container.
        container: String,
        /// Which start of it, from 0.
        attempt: u32,
        /// File in CRI format; rotated ones stand beside it.
        path: std::path::PathBuf,
    },
    /// A step of the work was finished; for breakdowns of time.
    Step {
        /// What, such as `sandbox`, `start web/0`.
        what: String,
        /// How long it took.
        duration: std::time::Duration,
    },
    /// Progress of long work such as a pull.
    Progress {
        /// What, such as `pull nginx:latest`.
        what: String,
        /// How much is done.
        done_bytes: u64,
        /// Of how much, when known.
        total_bytes: Option<u64>,
    },
    /// The Pod cannot go on until somebody changes something; `podling run` gives up then.
    Blocked(lifecycle::Blocked),
    /// The Pod ended by itself and everything it held is released; it waits for its deletion.
    Finished(lifecycle::status::Phase),
    /// Nothing of the Pod is left on this machine but its logs.
    Gone,
}
