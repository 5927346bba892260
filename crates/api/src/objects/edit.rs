//! A changed object: read, changed, checked, and written only if nobody else was faster.
//!
//! A client that names a resourceVersion is told of a conflict; for one that does not, the change is made anew on what
//! is there now. Either way no update is lost.

use std::sync::Arc;

use apimachinery::status::Status;
use serde_json::Value;
use store::{Operation, Revision};

use super::create::{durability, refused};
use super::{Stored, metadata, modified, stored, validate};
use crate::admission;
use crate::api::Api;
use crate::auth::node;
use crate::call::Call;
use crate::fields::{self, Manner};
use crate::kinds::fill::{child, drop_field, keep, text};
use crate::respond::Failure;
use crate::security::node_refused;
use crate::storage;

/// How often a change without a resourceVersion is made anew before its client hears of the conflict.
const ATTEMPTS: usize = 100;

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where that has a subresource.
    Main,
    /// The status.
    Status,
    /// What `pods/NAME/resize` changes.
    Resize,
    /// What `pods/NAME/ephemeralcontainers` changes.
    EphemeralContainers,
    /// What `namespaces/NAME/finalize` changes.
    Finalize,
    /// A change that the server itself makes, such as a scale: what it says is written.
    Own,
    /// The same where it changes nothing of what is asked for: a Pod gets its node, and has the generation that it had.
    Binding,
}

impl Part {
    /// The part that a call's path names.
    pub(crate) fn of(call: &Call) -> Part {
        match call.route.subresource.as_deref() {
            Some("status") => Part::Status,
            Some("resize") => Part::Resize,
            Some("ephemeralcontainers") => Part::EphemeralContainers,
            Some("finalize") => Part::Finalize,
            _ => Part::Main,
        }
    }
}

/// A change, asked for.
pub(crate) struct Edit<'a> {
    /// The API.
    pub(crate) api: &'a Arc<Api>,
    /// The request.
    pub(crate) call: &'a Call,
    /// What it may change.
    pub(crate) part: Part,
    /// How it says so: who manages which fields follows from it.
    pub(crate) manner: Manner,
}

/// What became of a change.
pub(crate) struct Edited {
    /// The object as it is stored now; of a dry run as it would be.
    pub(crate) object: Value,
}

