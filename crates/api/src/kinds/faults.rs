//! Collects all that is wrong with an object, so that its writer hears of everything at once.

use apimachinery::field_error::FieldError;
use serde_json::Value;

/// What has been found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<FieldError>);

impl Faults {
    /// A value is missing.
    pub(crate) fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.0.push(FieldError::required(field, detail));
    }

    /// A value breaks a rule.
    pub(crate) fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        self.0.push(FieldError::invalid(field, value.clone(), detail));
    }

    /// A value is none of those possible.
    pub(crate) fn unsupported(&mut self, field: impl Into<String>, value: &str, supported: &[&str]) {
        self.0.push(FieldError::not_supported(field, value, supported));
    }

    /// A value stands there already.
    pub(crate) fn duplicate(&mut self, field: impl Into<String>, value: &str) {
        self.0.push(FieldError::duplicate(field, value));
    }

    /// A field may not be set, or not be changed.
    pub(crate) fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.0.push(FieldError::forbidden(field, detail));
    }

    /// A value is too large.
    pub(crate) fn too_long(&mut self, field: impl Into<String>, most_bytes: usize) {
        self.0.push(FieldError::too_long(field, most_bytes));
    }
}
