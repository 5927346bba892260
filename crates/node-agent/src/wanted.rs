//! What is wanted on this node: Pods bound to it become changes for the engine.
//!
//! ```text
//!   seen ──► (ConfigMaps and Secrets that it speaks of are known) ──► given to the engine ──► deletion ──► gone
//!     ├── has ended: never given, only kept, should the engine have it from an earlier daemon
//!     └── is to go already: never given either; the engine stops what it has of it, and says when nothing is left
//! ```
//!
//! What the engine took over from an earlier daemon only the engine knows: nothing here concludes that a Pod is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use client::{Change, Client, Query, kinds};
use engine::PodChange;
use model::pod::Pod;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::objects::{Followed, ObjectKey, keyed};
use crate::plane::{Message, Plane, paths};
use crate::references;

/// Follows the Pods of a node until the engine is gone.
pub(crate) async fn run(client: Client, node: String, changes: mpsc::Sender<PodChange>, plane: Arc<Plane>) {
    let query = Query::none().with("fieldSelector", format!("spec.nodeName={node}"));
    let mut pods = client.inform(&kinds::PODS, None, query);
    let (followed, mut objects) = Followed::new(client);
    let mut wanted = Wanted { changes, plane, followed, pods: BTreeMap::new(), synced: Synced::No };
    loop {
        let goes_on = tokio::select! {
            change = pods.next() => match change {
                Some(change) => wanted.pod_changed(change).await,
                None => return,
            },
            Some((key, change)) = objects.recv() => wanted.object_changed(key, change).await,
        };
        if goes_on.is_err() {
            return;
        }
    }
}

/// The engine takes nothing more.
struct EngineGone;

struct Wanted {
    changes: mpsc::Sender<PodChange>,
    plane: Arc<Plane>,
    followed: Followed,
    /// By UID.
    pods: BTreeMap<String, Seen>,
    synced: Synced,
}

/// Whether the engine was told that it knows all Pods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    No,
    /// All were seen, and some wait for what they speak of.
    Seen,
    Told,
}

/// A Pod of this node.
struct Seen {
    namespace: String,
    name: String,
    references: BTreeSet<ObjectKey>,
    /// The newest spec that was not given to the engine yet.
    pending: Option<Box<Pod>>,
    state: State,
    /// The spec that was seen last; status alone changes often.
    spec_seen: u64,
    gates: BTreeSet<String>,
    /// The grace that was told to the engine.
    deletion_told: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The engine does not have it yet.
    New,
    /// The engine has it.
    Given,
    /// It had ended when it was first seen.
    Ended,
    /// It was wanted gone before it was given.
    Ending,
}

impl Wanted {
    async fn pod_changed(&mut self, change: Change) -> Result<(), EngineGone> {
        match change {
            Change::Applied(object) => {
                self.plane.see(text(&object, "uid"), Some(&object));
                self.applied(&object).await
            }
            Change::Deleted(object) => {
                let uid = text(&object, "uid");
                self.plane.see(uid, None);
                self.deleted(uid).await
            }
            Change::Synced => {
                if self.synced == Synced::No {
                    self.synced = Synced::Seen;
                }
                self.tell_synced().await
            }
        }
    }

    async fn applied(&mut self, object: &Value) -> Result<(), EngineGone> {
        let uid = text(object, "uid").to_owned();
        let (namespace, name) = (text(object, "namespace").to_owned(), text(object, "name").to_owned());
        let has_ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let state = if has_ended { State::Ended } else { State::New };
        let seen = self.pods.entry(uid.clone()).or_insert_with(|| Seen {
            namespace,
            name,
            references: BTreeSet::new(),
            pending: None,
            state,
            spec_seen: 0,
            gates: BTreeSet::new(),
            deletion_told: None,
        });
        let spec_hash = hash(object);
        let is_new_spec = seen.spec_seen != spec_hash;
        seen.spec_seen = spec_hash;
        match seen.state {
            State::Ended if is_new_spec => self.send(PodChange::Keep { uid: uid.clone() }).await?,
            State::New | State::Given if is_new_spec => self.take_spec(&uid, object),
            _ => {}
        }
        self.give(&uid).await?;
        self.take_gates(&uid, object).await?;
        self.take_deletion(&uid, object).await
    }

    /// Reads the Pod, and follows what it speaks of.
    fn take_spec(&mut self, uid: &str, object: &Value) {
        let Some(seen) = self.pods.get_mut(uid) else { return };
        let name = format!("{}/{}", seen.namespace, seen.name);
        let pod = match model::manifest::stored(&name, bare(object).to_string().as_bytes()) {
            Ok((pod, _)) => pod,
            Err(problems) => {
                // The API server lets through only what this same reader takes; another control plane may not.
                tracing::error!(pod = name, %problems, "cannot run this Pod");
                return;
            }
        };
        let namespace = seen.namespace.clone();
        let references: BTreeSet<ObjectKey> = references::of(&pod.spec)
            .into_iter()
            .map(|(kind, name)| ObjectKey { kind, namespace: namespace.clone(), name })
            .collect();
        let mut known = self.plane.pods.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(uid.to_owned(), paths(&pod.spec));
        drop(known);
        seen.pending = Some(Box::new(pod));
        seen.references.clone_from(&references);
        let unused = self.followed.set(uid, &references);
        self.forget(unused);
    }

