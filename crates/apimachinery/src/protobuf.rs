//! Bodies in Kubernetes' protobuf become JSON: what clients made with client-go 1.32 and later send for built-in kinds,
//! `kubectl create` among them. Only reading: answers are always JSON, which those clients take.
//!
//! A body is `k8s\0` and an `Unknown` message (`k8s.io/apimachinery/pkg/runtime`) around the object. The definitions say
//! of what type a field is; `protobuf.txt` says its number: a line for each definition, `2.3` for the third field of an
//! embedded struct that is the second field. Numbers never change, so fields newer than the table are all that it lacks;
//! they are named in [`Read::unknown`].

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::schema::{Definitions, Kind, Schema};

static NUMBERS: &str = include_str!("protobuf.txt");
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any object of Kubernetes' own.
const MOST_DEPTH: usize = 64;

/// Optional fields whose zero says something else than their absence. Go writes the zeros of all others too, and JSON
/// leaves them out (`omitempty`); so they are left out here.
const ZEROS_THAT_COUNT: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "ingressClassName",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seconds",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "startingDeadlineSeconds",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "value",
];

/// A body that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The object, with `apiVersion` and `kind` as the envelope names them.
    pub value: Value,
    /// Fields that are not known, by their numbers.
    pub unknown: Vec<String>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// Not what Kubernetes calls protobuf.
    #[error("the body does not begin as Kubernetes' protobuf does")]
    NoEnvelope,
    /// The bytes end within a field, or a field is not of its type.
    #[error("the body is not valid protobuf: {at}")]
    Malformed {
        /// The field or definition.
        at: String,
    },
    /// There are no numbers for this kind.
    #[error("{definition} has no protobuf form here; send JSON")]
    NoNumbers {
        /// The definition.
        definition: String,
    },
}

/// Reads a body that holds an object of that definition.
pub fn read(bytes: &[u8], definition: &str, definitions: &Definitions) -> Result<Read, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let (mut type_meta, mut raw): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields(envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => type_meta = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut reader = Reader { definitions, unknown: Vec::new(), depth: 0 };
    let mut object = Map::new();
    for field in Fields(type_meta) {
        match field? {
            (1, Wire::Bytes(bytes)) => drop(object.insert("apiVersion".to_owned(), json!(text(bytes)?))),
            (2, Wire::Bytes(bytes)) => drop(object.insert("kind".to_owned(), json!(text(bytes)?))),
            _ => {}
        }
    }
    if let Value::Object(fields) = reader.message(raw, definition)? {
        object.extend(fields);
    }
    Ok(Read { value: Value::Object(object), unknown: reader.unknown })
}

/// Where a field of a message goes.
enum Slot {
    Field(&'static str),
    Embedded(Slots),
}

type Slots = BTreeMap<u32, Slot>;

/// The numbers of a definition; lines are few and short, and such bodies rare.
fn slots(definition: &str) -> Option<Slots> {
    let line = NUMBERS.lines().find_map(|line| line.strip_prefix(definition)?.strip_prefix(' '))?;
    let mut slots = Slots::new();
    for (name, path) in line.split(' ').filter_map(|entry| entry.split_once('=')) {
        let mut at = &mut slots;
        let mut numbers = path.split('.').filter_map(|number| number.parse::<u32>().ok()).peekable();
        while let Some(number) = numbers.next() {
            if numbers.peek().is_none() {
                at.insert(number, Slot::Field(name));
                break;
            }
            let slot = at.entry(number).or_insert_with(|| Slot::Embedded(Slots::new()));
            let Slot::Embedded(inner) = slot else { break };
            at = inner;
        }
    }
    Some(slots)
}

/// A field's bytes.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| ProtobufError::Malformed { at: "it ends within a field".to_owned() }))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, Wire<'a>)> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok()?;
        let wire = match key & 7 {
            0 => Wire::Varint(varint(&mut self.0)?),
            1 => Wire::Fixed64(self.take(8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((number, wire))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn text(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::Malformed { at: "a text is not UTF-8".to_owned() })
}

fn malformed(at: &str) -> ProtobufError {
    ProtobufError::Malformed { at: at.to_owned() }
}

struct Reader<'a> {
    definitions: &'a Definitions,
    unknown: Vec<String>,
    depth: usize,
}

impl Reader<'_> {
    fn message(&mut self, bytes: &[u8], definition: &str) -> Result<Value, ProtobufError> {
        let missing = || ProtobufError::NoNumbers { definition: definition.to_owned() };
        let slots = slots(definition).ok_or_else(missing)?;
        let definitions = self.definitions;
        let Some(Kind::Object(object)) = definitions.get(definition).map(|schema| &schema.kind) else {
            return Err(missing());
        };
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(malformed("it is nested too deeply"));
        }
        let mut fields = Map::new();
        self.fields(bytes, definition, &slots, object, &mut fields)?;
        self.depth -= 1;
        Ok(Value::Object(fields))
    }

