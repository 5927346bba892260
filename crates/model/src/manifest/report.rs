//! Collects what is wrong with one document, in Kubernetes' words, each at its place.
//!
//! A problem is reported against a node; its path is found by walking from the document's root to that very
//! node, so that nobody carries paths about for the manifests that are right. Values of Secrets never get into
//! a message, and no line of a document that holds a Secret gets into a snippet.

use super::problem::{Problem, ProblemKind, harmless, harmless_lines};
use super::scalar::Meaning;
use super::source::Source;
use super::tree::{Entry, Mark, Node, Value, push_key};

/// Longest part of a value that a message repeats.
const MOST_QUOTED: usize = 80;

/// What a problem is about.
#[derive(Clone, Copy)]
pub(crate) enum Target<'n> {
    /// A value.
    Value(&'n Node),
    /// A key of a mapping, by its index.
    Key(&'n Node, usize),
    /// A field that a mapping lacks.
    Missing(&'n Node, &'n str),
}

/// Problems of one document.
pub(crate) struct Report<'a, 's> {
    source: &'a mut Source<'s>,
    root: &'a Node,
    /// Put before every path: what a fragment lacks.
    prefix: &'a str,
    holds_secret: bool,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
}

impl<'a, 's> Report<'a, 's> {
    pub(crate) fn new(
        source: &'a mut Source<'s>,
        root: &'a Node,
        prefix: &'a str,
        problems: &'a mut Vec<Problem>,
        warnings: &'a mut Vec<Problem>,
    ) -> Report<'a, 's> {
        let holds_secret = holds_secret(root);
        Report { source, root, prefix, holds_secret, problems, warnings }
    }

    /// `Required value`.
    pub(crate) fn required(&mut self, parent: &Node, field: &str) {
        self.add(Target::Missing(parent, field), ProblemKind::Required, "Required value".to_owned(), None);
    }

    /// `Required value: ` and what for.
    pub(crate) fn required_because(&mut self, parent: &Node, field: &str, why: &str, hint: Option<&str>) {
        let message = format!("Required value: {why}");
        self.add(Target::Missing(parent, field), ProblemKind::Required, message, hint.map(str::to_owned));
    }

    /// `Invalid value: "x": ` and the rule.
    pub(crate) fn invalid(&mut self, node: &Node, rule: &str) {
        self.invalid_hint(node, rule, None);
    }

    /// As [`Report::invalid`], with what to do about it.
    pub(crate) fn invalid_hint(&mut self, node: &Node, rule: &str, hint: Option<String>) {
        let message = format!("Invalid value: {}: {rule}", self.shown(node));
        self.add(Target::Value(node), ProblemKind::Invalid, message, hint);
    }

    /// `Invalid value: "key": ` and the rule, at a key.
    pub(crate) fn invalid_key(&mut self, node: &Node, index: usize, rule: &str) {
        let key = node.entries().get(index).map(|entry| quoted(&entry.key)).unwrap_or_default();
        self.add(
            Target::Key(node, index),
            ProblemKind::Invalid,
            format!("Invalid value: {key}: {rule}"),
            None,
        );
    }

    /// `Unsupported value: "x": supported values: "A", "B"`.
    pub(crate) fn unsupported(&mut self, node: &Node, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message =
            format!("Unsupported value: {}: supported values: {}", self.shown(node), list.join(", "));
        let hint = node.as_text().and_then(|text| super::suggest::nearest(text, supported.iter().copied()));
        let hint = hint.map(|nearest| format!("did you mean {nearest:?}?"));
        self.add(Target::Value(node), ProblemKind::Unsupported, message, hint);
    }

    /// `Duplicate value: "x"`.
    pub(crate) fn duplicate(&mut self, node: &Node) {
        let message = format!("Duplicate value: {}", self.shown(node));
        self.add(Target::Value(node), ProblemKind::Duplicate, message, None);
    }

    /// `Not found: "x"`.
    pub(crate) fn not_found(&mut self, node: &Node, hint: Option<String>) {
        let message = format!("Not found: {}", self.shown(node));
        self.add(Target::Value(node), ProblemKind::NotFound, message, hint);
    }

    /// `Forbidden: ` and the rule.
    pub(crate) fn forbidden(&mut self, node: &Node, rule: &str) {
        self.add(Target::Value(node), ProblemKind::Forbidden, format!("Forbidden: {rule}"), None);
    }

    /// `Too long: may not be more than N bytes`.
    pub(crate) fn too_long(&mut self, node: &Node, most_bytes: usize, why: &str) {
        let message = format!("Too long: may not be more than {most_bytes} bytes{why}");
        self.add(Target::Value(node), ProblemKind::TooLong, message, None);
    }

    /// A word about something that is allowed.
    pub(crate) fn warn(&mut self, target: Target<'_>, kind: ProblemKind, message: &str, hint: Option<&str>) {
        let problem = self.problem(target, kind, message.to_owned(), hint.map(str::to_owned));
        self.warnings.push(problem);
    }

    /// Any problem.
    pub(crate) fn add(
        &mut self,
        target: Target<'_>,
        kind: ProblemKind,
        message: String,
        hint: Option<String>,
    ) {
        // What is no mapping lacks every field; that it is no mapping was said already.
        if matches!(target, Target::Missing(node, _) if !matches!(node.value, Value::Map(_))) {
            return;
        }
        let problem = self.problem(target, kind, message, hint);
        self.problems.push(problem);
    }

    /// A value as a message shows it: quoted, short, harmless, and never a Secret's.
    pub(crate) fn shown(&self, node: &Node) -> String {
        if self.holds_secret && !self.is_metadata(node) {
            return "(hidden)".to_owned();
        }
        match &node.value {
            Value::List(_) => "list".to_owned(),
            Value::Map(_) => "mapping".to_owned(),
            Value::Scalar(scalar) if scalar.meaning == Meaning::Text => quoted(&scalar.text),
            Value::Scalar(scalar) => match scalar.meaning {
                Meaning::Null => "null".to_owned(),
                Meaning::Int(value) => value.to_string(),
                _ => shortened(&scalar.text),
            },
        }
    }

    /// Whether values may be repeated in hints.
    pub(crate) fn may_show(&self, node: &Node) -> bool {
        !self.holds_secret || self.is_metadata(node)
    }

    /// Whether a node of a document with a Secret is safe to show: what names the object.
    fn is_metadata(&self, node: &Node) -> bool {
        let (path, _) = self.locate(node);
        let field = path.rsplit_once("].").map_or(path.as_str(), |(_, field)| field);
        ["metadata", "apiVersion", "kind", "type", "immutable"].iter().any(|safe| field.starts_with(safe))
    }

    fn problem(
        &mut self,
        target: Target<'_>,
        kind: ProblemKind,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let (path, at) = match target {
            Target::Value(node) => self.locate(node),
            Target::Key(node, index) => {
                let (mut path, at) = self.locate(node);
                match node.entries().get(index) {
                    Some(entry) => {
                        push_key(&mut path, &entry.key);
                        (path, entry.key_at)
                    }
                    None => (path, at),
                }
            }
            Target::Missing(node, field) => {
                let (mut path, _) = self.locate(node);
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(field);
                // Written and empty: there. Not written: at the first key of what lacks it.
                let written = node.entries().iter().find(|entry| entry.key == field);
                let first = node.entries().first();
                (path, written.or(first).map_or(node.at, |entry| entry.key_at))
            }
        };
        let path = if self.prefix.is_empty() { path } else { format!("{}{path}", self.prefix) };
        let snippet =
            if self.holds_secret { None } else { self.source.snippet(at.line, at.column, at.width) };
        Problem {
            file: self.source.name.to_owned(),
            line: at.line,
            column: at.column,
            path: harmless(&path),
            message: harmless(&message),
            hint: hint.map(|hint| harmless_lines(&hint)),
            kind,
            snippet,
        }
    }

    /// The path of a node, and where to point for it: a list or mapping is pointed at by its key.
    fn locate(&self, node: &Node) -> (String, Mark) {
        let mut steps = Vec::new();
        let mut path = String::new();
        if !find(self.root, node, &mut steps) {
            return (path, node.at);
        }
        let mut at = node.at;
        for step in &steps {
            match step {
                Step::Index(index) => {
                    path.push_str(&format!("[{index}]"));
                    at = node.at;
                }
                Step::Key(key, key_at) => {
                    push_key(&mut path, key);
                    at = if node.scalar().is_some() { node.at } else { *key_at };
                }
            }
        }
        (path, at)
    }
}

enum Step<'n> {
    Index(usize),
    Key(&'n str, Mark),
}

/// The steps from a node to another one below it. What stands last before the wanted one is looked into first: that is
/// where it is, in a document that is written out; by an alias it may be anywhere.
fn find<'n>(from: &'n Node, wanted: &Node, steps: &mut Vec<Step<'n>>) -> bool {
    if std::ptr::eq(from, wanted) {
        return true;
    }
    let is_before = |mark: Mark| (mark.line, mark.column) <= (wanted.at.line, wanted.at.column);
    let (items, entries) = (from.items(), from.entries());
    let likely_item = items.partition_point(|item| is_before(item.at)).saturating_sub(1);
    let likely_entry = entries.partition_point(|entry| is_before(entry.key_at)).saturating_sub(1);
    for (index, item) in likely_first(items, likely_item) {
        steps.push(Step::Index(index));
        if find(item, wanted, steps) {
            return true;
        }
        steps.pop();
    }
    for (_, entry) in likely_first(entries, likely_entry) {
        steps.push(Step::Key(&entry.key, entry.key_at));
        if find(&entry.value, wanted, steps) {
            return true;
        }
        steps.pop();
    }
    false
}

/// All with their indices, beginning with one.
fn likely_first<T>(all: &[T], first: usize) -> impl Iterator<Item = (usize, &T)> {
    let others = all.iter().enumerate().filter(move |(index, _)| *index != first);
    all.get(first).map(|item| (first, item)).into_iter().chain(others)
}

/// Whether a document is a Secret or a list with one; in doubt it is one.
pub(crate) fn holds_secret(root: &Node) -> bool {
    let has = |node: &Node, does_fit: &dyn Fn(&Entry) -> bool| node.entries().iter().any(does_fit);
    let is_kind = |entry: &Entry| entry.key.eq_ignore_ascii_case("kind");
    let is_secret_kind = |entry: &Entry| {
        is_kind(entry)
            && entry.value.as_text().is_some_and(|kind| kind.to_ascii_lowercase().contains("secret"))
    };
    let is_secret = |node: &Node| {
        has(node, &is_secret_kind)
            || has(node, &|entry| entry.key.eq_ignore_ascii_case("stringData"))
            || (!has(node, &is_kind) && has(node, &|entry| entry.key.to_ascii_lowercase().contains("data")))
    };
    is_secret(root) || root.list("items").iter().any(is_secret)
}

/// A text in double quotes, shortened.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
