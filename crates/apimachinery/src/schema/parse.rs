//! A schema as OpenAPI writes it becomes a [`Schema`]: built-in definitions and CustomResourceDefinitions alike.
//!
//! Nothing is refused here. What a CustomResourceDefinition must not say is found before, by `structural`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Condition, Field, Kind, ListType, Object, PatchStrategy, REFERENCE, Rule, Schema};

/// Whose schema it is: they differ in what an object without fields means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Kubernetes' own: anything may stand in it (RawExtension, FieldsV1, JSON).
    BuiltIn,
    /// A CustomResourceDefinition's: nothing may, unless it says so.
    Custom,
}

/// A definition of Kubernetes.
pub(super) fn built_in(name: &str, document: &Value) -> Schema {
    match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Schema::new(Kind::Quantity),
        _ => schema(document, Origin::BuiltIn),
    }
}

/// A structural schema.
pub(super) fn custom(document: &Value) -> Schema {
    schema(document, Origin::Custom)
}

fn schema(document: &Value, origin: Origin) -> Schema {
    Schema {
        kind: kind(document, origin),
        nullable: is_true(document, "nullable"),
        default: document.get("default").cloned(),
        rules: rules(document),
    }
}

fn kind(document: &Value, origin: Origin) -> Kind {
    let format = || document.get("format").and_then(Value::as_str).map(str::to_owned);
    if let Some(reference) = document.get("$ref").and_then(Value::as_str) {
        return Kind::Reference(reference.strip_prefix(REFERENCE).unwrap_or(reference).to_owned());
    }
    if is_true(document, "x-kubernetes-int-or-string") {
        return Kind::IntOrString;
    }
    match document.get("type").and_then(Value::as_str) {
        Some("string") => Kind::Text { format: format() },
        Some("integer") => Kind::Integer { format: format() },
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        Some("array") => Kind::List {
            items: Arc::new(
                document.get("items").map_or(Schema::new(Kind::Any), |items| schema(items, origin)),
            ),
            list_type: list_type(document),
            patch: patch_strategy(document),
        },
        Some("object") => mapping(document, origin),
        _ if document.get("properties").is_some() => mapping(document, origin),
        _ => Kind::Any,
    }
}

fn mapping(document: &Value, origin: Origin) -> Kind {
    let is_atomic = document.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    let is_embedded_resource = is_true(document, "x-kubernetes-embedded-resource");
    let keeps_unknown = is_true(document, "x-kubernetes-preserve-unknown-fields");
    let properties = document.get("properties").and_then(Value::as_object);
    match (properties, document.get("additionalProperties")) {
        (None, Some(values @ Value::Object(_))) => {
            Kind::Map { values: Arc::new(schema(values, origin)), is_atomic }
        }
        (None, Some(Value::Bool(true))) => Kind::Map { values: Arc::new(Schema::new(Kind::Any)), is_atomic },
        (None, _) if !is_embedded_resource && (keeps_unknown || origin == Origin::BuiltIn) => Kind::Any,
        _ => {
            let required: Vec<&str> = texts(document, "required");
            let mut fields: BTreeMap<String, Field> = properties
                .into_iter()
                .flatten()
                .map(|(name, document)| {
                    (name.clone(), field(document, required.contains(&name.as_str()), origin))
                })
                .collect();
            if is_embedded_resource {
                embed(&mut fields);
            }
            Kind::Object(Object { fields, keeps_unknown, is_atomic, is_embedded_resource })
        }
    }
}

fn field(document: &Value, is_required: bool, origin: Origin) -> Field {
    let strategy = document.get("x-kubernetes-patch-strategy").and_then(Value::as_str);
    Field {
        schema: Arc::new(schema(document, origin)),
        is_required,
        retains_keys: strategy.is_some_and(|strategy| strategy.contains("retainKeys")),
        is_replaced: strategy == Some("replace"),
    }
}

/// What every object has, and an embedded resource need not declare.
fn embed(fields: &mut BTreeMap<String, Field>) {
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    for (name, kind, is_required) in [
        ("apiVersion", Kind::Text { format: None }, true),
        ("kind", Kind::Text { format: None }, true),
        ("metadata", Kind::Reference(meta.to_owned()), false),
    ] {
        let schema = Arc::new(Schema::new(kind));
        let field = Field { schema, is_required, retains_keys: false, is_replaced: false };
        fields.insert(name.to_owned(), field);
    }
}

