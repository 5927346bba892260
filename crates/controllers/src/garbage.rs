//! The garbage collector: what is owned goes when the last of its owners is gone, and owners that wait for what they own
//! go when that is gone.
//!
//! ```text
//!   metadata of every kind ─► Graph ─► decide (pure) ─► delete, drop owners, remove a finalizer, look an owner up
//!            ▲                                                 │
//!            └─────────────── the change that it makes ◄───────┘
//! ```
//!
//! The rules are kube-controller-manager's (`attemptToDeleteItem`); kinds that are defined later are followed as they come.

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use client::{Change, Client, Deletion, Error, PatchKind, Query, kinds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::discovery::{self, Resource};
use graph::{Act, Graph, Uid};

/// Changes that may wait for the collector.
const QUEUE_LENGTH: usize = 256;

/// Collects until its task is aborted.
pub(crate) async fn run(client: Client) {
    let mut definitions = client.inform(&kinds::CUSTOM_RESOURCE_DEFINITIONS, None, Query::metadata());
    let (sender, mut changes) = mpsc::channel(QUEUE_LENGTH);
    let mut collector = Collector {
        client,
        graph: Graph::default(),
        followed: BTreeMap::new(),
        unsynced: BTreeSet::new(),
        due: BTreeSet::new(),
        sender,
    };
    loop {
        tokio::select! {
            change = definitions.next() => match change {
                // Told once at the beginning, whether or not there are any.
                Some(_) => collector.follow_kinds().await,
                None => return,
            },
            Some((resource, change)) = changes.recv() => collector.take(&resource, change),
        }
        collector.collect().await;
    }
}

struct Collector {
    client: Client,
    graph: Graph,
    followed: BTreeMap<Resource, Followed>,
    /// Kinds of which not everything is known yet: until then nothing is thought to be absent.
    unsynced: BTreeSet<Resource>,
    due: BTreeSet<Uid>,
    sender: mpsc::Sender<(Resource, Change)>,
}

/// The task that passes on what becomes of one kind.
struct Followed(JoinHandle<()>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Collector {
    /// Follows every kind that there is now.
    async fn follow_kinds(&mut self) {
        let resources = match discovery::resources(&self.client).await {
            Ok(resources) => resources,
            Err(error) => {
                tracing::warn!(%error, "cannot learn which kinds there are");
                return;
            }
        };
        // Events have no owners and own nothing.
        let wanted: BTreeSet<Resource> =
            resources.into_iter().filter(|r| r.kind.plural != "events").collect();
        self.followed.retain(|resource, _| wanted.contains(resource));
        self.unsynced.retain(|resource| wanted.contains(resource));
        for resource in wanted {
            if self.followed.contains_key(&resource) {
                continue;
            }
            let task = follow(self.client.clone(), resource.clone(), self.sender.clone());
            self.unsynced.insert(resource.clone());
            self.followed.insert(resource, Followed(tokio::spawn(task)));
        }
    }

    fn take(&mut self, resource: &Resource, change: Change) {
        match change {
            Change::Applied(object) => self.due.extend(self.graph.set(resource, &object)),
            Change::Deleted(object) => self.due.extend(self.graph.remove(&object)),
            Change::Synced => {
                self.unsynced.remove(resource);
            }
        }
    }

    async fn collect(&mut self) {
        if !self.unsynced.is_empty() || self.followed.is_empty() {
            return;
        }
        while let Some(uid) = self.due.pop_first() {
            for act in self.graph.decide(&uid) {
                self.perform(&uid, act).await;
            }
        }
    }

    async fn perform(&mut self, due: &Uid, act: Act) {
        let result = match &act {
            Act::Delete { target, foreground } => {
                let deletion = Deletion {
                    uid: Some(target.uid.0.clone()),
                    propagation_policy: Some(if *foreground { "Foreground" } else { "Background" }),
                    ..Deletion::default()
                };
                let namespace = target.namespace();
                self.client.delete(&target.resource.kind, namespace, &target.name, &deletion).await.map(drop)
            }
            Act::DropOwners { target, left } => self.patch(target, json!({"ownerReferences": left})).await,
            Act::RemoveFinalizer { target, left } => self.patch(target, json!({"finalizers": left})).await,
            Act::LookUp { owner, namespace } => {
                match self.is_absent(owner, namespace.as_deref()).await {
                    Ok(true) => {
                        self.graph.is_absent(owner.uid.clone());
                        self.due.insert(due.clone());
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "cannot look an owner up"),
                }
                Ok(())
            }
        };
        match result {
            Ok(()) => {}
            // Somebody was faster; the change that they made is on its way.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => tracing::warn!(?act, %error, "cannot collect garbage"),
        }
    }

    async fn patch(&self, target: &graph::Target, mut metadata: Value) -> Result<(), Error> {
        // At this revision only: what others change meanwhile is looked at again.
        metadata["resourceVersion"] = json!(target.resource_version);
        let patch = json!({ "metadata": metadata });
        let body = (PatchKind::Merge, &patch);
        self.client.patch(&target.resource.kind, target.namespace(), &target.name, None, body).await.map(drop)
    }

    /// Whether there is no such object, or another one of its name.
    async fn is_absent(&self, owner: &graph::Owner, namespace: Option<&str>) -> Result<bool, Error> {
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let is_it = |resource: &&Resource| resource.kind.group == group && resource.name == owner.kind;
        let Some(resource) = self.followed.keys().find(is_it) else {
            // A kind that nobody serves: nothing of it can be there, and Kubernetes waits all the same, for the kind
            // may come back.
            tracing::debug!(group, version, kind = owner.kind, "an owner's kind is not served");
            return Ok(false);
        };
        let namespace = namespace.filter(|_| resource.is_namespaced);
        if resource.is_namespaced && namespace.is_none() {
            // What has no namespace cannot be owned by what has one.
            return Ok(false);
        }
        match self.client.get(&resource.kind, namespace, &owner.name).await {
            Ok(found) => Ok(found["metadata"]["uid"] != owner.uid.0.as_str()),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

async fn follow(client: Client, resource: Resource, sender: mpsc::Sender<(Resource, Change)>) {
    let mut informer = client.inform(&resource.kind, None, Query::metadata());
    while let Some(change) = informer.next().await {
        if sender.send((resource.clone(), change)).await.is_err() {
            return;
        }
    }
}
