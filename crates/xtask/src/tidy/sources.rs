//! Rules for one file: its header, its length, its names, its words.

use super::{Finding, Source};

/// A file that is longer has two subjects, or is a table and says so.
const FILE_LIMIT_LINES: usize = 500;
/// A function that is longer cannot be seen at once.
const FUNCTION_LIMIT_LINES: usize = 70;
/// A longer file or function explains its length, with that word, in its own documentation.
const LENGTH: &str = "length";
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager"];
/// Notes to oneself belong into the tracker. Written in two parts, so that this file passes.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Where packages come from is the business of cargo, apt and the machine. In two parts as well.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("pypi", ".org"),
    concat!("npm", "js.org"),
];

/// Written by others or by programs, and kept as they are: manifests as people publish them, cargo's own file.
const NOT_OURS: &[&str] = &["seeds/"];
/// What cargo writes.
const LOCK_FILE: &str = "Cargo.lock";

/// Everything about one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if NOT_OURS.iter().any(|start| source.path.starts_with(start)) || source.path.ends_with(LOCK_FILE) {
        return findings;
    }
    white_space(source, &mut findings);
    words(source, &mut findings);
    name(source, &mut findings);
    if source.path.ends_with(".rs") {
        header(source, &mut findings);
        length(source, &mut findings);
        functions(source, &mut findings);
        unsafe_code(source, &mut findings);
    }
    findings
}

fn white_space(source: &Source, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(source) {
        // Two spaces at the end of a Markdown line would mean a line break; nobody sees it.
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(&source.path, number, "ends with white space"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        findings.push(Finding::new(&source.path, 0, "does not end with an end of line"));
    }
}

fn words(source: &Source, findings: &mut Vec<Finding>) {
    // The descriptions of the API are Kubernetes' own words.
    if source.path.ends_with("schema/definitions.json") {
        return;
    }
    for (number, line) in numbered(source) {
        let mut tokens = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(note) = tokens.find(|token| NOTES.contains(token)) {
            findings.push(Finding::new(&source.path, number, format!("{note} belongs into the tracker")));
        }
        if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
            let what = format!("names {host}; where packages come from is not ours to say");
            findings.push(Finding::new(&source.path, number, what));
        }
    }
}

fn name(source: &Source, findings: &mut Vec<Finding>) {
    let components = source.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    for part in components {
        if EMPTY_NAMES.contains(&part) {
            let what = format!("the name {part:?} says nothing about what is inside");
            findings.push(Finding::new(&source.path, 0, what));
        }
    }
}

fn header(source: &Source, findings: &mut Vec<Finding>) {
    if !source.text.starts_with("//!") {
        findings.push(Finding::new(
            &source.path,
            1,
            "does not open with //!: what it is, why, what it must not do",
        ));
    } else if source.text.lines().next().is_some_and(|line| line.contains("placeholder")) {
        findings.push(Finding::new(&source.path, 1, "is still a placeholder"));
    }
}

fn length(source: &Source, findings: &mut Vec<Finding>) {
    let count = source.text.lines().count();
    let excused = source.text.lines().take_while(|line| line.starts_with("//!")).any(explains_length);
    if count > FILE_LIMIT_LINES && !excused {
        let what = format!(
            "{count} lines, more than {FILE_LIMIT_LINES}; split it, or explain its {LENGTH} in the header"
        );
        findings.push(Finding::new(&source.path, 0, what));
    }
}

/// Counts on rustfmt: a function ends at the first line that is its indentation and a brace.
fn functions(source: &Source, findings: &mut Vec<Finding>) {
    let lines: Vec<_> = source.text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let Some((indentation, name)) = function(line) else { continue };
        let end_line = format!("{}}}", " ".repeat(indentation));
        let length = lines[start..].iter().position(|line| *line == end_line).map_or(1, |length| length + 1);
        // A declaration in a trait, or a function of one line, has no such end of its own.
        let body = lines[start..].iter().position(|line| line.ends_with([';', '{', '}']));
        let has_body = body.is_some_and(|at| lines[start + at].ends_with('{'));
        let excused = lines[..start]
            .iter()
            .rev()
            .take_while(|line| line.trim_start().starts_with(['/', '#']))
            .any(|line| explains_length(line));
        if has_body && length > FUNCTION_LIMIT_LINES && !excused {
            let what = format!(
                "{name} has {length} lines, more than {FUNCTION_LIMIT_LINES}; split it, or explain its {LENGTH} above it"
            );
            findings.push(Finding::new(&source.path, start + 1, what));
        }
    }
}