    fn forget(&self, unused: Vec<ObjectKey>) {
        let mut objects = self.plane.objects.write().unwrap_or_else(PoisonError::into_inner);
        for key in unused {
            objects.remove(&key);
        }
    }

    /// Gives the Pod to the engine, once it is known what exists of all that it speaks of.
    async fn give(&mut self, uid: &str) -> Result<(), EngineGone> {
        let Some(seen) = self.pods.get_mut(uid) else { return Ok(()) };
        if !self.followed.all_known(&seen.references) {
            return Ok(());
        }
        if let Some(pod) = seen.pending.take() {
            seen.state = State::Given;
            self.send(PodChange::Apply(pod)).await?;
        }
        self.tell_synced().await
    }

    /// Readiness gates are conditions that others write.
    async fn take_gates(&mut self, uid: &str, object: &Value) -> Result<(), EngineGone> {
        let Some(seen) = self.pods.get_mut(uid) else { return Ok(()) };
        let gates = open_gates(object);
        if gates == seen.gates || seen.state != State::Given {
            return Ok(());
        }
        seen.gates.clone_from(&gates);
        self.send(PodChange::Gates { uid: uid.to_owned(), open: gates }).await
    }

    async fn take_deletion(&mut self, uid: &str, object: &Value) -> Result<(), EngineGone> {
        let Some(seen) = self.pods.get_mut(uid) else { return Ok(()) };
        if object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let grace = object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30);
        if seen.deletion_told.is_some_and(|told| told <= grace) {
            return Ok(());
        }
        seen.deletion_told = Some(grace);
        if seen.state != State::Given {
            (seen.state, seen.pending) = (State::Ending, None);
            let (namespace, name) = (seen.namespace.clone(), seen.name.clone());
            // The engine may have nothing of it and so no name for it. A writer that is gone writes nothing more.
            let _ = self.plane.messages.send(Message::Ending { uid: uid.to_owned(), namespace, name });
        }
        self.send(PodChange::Delete { uid: uid.to_owned(), grace_period_seconds: Some(grace) }).await?;
        self.tell_synced().await
    }

    /// The object is gone: by our own last word, or because somebody forced it.
    async fn deleted(&mut self, uid: &str) -> Result<(), EngineGone> {
        if self.pods.remove(uid).is_none() {
            return Ok(());
        }
        let unused = self.followed.set(uid, &BTreeSet::new());
        self.forget(unused);
        self.send(PodChange::Delete { uid: uid.to_owned(), grace_period_seconds: Some(0) }).await?;
        self.tell_synced().await
    }

    async fn object_changed(&mut self, key: ObjectKey, change: Change) -> Result<(), EngineGone> {
        let users = self.followed.users(&key);
        if users.is_empty() {
            return Ok(());
        }
        let is_change = self.keep(&key, &change);
        if change == Change::Synced {
            self.followed.is_known_now(&key);
            for uid in &users {
                self.give(uid).await?;
            }
        }
        if is_change {
            for uid in users {
                if self.pods.get(&uid).is_some_and(|seen| seen.state == State::Given) {
                    self.send(PodChange::DependencyChanged { uid }).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the object as it is now; tells whether that is a change.
    fn keep(&self, key: &ObjectKey, change: &Change) -> bool {
        let mut objects = self.plane.objects.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Applied(object) => match keyed(key, object) {
                Ok(object) => objects.insert(key.clone(), object.clone()).is_none_or(|old| old != object),
                Err(error) => {
                    tracing::error!(
                        namespace = key.namespace,
                        name = key.name,
                        error,
                        "cannot read this object"
                    );
                    false
                }
            },
            Change::Deleted(_) => objects.remove(key).is_some(),
            Change::Synced => false,
        }
    }

    /// Tells the engine, once, that it was given every Pod there is.
    async fn tell_synced(&mut self) -> Result<(), EngineGone> {
        let waits = || self.pods.values().any(|seen| seen.pending.is_some());
        if self.synced != Synced::Seen || waits() {
            return Ok(());
        }
        self.synced = Synced::Told;
        self.send(PodChange::Synced).await
    }

    async fn send(&self, change: PodChange) -> Result<(), EngineGone> {
        self.changes.send(change).await.map_err(|_| EngineGone)
    }
}

fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Conditions that are True; which of them are gates, the Pod's spec says.
fn open_gates(object: &Value) -> BTreeSet<String> {
    let conditions = object["status"]["conditions"].as_array();
    let open = conditions.into_iter().flatten().filter(|condition| condition["status"] == "True");
    let wanted = object["spec"]["readinessGates"].as_array();
    let is_gate = |kind: &str| wanted.into_iter().flatten().any(|gate| gate["conditionType"] == kind);
    open.filter_map(|condition| condition["type"].as_str())
        .filter(|kind| is_gate(kind))
        .map(str::to_owned)
        .collect()
}

/// What the engine cares for of an object: not its status, nor who wrote which field.
fn bare(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let kept = ["name", "namespace", "uid", "generation", "labels", "annotations"];
    let metadata: serde_json::Map<String, Value> =
        kept.into_iter().filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone()))).collect();
    serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": object["spec"]})
}

/// Tells whether what the engine cares for is the same as before.
fn hash(object: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bare(object).to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
