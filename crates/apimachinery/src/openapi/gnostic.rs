//! The document of OpenAPI v2 as protobuf: the messages of gnostic's `openapiv2/OpenAPIv2.proto`, as far as they are used.
//!
//! The numbers are the file's. What JSON calls extensions and values of any type is text there: YAML, which JSON is.
//! Messages are made from the JSON document, so that both forms cannot differ.

use prost::{Message, Oneof};
use serde_json::{Map, Value};

/// The bytes of a document that [`super::v2_document`] has made.
pub fn to_protobuf(document: &Value) -> Vec<u8> {
    Document {
        swagger: text(document, "swagger"),
        info: document
            .get("info")
            .map(|info| Info { title: text(info, "title"), version: text(info, "version") }),
        paths: Some(Paths {
            path: members(document, "paths", path_item, |name, value| NamedPathItem { name, value }),
        }),
        definitions: Some(Properties {
            additional_properties: members(document, "definitions", schema, |name, value| NamedSchema {
                name,
                value,
            }),
        }),
    }
    .encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    /// `Definitions`, which has the same form as `Properties`.
    #[prost(message, optional, tag = "9")]
    definitions: Option<Properties>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    put: Option<Operation>,
    #[prost(message, optional, tag = "4")]
    post: Option<Operation>,
    #[prost(message, optional, tag = "5")]
    delete: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
    #[prost(message, repeated, tag = "9")]
    parameters: Vec<ParametersItem>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, repeated, tag = "1")]
    tags: Vec<String>,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "5")]
    operation_id: String,
    #[prost(string, repeated, tag = "6")]
    produces: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    consumes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, optional, tag = "9")]
    responses: Option<Responses>,
    #[prost(string, repeated, tag = "10")]
    schemes: Vec<String>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(oneof = "ParameterKind", tags = "1, 2")]
    kind: Option<ParameterKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ParameterKind {
    #[prost(message, tag = "1")]
    Body(Box<BodyParameter>),
    #[prost(message, tag = "2")]
    Other(NonBodyParameter),
}

#[derive(Clone, PartialEq, Message)]
struct BodyParameter {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    place: String,
    #[prost(bool, tag = "4")]
    required: bool,
    #[prost(message, optional, tag = "5")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NonBodyParameter {
    #[prost(oneof = "NonBodyKind", tags = "3, 4")]
    kind: Option<NonBodyKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum NonBodyKind {
    #[prost(message, tag = "3")]
    Query(QueryParameter),
    #[prost(message, tag = "4")]
    Path(PathParameter),
}

/// `QueryParameterSubSchema`.
#[derive(Clone, PartialEq, Message)]
struct QueryParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
    #[prost(bool, tag = "20")]
    unique_items: bool,
}