fn explains_length(line: &str) -> bool {
    line.to_ascii_lowercase().contains(LENGTH)
}

/// The indentation and name of a function that begins in this line.
fn function(line: &str) -> Option<(usize, &str)> {
    let rest = line.trim_start();
    let indentation = line.len() - rest.len();
    let (before, after) = rest.split_once("fn ")?;
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
    let is_qualifier = |word: &str| qualifiers.contains(&word) || word.starts_with("pub(");
    let declared = before.split_whitespace().all(|word| is_qualifier(word) || word.ends_with(')'));
    let name = after.split(['(', '<']).next()?;
    (declared && !name.is_empty()).then_some((indentation, name))
}

fn unsafe_code(source: &Source, findings: &mut Vec<Finding>) {
    let is_program =
        ["crates/pause/", "crates/toolbox/src/main.rs"].iter().any(|path| source.path.starts_with(path));
    let declared = is_program && header_text(source).contains("unsafe");
    if source.path.starts_with("crates/linux/") || declared {
        return;
    }
    let forms = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "(unsafe_code)"]
        .map(|form| form.to_string());
    for (number, line) in numbered(source) {
        let code = line.split("//").next().unwrap_or_default();
        let quoted = code.contains('"');
        if !quoted && forms.iter().any(|form| code.contains(form.as_str())) {
            findings.push(Finding::new(&source.path, number, "unsafe code belongs into crates/linux"));
        }
    }
}

fn header_text(source: &Source) -> String {
    source.text.lines().take_while(|line| line.starts_with("//!")).collect()
}

fn numbered(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        let source = Source { path: path.into(), text: text.into() };
        check(&source).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        assert_eq!(findings("crates/x/src/pod.rs", "//! What it is.\n\nfn f() {}\n"), []);
    }

    #[test]
    fn a_header_is_asked_for() {
        assert_eq!(findings("crates/x/src/pod.rs", "fn f() {}\n").len(), 1);
        assert_eq!(findings("build.sh", "true\n"), []);
    }

    #[test]
    fn empty_names_notes_and_spaces_are_found() {
        assert_eq!(findings("crates/x/src/utils/a.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("docs/a.md", concat!("a TO", "DO: b\n")).len(), 1);
        assert_eq!(findings("docs/a.md", concat!("TO", "DOS is no note\n")), []);
        assert_eq!(findings("docs/a.md", "a \nb").len(), 2);
        assert_eq!(findings("docs/a.md", concat!("pypi", ".org/x\n")).len(), 1);
    }

    #[test]
    fn long_files_and_functions_need_a_reason() {
        let long = |head: &str, lines: usize| format!("{head}\n{}", "// x\n".repeat(lines));
        assert_eq!(findings("a.rs", &long("//! A.", 600)).len(), 1);
        assert_eq!(findings("a.rs", &long("//! A.\n//! Length: a table.", 600)), []);
        let function = |head: &str| format!("//! A.\n{head}fn f() {{\n{}}}\n", "    x();\n".repeat(80));
        let found = findings("a.rs", &function("pub(crate) async "));
        assert!(found.len() == 1 && found[0].1.starts_with("f has 82 lines"), "{found:?}");
        assert_eq!(findings("a.rs", &function("/// Length: a table.\n")), []);
    }

    #[test]
    fn unsafe_code_lives_in_linux() {
        let text = concat!("//! A.\nfn f() { un", "safe { g() } }\n");
        assert_eq!(findings("crates/engine/src/a.rs", text).len(), 1);
        assert_eq!(findings("crates/linux/src/a.rs", text), []);
        assert_eq!(findings("crates/pause/src/a.rs", text).len(), 1);
    }
}