    fn fields(
        &mut self,
        bytes: &[u8],
        definition: &str,
        slots: &Slots,
        object: &crate::schema::Object,
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        for field in Fields(bytes) {
            let (number, wire) = field?;
            match (slots.get(&number), wire) {
                (Some(Slot::Embedded(inner)), Wire::Bytes(bytes)) => {
                    self.fields(bytes, definition, inner, object, into)?;
                }
                (Some(Slot::Field(name)), wire) => {
                    let Some(field) = object.fields.get(*name) else { continue };
                    self.add(name, wire, &field.schema, into)?;
                }
                _ => {
                    let kind = definition.rsplit('.').next().unwrap_or(definition);
                    self.unknown.push(format!("{kind} field {number}"));
                }
            }
        }
        Ok(())
    }

    /// Adds one occurrence of a field.
    fn add(
        &mut self,
        name: &str,
        wire: Wire<'_>,
        schema: &Schema,
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        match &self.definitions.resolve(schema).kind {
            Kind::List { items, .. } => {
                let item = self.value(name, wire, items)?;
                let list = into.entry(name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(item);
                }
            }
            Kind::Map { values, .. } => {
                let Wire::Bytes(entry) = wire else { return Err(malformed(name)) };
                let (key, value) = self.entry(name, entry, values)?;
                let map = into.entry(name).or_insert_with(|| json!({}));
                map[key] = value;
            }
            _ => {
                let value = self.value(name, wire, schema)?;
                let is_zero =
                    value == json!(0) || value == json!(false) || value == json!("") || value.is_null();
                if !is_zero || (ZEROS_THAT_COUNT.contains(&name) && !value.is_null()) {
                    into.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, entry: &[u8], values: &Schema) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = (String::new(), None);
        for field in Fields(entry) {
            match field? {
                (1, Wire::Bytes(bytes)) => key = text(bytes)?.to_owned(),
                (2, wire) => value = Some(wire),
                _ => {}
            }
        }
        let definitions = self.definitions;
        let value = match (&definitions.resolve(values).kind, value) {
            // A list as a value is a message around it.
            (Kind::List { items, .. }, Some(Wire::Bytes(bytes))) => {
                let mut list = Vec::new();
                for field in Fields(bytes) {
                    list.push(self.value(name, field?.1, items)?);
                }
                Value::Array(list)
            }
            (_, Some(wire)) => self.value(name, wire, values)?,
            (Kind::Text { .. }, None) => json!(""),
            (_, None) => Value::Null,
        };
        Ok((key, value))
    }

    fn value(&mut self, name: &str, wire: Wire<'_>, schema: &Schema) -> Result<Value, ProtobufError> {
        let definition = match &schema.kind {
            Kind::Reference(definition) => Some(definition.as_str()),
            _ => None,
        };
        let definitions = self.definitions;
        Ok(match (&definitions.resolve(schema).kind, wire) {
            (Kind::Quantity, Wire::Bytes(bytes)) => {
                json!(single(bytes, 1)?.map(text).transpose()?.unwrap_or("0"))
            }
            (Kind::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Kind::Text { format }, Wire::Bytes(bytes)) => match format.as_deref() {
                Some("date-time") => time(bytes, definition.is_some_and(|name| name.ends_with("MicroTime")))?,
                Some("byte") => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
                // A duration is a message with nanoseconds; `metav1.Duration`.
                _ if definition.is_some_and(|name| name.ends_with(".Duration")) => Value::Null,
                _ => json!(text(bytes)?),
            },
            (Kind::Integer { .. }, Wire::Varint(number)) => json!(number as i64),
            (Kind::Boolean, Wire::Varint(number)) => json!(number != 0),
            (Kind::Number, Wire::Fixed64(bytes)) => json!(f64::from_le_bytes(bytes)),
            (Kind::Number, Wire::Fixed32(bytes)) => json!(f32::from_le_bytes(bytes)),
            (Kind::Number, Wire::Varint(number)) => json!(number as i64),
            (Kind::Object(object), Wire::Bytes(bytes)) => match definition {
                // What is raw JSON in a message of one field: FieldsV1 and the like.
                Some(definition)
                    if object.fields.is_empty() && slots(definition).is_none_or(|slots| slots.is_empty()) =>
                {
                    raw(name, bytes)?
                }
                Some(definition) => self.message(bytes, definition)?,
                None => return Err(malformed(name)),
            },
            (Kind::Any, Wire::Bytes(bytes)) => raw(name, bytes)?,
            _ => return Err(malformed(name)),
        })
    }
}

/// The last field of that number.
fn single(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, ProtobufError> {
    let mut found = None;
    for field in Fields(bytes) {
        if let (number, Wire::Bytes(bytes)) = field?
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn raw(name: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    match single(bytes, 1)? {
        Some(json) => serde_json::from_slice(json).map_err(|_| malformed(name)),
        None => Ok(json!({})),
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut words) = (false, 0, "");
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value as i32,
            (3, Wire::Bytes(value)) => words = text(value)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(words) } else { json!(number) })
}

/// A point in time; the zero one is none.
fn time(bytes: &[u8], has_micros: bool) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(value)) => seconds = value as i64,
            (2, Wire::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let at = jiff::Timestamp::new(seconds, nanos).map_err(|_| malformed("a time"))?;
    let format = if has_micros { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(json!(at.strftime(format).to_string()))
}

#[cfg(test)]
mod tests;
