//! The schemas of a document: those of its resources, of their lists, and all that these refer to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Served;
use super::operations::{DELETE_OPTIONS, PATCH, STATUS, list_definition};
use crate::resource::GroupVersionKind;
use crate::schema::{Definitions, REFERENCE};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// All schemas by name, with references as in the checked-in file.
pub(super) fn collect(served: &[Served<'_>]) -> BTreeMap<String, Value> {
    let definitions = Definitions::builtin();
    let mut schemas = BTreeMap::new();
    let mut wanted: BTreeSet<String> =
        [DELETE_OPTIONS, STATUS, LIST_META].into_iter().map(str::to_owned).collect();
    schemas.insert(PATCH.to_owned(), json!({
        "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        "type": "object",
    }));
    for one in served {
        let resource = one.resource;
        match one.schema {
            Some(schema) => {
                let schema = custom(schema, &resource.group_version_kind());
                references(&schema, &mut wanted);
                schemas.insert(resource.definition.clone(), schema);
            }
            None => {
                wanted.insert(resource.definition.clone());
            }
        }
        wanted.extend(resource.subresources.iter().map(|subresource| subresource.definition.clone()));
        schemas.insert(list_definition(resource), list(one));
    }
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        // Options of connections have no definition: they are query parameters.
        let Some(mut schema) = definitions.document(&name) else { continue };
        scalar(&name, &mut schema);
        references(&schema, &mut wanted);
        schemas.insert(name, schema);
    }
    schemas
}

/// The scalars that are written in more than one way.
fn scalar(name: &str, schema: &mut Value) {
    let format = match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => None,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Some("int-or-string"),
        _ => return,
    };
    if let Some(members) = schema.as_object_mut() {
        members.remove("x-kubernetes-int-or-string");
        members.insert("type".to_owned(), json!("string"));
        members.extend(format.map(|format| ("format".to_owned(), json!(format))));
    }
}

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            let reference = members.get("$ref").and_then(Value::as_str);
            found.extend(reference.and_then(|text| text.strip_prefix(REFERENCE)).map(str::to_owned));
            members.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

/// A custom kind with what every object has.
fn custom(schema: &Value, kind: &GroupVersionKind) -> Value {
    let mut schema = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
    if schema.get("properties").is_none() {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
    schema["properties"]["kind"] = json!({"description": KIND, "type": "string"});
    schema["properties"]["metadata"] =
        json!({"$ref": format!("{REFERENCE}{OBJECT_META}"), "description": METADATA});
    schema["type"] = json!("object");
    schema["x-kubernetes-group-version-kind"] = json!([kind.extension()]);
    schema
}

fn list(served: &Served<'_>) -> Value {
    let resource = served.resource;
    let list_kind = &resource.list_kind;
    let kind = GroupVersionKind::new(&resource.group, &resource.version, list_kind);
    json!({
        "description": format!("{list_kind} is a list of {}", resource.kind),
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {
                "description": format!("List of {}.", resource.plural),
                "items": {"$ref": format!("{REFERENCE}{}", resource.definition)},
                "type": "array",
            },
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"$ref": format!("{REFERENCE}{LIST_META}"), "description": "Standard list metadata."},
        },
        "required": ["items"],
        "type": "object",
        "x-kubernetes-group-version-kind": [kind.extension()],
    })
}

/// Calls `change` for each schema within one, from the inside out. Names of properties are no schemas.
pub(super) fn each(schema: &mut Value, change: &dyn Fn(&mut Map<String, Value>)) {
    let Value::Object(members) = schema else { return };
    for (key, inner) in members.iter_mut() {
        match (key.as_str(), inner) {
            ("properties" | "patternProperties" | "definitions", Value::Object(fields)) => {
                fields.values_mut().for_each(|field| each(field, change));
            }
            ("items" | "additionalProperties" | "not", inner) => each(inner, change),
            ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => {
                items.iter_mut().for_each(|item| each(item, change));
            }
            _ => {}
        }
    }
    change(members);
}
