//! Which changes the engine is given, for Pods that are seen in one state or another.

use bytes::Bytes;
use client::{Pending, Transport};
use engine::ControlPlane;
use serde_json::json;

use super::*;

/// A control plane that has not answered yet: what Pods speak of is not known.
struct Silent;

impl Transport for Silent {
    fn call(
        &self,
        _request: http::Request<Bytes>,
    ) -> Pending<'_, Result<http::Response<client::Body>, client::Error>> {
        Box::pin(std::future::pending())
    }
}

struct Scene {
    wanted: Wanted,
    changes: mpsc::Receiver<PodChange>,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Scene {
    fn new() -> Scene {
        let client = Client::new(Arc::new(Silent), "test");
        let (plane, ends) = Plane::new(client.clone());
        let changes = plane.watch_pods();
        let (followed, _) = Followed::new(client);
        let wanted =
            Wanted { changes: ends.changes, plane, followed, pods: BTreeMap::new(), synced: Synced::No };
        Scene { wanted, changes, messages: ends.reports }
    }

    async fn see(&mut self, pod: Value) {
        assert!(self.wanted.pod_changed(Change::Applied(Arc::new(pod))).await.is_ok());
    }

    async fn synced(&mut self) {
        assert!(self.wanted.pod_changed(Change::Synced).await.is_ok());
    }

    /// What the engine was told since.
    fn told(&mut self) -> Vec<String> {
        let words = |change| match change {
            PodChange::Apply(pod) => format!("apply {}", pod.meta.name),
            PodChange::Keep { uid } => format!("keep {uid}"),
            PodChange::Delete { uid, grace_period_seconds } => {
                format!("delete {uid} in {}", grace_period_seconds.unwrap())
            }
            PodChange::Synced => "synced".to_owned(),
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| self.changes.try_recv().ok()).map(words).collect()
    }

    /// The UIDs of which the writer was told that they are to go.
    fn ending(&mut self) -> Vec<String> {
        let uid = |message| match message {
            Message::Ending { uid, .. } => uid,
            _ => "something else".to_owned(),
        };
        std::iter::from_fn(|| self.messages.try_recv().ok()).map(uid).collect()
    }
}

/// A Pod that speaks of a ConfigMap, as nearly all do: their token comes with one.
fn pod(phase: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "web-uid"},
        "spec": {
            "nodeName": "here",
            "containers": [{"name": "app", "image": "a:1", "envFrom": [{"configMapRef": {"name": "map"}}]}],
        },
        "status": {"phase": phase},
    })
}

fn ending(mut pod: Value, grace_seconds: u64) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-11-29T00:00:30Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
    pod
}

/// It had nothing of it, so it was thought, and the object was deleted while its containers still ran.
#[tokio::test]
async fn a_pod_that_is_to_go_already_is_the_engines_to_end() {
    let mut scene = Scene::new();
    scene.see(ending(pod("Running"), 30)).await;
    scene.synced().await;
    assert_eq!(scene.told(), ["delete web-uid in 30", "synced"]);
    assert_eq!(scene.ending(), ["web-uid"]);
    let mut labelled = ending(pod("Running"), 30);
    labelled["metadata"]["labels"] = json!({"late": "edit"});
    scene.see(labelled).await;
    assert!(scene.told().is_empty(), "a Pod that is to go does not start");
    scene.see(ending(pod("Running"), 5)).await;
    assert_eq!(scene.told(), ["delete web-uid in 5"]);
}

/// The engine thought that nobody wanted it any more, and its object was deleted.
#[tokio::test]
async fn a_pod_that_has_ended_stays_after_a_restart() {
    let mut scene = Scene::new();
    scene.see(pod("Succeeded")).await;
    scene.synced().await;
    assert_eq!(scene.told(), ["keep web-uid", "synced"]);
    assert!(scene.ending().is_empty());
    scene.see(ending(pod("Succeeded"), 0)).await;
    assert_eq!(scene.told(), ["delete web-uid in 0"]);
}

#[tokio::test]
async fn a_pod_waits_until_it_is_known_what_it_speaks_of() {
    let mut scene = Scene::new();
    scene.see(pod("Pending")).await;
    scene.synced().await;
    assert!(scene.told().is_empty(), "neither the Pod nor that all were told");
    let key = ObjectKey {
        kind: model::pod::ObjectKind::ConfigMap,
        namespace: "default".into(),
        name: "map".into(),
    };
    assert!(scene.wanted.object_changed(key, Change::Synced).await.is_ok());
    assert_eq!(scene.told(), ["apply web", "synced"]);
}

#[tokio::test]
async fn a_pod_whose_object_was_forced_away_is_stopped_at_once_whatever_its_state() {
    for phase in ["Pending", "Failed"] {
        let mut scene = Scene::new();
        scene.see(pod(phase)).await;
        scene.told();
        assert!(scene.wanted.pod_changed(Change::Deleted(Arc::new(pod(phase)))).await.is_ok());
        assert_eq!(scene.told(), ["delete web-uid in 0"], "{phase}");
    }
}
