//! What is asked before a write that the object alone does not answer: other objects, the writer's rights, allocations.
//!
//! One file per subject; here is who is asked for which kind. Kubernetes calls these admission plugins and strategies.

pub(crate) mod pod_model;
mod pods;
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
        _ => Ok(Admitted::default()),
    }
}

/// Looks at a changed object and completes it.
pub(crate) async fn update(
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
        _ => Ok(()),
    }
}

/// What is written in the transaction of a change, or of an end.
pub(crate) async fn beside_update(
    api: &Arc<Api>,
    call: &Call,
    old: &Value,
    new: &Value,
    ends: bool,
) -> Result<Vec<Operation>, Failure> {
    match call.kind.strategy.admission {
        Admission::Service => services::beside_update(api, old, (!ends).then_some(new)),
        _ => Ok(Vec::new()),
    }
}

/// Whether an object may end.
pub(crate) async fn delete(_api: &Arc<Api>, call: &Call, object: &Value) -> Result<(), Failure> {
    let name = metadata::name(object);
    if call.kind.strategy.admission == Admission::Namespace && FOR_EVER.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(&call.group_resource(), name, why).into());
    }
    Ok(())
}

/// A new object has been written.
pub(crate) async fn created(_api: &Arc<Api>, _call: &Call, _object: &Value) {}

/// A change has been written.
pub(crate) async fn updated(_api: &Arc<Api>, _call: &Call, _object: &Value) {}

/// An object is no more.
pub(crate) async fn gone(_api: &Arc<Api>, _call: &Call, _object: &Value) {}
