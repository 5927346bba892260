//! Who manages which fields of an object, `metadata.managedFields`, kept at every write; and server-side apply.

use apimachinery::apply::{FieldOwnership, Force, Writer, validate_manager};
use apimachinery::schema::Definitions;
use apimachinery::status::{Cause, Reason, Status};
use serde_json::{Value, json};

use crate::call::Call;
use crate::fresh;
use crate::respond::Failure;

/// How a request says what an object shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The whole object.
    Update,
    /// A part of it.
    Patch,
    /// What the writer wants to own, server-side apply.
    Apply,
}

impl Manner {
    /// Whether a resourceVersion in the new object is a client's own words: in a patched object it is the old one's.
    pub(crate) fn names_version(self) -> bool {
        self == Manner::Update
    }
}

/// What nobody comes to own by a write to an object that has a status of its own, and what by a write to the status.
const OF_STATUS: &[&[&str]] = &[&["status"]];
const OF_MAIN: &[&[&str]] = &[&["spec"]];

fn ownership(call: &Call) -> FieldOwnership<'_> {
    let definitions = Definitions::builtin();
    let schema = match &call.kind.custom {
        Some(custom) => custom.schema(),
        None => definitions.get(&call.kind.stored_definition()).map(|schema| &**schema),
    };
    let ownership = FieldOwnership::new(schema, definitions);
    match call.route.subresource.as_deref() {
        Some("status") => ownership.resetting(OF_MAIN),
        None if call.kind.has("status") => ownership.resetting(OF_STATUS),
        _ => ownership,
    }
}

fn with_writer<T>(call: &Call, act: impl FnOnce(&Writer<'_>) -> T) -> T {
    let (manager, now) = (call.field_manager(), fresh::now());
    let api_version = call.kind.stored_api_version();
    let subresource = call.route.subresource.as_deref().unwrap_or_default();
    // What scale and the like write is written to the object itself.
    let subresource = if subresource == "status" || subresource == "scale" { subresource } else { "" };
    act(&Writer { manager: &manager, api_version: &api_version, subresource, now: &now })
}

/// What a client says of itself must be a name.
pub(crate) fn check_manager(call: &Call, is_apply: bool) -> Result<(), Failure> {
    let errors = validate_manager(call.query.get("fieldManager").unwrap_or_default(), is_apply);
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let message = format!("PatchOptions.meta.k8s.io \"\" is invalid: {}", texts.join(", "));
    let causes = errors.iter().map(Cause::from).collect();
    Err(Status::failure(422, Reason::Invalid, message).because(causes).into())
}

/// Notes who wrote a new object.
pub(crate) fn manage_created(call: &Call, manner: Manner, object: &mut Value) {
    if manner != Manner::Apply {
        with_writer(call, |writer| ownership(call).update(&json!({}), object, writer));
    }
}

/// Notes who changed an object.
pub(crate) fn manage_updated(call: &Call, manner: Manner, old: &Value, new: &mut Value) {
    if manner != Manner::Apply {
        with_writer(call, |writer| ownership(call).update(old, new, writer));
    }
}

/// Server-side apply: what becomes of an object (empty: of none) when this is applied; both as they are stored.
pub(crate) fn apply(call: &Call, old: &Value, applied: &Value) -> Result<Value, Failure> {
    let force = if call.query.flag("force") { Force::Yes } else { Force::No };
    let result = with_writer(call, |writer| ownership(call).apply(old, applied, writer, force));
    result.map_err(|error| error.to_status().into())
}
