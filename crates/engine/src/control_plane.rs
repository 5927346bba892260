//! Where Pods come from and where what happens to them goes.
//!
//! Three implementations: a manifest (`podling run`), the embedded store (`podling serve`), and later a
//! remote kube-apiserver (`podling join`). The engine treats them all alike.
//!
//! # How to be one
//!
//! - [`ControlPlane::watch_pods`] is called once, when the Pods of an earlier daemon have been found. Send
//!   [`PodChange::Apply`] for each Pod that is bound to this node, then [`PodChange::Synced`], then every change as it
//!   comes. The same Pod twice is no harm. What a Pod needs ([`ControlPlane::object`]) should be known before it is sent.
//! - A Pod that ended before the watch began is a [`PodChange::Keep`] rather than an `Apply`, or it would run once more.
//! - A Pod that is to go (its `deletionTimestamp` is set) is a [`PodChange::Delete`] with its grace, sent again when the
//!   grace is shortened, and for each such Pod after a restart. It needs no `Apply` before. The engine answers
//!   [`ReportKind::Gone`] when nothing is left, at once for a Pod that it does not have; remove the object then, with its
//!   UID as a precondition and a grace of 0.
//! - [`ReportKind::Status`] is the whole status each time; only the newest matters, so a slow writer may skip some. After a
//!   restart every Pod's status is told once again, whether or not it changed. Events are told once.
//! - [`ReportKind::Finished`] asks for nothing: the Pod has ended and stays visible until somebody deletes it.
//! - [`ControlPlane::object`] is asked from many Pods at once and must answer from memory. When an answer changes, send
//!   [`PodChange::DependencyChanged`] to the Pods that it concerns.
//! - [`ControlPlane::token`] is asked before the volumes of a Pod are made, and again before a token ends. It may take its
//!   time: nothing but that Pod's volumes waits.
//! - [`ControlPlane::report`] must return at once: queue.
//! - The daemon may die between any two of these. Nothing of the above needs to be remembered by the control plane: it says
//!   what is wanted, and the engine finds out what is.

use model::pod::{KeyedObject, ObjectKind, Pod};
use tokio::sync::mpsc;

use crate::streams::Pending;

/// The source of desired state and the sink of observed state, for one node.
pub trait ControlPlane: Send + Sync + 'static {
    /// Pods for this node: every one that exists at first, then every change. Called once.
    fn watch_pods(&self) -> mpsc::Receiver<PodChange>;

    /// A ConfigMap or Secret as it is now; `None` when there is none.
    fn object(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<KeyedObject>;

    /// Whether an object that is missing now can still appear. A manifest has said all it will ever say, so a
    /// Pod that lacks a ConfigMap fails at once; a store may get it later, so the Pod waits.
    fn objects_may_appear(&self) -> bool;

    /// Asks for a token of a Pod's ServiceAccount.
    fn token(&self, request: TokenRequest) -> Pending<'_, Result<Token, TokenError>>;

    /// Takes what happened. Must not block: implementations queue.
    fn report(&self, report: Report);
}

/// A token that a Pod is to hold: good for its ServiceAccount, and only as long as the Pod exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Namespace of the Pod and its ServiceAccount.
    pub namespace: String,
    /// The ServiceAccount.
    pub service_account: String,
    /// Whom the token is for; the API server itself when absent.
    pub audience: Option<String>,
    /// How long it shall be good for.
    pub expiration_seconds: u64,
    /// The Pod that it is bound to.
    pub pod_name: String,
    /// UID of that Pod.
    pub pod_uid: String,
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// How long it is good for, from its making.
    pub lifetime: std::time::Duration,
    /// When it ends, in nanoseconds since the epoch.
    pub expires_at_wall_nanos: i64,
}

/// Tokens never reach a log.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("lifetime", &self.lifetime)
            .field("expires_at_wall_nanos", &self.expires_at_wall_nanos)
            .finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody here issues any.
    #[error(
        "there is no API server here that issues ServiceAccount tokens: run the Pod under `podling serve`, or leave \
         serviceAccountToken out of its projected volumes"
    )]
    NoServer,
    /// The API server did not issue it.
    #[error("cannot get a token of ServiceAccount {namespace}/{service_account}")]
    Failed {
        /// The namespace.
        namespace: String,
        /// The ServiceAccount.
        service_account: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A change of what is wanted on this node.
#[derive(Debug, Clone)]
pub enum PodChange {
    /// The Pod is wanted, as it stands here; its UID is set.
    Apply(Box<Pod>),
    /// The Pod has ended, and nobody wants it gone: should it be here, from an earlier daemon, it stays as it is. It never
    /// starts.
    Keep {
        /// UID of the Pod.
        uid: String,
    },
    /// The Pod is to be stopped and removed. `grace_period_seconds` of `None` is the Pod's own.
    Delete {
        /// UID of the Pod.
        uid: String,
        /// Grace in seconds; 0 is at once.
        grace_period_seconds: Option<u64>,
    },
    /// A ConfigMap or Secret of which the Pod speaks is another now, or there, or gone: what failed is tried again at
    /// once, and files of volumes are brought up to date.
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
    /// Every Pod that was wanted when the watch began has been told. Pods that this node took over from a daemon that died
    /// and that were not among them are wanted by nobody any more: they are stopped, with their own grace, and removed. A
    /// control plane that never says so never loses a Pod.
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
