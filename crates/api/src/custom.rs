//! Kinds that CustomResourceDefinitions bring: from a definition to rows beside those of the table.

use std::sync::Arc;

use apimachinery::field_error::FieldError;
use apimachinery::resource::{Resource, Scope, Verb};
use apimachinery::schema::{CustomSchema, Definitions, Schema, fill_defaults, prune, validate};
use apimachinery::table::CustomColumns;
use serde_json::{Value, json};

use crate::kinds::fill::{child, text};
use crate::kinds::{Kind, Strategy};

/// One version of a custom kind.
#[derive(Debug)]
pub(crate) struct Version {
    api_version: String,
    stored_api_version: String,
    schema: Option<CustomSchema>,
    document: Option<Value>,
    columns: CustomColumns,
    selectable: Vec<(String, String)>,
    /// Where replicas and selector stand for `scale`.
    pub(crate) scale: Option<ScalePaths>,
    warning: Option<String>,
}

/// `subresources.scale` of a version, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    /// `specReplicasPath`.
    pub(crate) spec: String,
    /// `statusReplicasPath`.
    pub(crate) status: String,
    /// `labelSelectorPath`.
    pub(crate) selector: Option<String>,
}

impl Version {
    /// Conversion `None`: versions differ by name only.
    pub(crate) fn make_stored(&self, object: &mut Value) {
        object["apiVersion"] = json!(self.stored_api_version);
    }

    /// The other way; what this version does not know is left out.
    pub(crate) fn make_shown(&self, object: &mut Value) {
        object["apiVersion"] = json!(self.api_version);
        if let Some(schema) = &self.schema {
            if self.api_version != self.stored_api_version {
                prune(object, &schema.schema, Definitions::builtin());
            }
            fill_defaults(object, &schema.schema, Definitions::builtin());
        }
    }

    /// The schema, if there is one.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref().map(|schema| &*schema.schema)
    }

    /// The schema as OpenAPI shows it.
    pub(crate) fn document(&self) -> Option<&Value> {
        self.document.as_ref()
    }

    /// The columns of Tables.
    pub(crate) fn columns(&self) -> &CustomColumns {
        &self.columns
    }

    /// What a writer is told: the version is deprecated.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Fills in the defaults of the schema.
    pub(crate) fn default(&self, object: &mut Value) {
        if let Some(schema) = &self.schema {
            fill_defaults(object, &schema.schema, Definitions::builtin());
        }
    }

    /// What breaks the schema's rules.
    pub(crate) fn validate(&self, object: &Value) -> Vec<FieldError> {
        match &self.schema {
            Some(schema) => validate(object, &schema.schema, Definitions::builtin(), ""),
            None => Vec::new(),
        }
    }

    /// Where a field stands that a selector may name.
    pub(crate) fn selectable(&self, name: &str) -> Option<String> {
        self.selectable.iter().find(|(known, _)| known == name).map(|(_, at)| at.clone())
    }
}

/// Fills in the defaults of a definition, as `apiextensions/v1/defaults.go`.
pub(crate) fn default(definition: &mut Value) {
    let spec = child(definition, "spec");
    let kind = text(spec, "/names/kind").unwrap_or_default().to_owned();
    let names = child(spec, "names");
    crate::kinds::fill::fill(names, "listKind", format!("{kind}List"));
    crate::kinds::fill::fill(names, "singular", kind.to_ascii_lowercase());
    let conversion = child(spec, "conversion");
    crate::kinds::fill::fill(conversion, "strategy", "None");
}

/// What the server says of a definition at once: there is no controller that would accept names later.
pub(crate) fn accept(definition: &mut Value, now: &str) {
    let names = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let stored = versions(definition).find(|version| version["storage"] == true);
    let stored = stored.and_then(|version| text(version, "/name")).unwrap_or_default().to_owned();
    let mut known =
        definition.pointer("/status/storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if !known.iter().any(|version| *version == stored) {
        known.push(json!(stored));
    }
    let condition = |kind: &str, reason: &str, message: &str| json!({"lastTransitionTime": now, "message": message, "reason": reason, "status": "True", "type": kind});
    if definition.pointer("/status/conditions").is_none() {
        child(definition, "status")["conditions"] = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]);
    }
    let status = child(definition, "status");
    status["acceptedNames"] = names;
    status["storedVersions"] = json!(known);
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten()
}

