//! One YAML document as plain values, without a schema: for whoever keeps objects as JSON.
//!
//! The reader is the manifest's own, with its budgets and its YAML 1.1 meanings, so that a text means the same to
//! `podling run` and to an API request that brings YAML.

use super::scalar::{Meaning, Scalar};
use super::source::{self, Source};
use super::tree::{self, Failure, Node, Value};

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Plain {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Plain>),
    /// A mapping in the order of the text; of a key that stands twice, the last counts.
    Map(Vec<(String, Plain)>),
}

/// A document that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainDocument {
    /// Its value.
    pub value: Plain,
    /// Paths of the keys that stand twice.
    pub duplicates: Vec<String>,
}

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct NotPlain {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads a text that holds exactly one document.
pub fn read_plain(bytes: &[u8]) -> Result<PlainDocument, NotPlain> {
    let refuse = |line: usize, message: &str| NotPlain { line, message: message.to_owned() };
    if bytes.len() > source::MOST_BYTES {
        return Err(refuse(1, "the document is too large"));
    }
    let text = source::decode(bytes).map_err(|error| refuse(error.line, &error.message))?;
    let source = Source::new("", text);
    let mut found: Option<PlainDocument> = None;
    for chunk in source.chunks() {
        let trees = tree::build(chunk);
        match trees.failure {
            None => {}
            Some(Failure::Refused { at, message, .. } | Failure::TooComplex { at, message }) => {
                return Err(refuse(at.line, &message));
            }
            Some(Failure::Scan(error)) => {
                let line = error.marker().line() + chunk.lines_before;
                return Err(refuse(line, &format!("this is not YAML: {}", error.kind())));
            }
        }
        let duplicates: Vec<String> = trees.duplicates.into_iter().map(|duplicate| duplicate.path).collect();
        for root in trees.roots.into_iter().filter(|root| !root.is_null()) {
            if found.is_some() {
                return Err(refuse(
                    root.at.line,
                    "only one document is expected, and a second one begins here",
                ));
            }
            found = Some(PlainDocument { value: value(root)?, duplicates: duplicates.clone() });
        }
    }
    found.ok_or_else(|| refuse(1, "the document is empty"))
}

fn value(node: Node) -> Result<Plain, NotPlain> {
    Ok(match node.value {
        Value::Scalar(Scalar { text, meaning }) => match meaning {
            Meaning::Null => Plain::Null,
            Meaning::Bool(value) => Plain::Bool(value),
            Meaning::Int(value) => Plain::Integer(value),
            Meaning::Text => Plain::Text(text),
            Meaning::Float => {
                let digits: String = text.chars().filter(|digit| *digit != '_').collect();
                let number = digits.parse::<f64>().ok().filter(|number| number.is_finite());
                let message = format!("`{text}` is no number that JSON has");
                Plain::Float(number.ok_or(NotPlain { line: node.at.line, message })?)
            }
        },
        Value::List(items) => Plain::List(items.into_iter().map(value).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            let mut members: Vec<(String, Plain)> = Vec::with_capacity(entries.len());
            for entry in entries {
                members.push((entry.key, value(entry.value)?));
            }
            Plain::Map(members)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_the_meanings_of_a_manifest() {
        let document = read_plain(b"a: yes\nb: [0644, 1.5, \"1\", ~]\nb: {c: d}\n").unwrap();
        assert_eq!(document.duplicates, ["b"]);
        let Plain::Map(members) = document.value else { panic!("no mapping") };
        assert_eq!(members[0], ("a".to_owned(), Plain::Bool(true)));
        let list =
            [Plain::Integer(420), Plain::Float(1.5), Plain::Text("1".to_owned()), Plain::Null].to_vec();
        assert_eq!(members[1].1, Plain::List(list));
    }

    #[test]
    fn what_is_not_one_document_is_refused_with_its_line() {
        for (text, line) in [("a: 1\n---\nb: 2\n", 3), ("", 1), ("a: [1\n", 1), ("a: .inf", 1)] {
            let error = read_plain(text.as_bytes()).unwrap_err();
            assert!(error.line >= line, "{text:?}: {error}");
        }
    }
}
