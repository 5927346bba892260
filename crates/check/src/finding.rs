//! One thing that was found, with its place.

use model::manifest::problem::harmless_lines;
use model::manifest::{Problem, ProblemKind, Snippet};
use model::pod::Meta;
use serde::Serialize;

use crate::File;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot work.
    Error,
    /// It may work, and rarely ends well.
    Advice,
    /// Something that was not, or cannot be, looked at.
    Note,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Advice => "advice",
            Severity::Note => "note",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule's name, such as `port-twice`; machines react to this, never to the message.
    pub rule: &'static str,
    /// `namespace/name` of the Pod; none for what is wrong with the text itself.
    pub pod: Option<String>,
    /// The manifest's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, such as `spec.containers[0].image`.
    pub path: String,
    /// What was found.
    pub message: String,
    /// What to do about it; may have several lines.
    pub hint: Option<String>,
    /// The line meant; never of a document that holds a Secret.
    pub snippet: Option<Snippet>,
}

impl Finding {
    /// What the reader of manifests found.
    pub(crate) fn of_problem(problem: &Problem, severity: Severity) -> Finding {
        let rule = match problem.kind {
            ProblemKind::NotHonoured => "not-honoured",
            ProblemKind::Suspicious => "suspicious-value",
            ProblemKind::Incomplete => "part-of-a-manifest",
            _ => "invalid-manifest",
        };
        Finding {
            severity,
            rule,
            pod: None,
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            path: problem.path.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            snippet: problem.snippet.clone(),
        }
    }
}

/// A finding of a rule, which knows fields and no lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) severity: Severity,
    pub(crate) rule: &'static str,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Draft {
    pub(crate) fn new(
        severity: Severity,
        rule: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Draft {
        Draft { severity, rule, path: path.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Draft {
        self.hint = Some(hint.into());
        self
    }

    /// Puts it where its field stands: in the `index`th object of that kind in the file.
    pub(crate) fn placed(self, file: &File<'_>, kind: &str, index: usize, meta: &Meta) -> Finding {
        let place = file.manifest.positions.place(file.bytes, kind, index, &self.path);
        let position = place.as_ref().map(|place| place.position);
        Finding {
            severity: self.severity,
            rule: self.rule,
            pod: (kind == "Pod").then(|| format!("{}/{}", meta.namespace, meta.name)),
            file: file.name.to_owned(),
            line: position.map_or(1, |position| position.line),
            column: position.map_or(1, |position| position.column),
            path: self.path,
            message: harmless_lines(&self.message),
            hint: self.hint.as_deref().map(harmless_lines),
            snippet: place.and_then(|place| place.snippet),
        }
    }
}
