//! A set of fields: what a manager owns. A tree of path elements; a node is in the set, has children that are, or both.
//!
//! As JSON it is FieldsV1: `{"f:spec": {"f:replicas": {}}}`; `"."` says of a node with children that it is in the set too.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::PathElement;
use crate::schema::{Definitions, Kind, Schema};

/// Fields, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// A place in the tree: never empty once it is in a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) is_member: bool,
    pub(super) children: FieldSet,
}

impl Node {
    pub(super) fn member() -> Self {
        Self { is_member: true, children: FieldSet::default() }
    }

    fn is_empty(&self) -> bool {
        !self.is_member && self.children.is_empty()
    }
}

impl FieldSet {
    /// The set of these paths, each a list of field names.
    pub fn of_names(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<_> = path.iter().map(|name| PathElement::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path. The empty path, the object as a whole, is nobody's.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.is_member = true;
        } else {
            node.children.insert(rest);
        }
    }

    /// Puts a node at an element, unless it is empty. What stood there is replaced.
    pub(super) fn put(&mut self, element: PathElement, node: Node) {
        if !node.is_empty() {
            self.nodes.insert(element, node);
        }
    }

    pub(super) fn get(&self, element: &PathElement) -> Option<&Node> {
        self.nodes.get(element)
    }

    /// Whether there is no field in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a path is in the set.
    pub fn contains(&self, path: &[PathElement]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Some(node) = self.nodes.get(first) else { return false };
        if rest.is_empty() { node.is_member } else { node.children.contains(rest) }
    }

    /// What is in one or the other.
    pub fn union(mut self, other: &Self) -> Self {
        for (element, theirs) in &other.nodes {
            let node = self.nodes.entry(element.clone()).or_default();
            node.is_member |= theirs.is_member;
            node.children = std::mem::take(&mut node.children).union(&theirs.children);
        }
        self
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                let is_member = node.is_member && theirs.is_member;
                both.put(
                    element.clone(),
                    Node { is_member, children: node.children.intersection(&theirs.children) },
                );
            }
        }
        both
    }

    /// What is in this one and not in the other, path by path.
    pub fn difference(mut self, other: &Self) -> Self {
        if !other.is_empty() {
            self.nodes.retain(|element, node| {
                if let Some(theirs) = other.nodes.get(element) {
                    node.is_member &= !theirs.is_member;
                    node.children = std::mem::take(&mut node.children).difference(&theirs.children);
                }
                !node.is_empty()
            });
        }
        self
    }

    /// As [`Self::difference`]; what stands below a field of the other set goes too.
    pub fn recursive_difference(mut self, other: &Self) -> Self {
        if !other.is_empty() {
            self.nodes.retain(|element, node| {
                if let Some(theirs) = other.nodes.get(element) {
                    if theirs.is_member {
                        return false;
                    }
                    node.children = std::mem::take(&mut node.children).recursive_difference(&theirs.children);
                }
                !node.is_empty()
            });
        }
        self
    }

    /// The set with every field of a schema above a field of the set: who owns `.spec.replicas` holds `.spec`.
    pub(super) fn with_named_parents(mut self, schema: Option<&Schema>, definitions: &Definitions) -> Self {
        let kind = schema.map(|schema| &definitions.resolve(schema).kind);
        for (element, node) in &mut self.nodes {
            let (child, is_named) = match (kind, element) {
                (Some(Kind::Object(object)), PathElement::Field(name)) => {
                    let field = object.fields.get(name);
                    (field.map(|field| &*field.schema), field.is_some())
                }
                (Some(Kind::Map { values, .. }), PathElement::Field(_)) => (Some(&**values), false),
                (Some(Kind::List { items, .. }), _) => (Some(&**items), false),
                _ => (None, false),
            };
            node.is_member |= is_named;
            node.children = std::mem::take(&mut node.children).with_named_parents(child, definitions);
        }
        self
    }

    /// All paths, those of an object before those of its parts.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Vec<PathElement>>) {
        for (element, node) in &self.nodes {
            prefix.push(element.clone());
            if node.is_member {
                paths.push(prefix.clone());
            }
            node.children.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// FieldsV1.
    pub fn to_json(&self) -> Value {
        Value::Object(self.to_fields(false))
    }

    fn to_fields(&self, is_member: bool) -> Map<String, Value> {
        let mut fields = Map::new();
        if is_member && !self.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, node) in &self.nodes {
            fields.insert(element.to_text(), Value::Object(node.children.to_fields(node.is_member)));
        }
        fields
    }

    /// Reads FieldsV1. Elements of a kind that nobody knows yet are dropped; `None` when it is none.
    pub fn from_json(json: &Value) -> Option<Self> {
        Some(Self::read(json.as_object()?)?.children)
    }

    fn read(fields: &Map<String, Value>) -> Option<Node> {
        let mut node = Node::default();
        for (text, below) in fields {
            if text == "." {
                node.is_member = true;
                continue;
            }
            let (kind, _) = text.split_once(':')?;
            if !matches!(kind, "f" | "k" | "v" | "i") {
                continue;
            }
            let child = Self::read(below.as_object()?)?;
            node.children.put(PathElement::parse(text)?, child);
        }
        // A leaf is there because it is in the set.
        node.is_member |= node.children.is_empty();
        Some(node)
    }
}

/// A path as messages show it: `.spec.containers[name="web"].image`.
pub fn path_text(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}
