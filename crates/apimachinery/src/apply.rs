//! Server-side apply: who applies an object owns the fields it has, and only those; what it no longer applies goes when nobody
//! else owns it; what another owns is a conflict (KEP-555, structured-merge-diff).
//!
//! ```text
//! apply:  merge ─► remove what is applied no longer ─► compare ─► conflicts? ─► owners
//! update:                                              compare ───────────────► owners
//! ```
//!
//! Every write goes through here, so that `metadata.managedFields` is true. The time is the caller's. All versions of a
//! kind are taken to have the same fields: an owner keeps the version that it wrote.

mod check;
mod conflict;
mod element;
mod managers;
mod set;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::{Map, Value};

pub use conflict::Conflict;
pub use element::{PathElement, Scalar};
pub use managers::{ManagerId, Operation, manager_of_user_agent};
pub use set::{FieldSet, path_text};

use crate::field_error::FieldError;
use crate::meta::{self, Meta};
use crate::schema::{Definitions, Schema};
use crate::status::Status;
use managers::{Managers, Owned};
use walk::Walk;

/// The annotation in which `kubectl apply` keeps what it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that takes over from client-side apply.
const KUBECTL: &str = "kubectl";

/// What no manager owns: the server sets it, or it names the object.
const NEVER_OWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Who writes, where and when.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The manager: `fieldManager` of the request, or [`manager_of_user_agent`].
    pub manager: &'a str,
    /// The version that is written, such as `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time, RFC 3339 in UTC with seconds.
    pub now: &'a str,
}

/// Whether fields of others are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// They are conflicts.
    No,
    /// They become the applier's own.
    Yes,
}

/// Why something cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Others own these fields.
    #[error("{}", conflict::message(.0))]
    Conflicts(Vec<Conflict>),
    /// What is applied does not fit the schema: unknown fields, wrong types, one item twice.
    #[error("failed to create typed patch object ({object}): {}", .problems.join(", "))]
    Untyped {
        /// Namespace, name, version and kind.
        object: String,
        /// All that does not fit.
        problems: Vec<String>,
    },
    /// The version is another one than the path's.
    #[error(
        "incorrect version specified in apply patch. Specified patch version: {specified}, expected: {expected}"
    )]
    Version {
        /// The version of what is applied.
        specified: String,
        /// The version of the path.
        expected: String,
    },
    /// Owners are not applied.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// What is applied is no object.
    #[error("what is applied must be an object")]
    NoObject,
}

impl ApplyError {
    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => conflict::status(conflicts),
            _ => Status::bad_request(self.to_string()),
        }
    }
}

/// Rules that a `fieldManager` of a request breaks. Only apply cannot do without one.
pub fn validate_manager(manager: &str, is_apply: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_apply && manager.is_empty() {
        errors.push(FieldError::required("fieldManager", "is required for apply patch"));
    }
    if manager.len() > managers::MOST_NAME_BYTES {
        errors.push(FieldError::too_long("fieldManager", managers::MOST_NAME_BYTES));
    }
    if manager.chars().any(char::is_control) {
        let rule = "should only contain printable characters";
        errors.push(FieldError::invalid("fieldManager", manager, rule));
    }
    errors
}

/// The rules of one kind by which its objects' fields are owned.
#[derive(Debug, Clone)]
pub struct FieldOwnership<'a> {
    schema: Option<&'a Schema>,
    walk: Walk<'a>,
    reset: FieldSet,
    never_owned: FieldSet,
}

impl<'a> FieldOwnership<'a> {
    /// Of objects of that schema. Without one (a custom resource that says nothing), mappings are walked and lists are whole.
    pub fn new(schema: Option<&'a Schema>, definitions: &'a Definitions) -> Self {
        Self {
            schema,
            walk: Walk { definitions },
            reset: FieldSet::default(),
            never_owned: FieldSet::of_names(NEVER_OWNED),
        }
    }

    /// Fields that a write to this path does not change whatever it says, such as the status: nobody comes to own them by it.
    #[must_use]
    pub fn resetting(mut self, paths: &[&[&str]]) -> Self {
        self.reset = FieldSet::of_names(paths);
        self
    }