/// What a schema says of an object's metadata, whose shape is given: rules for `name` and `generateName`.
fn metadata_rule(document: &Value) -> Option<Rule> {
    let metadata = document.get("properties")?.get("metadata")?;
    let fields = [("metadata".to_owned(), condition(metadata))].into();
    Some(Rule::AllOf(vec![Condition { fields, ..Condition::default() }]))
}

/// The root of a custom kind: what every object has.
pub(super) fn root(schema: &mut Schema, document: &Value) {
    schema.rules.extend(metadata_rule(document));
    if let Kind::Any = schema.kind {
        schema.kind = Kind::Object(Object { keeps_unknown: true, ..Object::default() });
    }
    if let Kind::Object(object) = &mut schema.kind {
        embed(&mut object.fields);
    }
}

fn list_type(document: &Value) -> ListType {
    match document.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map {
            keys: texts(document, "x-kubernetes-list-map-keys").into_iter().map(str::to_owned).collect(),
        },
        _ => ListType::Atomic,
    }
}

fn patch_strategy(document: &Value) -> PatchStrategy {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    match text("x-kubernetes-patch-strategy") {
        Some(strategy) if strategy.split(',').any(|one| one == "merge") => PatchStrategy::Merge {
            key: text("x-kubernetes-patch-merge-key").map(str::to_owned),
            retains_keys: strategy.contains("retainKeys"),
        },
        _ => PatchStrategy::Replace,
    }
}

fn rules(document: &Value) -> Vec<Rule> {
    let number = |key: &str| document.get(key).and_then(Value::as_f64);
    let count = |key: &str| document.get(key).and_then(Value::as_u64);
    let conditions = |key: &str| {
        document.get(key).and_then(Value::as_array).map(|all| all.iter().map(condition).collect::<Vec<_>>())
    };
    let pair = |least: &str, most: &str| match (count(least), count(most)) {
        (None, None) => None,
        (least, most) => Some((least, most)),
    };
    let mut rules = Vec::new();
    if let Some(values) = document.get("enum").and_then(Value::as_array) {
        rules.push(Rule::OneOf(values.clone()));
    }
    if let Some(pattern) = document.get("pattern").and_then(Value::as_str) {
        rules.push(Rule::Pattern(pattern.to_owned()));
    }
    rules.extend(number("minimum").map(|least| Rule::Minimum(least, is_true(document, "exclusiveMinimum"))));
    rules.extend(number("maximum").map(|most| Rule::Maximum(most, is_true(document, "exclusiveMaximum"))));
    rules.extend(number("multipleOf").map(Rule::MultipleOf));
    rules.extend(pair("minLength", "maxLength").map(|(least, most)| Rule::Length(least, most)));
    rules.extend(pair("minItems", "maxItems").map(|(least, most)| Rule::Items(least, most)));
    rules.extend(pair("minProperties", "maxProperties").map(|(least, most)| Rule::Properties(least, most)));
    if is_true(document, "uniqueItems") {
        rules.push(Rule::Unique);
    }
    if is_true(document, "x-kubernetes-embedded-resource") {
        rules.extend(metadata_rule(document));
    }
    rules.extend(conditions("allOf").map(Rule::AllOf));
    rules.extend(conditions("anyOf").map(Rule::AnyOf));
    rules.extend(conditions("oneOf").map(Rule::OnlyOneOf));
    rules.extend(document.get("not").map(|not| Rule::Not(Box::new(condition(not)))));
    rules
}

fn condition(document: &Value) -> Condition {
    let fields = document.get("properties").and_then(Value::as_object).into_iter().flatten();
    let boxed = |key: &str| {
        document.get(key).filter(|inner| inner.is_object()).map(|inner| Box::new(condition(inner)))
    };
    Condition {
        types: document.get("type").and_then(Value::as_str).map(str::to_owned),
        rules: rules(document),
        required: texts(document, "required").into_iter().map(str::to_owned).collect(),
        fields: fields.map(|(name, inner)| (name.clone(), condition(inner))).collect(),
        items: boxed("items"),
        values: boxed("additionalProperties"),
    }
}

fn texts<'a>(document: &'a Value, key: &str) -> Vec<&'a str> {
    document.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_true(document: &Value, key: &str) -> bool {
    document.get(key).and_then(Value::as_bool) == Some(true)
}