/// Everything that is wrong with a definition.
pub(crate) fn check(definition: &Value) -> (Vec<FieldError>, Vec<String>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let (plural, group) = names(definition);
    let expected = format!("{plural}.{group}");
    let name = text(definition, "/metadata/name").unwrap_or_default();
    if name != expected {
        let rule = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, rule));
    }
    for field in ["/spec/group", "/spec/scope", "/spec/names/plural", "/spec/names/kind"] {
        if text(definition, field).is_none() {
            errors.push(FieldError::required(field.trim_start_matches('/').replace('/', "."), ""));
        }
    }
    if let Some(scope) =
        text(definition, "/spec/scope").filter(|scope| !["Cluster", "Namespaced"].contains(scope))
    {
        errors.push(FieldError::not_supported("spec.scope", scope, &["Cluster", "Namespaced"]));
    }
    if text(definition, "/spec/conversion/strategy") == Some("Webhook") {
        errors.push(FieldError::forbidden(
            "spec.conversion.strategy",
            "podling does not call conversion webhooks; use None",
        ));
    }
    if group.ends_with(".k8s.io") || group == "k8s.io" {
        let annotations = &definition["metadata"]["annotations"];
        if annotations.get("api-approved.kubernetes.io").is_none() {
            errors.push(FieldError::required(
                "metadata.annotations[api-approved.kubernetes.io]",
                "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
            ));
        }
    }
    if versions(definition).filter(|version| version["storage"] == true).count() != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            definition.pointer("/spec/versions").cloned().unwrap_or_default(),
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions(definition).enumerate() {
        let path = format!("spec.versions[{index}]");
        match version.pointer("/schema/openAPIV3Schema") {
            None => errors
                .push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), "schemas are required")),
            Some(schema) => match CustomSchema::parse(schema, &format!("{path}.schema.openAPIV3Schema")) {
                Ok(schema) => warnings.extend(schema.warnings),
                Err(found) => errors.extend(found),
            },
        }
        if let Err(error) = CustomColumns::parse(version.get("additionalPrinterColumns")) {
            errors.push(FieldError::invalid(
                format!("{path}.additionalPrinterColumns"),
                version.get("additionalPrinterColumns").cloned().unwrap_or_default(),
                error.to_string(),
            ));
        }
    }
    (errors, warnings)
}

fn names(definition: &Value) -> (&str, &str) {
    (
        text(definition, "/spec/names/plural").unwrap_or_default(),
        text(definition, "/spec/group").unwrap_or_default(),
    )
}

/// The key prefix of a definition's objects.
pub(crate) fn storage(definition: &Value) -> String {
    let (plural, group) = names(definition);
    format!("{plural}.{group}")
}

/// The kinds of a definition, one for each version that is served.
pub(crate) fn kinds(definition: &Value) -> Vec<Kind> {
    let (plural, group) = names(definition);
    let stored = versions(definition).find(|version| version["storage"] == true);
    let stored = stored.and_then(|version| text(version, "/name")).unwrap_or_default();
    versions(definition)
        .filter(|version| version["served"] == true)
        .filter_map(|version| kind(definition, group, plural, version, stored))
        .collect()
}

fn kind(definition: &Value, group: &str, plural: &str, version: &Value, stored: &str) -> Option<Kind> {
    let name = text(version, "/name")?;
    let kind = text(definition, "/spec/names/kind")?;
    let mut resource = Resource::new(group, name, plural, kind);
    let list = |pointer: &str| -> Vec<String> {
        let items = definition.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    resource.short_names = list("/spec/names/shortNames");
    resource.categories = list("/spec/names/categories");
    if let Some(singular) = text(definition, "/spec/names/singular") {
        resource.singular = singular.to_owned();
    }
    if let Some(list_kind) = text(definition, "/spec/names/listKind") {
        resource.list_kind = list_kind.to_owned();
    }
    if text(definition, "/spec/scope") == Some("Cluster") {
        resource.scope = Scope::Cluster;
    }
    let has_status = version.pointer("/subresources/status").is_some();
    if has_status {
        resource = resource.status();
    }
    let scale = version.pointer("/subresources/scale").map(|scale| ScalePaths {
        spec: pointer(text(scale, "/specReplicasPath").unwrap_or(".spec.replicas")),
        status: pointer(text(scale, "/statusReplicasPath").unwrap_or(".status.replicas")),
        selector: text(scale, "/labelSelectorPath").map(pointer),
    });
    if scale.is_some() {
        let verbs = [Verb::Get, Verb::Patch, Verb::Update];
        resource = resource.subresource("scale", "autoscaling", "v1", "Scale", &verbs);
    }
    let document = version.pointer("/schema/openAPIV3Schema").cloned();
    let selectable = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    let selectable = selectable
        .filter_map(|field| text(field, "/jsonPath"))
        .map(|path| (path.trim_start_matches('.').to_owned(), pointer(path)))
        .collect();
    let is_deprecated = version["deprecated"] == true;
    let warning = text(version, "/deprecationWarning").map(str::to_owned);
    let custom = Version {
        api_version: format!("{group}/{name}"),
        stored_api_version: format!("{group}/{stored}"),
        schema: document.as_ref().and_then(|document| CustomSchema::parse(document, "").ok()),
        document,
        columns: CustomColumns::parse(version.get("additionalPrinterColumns")).ok()?,
        selectable,
        scale,
        warning: is_deprecated
            .then(|| warning.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated"))),
    };
    let strategy = Strategy { counts_generation: true, ..Strategy::PLAIN };
    let mut kind = Kind::new(resource, strategy);
    kind.custom = Some(Arc::new(custom));
    Some(kind)
}

/// A simple JSON path, as `.spec.replicas`, as a JSON pointer.
fn pointer(path: &str) -> String {
    path.replace('.', "/")
}