/// `PathParameterSubSchema`.
#[derive(Clone, PartialEq, Message)]
struct PathParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    kind: String,
    #[prost(bool, tag = "19")]
    unique_items: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    response_code: Vec<NamedResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedResponse {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseValue {
    #[prost(message, optional, tag = "1")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<SchemaItem>,
}

#[derive(Clone, PartialEq, Message)]
struct SchemaItem {
    #[prost(message, optional, tag = "1")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Properties {
    #[prost(message, repeated, tag = "1")]
    additional_properties: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "3")]
    title: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(message, optional, tag = "5")]
    default: Option<Any>,
    #[prost(double, tag = "6")]
    multiple_of: f64,
    #[prost(double, tag = "7")]
    maximum: f64,
    #[prost(bool, tag = "8")]
    exclusive_maximum: bool,
    #[prost(double, tag = "9")]
    minimum: f64,
    #[prost(bool, tag = "10")]
    exclusive_minimum: bool,
    #[prost(int64, tag = "11")]
    max_length: i64,
    #[prost(int64, tag = "12")]
    min_length: i64,
    #[prost(string, tag = "13")]
    pattern: String,
    #[prost(int64, tag = "14")]
    max_items: i64,
    #[prost(int64, tag = "15")]
    min_items: i64,
    #[prost(bool, tag = "16")]
    unique_items: bool,
    #[prost(int64, tag = "17")]
    max_properties: i64,
    #[prost(int64, tag = "18")]
    min_properties: i64,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    values: Vec<Any>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<AdditionalProperties>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<TypeItem>,
    #[prost(message, optional, tag = "23")]
    items: Option<ItemsItem>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Properties>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct AdditionalProperties {
    #[prost(oneof = "AdditionalKind", tags = "1, 2")]
    kind: Option<AdditionalKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum AdditionalKind {
    #[prost(message, tag = "1")]
    Schema(Box<Schema>),
    #[prost(bool, tag = "2")]
    Boolean(bool),
}

#[derive(Clone, PartialEq, Message)]
struct TypeItem {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ItemsItem {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

/// A value as YAML.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or_default()
}

fn count(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// Members of a mapping as named messages.
fn members<V, N>(
    value: &Value,
    key: &str,
    read: impl Fn(&Value) -> V,
    named: impl Fn(String, Option<V>) -> N,
) -> Vec<N> {
    let members = value.get(key).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, value)| named(name.clone(), Some(read(value)))).collect()
}

fn any(value: &Value) -> Any {
    Any { yaml: format!("{value}\n") }
}

fn extensions(members: &Map<String, Value>) -> Vec<NamedAny> {
    let own = members.iter().filter(|(name, _)| name.starts_with("x-"));
    own.map(|(name, value)| NamedAny { name: name.clone(), value: Some(any(value)) }).collect()
}

fn path_item(value: &Value) -> PathItem {
    let operation = |method: &str| value.get(method).map(operation);
    PathItem {
        get: operation("get"),
        put: operation("put"),
        post: operation("post"),
        delete: operation("delete"),
        patch: operation("patch"),
        parameters: parameters(value),
    }
}

fn operation(value: &Value) -> Operation {
    Operation {
        tags: texts(value, "tags"),
        description: text(value, "description"),
        operation_id: text(value, "operationId"),
        produces: texts(value, "produces"),
        consumes: texts(value, "consumes"),
        parameters: parameters(value),
        responses: Some(Responses {
            response_code: members(value, "responses", response, |name, value| NamedResponse { name, value }),
        }),
        schemes: texts(value, "schemes"),
        vendor_extension: value.as_object().map(extensions).unwrap_or_default(),
    }
}

fn parameters(value: &Value) -> Vec<ParametersItem> {
    let items = value.get("parameters").and_then(Value::as_array).into_iter().flatten();
    items.map(|item| ParametersItem { parameter: Some(parameter(item)) }).collect()
}

fn parameter(value: &Value) -> Parameter {
    let (name, place) = (text(value, "name"), text(value, "in"));
    let (required, description) = (is_true(value, "required"), text(value, "description"));
    let (kind, unique_items) = (text(value, "type"), is_true(value, "uniqueItems"));
    let kind = match place.as_str() {
        "body" => {
            let schema = value.get("schema").map(schema);
            ParameterKind::Body(Box::new(BodyParameter { name, place, required, schema }))
        }
        "path" => {
            let path = PathParameter { required, place, description, name, kind, unique_items };
            ParameterKind::Other(NonBodyParameter { kind: Some(NonBodyKind::Path(path)) })
        }
        _ => {
            let query = QueryParameter { required, place, description, name, kind, unique_items };
            ParameterKind::Other(NonBodyParameter { kind: Some(NonBodyKind::Query(query)) })
        }
    };
    Parameter { kind: Some(kind) }
}

fn response(value: &Value) -> ResponseValue {
    let schema = value.get("schema").map(|inner| SchemaItem { schema: Some(schema(inner)) });
    ResponseValue { response: Some(Response { description: text(value, "description"), schema }) }
}

fn schema(value: &Value) -> Schema {
    let additional = value.get("additionalProperties").map(|inner| match inner {
        Value::Bool(allowed) => AdditionalKind::Boolean(*allowed),
        inner => AdditionalKind::Schema(Box::new(schema(inner))),
    });
    let kind = value.get("type").and_then(Value::as_str).map(str::to_owned);
    Schema {
        reference: text(value, "$ref"),
        format: text(value, "format"),
        title: text(value, "title"),
        description: text(value, "description"),
        default: value.get("default").map(any),
        multiple_of: number(value, "multipleOf"),
        maximum: number(value, "maximum"),
        exclusive_maximum: is_true(value, "exclusiveMaximum"),
        minimum: number(value, "minimum"),
        exclusive_minimum: is_true(value, "exclusiveMinimum"),
        max_length: count(value, "maxLength"),
        min_length: count(value, "minLength"),
        pattern: text(value, "pattern"),
        max_items: count(value, "maxItems"),
        min_items: count(value, "minItems"),
        unique_items: is_true(value, "uniqueItems"),
        max_properties: count(value, "maxProperties"),
        min_properties: count(value, "minProperties"),
        required: texts(value, "required"),
        values: value.get("enum").and_then(Value::as_array).into_iter().flatten().map(any).collect(),
        additional_properties: additional.map(|kind| Box::new(AdditionalProperties { kind: Some(kind) })),
        kind: kind.map(|kind| TypeItem { value: vec![kind] }),
        items: value.get("items").map(|inner| ItemsItem { schema: vec![schema(inner)] }),
        properties: value.get("properties").is_some().then(|| Properties {
            additional_properties: members(value, "properties", schema, |name, value| NamedSchema {
                name,
                value,
            }),
        }),
        vendor_extension: value.as_object().map(extensions).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_bytes_are_those_of_the_proto_file() {
        let document = json!({"swagger": "2.0", "info": {"title": "K", "version": "v"}, "paths": {}, "definitions": {
            "A": {"type": "object", "description": "d", "x-a": ["b"], "properties": {"p": {"$ref": "#/definitions/A"}}},
        }});
        let bytes = to_protobuf(&document);
        // swagger = 1, info = 2 {1, 2}, paths = 8, definitions = 9.
        assert_eq!(&bytes[..13], b"\x0a\x032.0\x12\x06\x0a\x01K\x12\x01v");
        let read = Document::decode(bytes.as_slice()).unwrap();
        let schema = read.definitions.unwrap().additional_properties[0].value.clone().unwrap();
        assert_eq!(schema.kind.unwrap().value, ["object"]);
        assert_eq!(schema.vendor_extension[0].value.as_ref().unwrap().yaml, "[\"b\"]\n");
        let property = &schema.properties.unwrap().additional_properties[0];
        assert_eq!(
            (property.name.as_str(), property.value.as_ref().unwrap().reference.as_str()),
            ("p", "#/definitions/A")
        );
    }
}
