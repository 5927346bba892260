//! `podling check`: reads manifests as `podling run` does, gathers what is known of machine and images, and prints what
//! the check room finds. Nothing is started, and nothing on the machine is changed.

mod facts;
mod text;

use std::path::Path;

use ::check::{File, Finding, Severity};
use model::manifest::{self, Manifest};
use model::pod::Pod;
use serde::Serialize;

use crate::console::{Palette, print};
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::input;
use crate::typed::{self, CheckOutput};

/// All that was found, in the order of the files and their lines.
#[derive(Debug, Serialize)]
struct Report {
    /// `namespace/name` of each Pod that was looked at.
    pods: Vec<String>,
    errors: usize,
    advice: usize,
    notes: usize,
    findings: Vec<Finding>,
}

/// Looks, prints, and says by its code whether something was found.
pub(crate) fn perform(asked: &typed::Check) -> Result<Code, Failure> {
    let report = look(asked)?;
    match asked.output {
        CheckOutput::Text => print(text::of(&report, Palette::of_stdout()))?,
        CheckOutput::Json => {
            let json = serde_json::to_value(&report).map_err(|error| Failure::Output(error.into()))?;
            print(format_args!("{json:#}\n"))?;
        }
    }
    Ok(code(&report, asked.strict))
}

/// The contract of docs/exit-codes.md.
fn code(report: &Report, strict: bool) -> Code {
    if report.errors > 0 || strict && report.advice > 0 { Code::NOT_ALL_WELL } else { Code::SUCCESS }
}

/// A file whose text could be read.
struct Read {
    name: String,
    bytes: Vec<u8>,
    /// What was understood; nothing when the text is not even a manifest.
    manifest: Option<Manifest>,
    /// What is wrong with the text.
    findings: Vec<Finding>,
    /// Whether Pods are whole enough to be looked at.
    can_be_checked: bool,
}

fn look(asked: &typed::Check) -> Result<Report, Failure> {
    let read = asked.files.iter().map(|path| read_one(path)).collect::<Result<Vec<Read>, Failure>>()?;
    let can_be_checked = read.iter().all(|read| read.can_be_checked);
    let files: Vec<File<'_>> = read
        .iter()
        .filter_map(|read| {
            let manifest = read.manifest.as_ref()?;
            Some(File { name: &read.name, bytes: &read.bytes, manifest })
        })
        .collect();
    let pods: Vec<&Pod> = files.iter().flat_map(|file| &file.manifest.pods).collect();
    let mut findings: Vec<Finding> = read.iter().flat_map(|read| read.findings.clone()).collect();
    if can_be_checked {
        if pods.is_empty() && findings.is_empty() {
            let files = read.iter().map(|read| read.name.clone()).collect::<Vec<_>>().join(", ");
            return Err(Failure::NoPod { files });
        }
        let facts = facts::gather(&pods, &asked.directories.image_dir);
        findings.extend(::check::check(&files, &facts));
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    Ok(Report {
        pods: pods.iter().map(|pod| format!("{}/{}", pod.meta.namespace, pod.meta.name)).collect(),
        errors: count(Severity::Error),
        advice: count(Severity::Advice),
        notes: count(Severity::Note),
        findings,
    })
}

/// A Pod that lacks nothing but its head can be looked at; after any other problem what follows would only confuse.
fn read_one(path: &Path) -> Result<Read, Failure> {
    let (name, bytes) = input::read_one(path)?;
    let (manifest, problems) = match manifest::read(&name, &bytes) {
        Ok((manifest, problems)) => (Some(manifest), problems),
        Err(problems) => (None, Some(problems)),
    };
    let can_be_checked = problems.iter().all(::check::is_only_incomplete);
    let findings = problems.iter().flat_map(::check::of_problems).collect();
    Ok(Read { name, bytes, manifest, findings, can_be_checked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_count_unless_it_is_strict() {
        let report = |errors, advice, notes| Report { pods: vec![], errors, advice, notes, findings: vec![] };
        for (report, lenient, strict) in [
            (report(0, 0, 3), Code::SUCCESS, Code::SUCCESS),
            (report(0, 1, 0), Code::SUCCESS, Code::NOT_ALL_WELL),
            (report(1, 0, 0), Code::NOT_ALL_WELL, Code::NOT_ALL_WELL),
        ] {
            assert_eq!(code(&report, false), lenient);
            assert_eq!(code(&report, true), strict);
        }
    }
}