    /// Applies `config` to an object; `live` is an empty object when there is none yet. Gives back `live` itself when that
    /// changes nothing, neither fields nor owners.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        writer: &Writer<'_>,
        force: Force,
    ) -> Result<Value, ApplyError> {
        let config = self.checked(config, writer)?;
        let managers = Managers::read(live).unwrap_or_default();
        let bare = without_managers(live);
        let result = self.apply_once(&bare, &config, managers.clone(), writer, force);
        let (object, managers) = match result {
            Err(ApplyError::Conflicts(conflicts)) if writer.manager == KUBECTL => {
                let rest = self.not_from_client_side_apply(&bare, conflicts);
                if !rest.is_empty() {
                    return Err(ApplyError::Conflicts(rest));
                }
                self.apply_once(&bare, &config, managers, writer, Force::Yes)?
            }
            result => result?,
        };
        let object = keep_last_applied(object, &config, writer);
        Ok(finish(live, &bare, object, managers, writer))
    }

    /// What is applied, if it can be.
    fn checked(&self, config: &Value, writer: &Writer<'_>) -> Result<Value, ApplyError> {
        let Value::Object(fields) = config else { return Err(ApplyError::NoObject) };
        let specified = fields.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if specified != writer.api_version {
            return Err(ApplyError::Version {
                specified: specified.to_owned(),
                expected: writer.api_version.to_owned(),
            });
        }
        if config.pointer("/metadata/managedFields").is_some_and(|managers| !managers.is_null()) {
            return Err(ApplyError::ManagedFields);
        }
        let config = without_nulls(config);
        let problems = self.walk.problems(&config, self.schema);
        if problems.is_empty() {
            return Ok(config);
        }
        let meta = Meta::of(&config);
        let kind = config.get("kind").and_then(Value::as_str).unwrap_or_default();
        let object = format!("{}/{}; {specified}, Kind={kind}", meta.namespace(), meta.name());
        Err(ApplyError::Untyped { object, problems })
    }

    fn apply_once(
        &self,
        live: &Value,
        config: &Value,
        mut managers: Managers,
        writer: &Writer<'_>,
        force: Force,
    ) -> Result<(Value, Managers), ApplyError> {
        let applier =
            ManagerId::new(writer.manager, Operation::Apply, writer.api_version, writer.subresource);
        let merged = self.walk.merge(live.clone(), config, self.schema);
        let applied = self.walk.field_set(config, self.schema).recursive_difference(&self.reset);
        let before = managers.owned.remove(&applier);
        let applied = Owned {
            set: applied,
            api_version: writer.api_version.to_owned(),
            time: before.as_ref().and_then(|owned| owned.time.clone()),
        };
        managers.owned.insert(applier.clone(), applied);
        let object = match &before {
            Some(before) => self.prune(merged, &managers, &before.set),
            None => merged,
        };
        let comparison = self.walk.compare(live, &object, self.schema);
        let changed = comparison.modified.union(&comparison.added).recursive_difference(&self.reset);
        if force == Force::No {
            let conflicts = conflict::conflicts(&managers, &applier, &changed);
            if !conflicts.is_empty() {
                return Err(ApplyError::Conflicts(conflicts));
            }
        }
        let removed = comparison.removed.recursive_difference(&self.reset);
        managers.take_from_others(&changed.union(&removed), Some(&applier));
        managers.take_from(&applier, &self.never_owned);
        Ok((object, managers))
    }

    /// Removes what the applier owned, does not apply any more, and nobody else owns.
    fn prune(&self, merged: Value, managers: &Managers, before: &FieldSet) -> Value {
        let named = |set: FieldSet| set.with_named_parents(self.schema, self.walk.definitions);
        let without = |gone: &FieldSet| {
            let mut value = merged.clone();
            self.walk.remove(&mut value, gone, self.schema);
            value
        };
        let before = named(before.clone());
        let all = named(self.walk.field_set(&merged, self.schema));
        let fields_of = |value: &Value| named(self.walk.field_set(value, self.schema));
        // First everything that was owned goes; then what anybody owns comes back; then what was never the applier's.
        let pruned = without(&before);
        let kept = fields_of(&pruned).union(&named(managers.all())).union(&self.never_owned);
        let pruned = without(&all.clone().difference(&kept));
        without(&all.difference(&fields_of(&pruned)).intersection(&before))
    }

    /// Conflicts that are none, because the fields are as client-side apply left them: kubectl takes over its own.
    fn not_from_client_side_apply(&self, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let last = Meta::of(live).annotation(LAST_APPLIED);
        let Some(last) = last.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
            return conflicts;
        };
        let last = without_nulls(&last);
        let comparison = self.walk.compare(live, &last, self.schema);
        let allowed = self
            .walk
            .field_set(&last, self.schema)
            .difference(&comparison.modified)
            .difference(&comparison.added)
            .difference(&comparison.removed);
        conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.path)).collect()
    }

    /// Notes who wrote what, after any write that was no apply: `new` is what will be stored. Managers that the client wrote
    /// are taken, so that they can be mended; a client that knows nothing of them loses none.
    pub fn update(&self, live: &Value, new: &mut Value, writer: &Writer<'_>) {
        let sent = new.pointer("/metadata/managedFields").and_then(Value::as_array);
        let is_reset = sent.is_some_and(
            |entries| matches!(entries.as_slice(), [only] if *only == Value::Object(Map::new())),
        );
        let sent = Managers::read(new).filter(|managers| !managers.owned.is_empty());
        let mut managers = if is_reset && writer.subresource.is_empty() {
            Managers::default()
        } else if let Some(sent) = sent.filter(|_| writer.subresource.is_empty()) {
            sent
        } else {
            Managers::read(live).unwrap_or_default()
        };
        let (bare_live, object) = (without_managers(live), without_managers(new));
        let comparison = self.walk.compare(&bare_live, &object, self.schema);
        let changed = comparison
            .modified
            .union(&comparison.added)
            .recursive_difference(&self.reset)
            .difference(&self.never_owned);
        let removed = comparison.removed.recursive_difference(&self.reset);
        managers.take_from_others(&changed.clone().union(&removed), None);
        if !changed.is_empty() {
            let id =
                ManagerId::new(writer.manager, Operation::Update, writer.api_version, writer.subresource);
            let owned = managers.owned.entry(id).or_insert_with(|| Owned {
                set: FieldSet::default(),
                api_version: writer.api_version.to_owned(),
                time: None,
            });
            owned.set = std::mem::take(&mut owned.set).union(&changed);
            owned.time = Some(writer.now.to_owned());
        }
        managers.cap_updaters();
        *new = with_managers(object, &managers);
    }
}

