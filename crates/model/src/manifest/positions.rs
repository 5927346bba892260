//! Where the values of a manifest stand, for whoever finds something wrong with them later: the engine, a
//! check, an error about a file that a volume needs.

use std::sync::Arc;

use super::tree::{Mark, Node};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// The positions of every value of every object.
#[derive(Clone, Default)]
pub struct Positions {
    objects: Vec<Place>,
}

/// One object: in which document, and at which path of it.
#[derive(Clone)]
struct Place {
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
            objects.into_iter().map(|(path, kind, name)| Place { root: root.clone(), path, kind, name });
        self.objects.extend(places);
    }

    /// Where a field of an object stands, such as `spec.containers[0].image` of a `Pod`; where its nearest
    /// written parent stands, if it is not written itself. `None` when there is no such object.
    pub fn lookup(&self, kind: &str, name: &str, path: &str) -> Option<Position> {
        let place = self.objects.iter().find(|place| place.kind == kind && place.name == name)?;
        let (object, start) = walk(&place.root, &place.path, place.root.at);
        let (_, mark) = walk(object, path, start);
        Some(Position { line: mark.line, column: mark.column })
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
        let objects = self.objects.iter().map(|place| format!("{} {}", place.kind, place.name));
        f.debug_list().entries(objects).finish()
    }
}
