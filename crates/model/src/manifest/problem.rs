//! What is wrong with a manifest, where, and what to do about it.
//!
//! A [`Problem`] is data first (position, path, kind) and text second. Text that comes from the manifest is
//! made harmless before it is kept: a manifest may not paint a terminal, and a Secret may not be printed.

use std::fmt;

use serde::Serialize;

/// What sort of thing is wrong; machines react to this, never to the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ProblemKind {
    /// The bytes are not text.
    NotText,
    /// The text is not YAML (or JSON).
    Syntax,
    /// Larger, deeper or more expanded than podling reads.
    TooComplex,
    /// One mapping has the same key twice.
    DuplicateKey,
    /// A part of a manifest: what makes it an object is missing.
    Incomplete,
    /// A kind that podling does not take.
    UnknownKind,
    /// A field that Kubernetes does not have at this place.
    UnknownField,
    /// A value of another type than the field's.
    WrongType,
    /// A required value is missing.
    Required,
    /// A value that breaks a rule.
    Invalid,
    /// A value that is none of those possible.
    Unsupported,
    /// A value that must be unique and is not.
    Duplicate,
    /// A reference to something that does not exist.
    NotFound,
    /// A field that may not be set here.
    Forbidden,
    /// A value longer than possible.
    TooLong,
    /// Valid Kubernetes that podling does not honour yet.
    NotHonoured,
    /// Allowed, and most likely a mistake.
    Suspicious,
}

impl ProblemKind {
    /// Kubernetes' word for it, as it stands in the causes of a `metav1.Status`.
    pub fn reason(self) -> &'static str {
        match self {
            ProblemKind::Required | ProblemKind::Incomplete => "FieldValueRequired",
            ProblemKind::WrongType => "FieldValueTypeInvalid",
            ProblemKind::Duplicate | ProblemKind::DuplicateKey => "FieldValueDuplicate",
            ProblemKind::Unsupported | ProblemKind::UnknownKind | ProblemKind::NotHonoured => {
                "FieldValueNotSupported"
            }
            ProblemKind::NotFound => "FieldValueNotFound",
            ProblemKind::Forbidden => "FieldValueForbidden",
            ProblemKind::TooLong => "FieldValueTooLong",
            _ => "FieldValueInvalid",
        }
    }
}

/// The line that a problem points at, with the part that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// The line, without control characters, cut to a width that fits a screen.
    pub text: String,
    /// Characters before the part that is meant.
    pub caret: usize,
    /// Characters of the part that is meant, at least 1.
    pub width: usize,
}

/// One thing that is wrong with a manifest, or worth a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The manifest's name, as the user knows it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, such as `spec.containers[0].ports[0].ContainerPort`; empty when the text has no fields yet.
    pub path: String,
    /// What is wrong, in Kubernetes' words where it has some.
    pub message: String,
    /// What to do about it; may have several lines.
    pub hint: Option<String>,
    /// What sort of thing it is.
    pub kind: ProblemKind,
    /// The line meant; never of a document that holds a Secret.
    pub snippet: Option<Snippet>,
}

impl Problem {
    /// The problem in one line, without file and position: `spec.containers[0].image: Required value`.
    pub fn summary(&self) -> String {
        if self.path.is_empty() { self.message.clone() } else { format!("{}: {}", self.path, self.message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.summary())?;
        Excerpt { line: self.line, snippet: self.snippet.as_ref(), hint: self.hint.as_deref() }.fmt(f)
    }
}

/// What stands below a message about a manifest: the line that is meant, and the hint. Begins with a line break
/// unless there is neither.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a> {
    /// Line, from 1.
    pub line: usize,
    /// Its text.
    pub snippet: Option<&'a Snippet>,
    /// What to do; may have several lines.
    pub hint: Option<&'a str>,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let margin = self.line.to_string().len();
        if let Some(snippet) = self.snippet {
            write!(f, "\n{:margin$} |\n{} | {}", "", self.line, snippet.text)?;
            write!(
                f,
                "\n{:margin$} | {:caret$}{:^<width$}",
                "",
                "",
                "",
                caret = snippet.caret,
                width = snippet.width
            )?;
        }
        if let Some(hint) = self.hint {
            let mut lines = hint.lines();
            write!(f, "\n{:margin$} = hint: {}", "", lines.next().unwrap_or_default())?;
            for line in lines {
                write!(f, "\n{:margin$}         {line}", "")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with a manifest, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    list: Vec<Problem>,
    omitted: usize,
}

/// More problems than anybody reads: the rest is only counted.
const MOST_KEPT: usize = 100;

impl Problems {
    /// Orders by position and keeps the first hundred.
    pub(crate) fn new(mut list: Vec<Problem>) -> Problems {
        list.sort_by_key(|problem| (problem.line, problem.column));
        list.dedup();
        let omitted = list.len().saturating_sub(MOST_KEPT);
        list.truncate(MOST_KEPT);
        Problems { list, omitted }
    }

    /// The problems, by position.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are, those left off included; never 0.
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\n\n... and {omitted} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Text of the manifest made harmless for a terminal: control characters become visible.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_direction_mark(c) { '\u{fffd}' } else { c }).collect()
}

/// Text of several lines made harmless for a terminal: control characters and marks that reorder text become visible.
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// Marks that reorder what a terminal shows ("trojan source", CVE-2021-42574).
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}
