//! What is asked before a write that the object alone does not answer: other objects, the writer's rights, allocations.
//!
//! One file per subject; here is who is asked for which kind. Kubernetes calls these admission plugins and strategies.

mod definitions;
pub(crate) mod pod_model;
mod pods;
mod roles;
mod services;

use std::sync::Arc;

use apimachinery::status::Status;
use serde_json::Value;
use store::Operation;

use crate::api::Api;
use crate::call::Call;
use crate::kinds::Admission;
use crate::objects::edit::Part;
use crate::objects::metadata;
use crate::respond::Failure;

/// What a new object brings along.
#[derive(Default)]
pub(crate) struct Admitted {
    /// Written in the same transaction, such as the claim of an address.
    pub(crate) also: Vec<Operation>,
}

/// Namespaces that are for ever.
const FOR_EVER: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Looks at a new object and completes it.
pub(crate) async fn create(api: &Arc<Api>, call: &Call, object: &mut Value) -> Result<Admitted, Failure> {
    if let Some(warning) = call.kind.strategy.warning {
        call.warnings.add(warning);
    }
    match call.kind.strategy.admission {
        Admission::Pod => {
            pods::create(api, call, object).await?;
            Ok(Admitted::default())
        }
        Admission::Service => Ok(Admitted { also: services::create(api, call, object)? }),
        Admission::CustomResourceDefinition => {
            definitions::complete(call, object)?;
            Ok(Admitted::default())
        }
        Admission::Role | Admission::RoleBinding => {
            roles::check(api, call, None, object)?;
            Ok(Admitted::default())
        }
        _ => Ok(Admitted::default()),
    }
}

/// Looks at a changed object and completes it.
pub(crate) fn update(
    api: &Arc<Api>,
    call: &Call,
    part: Part,
    old: &Value,
    new: &mut Value,
) -> Result<(), Failure> {
    if let Some(warning) = call.kind.strategy.warning
        && part == Part::Main
    {
        call.warnings.add(warning);
    }
    match call.kind.strategy.admission {
        Admission::Service if part == Part::Main => services::update(api, call, old, new),
        Admission::CustomResourceDefinition if part == Part::Main => definitions::complete(call, new),
        Admission::Role | Admission::RoleBinding => roles::check(api, call, Some(old), new),
        _ => Ok(()),
    }
}

/// What is written in the transaction of a change, or of an end.
pub(crate) fn beside_update(
    api: &Arc<Api>,
    call: &Call,
    old: &Value,
    new: &Value,
    ends: bool,
) -> Result<Vec<Operation>, Failure> {
    match call.kind.strategy.admission {
        Admission::Service => services::beside_update(api, old, (!ends).then_some(new)),
        // The objects of a kind go with it.
        Admission::CustomResourceDefinition if ends => Ok(definitions::objects(api, old)),
        _ => Ok(Vec::new()),
    }
}

/// Whether an object may end.
pub(crate) fn delete(call: &Call, object: &Value) -> Result<(), Failure> {
    let name = metadata::name(object);
    if call.kind.strategy.admission == Admission::Namespace && FOR_EVER.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(&call.group_resource(), name, why).into());
    }
    Ok(())
}

/// A new object has been written.
pub(crate) fn created(api: &Arc<Api>, call: &Call, _object: &Value) {
    reread(api, call);
}

/// A change has been written.
pub(crate) fn updated(api: &Arc<Api>, call: &Call, _object: &Value) {
    reread(api, call);
}

/// An object is no more.
pub(crate) fn gone(api: &Arc<Api>, call: &Call, _object: &Value) {
    reread(api, call);
}

/// What the server keeps in another form is read again before its writer gets an answer.
fn reread(api: &Arc<Api>, call: &Call) {
    match call.kind.strategy.admission {
        Admission::Role | Admission::RoleBinding => api.security.read_policy(&api.store),
        Admission::CustomResourceDefinition => api.read_custom_kinds(),
        _ => {}
    }
}
