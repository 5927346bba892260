//! Objects and their life in the store: created, read, changed, taken away. What holds for every kind is here, and the
//! kinds' own rules are called from here; of HTTP nothing is known but what the [`Call`] says.
//!
//! ```text
//! create: prepare ─► admit (mutate) ─► default ─► managed fields ─► validate ─► write
//! edit:   read ─► mutate ─► prepare ─► admit ─► default ─► managed fields ─► validate ─► compare and swap ─┐
//!           ▲───────────────── somebody was faster, and the client named no version ◄────────────────────────┘
//! ```

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod edit;
pub(crate) mod metadata;
pub(crate) mod validate;

use std::sync::Arc;
use std::time::Duration;

use apimachinery::group::GroupResource;
use apimachinery::status::Status;
use serde_json::Value;
use store::ListRequest;

use crate::api::Api;
use crate::call::Call;
use crate::kinds::Kind;
use crate::respond::Failure;
use crate::storage;

/// How long an object is waited for that a controller is about to make; the time of kube-apiserver's ServiceAccount plugin.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// An object as it lies in the store, in the version in which it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The object with its resourceVersion.
    pub(crate) object: Value,
    /// The same, as a number.
    pub(crate) revision: u64,
}

impl Api {
    /// The object of that name, in the version in which it is stored.
    pub(crate) fn read(&self, storage: &str, namespace: &str, name: &str) -> Result<Option<Stored>, Failure> {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        self.read_key(&format!("{storage}/{prefix}{name}"))
    }

    /// The object of that key.
    pub(crate) fn read_key(&self, key: &str) -> Result<Option<Stored>, Failure> {
        self.store.get(key).map(|row| stored(&row.value, row.revision.get())).transpose()
    }

    /// The object that a call names, as its kind is stored.
    pub(crate) fn named(&self, call: &Call) -> Result<Stored, Failure> {
        let found = self.read(&call.kind.storage, call.namespace(), call.name())?;
        found.ok_or_else(|| call.not_found())
    }

    /// All rows whose keys begin so, as they are now.
    pub(crate) fn rows(&self, prefix: &str) -> Vec<Arc<store::Object>> {
        let request = ListRequest { prefix, ..ListRequest::default() };
        // A list of now cannot fail: only the past is forgotten.
        self.store.list(&request).map(|list| list.objects).unwrap_or_default()
    }

    /// The object of that name; with `waits`, it may still be on its way, and is waited for a moment.
    pub(crate) async fn awaited(
        &self,
        storage: &str,
        namespace: &str,
        name: &str,
        waits: bool,
    ) -> Result<Option<Value>, Failure> {
        if let Some(found) = self.read(storage, namespace, name)? {
            return Ok(Some(found.object));
        }
        let key = format!("{storage}/{namespace}/{name}");
        let watcher = self.store.watch(&key, None).ok().filter(|_| waits);
        let Some(mut watcher) = watcher else { return Ok(None) };
        // It may have come between the look and the watch.
        if self.store.get(&key).is_none() {
            let _ = tokio::time::timeout(ON_ITS_WAY, watcher.next()).await;
        }
        Ok(self.read(storage, namespace, name)?.map(|found| found.object))
    }
}

/// Reads stored bytes.
pub(crate) fn stored(bytes: &[u8], revision: u64) -> Result<Stored, Failure> {
    Ok(Stored { object: storage::decode(bytes, revision)?, revision })
}

/// An object in the version of a kind that clients speak.
pub(crate) fn shown(kind: &Kind, mut object: Value) -> Value {
    kind.make_shown(&mut object);
    object
}

/// Somebody was faster.
pub(crate) fn modified(resource: &GroupResource, name: &str) -> Failure {
    Status::modified(resource, name).into()
}
