//! `/openapi/v2`: everything in one document, as kubectl up to 1.26 asks for it.

use serde_json::{Map, Value, json};

use super::operations::{Body, DELETE_OPTIONS, Operation, PATCH, PATCHES, Parameter, paths};
use super::{Served, schemas};
use crate::schema::REFERENCE;

/// The document.
pub fn document(served: &[Served<'_>], server_version: &str) -> Value {
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
    let mut definitions = Map::new();
    for (name, mut schema) in schemas::collect(served) {
        schemas::each(&mut schema, &as_v2);
        definitions.insert(name, schema);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": all_paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// What OpenAPI v2 does not have is left out, so that it is neither misread nor enforced (as Kubernetes does for custom
/// kinds, `ToStructuralOpenAPIV2`).
fn as_v2(schema: &mut Map<String, Value>) {
    for key in ["allOf", "anyOf", "not", "oneOf", "x-kubernetes-validations"] {
        schema.shift_remove(key);
    }
    if schema.shift_remove("nullable") == Some(json!(true)) {
        for key in ["type", "items", "properties", "additionalProperties"] {
            schema.shift_remove(key);
        }
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true)) {
        // Clients would refuse the fields that are not listed.
        for key in ["properties", "additionalProperties", "items"] {
            schema.shift_remove(key);
        }
    }
    if let Some(Value::String(reference)) = schema.get_mut("$ref") {
        *reference = reference.replace(REFERENCE, "#/definitions/");
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let mut written = json!({
        "description": parameter.description,
        "in": parameter.place,
        "name": parameter.name,
        "type": parameter.kind,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        written["required"] = json!(true);
    }
    written
}

fn written(operation: &Operation) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let mut parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    let body = match &operation.body {
        Body::Nothing => None,
        Body::Object(definition) => Some((definition.as_str(), true)),
        Body::Options => Some((DELETE_OPTIONS, false)),
        Body::Patch => Some((PATCH, true)),
    };
    if let Some((definition, is_required)) = body {
        let mut body = json!({"in": "body", "name": "body", "schema": reference(definition)});
        if is_required {
            body["required"] = json!(true);
        }
        parameters.insert(0, body);
    }
    let mut responses = Map::new();
    for code in operation.codes {
        let schema = operation.answer.as_deref().map_or_else(|| json!({"type": "string"}), reference);
        let description = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        responses.insert((*code).to_owned(), json!({"description": description, "schema": schema}));
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let consumes: Vec<&str> = match operation.body {
        Body::Patch => PATCHES.to_vec(),
        _ => vec!["*/*"],
    };
    let produces: &[&str] = match (&operation.answer, operation.action) {
        (None, _) => &["*/*"],
        (_, "list") => &["application/json", "application/yaml", "application/json;stream=watch"],
        _ => &["application/json", "application/yaml"],
    };
    json!({
        "consumes": consumes,
        "description": operation.description,
        "operationId": operation.id,
        "parameters": parameters,
        "produces": produces,
        "responses": responses,
        "schemes": ["https"],
        "tags": [operation.tag],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.kind.extension(),
    })
}
