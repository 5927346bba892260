//! ConfigMaps and Secrets that Pods of this node speak of, each followed by a watch of its own as long as some Pod needs
//! it: as the kubelet does, a node reads only what its Pods name.

use std::collections::{BTreeMap, BTreeSet};

use client::{Change, Client, Query, kinds};
use model::pod::{KeyedObject, ObjectKind};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// All objects that are followed, and for whom.
pub(crate) struct Followed {
    client: Client,
    objects: BTreeMap<ObjectKey, Entry>,
    changes: mpsc::Sender<(ObjectKey, Change)>,
}

struct Entry {
    /// UIDs of Pods.
    users: BTreeSet<String>,
    /// Whether it is known if the object exists.
    is_known: bool,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Changes of objects that may wait.
const QUEUE_LENGTH: usize = 64;

impl Followed {
    pub(crate) fn new(client: Client) -> (Followed, mpsc::Receiver<(ObjectKey, Change)>) {
        let (changes, receiver) = mpsc::channel(QUEUE_LENGTH);
        (Followed { client, objects: BTreeMap::new(), changes }, receiver)
    }

    /// The Pod speaks of exactly these. Objects of which nobody speaks any more are given back, to be forgotten.
    pub(crate) fn set(&mut self, uid: &str, wanted: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        for key in wanted {
            let (client, changes) = (&self.client, &self.changes);
            let entry = self.objects.entry(key.clone()).or_insert_with(|| Entry {
                users: BTreeSet::new(),
                is_known: false,
                task: tokio::spawn(follow(client.clone(), key.clone(), changes.clone())),
            });
            entry.users.insert(uid.to_owned());
        }
        let mut unused = Vec::new();
        for (key, entry) in &mut self.objects {
            if !wanted.contains(key) && entry.users.remove(uid) && entry.users.is_empty() {
                unused.push(key.clone());
            }
        }
        for key in &unused {
            self.objects.remove(key);
        }
        unused
    }

    /// It is known whether all of these exist.
    pub(crate) fn all_known(&self, wanted: &BTreeSet<ObjectKey>) -> bool {
        wanted.iter().all(|key| self.objects.get(key).is_some_and(|entry| entry.is_known))
    }

    /// It is known now whether the object exists.
    pub(crate) fn is_known_now(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.objects.get_mut(key) {
            entry.is_known = true;
        }
    }

    /// UIDs of the Pods that speak of it; nobody, when it is followed no more.
    pub(crate) fn users(&self, key: &ObjectKey) -> Vec<String> {
        self.objects.get(key).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Passes on what becomes of one object.
async fn follow(client: Client, key: ObjectKey, changes: mpsc::Sender<(ObjectKey, Change)>) {
    let kind = match key.kind {
        ObjectKind::ConfigMap => &kinds::CONFIG_MAPS,
        ObjectKind::Secret => &kinds::SECRETS,
    };
    let query = Query::none().with("fieldSelector", format!("metadata.name={}", key.name));
    let mut informer = client.inform(kind, Some(key.namespace.clone()), query);
    while let Some(change) = informer.next().await {
        if changes.send((key.clone(), change)).await.is_err() {
            return;
        }
    }
}

/// The object as the engine wants it.
pub(crate) fn keyed(key: &ObjectKey, object: &Value) -> Result<KeyedObject, String> {
    let mut object = object.clone();
    // Lists leave these out, and only the manifest's reader wants them.
    object["apiVersion"] = "v1".into();
    object["kind"] = key.kind.to_string().into();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| field == "name" || field == "namespace");
    }
    let name = format!("{}/{}", key.namespace, key.name);
    let manifest = model::manifest::parse(&name, object.to_string().as_bytes())
        .map_err(|problems| problems.to_string())?;
    manifest.objects.into_iter().next().ok_or_else(|| format!("{name} is no {}", key.kind))
}
