//! What of a manifest can never work or rarely ends well, told before anything starts. No IO, no clock.
//!
//! ```text
//! manifests ─┐                     ┌─ play    the Pod played forward through lifecycle::decide
//!            ├─► Subject ─► rules ─┤
//! facts ─────┘   (one Pod)         └─ process, endless, sleeps   what a command says of itself
//!                    │
//!                    ▼
//!                Findings, each with severity, rule, line, column, field path, hint
//! ```
//!
//! An **error** is something that cannot work whatever the programs do: `podling run` would fail, hang or cut
//! something off. An **advice** is something that may work and rarely ends well. A **note** says what was not looked at.
//! Whatever the text of a command merely suggests is an advice at most: no alarm is worth more than one false one.
//!
//! | where is ...? | |
//! |---|---|
//! | one subject of what is looked for | `rules/`, one file each |
//! | the world in which a Pod is played | `play/world.rs` |
//! | what is known of machine and images | [`facts`], filled in by the caller |

mod endless;
pub mod facts;
mod finding;
mod play;
mod process;
mod rules;
mod sleeps;
mod subject;
#[cfg(test)]
mod tests;

use model::manifest::{Manifest, Problem, ProblemKind};
use model::pod::{KeyedObject, Pod};

pub use facts::{Facts, Found, ImageFacts, Looked, Machine};
pub use finding::{Finding, Severity};
use subject::Subject;

/// A manifest that was read.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Its text, for the lines that findings show.
    pub bytes: &'a [u8],
    /// What was read.
    pub manifest: &'a Manifest,
}

/// Looks at every Pod of all files together. Findings come in the order of the files and their lines.
pub fn check(files: &[File<'_>], facts: &Facts) -> Vec<Finding> {
    let pods: Vec<&Pod> = files.iter().flat_map(|file| &file.manifest.pods).collect();
    let objects: Vec<&KeyedObject> = files.iter().flat_map(|file| &file.manifest.objects).collect();
    let mut findings = Vec::new();
    let mut before = 0;
    for file in files {
        let mut of_file = Vec::new();
        for (index, pod) in file.manifest.pods.iter().enumerate() {
            let subject = Subject { pod, earlier: &pods[..before], objects: &objects, facts };
            before += 1;
            let drafts = rules::all(&subject).into_iter();
            of_file.extend(drafts.map(|draft| draft.placed(file, index, pod)));
        }
        let is_told = |warning: &Problem, findings: &[Finding]| {
            findings.iter().any(|known| (known.line, known.column) == (warning.line, warning.column))
        };
        for warning in &file.manifest.warnings {
            if !is_told(warning, &of_file) {
                of_file.push(Finding::of_problem(warning, Severity::Advice));
            }
        }
        of_file.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
        findings.extend(of_file);
    }
    findings
}

/// What is wrong with a manifest as findings, in the same order.
pub fn of_problems<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> Vec<Finding> {
    problems.into_iter().map(|problem| Finding::of_problem(problem, Severity::Error)).collect()
}

/// Whether all that is wrong is that parts of manifests were given: then the parts can be looked at.
pub fn is_only_incomplete<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> bool {
    problems.into_iter().all(|problem| problem.kind == ProblemKind::Incomplete)
}
