//! The body of a request becomes a value: JSON, or YAML or protobuf where a request may bring it.
//!
//! Keys that stand twice are named, because `fieldValidation` decides what they mean; what is nested too deeply is
//! refused, and so is what is too large ([`MOST_BYTES`], which whoever reads a body should not read beyond).

use std::fmt;

use model::manifest::{Plain, read_plain};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::protobuf::{self, ProtobufError};
use crate::schema::{Definitions, push_field, push_index};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json` and the patches made of it.
    Json,
    /// `application/yaml` and `application/apply-patch+yaml`; JSON is YAML.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, of built-in kinds.
    Protobuf,
}

/// A body that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Its value; of a key that stands twice, the last counts.
    pub value: Value,
    /// Paths of the keys that stand twice, such as `spec.containers[0].name`.
    pub duplicates: Vec<String>,
    /// Paths of the fields that only the format knows to be none, such as `spec.99` of protobuf. Other fields that a
    /// kind does not have are found by its schema.
    pub unknown: Vec<String>,
}

/// Bytes of the largest body that is read, as kube-apiserver's.
pub const MOST_BYTES: usize = 3 << 20;

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too many bytes, which is answered with 413.
    #[error("the body has more than {MOST_BYTES} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// Not YAML.
    #[error("error parsing YAML: {0}")]
    Yaml(String),
    /// Not protobuf, or not that of the kind.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
}

/// Reads a body.
pub fn decode(bytes: &[u8], format: Format) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    match format {
        Format::Json => json(bytes),
        // JSON is the common case also here, and is read faster as what it is.
        Format::Yaml => json(bytes).or_else(|_| yaml(bytes)),
        Format::Protobuf => protobuf::read(bytes, Definitions::builtin()),
    }
}

fn json(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut place = Place::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let failed = |error: serde_json::Error| DecodeError::Json(error.to_string());
    let value = Reader(&mut place).deserialize(&mut deserializer).map_err(failed)?;
    deserializer.end().map_err(failed)?;
    Ok(Decoded { value, duplicates: place.duplicates, unknown: Vec::new() })
}

fn yaml(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let document = read_plain(bytes).map_err(|error| DecodeError::Yaml(error.to_string()))?;
    let value = from_plain(document.value);
    Ok(Decoded { value, duplicates: document.duplicates, unknown: Vec::new() })
}

fn from_plain(value: Plain) -> Value {
    match value {
        Plain::Null => Value::Null,
        Plain::Bool(value) => Value::Bool(value),
        Plain::Integer(value) => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Value::from(value),
            (_, Ok(value)) => Value::from(value),
            _ => Value::from(value as f64),
        },
        Plain::Float(value) => Value::from(value),
        Plain::Text(text) => Value::String(text),
        Plain::List(items) => Value::Array(items.into_iter().map(from_plain).collect()),
        Plain::Map(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (key, from_plain(value))).collect())
        }
    }
}

/// Where the reader is, and which keys it has found twice.
#[derive(Default)]
struct Place {
    path: String,
    duplicates: Vec<String>,
}

/// Reads one value. serde_json bounds the depth (128 levels).
struct Reader<'a>(&'a mut Place);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.0.path.len();
        loop {
            push_index(&mut self.0.path, items.len());
            let item = access.next_element_seed(Reader(self.0))?;
            self.0.path.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let length = self.0.path.len();
        while let Some(key) = access.next_key::<String>()? {
            push_field(&mut self.0.path, &key);
            if members.contains_key(&key) {
                self.0.duplicates.push(self.0.path.clone());
            }
            let value = access.next_value_seed(Reader(self.0))?;
            self.0.path.truncate(length);
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

/// What is said of keys that stand twice and of fields that a kind does not have: one text each, as the `Warn` of
/// `fieldValidation` sends them.
pub fn strict_problems(duplicates: &[String], unknown: &[String]) -> Vec<String> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    duplicates.chain(unknown.iter().map(|path| format!("unknown field \"{path}\""))).collect()
}

/// Those texts as the one error that `Strict` answers with; `None` when there are none.
pub fn strict_error(kind: &str, version: &str, problems: &[String]) -> Option<String> {
    let cause = || format!("strict decoding error: {}", problems.join(", "));
    (!problems.is_empty()).then(|| cannot_be_handled(kind, version, &cause()))
}

/// The message of the 400 for a body that is not of the kind that the path says.
pub fn cannot_be_handled(kind: &str, version: &str, cause: &str) -> String {
    format!("{kind} in version {version:?} cannot be handled as a {kind}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_stand_twice_are_named_with_their_path() {
        let decoded = decode(br#"{"a":1,"b":[{"c":1,"c":2}],"a":3}"#, Format::Json).unwrap();
        assert_eq!(decoded.value, json!({"a": 3, "b": [{"c": 2}]}));
        assert_eq!(decoded.duplicates, ["b[0].c", "a"]);
        let decoded = decode(b"a: 1\nb:\n- c: 1\n  c: 2\na: 3\n", Format::Yaml).unwrap();
        assert_eq!(decoded.value, json!({"a": 3, "b": [{"c": 2}]}));
        assert_eq!(decoded.duplicates, ["b[0].c", "a"]);
    }

    #[test]
    fn strict_errors_have_the_words_of_kubernetes() {
        let problems = strict_problems(&["metadata.name".to_owned()], &["spec.foo".to_owned()]);
        assert_eq!(
            strict_error("Pod", "v1", &problems).unwrap(),
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: \
             duplicate field \"metadata.name\", unknown field \"spec.foo\""
        );
        assert_eq!(strict_error("Pod", "v1", &[]), None);
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        for body in ["", "{", "{\"a\":1}{", "[1,]", &"[".repeat(10_000), "\u{0}"] {
            assert!(decode(body.as_bytes(), Format::Json).is_err(), "{body:.20}");
        }
        assert!(decode("[".repeat(10_000).as_bytes(), Format::Yaml).is_err());
        assert!(decode(b"\xff\xfe{}", Format::Json).is_err());
        let large = vec![b' '; MOST_BYTES + 1];
        assert_eq!(decode(&large, Format::Json), Err(DecodeError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = (decode(&bytes, Format::Json), decode(&bytes, Format::Yaml), decode(&bytes, Format::Protobuf));
        }

        #[test]
        fn json_reads_as_itself_in_both_formats(text in "[ -~]{0,40}", number: i64) {
            let value = json!({"a": [text, number, null, true], "b": {"c": number}});
            let bytes = value.to_string();
            for format in [Format::Json, Format::Yaml] {
                let expected = Decoded { value: value.clone(), duplicates: Vec::new(), unknown: Vec::new() };
                proptest::prop_assert_eq!(decode(bytes.as_bytes(), format), Ok(expected));
            }
        }
    }
}