/// What is stored after an apply.
fn finish(live: &Value, bare: &Value, object: Value, mut managers: Managers, writer: &Writer<'_>) -> Value {
    let before = Managers::read(live).unwrap_or_default();
    if object == *bare && managers.is_same_but_for_times(&before) {
        return live.clone();
    }
    let applier = ManagerId::new(writer.manager, Operation::Apply, writer.api_version, writer.subresource);
    if let Some(owned) = managers.owned.get_mut(&applier) {
        owned.time = Some(writer.now.to_owned());
    }
    with_managers(object, &managers)
}

/// Keeps the annotation of client-side apply true, where there is one, so that one can go back.
fn keep_last_applied(mut object: Value, config: &Value, writer: &Writer<'_>) -> Value {
    if writer.manager != KUBECTL || Meta::of(&object).annotation(LAST_APPLIED).is_none() {
        return object;
    }
    let mut applied = config.clone();
    if let Some(Value::Object(annotations)) = applied.pointer_mut("/metadata/annotations") {
        annotations.shift_remove(LAST_APPLIED);
    }
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.insert(LAST_APPLIED.to_owned(), Value::String(format!("{applied}\n")));
    }
    object
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    meta::remove(&mut object, "managedFields");
    object
}

fn with_managers(mut object: Value, managers: &Managers) -> Value {
    if !managers.owned.is_empty() {
        meta::set(&mut object, "managedFields", managers.to_json());
    }
    object
}

/// Null is absence in what is applied.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        value => value.clone(),
    }
}
