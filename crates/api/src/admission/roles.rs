//! Roles and bindings: nobody gives away more than he has.

use std::sync::Arc;

use apimachinery::status::Status;
use serde_json::Value;

use crate::api::Api;
use crate::auth::rbac::{Role, RoleKind, RoleRef};
use crate::call::Call;
use crate::kinds::Admission;
use crate::objects::metadata;
use crate::respond::Failure;

/// Whether the writer may write this role or binding; of a change, only when it gives something else.
pub(super) fn check(api: &Arc<Api>, call: &Call, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let policy = api.security.policy();
    let name = if metadata::name(new).is_empty() { call.name() } else { metadata::name(new) };
    let namespace = call.namespace();
    let is_same =
        |fields: &[&str]| old.is_some_and(|old| fields.iter().all(|field| old.get(field) == new.get(field)));
    let unreadable = |why: String| Failure::from(Status::bad_request(why));
    let refused = if call.kind.strategy.admission == Admission::Role {
        if is_same(&["rules", "aggregationRule"]) {
            return Ok(());
        }
        let role = Role::parse(new).map_err(|error| unreadable(error.to_string()))?;
        let kind = if namespace.is_empty() { RoleKind::ClusterRole } else { RoleKind::Role };
        let reference = RoleRef { kind, name: name.to_owned() };
        policy.may_write_role(&call.user, namespace, &reference, &role.rules)
    } else {
        if is_same(&["subjects", "roleRef"]) {
            return Ok(());
        }
        let reference = serde_json::from_value::<RoleRef>(new.get("roleRef").cloned().unwrap_or_default());
        // A reference that is none is told by validation.
        let Ok(reference) = reference else { return Ok(()) };
        policy.may_write_binding(&call.user, namespace, &reference)
    };
    refused.map_err(|refused| Status::forbidden(&call.group_resource(), name, refused).into())
}
