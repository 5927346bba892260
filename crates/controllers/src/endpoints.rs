//! EndpointSlices, and the older Endpoints, follow the Pods that Services select and their readiness.
//!
//! ```text
//!   Services, Pods ─► slices::plan (pure) ─► what should be ─┬─ differs from what is ─► create, replace, delete
//!   EndpointSlices, Endpoints ─────────────► what is ────────┘
//! ```
//!
//! A Service without a selector is somebody else's: its endpoints are left alone.

mod slices;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apimachinery::selector::LabelSelector;
use client::{Change, Client, Deletion, Error, Kind, Query, kinds};
use serde_json::Value;

/// Namespace and name.
type Key = (String, String);

/// Keeps endpoints until its task is aborted.
pub(crate) async fn run(client: Client) {
    let managed = format!("{}={}", slices::MANAGED_BY, slices::MANAGER);
    let mut services = client.inform(&kinds::SERVICES, None, Query::none());
    let mut pods = client.inform(&kinds::PODS, None, Query::none());
    let mut present =
        client.inform(&kinds::ENDPOINT_SLICES, None, Query::none().with("labelSelector", managed));
    let mut older = client.inform(&kinds::ENDPOINTS, None, Query::none());
    let mut keeper = Keeper { client, world: World::default(), due: BTreeSet::new(), synced: 0 };
    loop {
        tokio::select! {
            Some(change) = services.next() => keeper.service_changed(change),
            Some(change) = pods.next() => keeper.pod_changed(change),
            Some(change) = present.next() => keeper.slice_changed(change),
            Some(change) = older.next() => keeper.older_changed(change),
            else => return,
        }
        keeper.keep().await;
    }
}

/// What there is.
#[derive(Default)]
struct World {
    services: BTreeMap<Key, Service>,
    pods: BTreeMap<Key, Arc<Value>>,
    /// By Service.
    slices: BTreeMap<Key, BTreeMap<String, Arc<Value>>>,
    endpoints: BTreeMap<Key, Arc<Value>>,
}

struct Service {
    object: Arc<Value>,
    /// None of a Service whose endpoints are not ours to make.
    selector: Option<LabelSelector>,
}

struct Keeper {
    client: Client,
    world: World,
    due: BTreeSet<Key>,
    /// How many of the four kinds are known.
    synced: u8,
}

const ALL_SYNCED: u8 = 4;

impl Keeper {
    fn service_changed(&mut self, change: Change) {
        match change {
            Change::Applied(object) => {
                let key = key(&object);
                let selector = slices::selector(&object);
                self.world.services.insert(key.clone(), Service { object, selector });
                self.due.insert(key);
            }
            Change::Deleted(object) => {
                let key = key(&object);
                self.world.services.remove(&key);
                self.due.insert(key);
            }
            Change::Synced => self.synced = (self.synced + 1).min(ALL_SYNCED),
        }
    }

    fn pod_changed(&mut self, change: Change) {
        match change {
            Change::Applied(pod) => {
                let key = key(&pod);
                let before = self.world.pods.insert(key, Arc::clone(&pod));
                // Most changes of a status change no endpoint.
                if before.as_deref().is_some_and(|before| slices::is_same(before, &pod)) {
                    return;
                }
                self.touch(&pod);
                if let Some(before) = before {
                    self.touch(&before);
                }
            }
            Change::Deleted(pod) => {
                self.world.pods.remove(&key(&pod));
                self.touch(&pod);
            }
            Change::Synced => self.synced = (self.synced + 1).min(ALL_SYNCED),
        }
    }

    /// Every Service that selects the Pod is due.
    fn touch(&mut self, pod: &Value) {
        let namespace = namespace(pod);
        let first = (namespace.to_owned(), String::new());
        let near = self.world.services.range(first..).take_while(|((of, _), _)| of == namespace);
        let selects = |service: &Service| service.selector.as_ref().is_some_and(|s| s.matches_object(pod));
        let due: Vec<Key> =
            near.filter(|(_, service)| selects(service)).map(|(key, _)| key.clone()).collect();
        self.due.extend(due);
    }

