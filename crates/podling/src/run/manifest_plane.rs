//! The control plane of `podling run`: the manifest wants its Pods, and the foreground watches.
//!
//! It says all it will ever say at the beginning; after that it only takes Pods back.

use std::sync::Mutex;

use engine::control_plane::{ControlPlane, PodChange, Report, Token, TokenError, TokenRequest};
use engine::streams::Pending;
use model::pod::{KeyedObject, ObjectKind, Pod};
use tokio::sync::mpsc;

/// Pods and objects of a manifest.
pub(super) struct ManifestPlane {
    objects: Vec<KeyedObject>,
    changes: mpsc::Sender<PodChange>,
    /// Taken by the engine, once.
    watch: Mutex<Option<mpsc::Receiver<PodChange>>>,
    /// Unbounded, because the engine must not wait for a terminal; bounded in fact by what the Pods do.
    reports: mpsc::UnboundedSender<Report>,
}

impl ManifestPlane {
    /// The plane and what the engine will report to it.
    pub(super) fn new(
        pods: Vec<Pod>,
        objects: Vec<KeyedObject>,
    ) -> (ManifestPlane, mpsc::UnboundedReceiver<Report>) {
        // Room for every Pod to be wanted, stopped, and stopped at once, with a place to spare.
        let (changes, watch) = mpsc::channel(pods.len() * 4 + 1);
        for pod in pods {
            // There is room, and the receiver is at hand.
            let _ = changes.try_send(PodChange::Apply(Box::new(pod)));
        }
        let (reports, incoming) = mpsc::unbounded_channel();
        (ManifestPlane { objects, changes, watch: Mutex::new(Some(watch)), reports }, incoming)
    }

    /// No longer wants a Pod. `grace_period_seconds` of `None` is the Pod's own.
    pub(super) async fn delete(&self, uid: &str, grace_period_seconds: Option<u64>) {
        let change = PodChange::Delete { uid: uid.to_owned(), grace_period_seconds };
        // An engine that listens no more has nothing left to stop.
        let _ = self.changes.send(change).await;
    }
}

impl ControlPlane for ManifestPlane {
    fn watch_pods(&self) -> mpsc::Receiver<PodChange> {
        let taken = self.watch.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        // A second watch, which the trait excludes, sees nothing.
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn object(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<KeyedObject> {
        let is_it = |object: &&KeyedObject| {
            object.kind == kind && object.meta.namespace == namespace && object.meta.name == name
        };
        self.objects.iter().find(is_it).cloned()
    }

    fn objects_may_appear(&self) -> bool {
        false
    }

    fn token(&self, _: TokenRequest) -> Pending<'_, Result<Token, TokenError>> {
        Box::pin(async { Err(TokenError::NoServer) })
    }

    fn report(&self, report: Report) {
        // Reports after the foreground has ended interest nobody.
        let _ = self.reports.send(report);
    }
}
