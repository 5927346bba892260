//! Bodies become objects: JSON or YAML, with what a strict writer wants to know of unknown and repeated fields.

use apimachinery::decode::{self, DecodeError, Format};
use apimachinery::protobuf::ProtobufError;
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

/// The object of a body, checked against the schema of what the path takes.
pub(crate) fn object(call: &Call, bytes: &[u8]) -> Result<Value, Failure> {
    let (mut value, duplicates) = read(call, bytes, &call.sent_definition())?;
    check(call, &mut value, &duplicates)?;
    Ok(value)
}

/// The options of a deletion.
pub(crate) fn delete_options(call: &Call, bytes: &[u8]) -> Result<Value, Failure> {
    read(call, bytes, "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions").map(|(value, _)| value)
}

/// What clients made with Go send for built-in kinds.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Reads protobuf. Fields that are not known are told as repeated ones are, since their names are not known either.
fn protobuf(definition: &str, bytes: &[u8]) -> Result<(Value, Vec<String>), Failure> {
    match apimachinery::protobuf::read(bytes, definition, Definitions::builtin()) {
        Ok(read) => Ok((read.value, read.unknown)),
        Err(error @ ProtobufError::NoNumbers { .. }) => {
            tracing::debug!(%error, "protobuf that cannot be read");
            Err(Status::unsupported_media_type(&["application/json", "application/yaml"]).into())
        }
        Err(error) => Err(Status::bad_request(error.to_string()).into()),
    }
}

fn read(call: &Call, bytes: &[u8], definition: &str) -> Result<(Value, Vec<String>), Failure> {
    let format = match body::media_type(&call.headers) {
        "" | "application/json" => Format::Json,
        "application/yaml" | "application/apply-patch+yaml" => Format::Yaml,
        // A custom kind has no protobuf form.
        PROTOBUF if call.kind.custom.is_none() => return protobuf(definition, bytes),
        _ => return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]).into()),
    };
    let decoded = decode::decode(bytes, format).map_err(|error| match error {
        DecodeError::TooLarge => Status::request_entity_too_large(error),
        other => Status::bad_request(other.to_string()),
    })?;
    if !decoded.value.is_object() {
        return Err(Status::bad_request("the body of the request is no object").into());
    }
    Ok((decoded.value, decoded.duplicates))
}

/// Makes an object one of its kind: unknown fields go, and are told as the client wants it.
pub(crate) fn check(call: &Call, object: &mut Value, duplicates: &[String]) -> Result<(), Failure> {
    let validation = Validation::of(call)?;
    let (api_version, kind) = call.sent_kind();
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let definitions = Definitions::builtin();
    let unknown = match (&call.kind.custom, definitions.get(&call.sent_definition())) {
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