    fn slice_changed(&mut self, change: Change) {
        match change {
            Change::Applied(slice) => {
                let Some(service) = slices::service_of(&slice) else { return };
                let of = (namespace(&slice).to_owned(), service.to_owned());
                self.world.slices.entry(of.clone()).or_default().insert(name(&slice).to_owned(), slice);
                self.due.insert(of);
            }
            Change::Deleted(slice) => {
                let Some(service) = slices::service_of(&slice) else { return };
                let of = (namespace(&slice).to_owned(), service.to_owned());
                if let Some(slices) = self.world.slices.get_mut(&of) {
                    slices.remove(name(&slice));
                }
                self.due.insert(of);
            }
            Change::Synced => self.synced = (self.synced + 1).min(ALL_SYNCED),
        }
    }

    fn older_changed(&mut self, change: Change) {
        match change {
            Change::Applied(endpoints) => {
                let key = key(&endpoints);
                self.world.endpoints.insert(key.clone(), endpoints);
                self.due.insert(key);
            }
            Change::Deleted(endpoints) => {
                let key = key(&endpoints);
                self.world.endpoints.remove(&key);
                self.due.insert(key);
            }
            Change::Synced => self.synced = (self.synced + 1).min(ALL_SYNCED),
        }
    }

    async fn keep(&mut self) {
        if self.synced < ALL_SYNCED {
            return;
        }
        while let Some(key) = self.due.pop_first() {
            if let Err(error) = self.keep_one(&key).await {
                tracing::warn!(namespace = key.0, service = key.1, %error, "cannot keep the Service's endpoints");
            }
        }
    }

    async fn keep_one(&mut self, key: &Key) -> Result<(), Error> {
        let present = self.world.slices.get(key).cloned().unwrap_or_default();
        let Some(service) = self.world.services.get(key) else {
            // Its slices go with their owner, by the garbage collector; Endpoints have none, as in Kubernetes.
            let older = self.world.endpoints.get(key).filter(|older| slices::is_ours(older)).cloned();
            if let Some(older) = older {
                self.delete(&kinds::ENDPOINTS, key, name(&older)).await?;
                self.world.endpoints.remove(key);
            }
            return Ok(());
        };
        let Some(selector) = &service.selector else { return Ok(()) };
        let first = (key.0.clone(), String::new());
        let near = self.world.pods.range(first..).take_while(|((of, _), _)| *of == key.0);
        let selected: Vec<&Value> =
            near.map(|(_, pod)| &**pod).filter(|pod| selector.matches_object(pod)).collect();
        let wanted = slices::plan(&service.object, &selected);
        let endpoints = slices::endpoints(&service.object, &selected);
        for (name, slice) in &wanted {
            let found = present.get(name);
            let written = self.write(&kinds::ENDPOINT_SLICES, key, name, slice, found).await?;
            if let Some(written) = written {
                self.world.slices.entry(key.clone()).or_default().insert(name.clone(), Arc::new(written));
            }
        }
        for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
            self.delete(&kinds::ENDPOINT_SLICES, key, name).await?;
            self.world.slices.entry(key.clone()).or_default().remove(name);
        }
        let older = self.world.endpoints.get(key).cloned();
        if let Some(written) = self.write(&kinds::ENDPOINTS, key, &key.1, &endpoints, older.as_ref()).await? {
            self.world.endpoints.insert(key.clone(), Arc::new(written));
        }
        Ok(())
    }

    /// Makes an object what it should be; gives it back if that took a write.
    async fn write(
        &self,
        kind: &Kind,
        (namespace, _): &Key,
        name: &str,
        wanted: &Value,
        found: Option<&Arc<Value>>,
    ) -> Result<Option<Value>, Error> {
        let result = match found {
            None => self.client.create(kind, Some(namespace), wanted).await,
            Some(found) if slices::says_the_same(found, wanted) => return Ok(None),
            Some(found) => {
                let mut wanted = wanted.clone();
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
                self.client.replace(kind, Some(namespace), name, None, &wanted).await
            }
        };
        match result {
            Ok(written) => Ok(Some(written)),
            // Somebody was faster, or the namespace ends; what follows from it is on its way.
            Err(error) if error.is_conflict() || error.is_not_found() || error.code() == Some(403) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, kind: &Kind, (namespace, _): &Key, name: &str) -> Result<(), Error> {
        match self.client.delete(kind, Some(namespace), name, &Deletion::default()).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn key(object: &Value) -> Key {
    (namespace(object).to_owned(), name(object).to_owned())
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
