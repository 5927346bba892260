//! `metadata` of an object: read without types, kept valid, and what of it an update may not change
//! (`apimachinery/pkg/api/validation/objectmeta.go`).

use serde_json::{Map, Value};

use crate::field_error::{FieldError, quoted};
use crate::names::{self, NameRule};
use crate::resource::Scope;

/// A view of an object's `metadata`. What is absent reads as empty.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    fields: Option<&'a Map<String, Value>>,
}

/// One of an object's owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name; the namespace is the object's own, or none.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Whether it is the one that manages the object.
    pub is_controller: bool,
    /// Whether it waits, when deleted in the foreground, for this object to go.
    pub blocks_owner_deletion: bool,
}

impl<'a> Meta<'a> {
    /// The metadata of that object.
    pub fn of(object: &'a Value) -> Self {
        Self { fields: object.get("metadata").and_then(Value::as_object) }
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields?.get(field)
    }

    fn text(&self, field: &str) -> &'a str {
        self.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// `name`.
    pub fn name(&self) -> &'a str {
        self.text("name")
    }

    /// `generateName`.
    pub fn generate_name(&self) -> &'a str {
        self.text("generateName")
    }

    /// `namespace`.
    pub fn namespace(&self) -> &'a str {
        self.text("namespace")
    }

    /// `uid`.
    pub fn uid(&self) -> &'a str {
        self.text("uid")
    }

    /// `resourceVersion`.
    pub fn resource_version(&self) -> &'a str {
        self.text("resourceVersion")
    }

    /// `generation`; 0 when absent.
    pub fn generation(&self) -> i64 {
        self.get("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// `creationTimestamp`.
    pub fn creation_timestamp(&self) -> Option<&'a str> {
        self.get("creationTimestamp")?.as_str()
    }

    /// `deletionTimestamp`: there is one while the object waits to be deleted.
    pub fn deletion_timestamp(&self) -> Option<&'a str> {
        self.get("deletionTimestamp")?.as_str()
    }

    /// `deletionGracePeriodSeconds`.
    pub fn deletion_grace_period_seconds(&self) -> Option<i64> {
        self.get("deletionGracePeriodSeconds")?.as_i64()
    }

    /// `labels`.
    pub fn labels(&self) -> Option<&'a Map<String, Value>> {
        self.get("labels")?.as_object()
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels()?.get(key)?.as_str()
    }

    /// `annotations`.
    pub fn annotations(&self) -> Option<&'a Map<String, Value>> {
        self.get("annotations")?.as_object()
    }

    /// The value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations()?.get(key)?.as_str()
    }

    /// `finalizers`.
    pub fn finalizers(&self) -> Vec<&'a str> {
        let list = self.get("finalizers").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// `ownerReferences`.
    pub fn owner_references(&self) -> Vec<OwnerReference<'a>> {
        let list = self.get("ownerReferences").and_then(Value::as_array);
        list.into_iter().flatten().map(owner).collect()
    }

    /// The owner that manages the object.
    pub fn controller(&self) -> Option<OwnerReference<'a>> {
        self.owner_references().into_iter().find(|owner| owner.is_controller)
    }
}

fn owner(reference: &Value) -> OwnerReference<'_> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    let flag = |field: &str| reference.get(field).and_then(Value::as_bool).unwrap_or_default();
    OwnerReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        is_controller: flag("controller"),
        blocks_owner_deletion: flag("blockOwnerDeletion"),
    }
}

/// `metadata` to write to; it is made when the object has none. `None` when the object is no JSON object.
pub fn fields_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut()
}

/// Sets a field of `metadata`.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = fields_mut(object) {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Removes a field of `metadata`; the others keep their order.
pub fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove(field)
}

