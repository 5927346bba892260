//! `/openapi/v3`: an index, and a document per group and version.

use serde_json::{Map, Value, json};

use super::operations::{Body, Operation, PATCH, PATCHES, Parameter, paths};
use super::{Served, schemas, version_path};
use crate::schema::REFERENCE;

/// The index: each document's path with a hash, so that clients keep what has not changed. `version` is the server's own:
/// documents may change with it.
pub fn index(served: &[Served<'_>], version: &str) -> Value {
    let mut paths = Map::new();
    for one in served {
        let path = version_path(&one.resource.group, &one.resource.version);
        if paths.contains_key(&path) {
            continue;
        }
        let mut hash = Hash::new();
        hash.add(version);
        for other in of_version(served, &one.resource.group, &one.resource.version) {
            hash.add(&format!("{:?}", other.resource));
            hash.add(&other.schema.map(Value::to_string).unwrap_or_default());
        }
        let url = format!("/openapi/v3/{path}?hash={:016X}", hash.0);
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    paths.sort_keys();
    json!({"paths": paths})
}

/// FNV-1a: the same text gives the same name on every machine.
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn of_version<'s, 'a>(
    served: &'s [Served<'a>],
    group: &'s str,
    version: &'s str,
) -> impl Iterator<Item = &'s Served<'a>> {
    served.iter().filter(move |one| one.resource.group == group && one.resource.version == version)
}

/// The document of a group and version, or `None` when nothing of it is served.
pub fn document(served: &[Served<'_>], group: &str, version: &str, server_version: &str) -> Option<Value> {
    let served: Vec<Served<'_>> = of_version(served, group, version).copied().collect();
    if served.is_empty() {
        return None;
    }
    let mut all_paths = Map::new();
    for path in served.iter().flat_map(|one| paths(one.resource)) {
        let mut entry = Map::new();
        for operation in &path.operations {
            entry.insert(operation.method.to_owned(), written(operation));
        }
        let parameters: Vec<Value> = path.parameters.iter().map(parameter).collect();
        entry.insert("parameters".to_owned(), Value::Array(parameters));
        all_paths.insert(path.path, Value::Object(entry));
    }
    all_paths.sort_keys();
    let mut components = Map::new();
    for (name, mut schema) in schemas::collect(&served) {
        schemas::each(&mut schema, &as_v3);
        if name == "io.k8s.apimachinery.pkg.api.resource.Quantity"
            && let Some(quantity) = schema.as_object_mut()
        {
            quantity.shift_remove("type");
            quantity.insert("oneOf".to_owned(), json!([{"type": "string"}, {"type": "number"}]));
        }
        components.insert(name, schema);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": all_paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
            }},
        },
    }))
}

/// Nothing may stand beside a reference in OpenAPI v3.0, and a value of two types is one of two schemas.
fn as_v3(schema: &mut Map<String, Value>) {
    if schema.len() > 1
        && let Some(reference) = schema.shift_remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{"$ref": reference}]));
        schema.sort_keys();
    }
    if schema.get("format").and_then(Value::as_str) == Some("int-or-string") {
        schema.shift_remove("type");
        schema.insert("oneOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let mut written = json!({
        "description": parameter.description,
        "in": parameter.place,
        "name": parameter.name,
        "schema": {"type": parameter.kind, "uniqueItems": true},
    });
    if parameter.place == "path" {
        written["required"] = json!(true);
    }
    written
}

fn reference(name: &str) -> Value {
    json!({"schema": {"$ref": format!("{REFERENCE}{name}")}})
}

fn written(operation: &Operation) -> Value {
    let mut content = Map::new();
    match &operation.answer {
        Some(answer) => {
            for kind in ["application/json", "application/yaml"] {
                content.insert(kind.to_owned(), reference(answer));
            }
            if operation.action == "list" {
                content.insert("application/json;stream=watch".to_owned(), reference(answer));
            }
        }
        None => drop(content.insert("*/*".to_owned(), json!({"schema": {"type": "string"}}))),
    }
    let mut responses = Map::new();
    for code in operation.codes {
        let description = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        responses.insert((*code).to_owned(), json!({"content": content, "description": description}));
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let mut written = json!({
        "description": operation.description,
        "operationId": operation.id,
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
        "tags": [operation.tag],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.kind.extension(),
    });
    let body = match &operation.body {
        Body::Nothing => return written,
        Body::Object(definition) => json!({"content": {"*/*": reference(definition)}, "required": true}),
        Body::Options => json!({"content": {"*/*": reference(super::operations::DELETE_OPTIONS)}}),
        Body::Patch => {
            let content: Map<String, Value> =
                PATCHES.iter().map(|kind| ((*kind).to_owned(), reference(PATCH))).collect();
            json!({"content": content, "required": true})
        }
    };
    written["requestBody"] = body;
    written
}