impl Edit<'_> {
    /// Makes a change: `mutate` gives the new object for the one that is there, both as they are stored.
    pub(crate) async fn perform(
        &self,
        mut mutate: impl FnMut(&Value) -> Result<Value, Failure>,
    ) -> Result<Edited, Failure> {
        for _ in 0..ATTEMPTS {
            let old = self.api.named(self.call)?;
            let new = mutate(&old.object)?;
            if let Some(edited) = self.attempt(&old, new).await? {
                return Ok(edited);
            }
        }
        Err(modified(&self.call.group_resource(), self.call.name()))
    }

    /// Writes one version of the change; `None` when somebody else was faster and the change can be made anew.
    pub(crate) async fn attempt(&self, old: &Stored, mut new: Value) -> Result<Option<Edited>, Failure> {
        let call = self.call;
        let names_version = self.check_preconditions(old, &new)?;
        metadata::check_namespace(call, &mut new)?;
        self.prepare(&old.object, &mut new);
        self.check_node(&old.object, &new)?;
        admission::update(self.api, call, self.part, &old.object, &mut new)?;
        (call.kind.strategy.default)(&mut new);
        if let Some(custom) = &call.kind.custom {
            custom.default(&mut new);
        }
        let is_asked_otherwise = self.part != Part::Binding && metadata::is_another_spec(&new, &old.object);
        if is_asked_otherwise && call.kind.strategy.counts_generation {
            metadata::next_generation(&mut new);
        }
        fields::manage_updated(call, self.manner, &old.object, &mut new);
        validate::changed(call, self.part, &new, &old.object)?;
        if call.is_dry_run()? {
            return Ok(Some(Edited { object: new }));
        }
        if new == old.object {
            return self.confirm(old, names_version).await;
        }
        self.write(old, new, names_version).await
    }

    /// Nothing is to be written; but what is there may be on its way to the medium only, and the answer promises more.
    async fn confirm(&self, old: &Stored, names_version: bool) -> Result<Option<Edited>, Failure> {
        let (call, name) = (self.call, metadata::name(&old.object));
        let key: Arc<str> = call.kind.key(call.namespace(), name).into();
        let check = Operation::Check { key, expected: Some(Revision::new(old.revision)) };
        match self.api.store.transaction(vec![check], durability(call)).await {
            Ok(_) => Ok(Some(Edited { object: old.object.clone() })),
            Err(store::Error::Conflict { .. }) if !names_version => Ok(None),
            Err(error) => Err(refused(call, name, &error)),
        }
    }

    /// What a node elsewhere may not say of itself.
    fn check_node(&self, old: &Value, new: &Value) -> Result<(), Failure> {
        match self.api.remote_asker(&self.call.user) {
            Some(name) if self.call.kind.resource.plural == "nodes" => {
                node::check_edit(name, old, new).map_err(|why| node_refused(self.call, &why))
            }
            _ => Ok(()),
        }
    }

    async fn write(&self, old: &Stored, new: Value, names_version: bool) -> Result<Option<Edited>, Failure> {
        let call = self.call;
        let name = metadata::name(&new).to_owned();
        let key: Arc<str> = call.kind.key(call.namespace(), &name).into();
        let expected = Revision::new(old.revision);
        let ends = super::delete::is_ready_to_go(call, &new);
        let operation = if ends {
            Operation::Delete { key, expected }
        } else {
            Operation::Update { key, value: storage::encode(&new).into(), expected }
        };
        let mut operations = vec![operation];
        operations.extend(admission::beside_update(self.api, call, &old.object, &new, ends)?);
        match self.api.store.transaction(operations, durability(call)).await {
            Ok(committed) if ends => {
                admission::gone(self.api, call, &new);
                let mut object = new;
                child(&mut object, "metadata")["resourceVersion"] = committed.revision.to_string().into();
                Ok(Some(Edited { object }))
            }
            Ok(committed) => {
                let written = committed.objects.into_iter().next().flatten();
                let written = written
                    .ok_or_else(|| Failure::internal("change an object", &"the store gave none back"))?;
                let object = stored(&written.value, written.revision.get())?.object;
                admission::updated(self.api, call, &object);
                Ok(Some(Edited { object }))
            }
            Err(store::Error::Conflict { .. }) if !names_version => Ok(None),
            Err(error) => Err(refused(call, &name, &error)),
        }
    }

    /// What the new object says of the version and the identity of the old one. True when it names a version.
    fn check_preconditions(&self, old: &Stored, new: &Value) -> Result<bool, Failure> {
        let (call, resource) = (self.call, self.call.group_resource());
        if let Some(name) = text(new, "/metadata/name")
            && name != call.name()
        {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.name()
            );
            return Err(Status::bad_request(message).into());
        }
        let (wanted, found) = (text(new, "/metadata/uid"), metadata::uid(&old.object));
        if let Some(wanted) = wanted
            && wanted != found
        {
            let why =
                format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
            return Err(Status::conflict(&resource, call.name(), why).into());
        }
        match text(new, "/metadata/resourceVersion") {
            None | Some("0") => Ok(false),
            Some(version) if version == old.revision.to_string() => Ok(self.manner.names_version()),
            Some(version) => {
                if version.parse::<u64>().is_err() {
                    let fault = apimachinery::field_error::FieldError::invalid(
                        "metadata.resourceVersion",
                        version,
                        "must be a whole number",
                    );
                    return Err(Status::invalid(&call.group_kind(), call.name(), &[fault]).into());
                }
                Err(modified(&resource, call.name()))
            }
        }
    }

    /// Puts back what this request may not change.
    fn prepare(&self, old: &Value, new: &mut Value) {
        metadata::carry_over(new, old);
        let has_status = self.call.kind.has("status");
        match self.part {
            Part::Own | Part::Binding => {}
            Part::Main => {
                if has_status {
                    keep(new, old, "status");
                }
                if self.call.kind.has("finalize") {
                    // Only `finalize` takes away what keeps a namespace.
                    keep(child(new, "spec"), &old["spec"], "finalizers");
                }
            }
            Part::Status => {
                let status = drop_field(new, "status");
                let (managed, annotations, labels) = (
                    new.pointer("/metadata/managedFields").cloned(),
                    new.pointer("/metadata/annotations").cloned(),
                    new.pointer("/metadata/labels").cloned(),
                );
                *new = old.clone();
                drop_field(new, "status");
                if let (Some(status), Some(new)) = (status, new.as_object_mut()) {
                    new.insert("status".to_owned(), status);
                }
                let metadata = child(new, "metadata");
                // A kubelet tells the node's labels and annotations with its status.
                if self.call.kind.storage == "nodes" {
                    set(metadata, "labels", labels);
                    set(metadata, "annotations", annotations);
                }
                set(metadata, "managedFields", managed);
            }
            Part::Finalize => {
                let finalizers = new.pointer("/spec/finalizers").cloned();
                *new = old.clone();
                set(child(new, "spec"), "finalizers", finalizers);
            }
            Part::Resize | Part::EphemeralContainers => {
                keep(new, old, "status");
                let managed = new.pointer("/metadata/managedFields").cloned();
                keep(new, old, "metadata");
                set(child(new, "metadata"), "managedFields", managed);
            }
        }
    }
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object[field] = value,
        None => {
            drop_field(object, field);
        }
    }
}