/// All rules that the metadata of an object breaks. Its name has been generated before, where it is.
pub fn validate(object: &Value, scope: Scope, rule: NameRule) -> Vec<FieldError> {
    let meta = Meta::of(object);
    let mut errors = Vec::new();
    if !meta.generate_name().is_empty()
        && let Err(rule) = names::generate_name(rule, meta.generate_name())
    {
        errors.push(FieldError::invalid("metadata.generateName", meta.generate_name(), rule));
    }
    match meta.name() {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => errors.extend(rule(name).err().map(|rule| FieldError::invalid("metadata.name", name, rule))),
    }
    match (scope, meta.namespace()) {
        (Scope::Namespaced, "") => errors.push(FieldError::required("metadata.namespace", "")),
        (Scope::Namespaced, name) => errors.extend(
            names::dns_label(name).err().map(|rule| FieldError::invalid("metadata.namespace", name, rule)),
        ),
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => {
            errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
        }
    }
    if meta.generation() < 0 {
        let rule = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("metadata.generation", meta.generation(), rule));
    }
    validate_contents(meta, &mut errors);
    errors
}

/// What holds at creation and at every update.
fn validate_contents(meta: Meta<'_>, errors: &mut Vec<FieldError>) {
    if let Some(labels) = meta.get("labels") {
        names::check_labels(labels, "metadata.labels", errors);
    }
    if let Some(annotations) = meta.get("annotations") {
        names::check_annotations(annotations, "metadata.annotations", errors);
    }
    let at = "metadata.ownerReferences";
    let mut controller: Option<OwnerReference<'_>> = None;
    for owner in meta.owner_references() {
        let is_versioned = owner.api_version.rsplit('/').next().is_some_and(|version| !version.is_empty());
        if !is_versioned {
            let rule = "version must not be empty";
            errors.push(FieldError::invalid(format!("{at}.apiVersion"), owner.api_version, rule));
        }
        for (field, value) in [("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)] {
            if value.is_empty() {
                errors.push(FieldError::invalid(format!("{at}.{field}"), value, "must not be empty"));
            }
        }
        if (owner.api_version, owner.kind) == ("v1", "Event") {
            let rule = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(at, owner.name, rule));
        }
        match controller.filter(|_| owner.is_controller) {
            Some(first) => {
                let rule = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                );
                errors.push(FieldError::invalid(at, meta.get("ownerReferences").cloned(), rule));
            }
            None => controller = controller.or(Some(owner).filter(|owner| owner.is_controller)),
        }
    }
    names::check_finalizers(&meta.finalizers(), "metadata.finalizers", errors);
}

/// What an update may leave out and the server keeps from the object as it is (`rest.BeforeUpdate`).
const KEPT: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// Gives an updated object what it left out and may not change. What it changed is left for [`validate_update`].
pub fn keep(old: &Value, new: &mut Value) {
    let Some(fields) = fields_mut(new) else { return };
    for field in KEPT {
        let is_absent = fields.get(*field).is_none_or(|value| value.is_null() || value == "");
        let is_deleting = field.starts_with("deletion");
        match Meta::of(old).get(field).filter(|value| !value.is_null()) {
            Some(value) if is_absent => {
                fields.insert((*field).to_owned(), value.clone());
            }
            // Only a deletion sets these: who updates cannot.
            None if is_deleting => {
                fields.shift_remove(*field);
            }
            _ => {}
        }
    }
}

/// All rules that an update of the metadata breaks, beside those of the object alone.
pub fn validate_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let (old, new) = (Meta::of(old), Meta::of(new));
    let mut errors = Vec::new();
    if old.deletion_timestamp().is_some() {
        let known = old.finalizers();
        let mut extra: Vec<_> =
            new.finalizers().into_iter().filter(|name| !known.contains(name)).map(quoted).collect();
        extra.sort_unstable();
        extra.dedup();
        if !extra.is_empty() {
            // Kubernetes prints the list as Go writes it.
            let rule = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                extra.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", rule));
        }
    }
    if new.resource_version().is_empty() {
        let rule = "must be specified for an update";
        errors.push(FieldError::invalid("metadata.resourceVersion", "", rule));
    }
    if new.generation() < old.generation() {
        errors.push(FieldError::invalid("metadata.generation", new.generation(), "must not be decremented"));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let value =
            |meta: Meta<'_>| meta.get(field).filter(|value| !value.is_null() && *value != "").cloned();
        if value(old) != value(new) {
            let shown =
                value(new).unwrap_or_else(|| if field.contains("eletion") { Value::Null } else { "".into() });
            errors.push(FieldError::invalid(format!("metadata.{field}"), shown, "field is immutable"));
        }
    }
    validate_contents(new, &mut errors);
    errors
}

#[cfg(test)]
mod tests;
