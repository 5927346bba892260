//! What of a manifest can never work or rarely ends well, told before anything starts. No IO, no clock.
//!
//! ```text
//! manifests ─┐                     ┌─ play    the Pod played forward through lifecycle::decide
//!            ├─► Subject ─► rules ─┤
//! facts ─────┘   (one Pod)         └─ process, shell, endless, sleeps   what a command says of itself
//!                    │
//!                    ▼
//!                Findings, each with severity, rule, line, column, field path, hint
//! ```
//!
//! An **error** is something that cannot work whatever the programs do, here or in a cluster: it would be refused, fail,
//! hang or be cut off. An **advice** is something that may work and rarely ends well, or that needs what the files do not
//! bring. A **note** says what was not looked at.
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
mod listens;
mod play;
mod process;
mod rules;
mod shell;
mod sleeps;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::manifest::{Manifest, Problem, ProblemKind};
use model::pod::{KeyedObject, Pod};

pub use facts::{Facts, Found, ImageFacts, Looked, Machine};
use finding::Draft;
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

/// Pods and containers of a Pod that are looked at, and findings in each file: more is nobody's manifest, and looking at
/// it shall not take minutes.
const MOST_PODS: usize = 500;
const MOST_CONTAINERS: usize = 100;
const MOST_FINDINGS: usize = 500;

/// Looks at every Pod of all files together. Findings come in the order of the files and their lines.
pub fn check(files: &[File<'_>], facts: &Facts) -> Vec<Finding> {
    let pods: Vec<&Pod> = files.iter().flat_map(|file| &file.manifest.pods).collect();
    let objects: Vec<&KeyedObject> = files.iter().flat_map(|file| &file.manifest.objects).collect();
    let mut findings = Vec::new();
    let mut before = 0;
    let mut taken = BTreeMap::new();
    for file in files {
        let mut of_file = duplicates(file, &mut taken);
        for (index, pod) in file.manifest.pods.iter().enumerate() {
            let subject = Subject { pod, earlier: &pods[..before], objects: &objects, facts };
            before += 1;
            let room = MOST_FINDINGS.saturating_sub(of_file.len());
            let drafts = look(&subject).into_iter().take(room);
            of_file.extend(drafts.map(|draft| draft.placed(file, "Pod", index, &pod.meta)));
        }
        let is_told = |warning: &Problem, findings: &[Finding]| {
            findings.iter().any(|known| (known.line, known.column) == (warning.line, warning.column))
        };
        for warning in file.manifest.warnings.iter().take(MOST_FINDINGS) {
            if !is_told(warning, &of_file) {
                of_file.push(Finding::of_problem(warning, Severity::Advice));
            }
        }
        of_file.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
        findings.extend(of_file);
    }
    findings
}

/// What is found in one Pod.
fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let containers = subject.pod.spec.all_containers().count();
    if containers > MOST_CONTAINERS || subject.earlier.len() >= MOST_PODS {
        let message = format!(
            "not looked at: at most {MOST_PODS} Pods of at most {MOST_CONTAINERS} containers are, and this Pod has \
             {containers} containers and {} Pods before it",
            subject.earlier.len()
        );
        return vec![Draft::new(Severity::Note, "too-much", "metadata.name", message)];
    }
    rules::all(subject)
}

/// Kind, namespace and name of every object, and the file that it stands in.
type Taken<'a> = BTreeMap<(String, &'a str, &'a str), &'a str>;

/// Objects of an earlier file that stand in this one again. (Twice in one file is refused by the reader.)
fn duplicates<'a>(file: &File<'a>, taken: &mut Taken<'a>) -> Vec<Finding> {
    let pods = file.manifest.pods.iter().map(|pod| ("Pod".to_owned(), &pod.meta));
    let objects = file.manifest.objects.iter().map(|object| (object.kind.to_string(), &object.meta));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (kind, meta) in pods.chain(objects) {
        let index = counts.entry(kind.clone()).or_default();
        let key = (kind.clone(), meta.namespace.as_str(), meta.name.as_str());
        if let Some(earlier) = taken.insert(key, file.name) {
            let message = format!("{kind} {}/{} stands in {earlier} too", meta.namespace, meta.name);
            let draft = Draft::new(Severity::Error, "duplicate-object", "metadata.name", message);
            found.push(draft.hint("give one of them another name").placed(file, &kind, *index, meta));
        }
        *index += 1;
    }
    found
}

/// What is wrong with a manifest as findings, in the same order.
pub fn of_problems<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> Vec<Finding> {
    problems.into_iter().map(|problem| Finding::of_problem(problem, Severity::Error)).collect()
}

/// Whether all that is wrong is that parts of manifests were given: then the parts can be looked at.
pub fn is_only_incomplete<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> bool {
    problems.into_iter().all(|problem| problem.kind == ProblemKind::Incomplete)
}
