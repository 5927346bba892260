//! Which objects of a collection a client wants: `labelSelector` and `fieldSelector`.

use std::borrow::Cow;

use apimachinery::selector::{FieldSelector, LabelSelector};
use apimachinery::status::Status;
use serde_json::Value;

use crate::call::Call;
use crate::kinds::Kind;
use crate::respond::Failure;

/// What a client wants of a collection.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the parameters of a request.
    pub(crate) fn of(call: &Call) -> Result<Selection, Failure> {
        let unreadable = |error: String| {
            let kind = &call.kind.resource;
            let message = format!(
                "unable to parse the selectors of {}, Resource={}: {error}",
                kind.api_version(),
                kind.plural
            );
            Failure::from(Status::bad_request(message))
        };
        let labels = call.query.get("labelSelector").unwrap_or_default();
        let labels = LabelSelector::parse(labels).map_err(|error| unreadable(error.to_string()))?;
        let fields = call.query.get("fieldSelector").unwrap_or_default();
        let fields = FieldSelector::parse(fields).map_err(|error| unreadable(error.to_string()))?;
        for term in fields.terms() {
            if pointer(&call.kind, &term.field).is_none() {
                let message = format!(
                    "Unable to find {:?} that match label selector {:?}, field selector {:?}: field label not supported: {}",
                    format!("{}, Resource={}", call.kind.resource.api_version(), call.kind.resource.plural),
                    call.query.get("labelSelector").unwrap_or_default(),
                    call.query.get("fieldSelector").unwrap_or_default(),
                    term.field
                );
                return Err(Status::bad_request(message).into());
            }
        }
        Ok(Selection { labels, fields })
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.selects_everything() && self.fields.selects_everything()
    }

    /// The one name that can be meant, if it is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// Whether an object is meant; it is in the version that clients of the kind speak.
    pub(crate) fn has(&self, kind: &Kind, object: &Value) -> bool {
        self.labels.matches_object(object)
            && self.fields.matches(|name| {
                let value = object.pointer(&pointer(kind, name)?).filter(|value| !value.is_null());
                Some(
                    match value
                        .or_else(|| ABSENT.iter().find(|(known, _)| *known == name).map(|(_, zero)| zero))?
                    {
                        Value::String(text) => Cow::Borrowed(text.as_str()),
                        other => Cow::Owned(other.to_string()),
                    },
                )
            })
    }
}

/// Fields whose zero is a word, and which objects leave out then: Go's `strconv` writes what Kubernetes selects by. Of all others
/// what is absent is the empty text.
const ABSENT: &[(&str, Value)] =
    &[("spec.unschedulable", Value::Bool(false)), ("spec.hostNetwork", Value::Bool(false))];

/// Where a field stands that a selector may name.
fn pointer(kind: &Kind, name: &str) -> Option<Cow<'static, str>> {
    match name {
        "metadata.name" => return Some("/metadata/name".into()),
        "metadata.namespace" if kind.resource.is_namespaced() => return Some("/metadata/namespace".into()),
        _ => {}
    }
    if let Some(custom) = &kind.custom {
        return custom.selectable(name).map(Cow::Owned);
    }
    kind.strategy.selectable.iter().find(|(known, _)| *known == name).map(|(_, at)| Cow::Borrowed(*at))
}
