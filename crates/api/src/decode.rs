//! Bodies become objects: JSON, YAML or protobuf, with what a strict writer wants to know of unknown and repeated fields.

use apimachinery::decode::{self, DecodeError, Decoded, Format};
use apimachinery::protobuf::MEDIA_TYPE;
use apimachinery::schema::{Definitions, conform, prune};
use apimachinery::status::{Reason, Status};
use serde_json::Value;

use crate::body;
use crate::call::Call;
use crate::respond::Failure;

/// What becomes of unknown and repeated fields, `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validation {
    Strict,
    Warn,
    Ignore,
}

impl Validation {
    fn of(call: &Call) -> Result<Validation, Failure> {
        match call.query.get("fieldValidation") {
            Some("Strict") => Ok(Validation::Strict),
            None | Some("Warn") => Ok(Validation::Warn),
            Some("Ignore") => Ok(Validation::Ignore),
            Some(other) => {
                let message = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(Status::failure(422, Reason::Invalid, message).into())
            }
        }
    }
}

/// Whether what is sent may be protobuf, whose fields are numbers that only built-in kinds have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Known,
    None,
}

impl Numbers {
    fn of(call: &Call) -> Numbers {
        match (&call.kind.custom, call.route.subresource.as_deref()) {
            // The Scale of a custom kind is the built-in one.
            (Some(_), None | Some("status")) => Numbers::None,
            _ => Numbers::Known,
        }
    }
}

/// The object of a body, checked against the schema of what the path takes.
pub(crate) fn object(call: &Call, bytes: &[u8]) -> Result<Value, Failure> {
    let decoded = read(call, bytes, Numbers::of(call))?;
    let mut value = decoded.value;
    check(call, &mut value, &decoded.duplicates, decoded.unknown)?;
    Ok(value)
}

/// The options of a deletion, which are built in also where the object is of a custom kind.
pub(crate) fn delete_options(call: &Call, bytes: &[u8]) -> Result<Value, Failure> {
    read(call, bytes, Numbers::Known).map(|decoded| decoded.value)
}

fn read(call: &Call, bytes: &[u8], numbers: Numbers) -> Result<Decoded, Failure> {
    let format = match (body::media_type(&call.headers), numbers) {
        ("" | "application/json", _) => Format::Json,
        ("application/yaml" | "application/apply-patch+yaml", _) => Format::Yaml,
        (MEDIA_TYPE, Numbers::Known) => Format::Protobuf,
        (_, Numbers::Known) => {
            let accepted = ["application/json", "application/yaml", MEDIA_TYPE];
            return Err(Status::unsupported_media_type(&accepted).into());
        }
        (_, Numbers::None) => {
            return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]).into());
        }
    };
    let decoded = decode::decode(bytes, format).map_err(|error| match error {
        DecodeError::TooLarge => Status::request_entity_too_large(error),
        other => Status::bad_request(other.to_string()),
    })?;
    if !decoded.value.is_object() {
        return Err(Status::bad_request("the body of the request is no object").into());
    }
    Ok(decoded)
}

/// Makes an object one of its kind: unknown fields go, and are told as the client wants it.
pub(crate) fn check(
    call: &Call,
    object: &mut Value,
    duplicates: &[String],
    unknown: Vec<String>,
) -> Result<(), Failure> {
    let validation = Validation::of(call)?;
    let (api_version, kind) = call.sent_kind();
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let definitions = Definitions::builtin();
    let of_schema = match (&call.kind.custom, definitions.get(&call.sent_definition())) {
        (Some(custom), _) => match custom.schema() {
            Some(schema) => prune(object, schema, definitions),
            None => Vec::new(),
        },
        (None, Some(schema)) => {
            conform(object, schema, definitions)
                .map_err(|error| {
                    Status::bad_request(decode::cannot_be_handled(&kind, version, &error.to_string()))
                })?
                .unknown
        }
        (None, None) => Vec::new(),
    };
    let unknown: Vec<String> = unknown.into_iter().chain(of_schema).collect();
    let problems = decode::strict_problems(duplicates, &unknown);
    match validation {
        Validation::Strict => match decode::strict_error(&kind, version, &problems) {
            Some(message) => Err(Status::bad_request(message).into()),
            None => Ok(()),
        },
        Validation::Warn => {
            problems.into_iter().for_each(|problem| call.warnings.add(problem));
            Ok(())
        }
        Validation::Ignore => Ok(()),
    }
}
