//! What the engine sees of the control plane: a queue of changes, objects that are here already, a queue for reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use client::Client;
use engine::streams::Pending;
use engine::{ControlPlane, PodChange, Report, Token, TokenError, TokenRequest};
use model::pod::{KeyedObject, ObjectKind, PodSpec};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::objects::ObjectKey;
use crate::tokens;

/// Changes that may wait for the engine; more make the watch wait.
const QUEUE_LENGTH: usize = 256;

/// What reaches the writer.
pub(crate) enum Message {
    /// To be told to the control plane.
    Report(Box<Report>),
    /// The Pod is wanted gone, and the engine may not know it: its object is deleted when the engine says that nothing is
    /// left of that UID.
    Ending {
        /// Which Pod.
        uid: String,
        /// Where.
        namespace: String,
        /// What it is called.
        name: String,
    },
    /// Answer when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// Where a container stands in its Pod's spec, for the `fieldPath` of events.
pub(crate) type Paths = BTreeMap<String, String>;

/// Shared by the engine's side and the agent's tasks.
pub(crate) struct Plane {
    /// Asks for tokens.
    client: Client,
    changes: Mutex<Option<mpsc::Receiver<PodChange>>>,
    /// ConfigMaps and Secrets that Pods of this node speak of, as they are now.
    pub(crate) objects: RwLock<HashMap<ObjectKey, KeyedObject>>,
    /// By UID of the Pod.
    pub(crate) pods: Arc<RwLock<HashMap<String, Paths>>>,
    /// Pods of this node as the control plane has them, by UID.
    pub(crate) seen: RwLock<HashMap<String, Arc<Value>>>,
    /// Unbounded, because the engine must not wait; the writer keeps only the newest status of each Pod.
    pub(crate) messages: mpsc::UnboundedSender<Message>,
}

/// The other ends of its queues.
pub(crate) struct Ends {
    pub(crate) changes: mpsc::Sender<PodChange>,
    pub(crate) reports: mpsc::UnboundedReceiver<Message>,
}

impl Plane {
    pub(crate) fn new(client: Client) -> (Arc<Plane>, Ends) {
        let (changes, wanted) = mpsc::channel(QUEUE_LENGTH);
        let (messages, reports) = mpsc::unbounded_channel();
        let plane = Plane {
            client,
            changes: Mutex::new(Some(wanted)),
            objects: RwLock::default(),
            pods: Arc::default(),
            seen: RwLock::default(),
            messages,
        };
        (Arc::new(plane), Ends { changes, reports })
    }

    /// Takes the newest state of a Pod; none, when it is gone.
    pub(crate) fn see(&self, uid: &str, pod: Option<&Arc<Value>>) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        match pod {
            Some(pod) => seen.insert(uid.to_owned(), Arc::clone(pod)),
            None => seen.remove(uid),
        };
    }

    /// Returns when everything that was reported is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.messages.send(Message::Flush(done)).is_ok() {
            // A writer that is gone writes nothing more.
            let _ = written.await;
        }
    }
}

impl ControlPlane for Plane {
    fn watch_pods(&self) -> mpsc::Receiver<PodChange> {
        let taken = self.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second watch, which the trait excludes, sees nothing.
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn object(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<KeyedObject> {
        let key = ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        self.objects.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn objects_may_appear(&self) -> bool {
        true
    }

    fn token(&self, request: TokenRequest) -> Pending<'_, Result<Token, TokenError>> {
        Box::pin(tokens::fetch(&self.client, request))
    }

    fn report(&self, report: Report) {
        // After the agent was closed nobody is told.
        let _ = self.messages.send(Message::Report(Box::new(report)));
    }
}

/// `spec.containers{NAME}` of each container.
pub(crate) fn paths(spec: &PodSpec) -> Paths {
    let named = |field: &'static str, names: Vec<&String>| {
        names.into_iter().map(|name| (name.clone(), format!("spec.{field}{{{name}}}"))).collect::<Vec<_>>()
    };
    let init = named("initContainers", spec.init_containers.iter().map(|c| &c.name).collect());
    let main = named("containers", spec.containers.iter().map(|c| &c.name).collect());
    let ephemeral = spec.ephemeral_containers.iter().map(|e| &e.container.name).collect();
    init.into_iter().chain(main).chain(named("ephemeralContainers", ephemeral)).collect()
}
