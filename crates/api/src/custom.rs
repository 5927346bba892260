//! Kinds that CustomResourceDefinitions bring.

use apimachinery::field_error::FieldError;
use serde_json::{Value, json};

/// One version of a custom kind.
#[derive(Debug)]
pub(crate) struct Version {
    /// `stable.example.com/v1`.
    pub(crate) api_version: String,
    /// The version in which objects are stored.
    pub(crate) stored_api_version: String,
    /// What a field selector may name, and where it stands.
    pub(crate) selectable: Vec<(String, String)>,
}

impl Version {
    /// Conversion `None`: versions differ by name only.
    pub(crate) fn make_stored(&self, object: &mut Value) {
        object["apiVersion"] = json!(self.stored_api_version);
    }

    /// The other way.
    pub(crate) fn make_shown(&self, object: &mut Value) {
        object["apiVersion"] = json!(self.api_version);
    }

    /// Fills in the defaults of the schema.
    pub(crate) fn default(&self, _object: &mut Value) {}

    /// What breaks the schema's rules.
    pub(crate) fn validate(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Where a field stands that a selector may name.
    pub(crate) fn selectable(&self, name: &str) -> Option<String> {
        self.selectable.iter().find(|(known, _)| known == name).map(|(_, at)| at.clone())
    }
}
