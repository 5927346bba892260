//! Text becomes Pods, ConfigMaps and Secrets: all of it, or every reason why not.
//!
//! The way of a manifest, one file each:
//!
//! ```text
//! bytes ─ source ─► text ─ tree ─► nodes with positions ─ document ─► objects by kind
//!            nodes ─ strict ─► unknown fields, wrong types, missing values   (fields.rs, the API's own table)
//!            nodes ─ honour ─► warnings for what podling does not honour     (honoured.rs)
//!            nodes ─ read/* ─► typed, defaulted, validated
//! ```
//!
//! No step stops at the first problem; only text that is not YAML hides what stands in the same document.
//! Nothing here reads a file: the caller brings the bytes.

mod document;
mod honoured;
mod node;
mod plain;
mod positions;
pub mod problem;
mod read;
mod report;
mod scalar;
pub(crate) mod schema;
mod source;
mod strict;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;

pub use plain::{NotPlain, Plain, PlainDocument, read_plain};
pub use positions::{Place, Position, Positions};
pub use problem::{Excerpt, Problem, ProblemKind, Problems, Snippet};
pub use suggest::nearest;

use crate::pod::{KeyedObject, Pod};
use document::Reading;
use source::{Chunk, Source};
use syntax::Mistake;
use tree::Failure;

/// What a manifest holds.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Pods, in the order of the text.
    pub pods: Vec<Pod>,
    /// ConfigMaps and Secrets, in the order of the text.
    pub objects: Vec<KeyedObject>,
    /// What is accepted and yet worth a word: fields not honoured, likely mistakes.
    pub warnings: Vec<Problem>,
    /// Where each value stands.
    pub positions: Positions,
}

/// Reads a manifest: YAML or JSON, any number of documents and Lists, in any order. `name` is what messages
/// call it, most often the file's name.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Manifest, Problems> {
    let (manifest, problems) = read(name, bytes)?;
    match problems {
        Some(problems) => Err(problems),
        None => Ok(manifest),
    }
}

/// As [`parse`], for somebody who looks at what could be read beside what is wrong. A Pod that only lacks its head
/// (a [`ProblemKind::Incomplete`]) is among the Pods; one with other problems may be there with defaults in their
/// place. `Err` when nothing could be read at all.
pub fn read(name: &str, bytes: &[u8]) -> Result<(Manifest, Option<Problems>), Problems> {
    let whole = |line: usize, kind: ProblemKind, message: String, hint: Option<&str>| {
        Problems::new(vec![plain(name, (line, 1), kind, message, hint.map(str::to_owned))])
    };
    if bytes.len() > source::MOST_BYTES {
        let most = source::MOST_BYTES >> 20;
        let message = format!("this manifest has {} bytes; podling reads at most {most} MiB", bytes.len());
        return Err(whole(1, ProblemKind::TooComplex, message, None));
    }
    let text = source::decode(bytes)
        .map_err(|error| whole(error.line, ProblemKind::NotText, error.message, Some(&error.hint)))?;
    let mut source = Source::new(name, text);
    let chunks = source.chunks();
    if chunks.is_empty() {
        let message = "this manifest is empty".to_owned();
        return Err(whole(1, ProblemKind::Incomplete, message, Some("it needs at least a Pod")));
    }
    let mut reading = Reading::default();
    let mut positions = Positions::default();
    for chunk in chunks {
        let trees = tree::build(chunk);
        let hides_lines = may_hold_secret(chunk.text);
        for duplicate in trees.duplicates {
            let place = (duplicate.at.line, duplicate.at.column);
            let first = duplicate.first_at;
            let hint = format!("the first one stands in line {}, column {}", first.line, first.column);
            let mut found =
                plain(name, place, ProblemKind::DuplicateKey, "duplicate key".to_owned(), Some(hint));
            found.path = problem::harmless(&duplicate.path);
            found.snippet = source.snippet(place.0, place.1, duplicate.at.width).filter(|_| !hides_lines);
            reading.problems.push(found);
        }
        if let Some(failure) = trees.failure {
            reading.problems.extend(broken(&mut source, chunk, failure, hides_lines));
        }
        for root in trees.roots {
            if !root.is_null() {
                let places = reading.document(&mut source, &root);
                positions.add(root, places);
            }
        }
    }
    let Reading { pods, objects, problems, mut warnings, .. } = reading;
    warnings.sort_by_key(|warning| (warning.line, warning.column));
    let problems = (!problems.is_empty()).then(|| Problems::new(problems));
    Ok((Manifest { pods, objects, warnings, positions }, problems))
}

