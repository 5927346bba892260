//! The kinds that are served: what each is, and how it behaves.
//!
//! [`table`] has a row for each built-in kind; CustomResourceDefinitions add and remove theirs while the server runs, so
//! that the whole is a snapshot that requests take once. Nothing here reads the store.

pub(crate) mod events;
pub(crate) mod faults;
pub(crate) mod fill;
mod plain_defaults;
pub(crate) mod pod_defaults;
mod rules;
pub(crate) mod strategy;
mod table;
mod workloads;

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::resource::Resource;
use serde_json::Value;

pub(crate) use strategy::{Admission, Strategy};

/// From and to the version in which objects are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion {
    /// From what a client of this version sends.
    pub(crate) to_stored: fn(&mut Value),
    /// To what a client of this version reads.
    pub(crate) from_stored: fn(&mut Value),
}

/// One kind at one version.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// What is served.
    pub(crate) resource: Resource,
    /// How it behaves.
    pub(crate) strategy: Strategy,
    /// What its keys in the store begin with: `pods` or `deployments.apps`.
    pub(crate) storage: String,
    /// `None` when objects are stored as they are served.
    pub(crate) conversion: Option<Conversion>,
    /// The definition that it comes from, if it is not built in.
    pub(crate) custom: Option<Arc<crate::custom::Version>>,
}

impl Kind {
    /// A row of the table.
    pub(crate) fn new(resource: Resource, strategy: Strategy) -> Kind {
        let storage = resource.group_resource();
        Kind { resource, strategy, storage, conversion: None, custom: None }
    }

    /// Its objects are those of another kind, in other words.
    pub(crate) fn stored_as(mut self, storage: &str, conversion: Conversion) -> Kind {
        self.storage = storage.to_owned();
        self.conversion = Some(conversion);
        self
    }

    /// Whether a subresource of that name is served.
    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.resource.find(subresource).is_some()
    }

    /// Whether clients of this kind read what lies in the store, byte for byte.
    pub(crate) fn is_shown_as_stored(&self) -> bool {
        self.conversion.is_none() && self.custom.is_none()
    }

    /// Turns what a client of this kind sends into what is stored.
    pub(crate) fn make_stored(&self, object: &mut Value) {
        if let Some(conversion) = &self.conversion {
            (conversion.to_stored)(object);
        }
        if let Some(custom) = &self.custom {
            custom.make_stored(object);
        }
    }

    /// Turns what is stored into what a client of this kind reads.
    pub(crate) fn make_shown(&self, object: &mut Value) {
        if let Some(conversion) = &self.conversion {
            (conversion.from_stored)(object);
        }
        if let Some(custom) = &self.custom {
            custom.make_shown(object);
        }
    }

    /// The key of an object in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}{name}", self.prefix(namespace))
    }

    /// What the keys of all objects of a namespace begin with; of all namespaces when it is empty.
    pub(crate) fn prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            format!("{}/", self.storage)
        } else {
            format!("{}/{namespace}/", self.storage)
        }
    }
}

/// All kinds at one moment.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    all: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// The built-in ones and those of definitions.
    pub(crate) fn new(custom: impl IntoIterator<Item = Kind>) -> Kinds {
        let mut kinds = Kinds::default();
        for kind in table::built_in().into_iter().chain(custom) {
            let resource = &kind.resource;
            let path = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
            let kind = Arc::new(kind);
            // A definition never takes the place of a built-in kind.
            if !kinds.by_path.contains_key(&path) {
                kinds.all.push(Arc::clone(&kind));
                kinds.by_path.insert(path, kind);
            }
        }
        kinds
    }

    /// The kind that a path names.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// All of them, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.iter()
    }

    /// What discovery and OpenAPI are made of.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        self.all.iter().map(|kind| kind.resource.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let kinds = Kinds::new([]);
        assert_eq!(kinds.all.len(), kinds.by_path.len());
        assert_eq!(table::built_in().len(), kinds.all.len());
        let pods = kinds.find("", "v1", "pods").expect("pods");
        assert_eq!(pods.key("default", "web"), "pods/default/web");
        let deployments = kinds.find("apps", "v1", "deployments").expect("deployments");
        assert_eq!(deployments.prefix(""), "deployments.apps/");
        let events = kinds.find("events.k8s.io", "v1", "events").expect("events");
        assert_eq!(events.prefix("a"), "events/a/");
    }
}
