//! A small kind with a field of every sort: all ways of merging a list, atomic and walked mappings, defaults of keys.

use std::sync::Arc;

use serde_json::json;

use crate::schema::{Definitions, Field, Kind, ListType, Object, PatchStrategy, Schema};

fn schema(kind: Kind) -> Schema {
    Schema { kind, nullable: false, default: None, rules: Vec::new() }
}

fn text() -> Schema {
    schema(Kind::Text { format: None })
}

fn integer() -> Schema {
    schema(Kind::Integer { format: None })
}

fn map(values: Schema, is_atomic: bool) -> Schema {
    schema(Kind::Map { values: Arc::new(values), is_atomic })
}

fn object<const N: usize>(fields: [(&str, Schema); N]) -> Schema {
    let field = |(name, schema): (&str, Schema)| {
        let (retains_keys, is_replaced) = (name == "strategy", name == "replaced");
        (name.to_owned(), Field { schema: Arc::new(schema), is_required: false, retains_keys, is_replaced })
    };
    schema(Kind::Object(Object { fields: fields.into_iter().map(field).collect(), ..Object::default() }))
}

fn list(items: Schema, list_type: ListType, patch: PatchStrategy) -> Schema {
    schema(Kind::List { items: Arc::new(items), list_type, patch })
}

fn atomic(items: Schema) -> Schema {
    list(items, ListType::Atomic, PatchStrategy::Replace)
}

fn keyed(keys: &[&str], merge_key: &str, retains_keys: bool, items: Schema) -> Schema {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let patch = PatchStrategy::Merge { key: Some(merge_key.to_owned()), retains_keys };
    list(items, ListType::Map { keys }, patch)
}

fn container() -> Schema {
    let mut protocol = text();
    protocol.default = Some(json!("TCP"));
    object([
        ("name", text()),
        ("image", text()),
        ("command", atomic(text())),
        ("env", keyed(&["name"], "name", false, object([("name", text()), ("value", text())]))),
        (
            "ports",
            keyed(
                &["containerPort", "protocol"],
                "containerPort",
                false,
                object([("name", text()), ("containerPort", integer()), ("protocol", protocol)]),
            ),
        ),
        ("resources", object([("limits", map(schema(Kind::Quantity), false))])),
    ])
}

fn spec() -> Schema {
    object([
        ("replicas", integer()),
        ("paused", schema(Kind::Boolean)),
        ("containers", keyed(&["name"], "name", false, schema(Kind::Reference("Container".to_owned())))),
        (
            "volumes",
            keyed(
                &["name"],
                "name",
                true,
                object([
                    ("name", text()),
                    ("emptyDir", object([("medium", text())])),
                    ("hostPath", object([("path", text())])),
                ]),
            ),
        ),
        ("nodeSelector", map(text(), true)),
        (
            "strategy",
            object([("type", text()), ("rollingUpdate", object([("maxSurge", schema(Kind::IntOrString))]))]),
        ),
        ("tolerations", atomic(object([("key", text()), ("operator", text())]))),
        ("replaced", object([("a", text()), ("b", text())])),
        ("anything", schema(Kind::Any)),
    ])
}

/// Its schema, and the definitions that the schema names.
pub fn pod_like() -> (Schema, Definitions) {
    let metadata = object([
        ("name", text()),
        ("namespace", text()),
        ("uid", text()),
        ("resourceVersion", text()),
        ("generation", integer()),
        ("creationTimestamp", text()),
        ("labels", map(text(), false)),
        ("annotations", map(text(), false)),
        ("finalizers", list(text(), ListType::Set, PatchStrategy::Merge { key: None, retains_keys: false })),
        ("managedFields", atomic(schema(Kind::Any))),
    ]);
    let condition = object([("type", text()), ("status", text())]);
    let status = object([("phase", text()), ("conditions", keyed(&["type"], "type", false, condition))]);
    let mut definitions = Definitions::default();
    definitions.insert("Container", Arc::new(container()));
    let whole = object([
        ("apiVersion", text()),
        ("kind", text()),
        ("metadata", metadata),
        ("spec", spec()),
        ("status", status),
    ]);
    (whole, definitions)
}
