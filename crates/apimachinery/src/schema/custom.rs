//! The schema of a custom kind: `openAPIV3Schema` of a version of a CustomResourceDefinition.

use std::sync::Arc;

use serde_json::Value;

use super::{Schema, parse, structural};
use crate::field_error::FieldError;

/// A structural schema, ready to prune, default and validate with, and what must be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomSchema {
    /// The shape of an object: with `apiVersion`, `kind` and `metadata` also where it does not declare them.
    pub schema: Arc<Schema>,
    /// What the author of the definition should know.
    pub warnings: Vec<String>,
}

impl CustomSchema {
    /// Reads a schema that stands at `path` (such as `spec.versions[0].schema.openAPIV3Schema`), or says everything that
    /// keeps it from being structural.
    pub fn parse(document: &Value, path: &str) -> Result<CustomSchema, Vec<FieldError>> {
        let errors = structural::check(document, path);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut schema = parse::custom(document);
        parse::root(&mut schema, document);
        let mut warnings = Vec::new();
        if has_member(document, "x-kubernetes-validations") {
            warnings.push(format!(
                "{path}: x-kubernetes-validations (CEL) is stored but not evaluated: objects that break these rules are accepted"
            ));
        }
        Ok(CustomSchema { schema: Arc::new(schema), warnings })
    }
}

/// Whether a schema, or one within it, has that member.
fn has_member(document: &Value, name: &str) -> bool {
    match document {
        Value::Object(members) => {
            members.contains_key(name) || members.values().any(|inner| has_member(inner, name))
        }
        Value::Array(items) => items.iter().any(|inner| has_member(inner, name)),
        _ => false,
    }
}
