//! YAML (and with it JSON) as a tree that knows where everything stands.
//!
//! The tree is built from the parser's events, so that budgets hold before memory is spent: depth, number of
//! nodes, and what aliases multiply. A document over budget is refused as a whole; a key that stands twice is
//! reported and the tree goes on. Walking the tree may recurse: [`MOST_LEVELS`] bounds it.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar::{Meaning, Scalar, meaning_of_plain};
use super::source::Chunk;

/// Levels of nesting; the deepest field of a Pod is at about 15.
pub(crate) const MOST_LEVELS: usize = 100;
/// Values in one document, aliases expanded.
pub(crate) const MOST_NODES: usize = 200_000;

/// Where a token stands, from 1, and how many characters of its line it covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Mark,
    pub(crate) value: Node,
}

/// What went wrong while a tree was built.
pub(crate) enum Failure {
    /// Not YAML.
    Scan(ScanError),
    /// YAML that is refused: message and hint.
    Refused { at: Mark, path: String, message: String, hint: Option<String> },
    /// Over budget.
    TooComplex { at: Mark, message: String },
}

/// A key that stands twice in one mapping.
pub(crate) struct DuplicateKey {
    pub(crate) at: Mark,
    pub(crate) first_at: Mark,
    pub(crate) path: String,
}

/// The trees of a chunk, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Trees {
    pub(crate) roots: Vec<Node>,
    pub(crate) duplicates: Vec<DuplicateKey>,
    pub(crate) failure: Option<Failure>,
}

/// Parses one chunk.
pub(crate) fn build(chunk: Chunk<'_>) -> Trees {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder { lines_before: chunk.lines_before, ..Builder::default() };
    for event in Parser::new_from_str_with_options(chunk.text, options) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(Failure::Scan(error)),
        };
        if let Err(failure) = outcome {
            builder.trees.failure = Some(failure);
            break;
        }
    }
    builder.trees
}

/// A collection whose end has not been reached.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, Mark)>,
    /// Where each key of a mapping stands.
    keys: HashMap<String, Mark>,
}

/// An anchored value, ready to be copied.
struct Anchored {
    node: Node,
    levels: usize,
    nodes: usize,
}

