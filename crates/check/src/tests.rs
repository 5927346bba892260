//! Pods for the tests of this crate, and what is found in them.

mod rules;

use model::manifest::{self, Manifest};
use model::pod::Pod;

use crate::{Facts, File, Finding, Severity, check};

/// A manifest of one Pod with that spec, which may begin at any indentation.
pub(crate) fn manifest(spec: &str) -> String {
    let lines: Vec<&str> = spec.lines().filter(|line| !line.trim().is_empty()).collect();
    let margin = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let spec: String = lines.iter().map(|line| format!("  {}\n", &line[margin..])).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{spec}")
}

/// The text as a manifest.
pub(crate) fn parse(text: &str) -> Manifest {
    manifest::parse("pod.yaml", text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The Pod with that spec.
pub(crate) fn pod(spec: &str) -> Pod {
    parse(&manifest(spec)).pods.remove(0)
}

/// All that is found in a text.
pub(crate) fn findings(text: &str, facts: &Facts) -> Vec<Finding> {
    let manifest = parse(text);
    check(&[File { name: "pod.yaml", bytes: text.as_bytes(), manifest: &manifest }], facts)
}

/// Rule, severity and line of all that is found in a text, notes left out.
pub(crate) fn found(text: &str, facts: &Facts) -> Vec<(&'static str, Severity, usize)> {
    let findings = findings(text, facts).into_iter();
    let alarms = findings.filter(|finding| finding.severity != Severity::Note);
    alarms.map(|finding| (finding.rule, finding.severity, finding.line)).collect()
}
