//! A message becomes an object: its fields by the table of numbers, their values by the schema.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::ProtobufError;
use super::numbers::{self, Member, Members};
use super::special::{self, Precision};
use super::wire::{Field, Problem, Reader, Wire};
use crate::schema::{self, Definitions, Kind, Schema, push_field, push_index};

/// How many messages may be within each other, the limit of protobuf's own readers.
const MOST_LEVELS: usize = 100;

/// The names of the schemas of custom kinds, which are one of two messages.
const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// What a list beside a schema is a list of.
#[derive(Clone, Copy)]
enum Items {
    Schemas,
    Strings,
}

/// Reads one object.
pub(super) struct Decoder<'a> {
    definitions: &'a Definitions,
    /// Where it is.
    path: String,
    levels: usize,
    unknown: Vec<String>,
}

impl<'a> Decoder<'a> {
    /// A decoder of an object.
    pub(super) fn new(definitions: &'a Definitions) -> Decoder<'a> {
        Decoder { definitions, path: String::new(), levels: 0, unknown: Vec::new() }
    }

    /// The fields that were found but are not in the table, by the path of the numbers. Those that are empty are not
    /// among them: old clients write fields that no longer exist, but do not set them.
    pub(super) fn into_unknown(self) -> Vec<String> {
        self.unknown
    }

    /// Adds the fields of a message to an object.
    pub(super) fn message(
        &mut self,
        bytes: &[u8],
        definition: &str,
        object: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        let schema = self.definitions.get(definition).map(|schema| &schema.kind);
        match (schema, numbers::members(definition)) {
            (Some(Kind::Object(known)), Some(members)) => self.members(bytes, members, known, object),
            // A definition without fields.
            (Some(Kind::Any), _) => Ok(()),
            _ => Err(self.failed(Problem::NoForm)),
        }
    }

    fn members(
        &mut self,
        bytes: &[u8],
        members: &Members,
        known: &'a schema::Object,
        object: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        if self.levels == MOST_LEVELS {
            return Err(self.failed(Problem::TooDeep));
        }
        self.levels += 1;
        for field in Reader::new(bytes) {
            let Field { number, value } = field.map_err(|problem| self.failed(problem))?;
            match members.get(&number) {
                Some(Member::Embedded(embedded)) => {
                    let bytes = value.bytes().map_err(|problem| self.failed(problem))?;
                    self.members(bytes, embedded, known, object)?;
                }
                Some(Member::Field { name, is_omitted_when_zero }) => {
                    let length = self.path.len();
                    push_field(&mut self.path, name);
                    let field = known.fields.get(*name).ok_or_else(|| self.failed(Problem::NoForm))?;
                    self.add(value, &field.schema, object, name)?;
                    if *is_omitted_when_zero && object.get(*name).is_some_and(is_zero) {
                        object.shift_remove(*name);
                    }
                    self.path.truncate(length);
                }
                None if value.is_zero() => {}
                None => {
                    let length = self.path.len();
                    push_field(&mut self.path, &number.to_string());
                    if !self.unknown.contains(&self.path) {
                        self.unknown.push(self.path.clone());
                    }
                    self.path.truncate(length);
                }
            }
        }
        self.levels -= 1;
        Ok(())
    }

    /// Adds what a field holds: another item, another entry, or the value.
    fn add(
        &mut self,
        wire: Wire<'_>,
        schema: &'a Schema,
        object: &mut Map<String, Value>,
        name: &str,
    ) -> Result<(), ProtobufError> {
        match &self.definitions.resolve(schema).kind {
            Kind::List { items, .. } => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    self.items(wire, items, list)?;
                }
            }
            Kind::Map { values, .. } => {
                let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    self.entry(wire, values, map)?;
                }
            }
            _ => {
                // A message that is there twice is one message, as far as protobuf goes.
                let before = object.get_mut(name).map(Value::take);
                match self.value(wire, schema, before)? {
                    Some(value) => object.insert(name.to_owned(), value),
                    None => object.shift_remove(name),
                };
            }
        }
        Ok(())
    }

    /// One item, or all of them where numbers are packed.
    fn items(
        &mut self,
        wire: Wire<'_>,
        items: &'a Schema,
        list: &mut Vec<Value>,
    ) -> Result<(), ProtobufError> {
        if let (Wire::Bytes(bytes), Kind::Integer { .. } | Kind::Boolean) = (wire, &items.kind) {
            let mut reader = Reader::new(bytes);
            while let Some(number) = reader.packed() {
                let number = number.map_err(|problem| self.failed(problem))?;
                list.extend(self.value(number, items, None)?);
            }
            return Ok(());
        }
        let length = self.path.len();
        push_index(&mut self.path, list.len());
        let item = self.value(wire, items, None)?;
        list.push(item.unwrap_or_default());
        self.path.truncate(length);
        Ok(())
    }

    /// An entry of a map, `{ 1: key, 2: value }`, where either may be left out when it is empty.
    fn entry(
        &mut self,
        wire: Wire<'_>,
        values: &'a Schema,
        map: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        let (mut key, mut value) = ("", None);
        let bytes = wire.bytes().map_err(|problem| self.failed(problem))?;
        for field in Reader::new(bytes) {
            let field = field.map_err(|problem| self.failed(problem))?;
            match field.number {
                1 => key = field.value.text().map_err(|problem| self.failed(problem))?,
                2 => value = Some(field.value),
                _ => {}
            }
        }
        let length = self.path.len();
        push_field(&mut self.path, key);
        let value = value.unwrap_or(match self.definitions.resolve(values).kind {
            Kind::Integer { .. } | Kind::Boolean => Wire::Varint(0),
            Kind::Number => Wire::Fixed64(0),
            _ => Wire::Bytes(&[]),
        });
        let value = self.value(value, values, None)?;
        map.insert(key.to_owned(), value.unwrap_or_default());
        self.path.truncate(length);
        Ok(())
    }

    /// What stands for null and absence alike is `None`.
    fn value(
        &mut self,
        wire: Wire<'_>,
        schema: &'a Schema,
        before: Option<Value>,
    ) -> Result<Option<Value>, ProtobufError> {
        if let Kind::Reference(name) = &schema.kind {
            return self.referred(wire, name, before);
        }
        self.plain(wire, schema)
    }

    fn referred(
        &mut self,
        wire: Wire<'_>,
        name: &'a str,
        before: Option<Value>,
    ) -> Result<Option<Value>, ProtobufError> {
        let bytes = wire.bytes().map_err(|problem| self.failed(problem))?;
        let special = match name.rsplit('.').next().unwrap_or_default() {
            "Time" => special::time(bytes, Precision::Seconds),
            "MicroTime" => special::time(bytes, Precision::Microseconds),
            "Quantity" => special::quantity(bytes).map(Some),
            "IntOrString" => special::int_or_string(bytes).map(Some),
            "RawExtension" | "FieldsV1" | "JSON" => special::raw(bytes),
            "JSONSchemaPropsOrArray" => return self.schema_or_list(bytes, Items::Schemas),
            "JSONSchemaPropsOrStringArray" => return self.schema_or_list(bytes, Items::Strings),
            "JSONSchemaPropsOrBool" => return self.schema_or_bool(bytes),
            _ => {
                let mut object = match before {
                    Some(Value::Object(object)) => object,
                    _ => Map::new(),
                };
                self.message(bytes, name, &mut object)?;
                return Ok(Some(Value::Object(object)));
            }
        };
        special.map_err(|problem| self.failed(problem))
    }

    fn plain(&mut self, wire: Wire<'_>, schema: &'a Schema) -> Result<Option<Value>, ProtobufError> {
        let value = match &schema.kind {
            Kind::Text { format } if format.as_deref() == Some("byte") => {
                wire.bytes().map(|bytes| Value::String(STANDARD.encode(bytes)))
            }
            Kind::Text { .. } => wire.text().map(Value::from),
            Kind::Integer { format } if format.as_deref() == Some("int32") => {
                wire.small_integer().map(Value::from)
            }
            Kind::Integer { .. } => wire.integer().map(Value::from),
            Kind::Number => wire.double().and_then(special::double),
            Kind::Boolean => wire.integer().map(|number| Value::Bool(number != 0)),
            // A list where protobuf has none, in a list or as the value of a map, is a message with a list
            // (authorization.k8s.io's ExtraValue).
            Kind::List { items, .. } => {
                let mut list = Vec::new();
                let bytes = wire.bytes().map_err(|problem| self.failed(problem))?;
                self.repeated(bytes, 1, |decoder, wire| decoder.items(wire, items, &mut list))?;
                Ok(Value::Array(list))
            }
            _ => Err(Problem::NoForm),
        };
        value.map(Some).map_err(|problem| self.failed(problem))
    }

    /// `{ 1: schema, 2: a list of schemas or of strings }`.
    fn schema_or_list(&mut self, bytes: &[u8], items: Items) -> Result<Option<Value>, ProtobufError> {
        let schema = special::last(bytes, 1).map_err(|problem| self.failed(problem))?;
        if let Some(schema) = schema {
            return self.referred(schema, JSON_SCHEMA, None);
        }
        let mut list = Vec::new();
        self.repeated(bytes, 2, |decoder, wire| {
            list.extend(match items {
                Items::Schemas => decoder.referred(wire, JSON_SCHEMA, None)?,
                Items::Strings => {
                    Some(wire.text().map(Value::from).map_err(|problem| decoder.failed(problem))?)
                }
            });
            Ok(())
        })?;
        Ok(Some(Value::Array(list)))
    }

    /// `{ 1: allows, 2: schema }`.
    fn schema_or_bool(&mut self, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
        let schema = special::last(bytes, 2).map_err(|problem| self.failed(problem))?;
        if let Some(schema) = schema {
            return self.referred(schema, JSON_SCHEMA, None);
        }
        let allows = special::last(bytes, 1).and_then(|allows| allows.map_or(Ok(0), Wire::integer));
        allows.map(|allows| Some(Value::Bool(allows != 0))).map_err(|problem| self.failed(problem))
    }

    fn repeated(
        &mut self,
        bytes: &[u8],
        number: u32,
        mut each: impl FnMut(&mut Self, Wire<'_>) -> Result<(), ProtobufError>,
    ) -> Result<(), ProtobufError> {
        for field in Reader::new(bytes) {
            let field = field.map_err(|problem| self.failed(problem))?;
            if field.number == number {
                each(self, field.value)?;
            }
        }
        Ok(())
    }

    fn failed(&self, problem: Problem) -> ProtobufError {
        ProtobufError::Field { path: self.path.clone(), problem }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}
