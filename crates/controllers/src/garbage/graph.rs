//! Who owns whom, and what follows from it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::discovery::Resource;

/// Holds an owner until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";
/// Holds an owner until what it owns knows it no more.
const ORPHAN: &str = "orphan";

/// UID of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uid(pub(super) String);

/// One of `ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    blocks: bool,
    /// As it stands in the object.
    written: Value,
}

/// An object that something is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) resource: Resource,
    namespace: String,
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) resource_version: String,
}

impl Target {
    /// Its namespace, if its kind has one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.resource.is_namespaced.then_some(self.namespace.as_str())
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Delete what nobody owns any more.
    Delete {
        target: Target,
        /// Its own dependents go first.
        foreground: bool,
    },
    /// Keep only these owners.
    DropOwners { target: Target, left: Vec<Value> },
    /// Keep only these finalizers.
    RemoveFinalizer { target: Target, left: Vec<String> },
    /// Ask whether an owner that was never seen is there.
    LookUp { owner: Owner, namespace: Option<String> },
}

struct Object {
    target: Target,
    owners: Vec<Owner>,
    finalizers: Vec<String>,
    is_deleting: bool,
}

impl Object {
    fn waits_for(&self, finalizer: &str) -> bool {
        self.is_deleting && self.finalizers.iter().any(|name| name == finalizer)
    }
}

/// All objects and their owners.
#[derive(Default)]
pub(super) struct Graph {
    objects: BTreeMap<Uid, Object>,
    dependents: BTreeMap<Uid, BTreeSet<Uid>>,
    /// Owners that were looked up and are not there, and those that were seen to go.
    absent: BTreeSet<Uid>,
}

impl Graph {
    /// Takes an object as it is now; gives those of which something may follow.
    pub(super) fn set(&mut self, resource: &Resource, object: &Value) -> Vec<Uid> {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let uid = Uid(text("uid"));
        self.unlink(&uid);
        let owners = owners(metadata);
        for owner in &owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
        let target = Target {
            resource: resource.clone(),
            namespace: text("namespace"),
            name: text("name"),
            uid: uid.clone(),
            resource_version: text("resourceVersion"),
        };
        let object = Object {
            target,
            owners,
            finalizers: finalizers.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            is_deleting: !metadata["deletionTimestamp"].is_null(),
        };
        let mut due = vec![uid.clone()];
        if object.waits_for(FOREGROUND) || object.waits_for(ORPHAN) {
            due.extend(self.dependents_of(&uid));
        }
        // An owner that waits for it may have to wait no more.
        due.extend(object.owners.iter().map(|owner| owner.uid.clone()));
        self.objects.insert(uid, object);
        due
    }

    /// Takes an object out; gives those of which something may follow.
    pub(super) fn remove(&mut self, object: &Value) -> Vec<Uid> {
        let uid = Uid(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        let owners = self.unlink(&uid);
        self.objects.remove(&uid);
        let mut due = self.dependents_of(&uid);
        if !due.is_empty() {
            self.absent.insert(uid);
        }
        due.extend(owners);
        due
    }

    /// An owner that was looked up is not there.
    pub(super) fn is_absent(&mut self, uid: Uid) {
        self.absent.insert(uid);
    }

    fn dependents_of(&self, uid: &Uid) -> Vec<Uid> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Forgets who owns it; gives them.
    fn unlink(&mut self, uid: &Uid) -> Vec<Uid> {
        let owners: Vec<Uid> = self
            .objects
            .get(uid)
            .map(|object| object.owners.iter().map(|owner| owner.uid.clone()).collect())
            .unwrap_or_default();
        for owner in &owners {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                    self.absent.remove(owner);
                }
            }
        }
        owners
    }

    /// What follows from the object and its owners, as they are.
    pub(super) fn decide(&self, uid: &Uid) -> Vec<Act> {
        let Some(object) = self.objects.get(uid) else { return Vec::new() };
        if object.waits_for(ORPHAN) {
            return self.orphan(object);
        }
        if object.waits_for(FOREGROUND) {
            return self.finish_foreground(object);
        }
        if object.is_deleting || object.owners.is_empty() {
            return Vec::new();
        }
        self.collect(object)
    }

    /// Kubernetes' `attemptToDeleteItem`.
    fn collect(&self, object: &Object) -> Vec<Act> {
        let (mut solid, mut dangling, mut waiting, mut unknown) = (Vec::new(), 0, 0, Vec::new());
        for owner in &object.owners {
            match self.owner_of(object, &owner.uid) {
                Some(found) if found.waits_for(FOREGROUND) => waiting += 1,
                Some(_) => solid.push(owner),
                None if self.absent.contains(&owner.uid) => dangling += 1,
                None => unknown.push(owner),
            }
        }
        if !unknown.is_empty() {
            let namespace = object.target.namespace().map(str::to_owned);
            let look_up = |owner: &Owner| Act::LookUp { owner: owner.clone(), namespace: namespace.clone() };
            return unknown.into_iter().map(look_up).collect();
        }
        let target = object.target.clone();
        if !solid.is_empty() {
            if dangling + waiting == 0 {
                return Vec::new();
            }
            let left = solid.into_iter().map(|owner| owner.written.clone()).collect();
            return vec![Act::DropOwners { target, left }];
        }
        let foreground = waiting > 0 && !self.dependents_of(&target.uid).is_empty();
        vec![Act::Delete { target, foreground }]
    }

    /// An owner, if it may own this object: of the same namespace, or of none.
    fn owner_of(&self, object: &Object, uid: &Uid) -> Option<&Object> {
        let owner = self.objects.get(uid)?;
        let is_near = !owner.target.resource.is_namespaced
            || (object.target.resource.is_namespaced && owner.target.namespace == object.target.namespace);
        is_near.then_some(owner)
    }

    fn orphan(&self, object: &Object) -> Vec<Act> {
        let uid = &object.target.uid;
        let dependents: Vec<&Object> =
            self.dependents_of(uid).iter().filter_map(|dependent| self.objects.get(dependent)).collect();
        if dependents.is_empty() {
            return vec![without(object, ORPHAN)];
        }
        let drop_owner = |dependent: &&Object| {
            let left = dependent.owners.iter().filter(|owner| owner.uid != *uid);
            Act::DropOwners {
                target: dependent.target.clone(),
                left: left.map(|owner| owner.written.clone()).collect(),
            }
        };
        dependents.iter().map(drop_owner).collect()
    }

    fn finish_foreground(&self, object: &Object) -> Vec<Act> {
        let uid = &object.target.uid;
        let blocks = |dependent: &Uid| {
            self.objects.get(dependent).is_some_and(|dependent| {
                dependent.owners.iter().any(|owner| owner.uid == *uid && owner.blocks)
            })
        };
        if self.dependents_of(uid).iter().any(blocks) {
            Vec::new()
        } else {
            vec![without(object, FOREGROUND)]
        }
    }
}

fn without(object: &Object, finalizer: &str) -> Act {
    let left = object.finalizers.iter().filter(|name| *name != finalizer).cloned().collect();
    Act::RemoveFinalizer { target: object.target.clone(), left }
}

fn owners(metadata: &Value) -> Vec<Owner> {
    let list = metadata["ownerReferences"].as_array().into_iter().flatten();
    let read = |written: &Value| {
        let text = |field: &str| written[field].as_str().unwrap_or_default().to_owned();
        Owner {
            uid: Uid(text("uid")),
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            blocks: written["blockOwnerDeletion"].as_bool().unwrap_or(false),
            written: written.clone(),
        }
    };
    list.map(read).collect()
}

#[cfg(test)]
mod tests;
