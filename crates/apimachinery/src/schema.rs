//! The shape of objects: what a field holds, how a list merges, what the API says of it.
//!
//! One source for strict field validation, strategic merge patch, server-side apply, pruning and OpenAPI. Built-in
//! kinds come from the generated table with Kubernetes' own extensions (list types, merge keys); CustomResourceDefinitions
//! bring their own. All of them are this one type.

mod conform;
mod custom;
mod default;
mod parse;
mod prune;
mod regular;
mod structural;
#[cfg(test)]
mod tests;
mod validate;

pub use conform::{Conformed, WrongType, conform};
pub use custom::CustomSchema;
pub use default::fill_defaults;
pub use prune::prune;
pub(crate) use prune::{push_field, push_index};
pub use validate::validate;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

/// A shape, with what is said of it. Descriptions are not here but in the OpenAPI documents: nothing else needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// What the value is.
    pub kind: Kind,
    /// Whether `null` is a value beside absence.
    pub nullable: bool,
    /// The value when absent, `default` of a structural schema.
    pub default: Option<serde_json::Value>,
    /// What else a value must satisfy; empty for built-in kinds, whose rules are code.
    pub rules: Vec<Rule>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A string; `format` such as `date-time` or `byte`.
    Text {
        /// OpenAPI's `format`.
        format: Option<String>,
    },
    /// A whole number; `format` is `int32` or `int64`.
    Integer {
        /// OpenAPI's `format`.
        format: Option<String>,
    },
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number or a string.
    IntOrString,
    /// A number or a string with a suffix.
    Quantity,
    /// A list.
    List {
        /// The shape of each item.
        items: Arc<Schema>,
        /// `x-kubernetes-list-type` and its keys.
        list_type: ListType,
        /// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
        patch: PatchStrategy,
    },
    /// A mapping with keys of the user's choice.
    Map {
        /// The shape of each value.
        values: Arc<Schema>,
        /// `x-kubernetes-map-type: atomic`.
        is_atomic: bool,
    },
    /// A mapping with known fields.
    Object(Object),
    /// A definition by its name, such as `io.k8s.api.core.v1.PodSpec`.
    Reference(String),
    /// Anything (`x-kubernetes-preserve-unknown-fields`, RawExtension, JSON).
    Any,
}