/// Reads a Pod as an API server holds it, in JSON: with UID, generation, ephemeral containers, and whatever else the
/// system wrote into it. Beside it stands what is accepted and yet worth a word.
pub fn stored(name: &str, json: &[u8]) -> Result<(Pod, Vec<Problem>), Problems> {
    let text = source::decode(json).map_err(|error| {
        let kind = ProblemKind::NotText;
        Problems::new(vec![plain(name, (error.line, 1), kind, error.message, Some(error.hint))])
    })?;
    let mut source = Source::new(name, text);
    let mut reading = Reading::default();
    for chunk in source.chunks() {
        let trees = tree::build(chunk);
        if let Some(failure) = trees.failure {
            reading.problems.extend(broken(&mut source, chunk, failure, true));
        }
        for root in &trees.roots {
            reading.stored(&mut source, root);
        }
    }
    let Reading { mut pods, problems, warnings, .. } = reading;
    match pods.pop() {
        Some(pod) if problems.is_empty() => Ok((pod, warnings)),
        _ if !problems.is_empty() => Err(Problems::new(problems)),
        _ => {
            let message = "this is no Pod".to_owned();
            Err(Problems::new(vec![plain(name, (1, 1), ProblemKind::UnknownKind, message, None)]))
        }
    }
}

/// The problems of a document that is no tree.
fn broken(source: &mut Source<'_>, chunk: Chunk<'_>, failure: Failure, hides_lines: bool) -> Vec<Problem> {
    let (kind, path, mistakes) = match failure {
        Failure::TooComplex { at, message } => {
            (ProblemKind::TooComplex, String::new(), vec![Mistake::at(at, message, None)])
        }
        Failure::Refused { at, path, message, hint } => match syntax::template(source.line(at.line), at.line)
        {
            Some(template) => (ProblemKind::Syntax, path, vec![template]),
            None => (ProblemKind::Syntax, path, vec![Mistake::at(at, message, hint)]),
        },
        Failure::Scan(error) => {
            let kind = match error.kind() {
                granit_parser::ErrorKind::RecursionLimitExceeded => ProblemKind::TooComplex,
                _ => ProblemKind::Syntax,
            };
            (kind, String::new(), syntax::explain(source, chunk, &error, !hides_lines))
        }
    };
    let place = |mistake: Mistake| {
        let (line, column, width) = (mistake.line, mistake.column, mistake.width);
        let mut found = plain(source.name, (line, column), kind, mistake.message, mistake.hint);
        found.path = problem::harmless(&path);
        found.snippet = source.snippet(line, column, width).filter(|_| !hides_lines);
        found
    };
    mistakes.into_iter().map(place).collect()
}

/// A problem without path and snippet.
fn plain(
    name: &str,
    (line, column): (usize, usize),
    kind: ProblemKind,
    message: String,
    hint: Option<String>,
) -> Problem {
    Problem {
        file: name.to_owned(),
        line,
        column,
        path: String::new(),
        message: problem::harmless(&message),
        hint: hint.map(|hint| problem::harmless_lines(&hint)),
        kind,
        snippet: None,
    }
}

/// Whether a document that is not a tree (yet) may be a Secret: then none of its lines is shown.
fn may_hold_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("stringdata")
        || lower.lines().any(|line| {
            line.split("kind")
                .skip(1)
                .any(|rest| rest.trim_start_matches(['"', '\'', ' ', ':', '\t']).starts_with("secret"))
        })
}
