//! Where the values of a manifest stand, for whoever finds something wrong with them later: the engine, a
//! check, an error about a file that a volume needs.

use std::sync::Arc;

use super::problem::Snippet;
use super::report::holds_secret;
use super::source::{Source, decode};
use super::tree::{Mark, Node};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// A position with its line, to be shown to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub position: Position,
    /// The line; never of a document that holds a Secret.
    pub snippet: Option<Snippet>,
}

/// The positions of every value of every object.
#[derive(Clone, Default)]
pub struct Positions {
    objects: Vec<Object>,
}

/// One object: in which document, and at which path of it.
#[derive(Clone)]
struct Object {
    root: Arc<Node>,
    path: String,
    kind: &'static str,
    name: String,
}

impl Positions {
    /// Keeps a document with the objects that were found in it.
    pub(crate) fn add(&mut self, root: Node, objects: Vec<(String, &'static str, String)>) {
        let root = Arc::new(root);
        let places =
            objects.into_iter().map(|(path, kind, name)| Object { root: root.clone(), path, kind, name });
        self.objects.extend(places);
    }

    /// Where a field of an object stands, such as `spec.containers[0].image` of a `Pod`; where its nearest
    /// written parent stands, if it is not written itself. `None` when there is no such object.
    pub fn lookup(&self, kind: &str, name: &str, path: &str) -> Option<Position> {
        let object = self.objects.iter().find(|object| object.kind == kind && object.name == name)?;
        let mark = object.mark(path);
        Some(Position { line: mark.line, column: mark.column })
    }

    /// As [`Positions::lookup`], for the `index`th object of a kind, with its line. `bytes` are the manifest's.
    pub fn place(&self, bytes: &[u8], kind: &str, index: usize, path: &str) -> Option<Place> {
        let object = self.objects.iter().filter(|object| object.kind == kind).nth(index)?;
        let mark = object.mark(path);
        let text = decode(bytes).ok().filter(|_| !holds_secret(&object.root));
        let snippet = text.and_then(|text| Source::new("", text).snippet(mark.line, mark.column, mark.width));
        Some(Place { position: Position { line: mark.line, column: mark.column }, snippet })
    }
}

impl Object {
    fn mark(&self, path: &str) -> Mark {
        let (object, start) = walk(&self.root, &self.path, self.root.at);
        walk(object, path, start).1
    }
}

/// Follows a path as far as it is written.
fn walk<'n>(from: &'n Node, path: &str, start: Mark) -> (&'n Node, Mark) {
    let (mut node, mut mark, mut rest) = (from, start, path);
    while !rest.is_empty() {
        let Some((step, after)) = next_step(rest) else { break };
        rest = after;
        let by_index = step.parse::<usize>().ok().and_then(|index| node.items().get(index));
        let by_key = || node.entries().iter().find(|entry| entry.key == step);
        if let Some(item) = by_index {
            (node, mark) = (item, item.at);
        } else if let Some(entry) = by_key() {
            let at = if entry.value.scalar().is_some() { entry.value.at } else { entry.key_at };
            (node, mark) = (&entry.value, at);
        } else {
            break;
        }
    }
    (node, mark)
}

/// `a` of `a.b`, `0` of `[0].b`, `a.b` of `[a.b]`.
fn next_step(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(inner) = path.strip_prefix('[') {
        return inner.split_once(']');
    }
    Some(path.split_at(path.find(['.', '[']).unwrap_or(path.len())))
}

/// The trees hold what the manifest holds, Secrets too: they are not for logs.
impl std::fmt::Debug for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let objects = self.objects.iter().map(|object| format!("{} {}", object.kind, object.name));
        f.debug_list().entries(objects).finish()
    }
}
