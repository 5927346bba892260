//! A new object.

use std::sync::Arc;

use apimachinery::names;
use apimachinery::status::{Reason, Status};
use serde_json::{Value, json};
use store::{Durability, Operation};

use super::{metadata, stored, validate};
use crate::admission::{self, Admitted};
use crate::api::Api;
use crate::call::Call;
use crate::fields;
use crate::fresh;
use crate::kinds::Admission;
use crate::kinds::fill::{child, drop_field, text};
use crate::respond::Failure;
use crate::storage;

/// How often a generated name is made anew when it is taken; Kubernetes' number.
const NAMES: usize = 8;
/// How often a new object is made anew when what it claims beside its name was taken meanwhile.
const CLAIMS: usize = 16;

/// Creates an object (as a client of the call's kind sends it), and gives it back as it is stored.
pub(crate) async fn create(api: &Arc<Api>, call: &Call, mut object: Value) -> Result<Value, Failure> {
    call.kind.make_stored(&mut object);
    metadata::check_namespace(call, &mut object)?;
    metadata::begin(call, &mut object)?;
    if !call.kind.strategy.keeps_status && call.kind.has("status") {
        drop_field(&mut object, "status");
    }
    let prefix = text(&object, "/metadata/generateName").unwrap_or_default().to_owned();
    let is_generated = metadata::name(&object).is_empty() && !prefix.is_empty();
    if !is_generated {
        return attempt(api, call, object).await;
    }
    let mut left = NAMES;
    loop {
        let mut named = object.clone();
        let name = names::generated(&prefix, &fresh::random()?);
        child(&mut named, "metadata")["name"] = json!(name);
        left -= 1;
        match attempt(api, call, named).await {
            Err(failure) if failure.0.reason == Some(Reason::AlreadyExists) => {
                if left == 0 {
                    return Err(Status::generated_name_exists(&call.group_resource(), &name).into());
                }
            }
            done => return done,
        }
    }
}

async fn attempt(api: &Arc<Api>, call: &Call, object: Value) -> Result<Value, Failure> {
    namespace_takes(api, call)?;
    for _ in 0..CLAIMS {
        if let Some(made) = claim(api, call, object.clone()).await? {
            return Ok(made);
        }
    }
    Err(super::modified(&call.group_resource(), metadata::name(&object)))
}

/// Completes and writes an object; `None` when somebody else took meanwhile what it claims.
async fn claim(api: &Arc<Api>, call: &Call, mut object: Value) -> Result<Option<Value>, Failure> {
    let Admitted { also } = admission::create(api, call, &mut object).await?;
    (call.kind.strategy.default)(&mut object);
    if let Some(custom) = &call.kind.custom {
        custom.default(&mut object);
    }
    fields::manage_created(call, &mut object)?;
    validate::new(call, &object)?;
    let name = metadata::name(&object).to_owned();
    let key: Arc<str> = call.kind.key(call.namespace(), &name).into();
    if call.is_dry_run()? {
        if api.read_key(&key)?.is_some() {
            return Err(Status::already_exists(&call.group_resource(), &name).into());
        }
        return Ok(Some(object));
    }
    let mut operations =
        vec![Operation::Create { key: Arc::clone(&key), value: storage::encode(&object).into() }];
    operations.extend(also);
    match api.store.transaction(operations, durability(call)).await {
        Ok(committed) => {
            let made = committed.objects.into_iter().next().flatten();
            let made =
                made.ok_or_else(|| Failure::internal("create an object", &"the store gave none back"))?;
            let made = stored(&made.value, made.revision.get())?;
            admission::created(api, call, &made.object).await;
            Ok(Some(made.object))
        }
        Err(store::Error::Exists { key: taken, .. }) if taken == key => {
            Err(Status::already_exists(&call.group_resource(), &name).into())
        }
        Err(store::Error::Exists { .. }) => Ok(None),
        Err(error) => Err(refused(call, &name, &error)),
    }
}

/// Nothing new begins in a namespace that is not there, or that ends.
fn namespace_takes(api: &Api, call: &Call) -> Result<(), Failure> {
    if call.namespace().is_empty() || call.kind.strategy.admission == Admission::Review {
        return Ok(());
    }
    let namespace = call.namespace();
    let resource = apimachinery::group::GroupResource::new("", "namespaces");
    let Some(found) = api.read("namespaces", "", namespace)? else {
        return Err(Status::not_found(&resource, namespace).into());
    };
    if metadata::is_ending(&found.object) {
        let name = call.route.name.clone().unwrap_or_default();
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = apimachinery::status::Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        };
        return Err(Status::forbidden(&call.group_resource(), &name, why).because(vec![cause]).into());
    }
    Ok(())
}

/// What is observed again anyway need not wait for the disk.
pub(super) fn durability(call: &Call) -> Durability {
    let is_status = call.route.subresource.as_deref() == Some("status");
    let is_passing = matches!(call.kind.storage.as_str(), "events" | "leases.coordination.k8s.io");
    if is_status || is_passing { Durability::Relaxed } else { Durability::Durable }
}

/// What a failed write means for its client.
pub(super) fn refused(call: &Call, name: &str, error: &store::Error) -> Failure {
    match error {
        store::Error::Conflict { .. } | store::Error::Exists { .. } => {
            Status::modified(&call.group_resource(), name).into()
        }
        store::Error::TooLarge { .. } => Status::request_entity_too_large(error).into(),
        store::Error::InvalidKey { .. } => Status::bad_request(error.to_string()).into(),
        _ => Failure::internal("write to the store", error),
    }
}
