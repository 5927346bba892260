//! Bodies of `application/vnd.kubernetes.protobuf` become the values that JSON would have been.
//!
//! kubectl and other programs in Go write built-in kinds in this format and do not fall back to JSON, so bodies are
//! read; answers are JSON, which all of them take too. Nothing is generated from `.proto` files: the schemas say what a
//! field holds, and `numbers` which number it has.
//!
//! - `wire` splits a message into its fields.
//! - `special` reads the messages that JSON writes as something else, such as a Time.
//! - `object` walks a message along its schema.
//!
//! Objects come out as Go's JSON encoder would write them after reading the same bytes: a scalar that is always on the
//! wire but omitted from JSON when it is zero is omitted here.

mod numbers;
mod object;
mod special;
#[cfg(test)]
mod tests;
mod wire;

use serde_json::{Map, Value};

use crate::decode::{self, DecodeError, Decoded, Format};
use crate::schema::Definitions;
use object::Decoder;
use wire::{Field, Problem, Reader};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with, so that it is not taken for another format's.
const MAGIC: &[u8; 4] = b"k8s\0";

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin with the four bytes that tell the format.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,
    /// What is around the object is no `runtime.Unknown`.
    #[error("the envelope of the protobuf message cannot be read: {0}")]
    Envelope(Problem),
    /// The object is packed in a way that Kubernetes has a field for, but no writer uses.
    #[error("the object in the protobuf message is encoded as {0:?}: send it as it is")]
    ContentEncoding(String),
    /// The object is neither protobuf nor JSON.
    #[error("the object in the protobuf message is of {0:?}: send {MEDIA_TYPE} or application/json")]
    ContentType(String),
    /// Only built-in kinds have numbers.
    #[error("no kind {kind:?} is registered for version {api_version:?} as protobuf: send it as JSON")]
    NoSuchKind {
        /// `apiVersion` of the envelope.
        api_version: String,
        /// `kind` of the envelope.
        kind: String,
    },
    /// A field is not what the kind's schema says.
    #[error("the protobuf message cannot be read at {path:?}: {problem}")]
    Field {
        /// Where it is, such as `spec.containers[0].ports`.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// `runtime.Unknown` of k8s.io/apimachinery/pkg/runtime/generated.proto.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    content_encoding: String,
    content_type: String,
}

impl<'a> Envelope<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>, Problem> {
        let mut envelope = Envelope::default();
        for field in Reader::new(bytes) {
            let Field { number, value } = field?;
            match number {
                1 => {
                    for field in Reader::new(value.bytes()?) {
                        let Field { number, value } = field?;
                        match number {
                            1 => envelope.api_version = value.text()?.to_owned(),
                            2 => envelope.kind = value.text()?.to_owned(),
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = value.bytes()?,
                3 => envelope.content_encoding = value.text()?.to_owned(),
                4 => envelope.content_type = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// Reads a body, whose size [`decode::decode`] has checked. Fields whose number is not known are named by it, such as
/// `spec.99`.
pub(crate) fn read(bytes: &[u8], definitions: &Definitions) -> Result<Decoded, DecodeError> {
    let message = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let envelope = Envelope::parse(message).map_err(ProtobufError::Envelope)?;
    if !envelope.content_encoding.is_empty() {
        return Err(ProtobufError::ContentEncoding(envelope.content_encoding).into());
    }
    match envelope.content_type.as_str() {
        "application/json" => return decode::decode(envelope.raw, Format::Json),
        "" | MEDIA_TYPE => {}
        other => return Err(ProtobufError::ContentType(other.to_owned()).into()),
    }
    let Envelope { api_version, kind, raw, .. } = envelope;
    let Some(definition) = definition(&api_version, &kind) else {
        return Err(ProtobufError::NoSuchKind { api_version, kind }.into());
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::String(api_version));
    object.insert("kind".to_owned(), Value::String(kind));
    let mut decoder = Decoder::new(definitions);
    decoder.message(raw, definition, &mut object)?;
    Ok(Decoded { value: Value::Object(object), duplicates: Vec::new(), unknown: decoder.into_unknown() })
}

/// The name of a kind's definition. A group is known by its first label, as the packages of Kubernetes are; DeleteOptions
/// belong to every group.
fn definition(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or(group);
    let suffix = match kind {
        "DeleteOptions" => ".meta.v1.DeleteOptions".to_owned(),
        _ => format!(".{package}.{version}.{kind}"),
    };
    numbers::names().find(|name| name.ends_with(&suffix))
}
