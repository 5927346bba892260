//! For people, as compilers do: what was found with its line, then the notes, then one line of sum.

use ::check::{Finding, Severity};
use model::manifest::Excerpt;

use super::Report;
use crate::console::Palette;

pub(super) fn of(report: &Report, palette: Palette) -> String {
    let mut text = String::new();
    let is_note = |finding: &&Finding| finding.severity == Severity::Note;
    for finding in report.findings.iter().filter(|finding| !is_note(finding)) {
        let excerpt =
            Excerpt { line: finding.line, snippet: finding.snippet.as_ref(), hint: finding.hint.as_deref() };
        text.push_str(&format!("{}{excerpt}\n\n", head(finding, palette)));
    }
    for note in report.findings.iter().filter(is_note) {
        text.push_str(&head(note, palette));
        text.push('\n');
    }
    text.push_str(&sum(report, palette));
    text.push('\n');
    text
}

/// `pod.yaml:9:5: error[rule]: path: message`. A note names its field by itself.
fn head(finding: &Finding, palette: Palette) -> String {
    let title = match finding.severity {
        Severity::Note => "note".to_owned(),
        severity => format!("{severity}[{}]", finding.rule),
    };
    let title = match finding.severity {
        Severity::Error => palette.failure(title),
        Severity::Advice => palette.warning(title),
        Severity::Note => palette.faint(title),
    };
    let has_path = !finding.path.is_empty() && finding.severity != Severity::Note;
    let path = if has_path { format!("{}: ", finding.path) } else { String::new() };
    format!("{}:{}:{}: {title}: {path}{}", finding.file, finding.line, finding.column, finding.message)
}

fn sum(report: &Report, palette: Palette) -> String {
    let pods = match report.pods.len() {
        0 => "no Pod".to_owned(),
        1 => "1 Pod".to_owned(),
        count => format!("{count} Pods"),
    };
    let errors = match report.errors {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    match (report.errors, report.advice) {
        (0, 0) => palette.success(format_args!("{pods}: nothing found that cannot work")),
        (0, advice) => palette.warning(format_args!("{pods}: no errors, {advice} advice")),
        (_, 0) => palette.failure(format_args!("{pods}: {errors}")),
        (_, advice) => palette.failure(format_args!("{pods}: {errors}, {advice} advice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding {
            severity,
            rule: "port-twice",
            pod: Some("default/web".into()),
            file: "pod.yaml".into(),
            line: 9,
            column: 5,
            path: "spec.containers[1]".into(),
            message: "it is so".into(),
            hint: Some("change it".into()),
            snippet: Some(model::manifest::Snippet { text: "    - name: b".into(), caret: 4, width: 1 }),
        }
    }

    #[test]
    fn what_was_found_stands_above_the_notes_and_the_sum_last() {
        let findings = vec![finding(Severity::Note), finding(Severity::Error)];
        let report = Report { pods: vec!["default/web".into()], errors: 1, advice: 0, notes: 1, findings };
        let expected = "\
pod.yaml:9:5: error[port-twice]: spec.containers[1]: it is so
  |
9 |     - name: b
  |     ^
  = hint: change it

pod.yaml:9:5: note: it is so
1 Pod: 1 error
";
        assert_eq!(of(&report, Palette::plain()), expected);
    }

    #[test]
    fn a_clean_manifest_is_said_to_be_so() {
        let report =
            Report { pods: vec!["a".into(), "b".into()], errors: 0, advice: 0, notes: 0, findings: vec![] };
        assert_eq!(of(&report, Palette::plain()), "2 Pods: nothing found that cannot work\n");
    }
}