/// A mapping with known fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// The fields by name.
    pub fields: BTreeMap<String, Field>,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields` beside properties).
    pub keeps_unknown: bool,
    /// `x-kubernetes-map-type: atomic`, as of ObjectReference and selectors.
    pub is_atomic: bool,
    /// `x-kubernetes-patch-strategy: retainKeys` of the field that holds it stands at [`Field::retains_keys`].
    pub is_embedded_resource: bool,
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its shape.
    pub schema: Arc<Schema>,
    /// The object is not valid without it.
    pub is_required: bool,
    /// `x-kubernetes-patch-strategy: retainKeys`.
    pub retains_keys: bool,
    /// `x-kubernetes-patch-strategy: replace`: an object that a strategic merge patch replaces as a whole.
    pub is_replaced: bool,
}

/// `x-kubernetes-list-type`: how server-side apply sees a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects told apart by these fields.
    Map {
        /// `x-kubernetes-list-map-keys`.
        keys: Vec<String>,
    },
}

/// How a strategic merge patch sees a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PatchStrategy {
    /// Replaced as a whole.
    #[default]
    Replace,
    /// Merged: by key when its items are objects, as a set when they are scalars.
    Merge {
        /// `x-kubernetes-patch-merge-key`.
        key: Option<String>,
        /// The strategy is `merge,retainKeys`.
        retains_keys: bool,
    },
}

/// A rule of a structural schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// `enum`.
    OneOf(Vec<serde_json::Value>),
    /// `pattern`.
    Pattern(String),
    /// `minimum`; exclusive or not.
    Minimum(f64, bool),
    /// `maximum`; exclusive or not.
    Maximum(f64, bool),
    /// `multipleOf`.
    MultipleOf(f64),
    /// `minLength` and `maxLength`.
    Length(Option<u64>, Option<u64>),
    /// `minItems` and `maxItems`.
    Items(Option<u64>, Option<u64>),
    /// `minProperties` and `maxProperties`.
    Properties(Option<u64>, Option<u64>),
    /// `uniqueItems`.
    Unique,
    /// `allOf`.
    AllOf(Vec<Condition>),
    /// `anyOf`.
    AnyOf(Vec<Condition>),
    /// `oneOf`.
    OnlyOneOf(Vec<Condition>),
    /// `not`.
    Not(Box<Condition>),
}

/// What stands below `allOf`, `anyOf`, `oneOf` and `not` of a structural schema: rules, but no shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// `type`, which only `x-kubernetes-int-or-string` may have here.
    pub types: Option<String>,
    /// What holds of the value itself.
    pub rules: Vec<Rule>,
    /// `required`.
    pub required: Vec<String>,
    /// What holds of its fields.
    pub fields: BTreeMap<String, Condition>,
    /// What holds of each item.
    pub items: Option<Box<Condition>>,
    /// What holds of each value of a mapping.
    pub values: Option<Box<Condition>>,
}

/// All definitions that references may name. The built-in ones are parsed one by one when they are first asked for: a
/// node that serves Pods and ConfigMaps holds in memory what these need.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    types: BTreeMap<String, Definition>,
}

/// A definition: its text, and its schema once somebody has asked for it.
#[derive(Debug, Clone)]
struct Definition {
    text: &'static str,
    schema: OnceLock<Arc<Schema>>,
}

/// The definitions of Kubernetes, one a line, sorted by name; made by `cargo xtask schema`.
static BUILT_IN: &str = include_str!("schema/definitions.json");

/// Where references to definitions point, in the file and in OpenAPI v3.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

impl Schema {
    /// A shape without rules and default.
    pub fn new(kind: Kind) -> Schema {
        Schema { kind, nullable: false, default: None, rules: Vec::new() }
    }
}

impl Definitions {
    /// Those of Kubernetes' own kinds.
    pub fn builtin() -> &'static Definitions {
        static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
            let mut definitions = Definitions::default();
            for (name, text) in BUILT_IN.lines().filter_map(named) {
                let definition = Definition { text, schema: OnceLock::new() };
                definitions.types.insert(name.to_owned(), definition);
            }
            definitions
        });
        &DEFINITIONS
    }

    /// The definition of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Schema>> {
        self.types.get(name).map(|definition| definition.parsed(name))
    }

    /// Adds one; the newest of a name counts.
    pub fn insert(&mut self, name: impl Into<String>, schema: Arc<Schema>) {
        self.types.insert(name.into(), Definition { text: "{}", schema: OnceLock::from(schema) });
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Schema>)> {
        self.types.iter().map(|(name, definition)| (name, definition.parsed(name)))
    }

    /// What stands behind a schema: itself, or what its reference names. A reference to nothing is left as it is.
    pub fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        match &schema.kind {
            Kind::Reference(name) => self.get(name).map_or(schema, |found| self.resolve(found)),
            _ => schema,
        }
    }

    /// A built-in definition as OpenAPI has it, with descriptions and extensions.
    pub fn document(&self, name: &str) -> Option<serde_json::Value> {
        self.types.get(name).map(Definition::document)
    }
}

impl Definition {
    fn parsed(&self, name: &str) -> &Arc<Schema> {
        self.schema.get_or_init(|| Arc::new(parse::built_in(name, &self.document())))
    }

    /// The file is generated, and a test reads all of it: it is JSON.
    fn document(&self) -> serde_json::Value {
        serde_json::from_str(self.text).unwrap_or_default()
    }
}

/// `"name":{...},` as name and text.
fn named(line: &'static str) -> Option<(&'static str, &'static str)> {
    line.strip_suffix(',').unwrap_or(line).strip_prefix('"')?.split_once("\":")
}