#[derive(Default)]
struct Builder {
    lines_before: usize,
    trees: Trees,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = self.mark(span);
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.nodes = 0;
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let meaning = match tag {
                    Some(tag) => self.tagged(&tag, &text, at)?,
                    None if style == ScalarStyle::Plain => meaning_of_plain(&text),
                    None => Meaning::Text,
                };
                let value = Value::Scalar(Scalar { text: text.into_owned(), meaning });
                self.close(Node { at, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(Value::List(Vec::new()), at, anchor, tag.as_deref())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(Value::Map(Vec::new()), at, anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { mut node, anchor, .. }) => {
                    self.merge(&mut node)?;
                    self.close(node, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(()),
        }
    }

    /// The position of a span in the manifest.
    fn mark(&self, span: Span) -> Mark {
        let width = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Mark {
            line: span.start.line() + self.lines_before,
            column: span.start.col() + 1,
            width: width.max(1),
        }
    }

    fn open(&mut self, value: Value, at: Mark, anchor: usize, tag: Option<&Tag>) -> Result<(), Failure> {
        if let Some(tag) = tag
            && !matches!(tag.core_suffix(), Some("map" | "seq"))
        {
            return Err(self.unknown_tag(tag, at));
        }
        if self.open.len() >= MOST_LEVELS {
            return Err(Failure::TooComplex {
                at,
                message: format!("nested more than {MOST_LEVELS} levels deep: no manifest needs that"),
            });
        }
        let at = Mark { width: 1, ..at };
        self.open.push(Open { node: Node { at, value }, anchor, key: None, keys: HashMap::new() });
        Ok(())
    }

    /// A value is complete: it becomes a root, an item, a key, or the value of a key.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Failure> {
        self.count(1, node.at)?;
        if anchor != 0 {
            let (levels, nodes) = (levels(&node), count(&node));
            self.count(nodes, node.at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), levels, nodes });
        }
        let Some(parent) = self.open.last_mut() else {
            self.trees.roots.push(node);
            return Ok(());
        };
        match (&mut parent.node.value, parent.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, key_at))) => {
                // The value of `key:` with nothing behind it stands, for the reader, at the key.
                let is_null = matches!(&node.value, Value::Scalar(scalar) if scalar.text.is_empty() && scalar.meaning == Meaning::Null);
                let value = if is_null { Node { at: key_at, ..node } } else { node };
                entries.push(Entry { key, key_at, value });
            }
            (Value::Map(_), None) => {
                let Value::Scalar(scalar) = node.value else {
                    return Err(self.refused(
                        node.at,
                        "a list or mapping stands where a key is expected",
                        None,
                    ));
                };
                let first_at = parent.keys.get(&scalar.text).copied();
                parent.keys.entry(scalar.text.clone()).or_insert(node.at);
                parent.key = Some((scalar.text, node.at));
                if let Some(first_at) = first_at {
                    let path = self.path();
                    self.trees.duplicates.push(DuplicateKey { at: node.at, first_at, path });
                }
            }
            (Value::Scalar(_), _) => {}
        }
        Ok(())
    }

    /// `<<: *base` brings the keys of `base` that are not written here.
    fn merge(&mut self, node: &mut Node) -> Result<(), Failure> {
        let Value::Map(entries) = &mut node.value else { return Ok(()) };
        let Some(index) = entries.iter().position(|entry| entry.key == "<<") else { return Ok(()) };
        let merged = entries.remove(index);
        let bases = match merged.value.value {
            Value::List(items) => items,
            _ => vec![merged.value],
        };
        let mut keys: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for base in bases {
            let Value::Map(base_entries) = base.value else {
                return Err(self.refused(merged.key_at, "`<<` takes a mapping or a list of mappings", None));
            };
            for entry in base_entries {
                if keys.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Mark) -> Result<(), Failure> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(self.refused(at, "this alias stands inside the value that it stands for", None));
        };
        let (levels, nodes) = (anchored.levels, anchored.nodes);
        if self.open.len() + levels > MOST_LEVELS {
            return Err(Failure::TooComplex {
                at,
                message: format!("nested more than {MOST_LEVELS} levels deep, once this alias is expanded"),
            });
        }
        self.count(nodes, at)?;
        let node = match self.anchors.get(&id) {
            Some(anchored) => anchored.node.clone(),
            None => return Ok(()),
        };
        self.close(Node { at, ..node }, 0)
    }

    fn count(&mut self, nodes: usize, at: Mark) -> Result<(), Failure> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            let message = format!("more than {MOST_NODES} values, aliases expanded: no manifest needs that");
            return Err(Failure::TooComplex { at, message });
        }
        Ok(())
    }

    /// The meaning of a scalar with a tag such as `!!str`.
    fn tagged(&self, tag: &Tag, text: &str, at: Mark) -> Result<Meaning, Failure> {
        match tag.core_suffix() {
            Some("str") => Ok(Meaning::Text),
            Some("null" | "bool" | "int" | "float") => Ok(meaning_of_plain(text)),
            _ if tag.handle().is_empty() && tag.suffix() == "!" => Ok(Meaning::Text),
            _ => Err(self.unknown_tag(tag, at)),
        }
    }

    fn unknown_tag(&self, tag: &Tag, at: Mark) -> Failure {
        let message = format!("the tag `{}` means nothing in a manifest", tag.original());
        self.refused(at, &message, Some("text that begins with `!` needs quotes".to_owned()))
    }

    fn refused(&self, at: Mark, message: &str, hint: Option<String>) -> Failure {
        Failure::Refused { at, path: self.path(), message: message.to_owned(), hint }
    }

    /// The path to where the builder is.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match (&open.node.value, &open.key) {
                (Value::List(items), _) => path.push_str(&format!("[{}]", items.len())),
                (_, Some((key, _))) => push_key(&mut path, key),
                _ => {}
            }
        }
        path
    }
}

/// Appends `.key`, or `[key]` for a key with other characters than a field name has.
pub(crate) fn push_key(path: &mut String, key: &str) {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push_str(&format!("[{key}]"));
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.value)).sum::<usize>(),
    }
}

fn levels(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| levels(&entry.value)).max().unwrap_or(0),
    }
}
