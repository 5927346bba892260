//! Scenarios: what somebody types, and what is to be seen. One file serves every kubectl.
//!
//! ```text
//! # A comment.
//! == pod.yaml            a file, until a line of `==` alone
//! ==
//! $ kubectl get pods     a command for the shell, with what it prints on both streams
//! NAME   READY   [..]    `[..]` stands for anything within a line
//! ...                    and this for any number of lines
//! ? 1                    the exit code, when it is not 0
//! machine$ ...           a command only for that kubectl, `machine` or `debian`
//! ```

use std::path::Path;
use std::process::Command;

use crate::node::{Kubectl, Node};
use crate::podling::Podling;

/// One command and what is to be seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    line: usize,
    only: Option<Kubectl>,
    command: String,
    expected: Vec<String>,
    code: i32,
}

/// Plays a scenario against a fresh node, with that kubectl. Nothing happens on a machine that has none.
pub fn play(name: &str, text: &str, kubectl: Kubectl, images: &[&str]) {
    let Some(folder) = kubectl.folder() else { return };
    let podling = Podling::with_images(images);
    let mut node = Node::start(&podling, &[]);
    for step in read(text, podling.base()) {
        if step.only.is_some_and(|only| only != kubectl) {
            continue;
        }
        let (printed, code) = run(&mut node.shell(&folder, &format!("exec 2>&1\n{}", step.command)));
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = step.expected.iter().map(String::as_str).collect();
        assert!(
            code == step.code && lines_match(&expected, &lines),
            "{name}:{}: $ {}\nexpected (code {}):\n{}\n\nprinted (code {code}):\n{printed}\n",
            step.line,
            step.command,
            step.code,
            step.expected.join("\n"),
        );
    }
    node.running().assert_quiet();
}

fn run(command: &mut Command) -> (String, i32) {
    let output = command.output().expect("a shell");
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.push_str(&String::from_utf8_lossy(&output.stderr));
    (printed, output.status.code().unwrap_or(-1))
}

/// Reads the steps, and writes the files that stand among them.
fn read(text: &str, folder: &Path) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(name) = line.strip_prefix("== ") {
            let content: String = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "==")
                .map(|l| format!("{l}\n"))
                .collect();
            std::fs::write(folder.join(name), content).expect("writing a file of the scenario");
        } else if let Some((only, command)) = command_of(line) {
            let command = command.to_owned();
            steps.push(Step { line: index + 1, only, command, ..Step::default() });
        } else if let Some(step) = steps.last_mut().filter(|_| !line.starts_with('#')) {
            if let Some(code) = line.strip_prefix("? ") {
                step.code = code.parse().expect("an exit code");
            } else if let Some(more) = line.strip_prefix("> ").filter(|_| step.expected.is_empty()) {
                step.command.push('\n');
                step.command.push_str(more);
            } else if !line.is_empty() || !step.expected.is_empty() {
                step.expected.push(line.trim_end().to_owned());
            }
        }
    }
    for step in &mut steps {
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    steps
}

fn command_of(line: &str) -> Option<(Option<Kubectl>, &str)> {
    let (only, command) = line.split_once("$ ")?;
    match only {
        "" => Some((None, command)),
        "machine" => Some((Some(Kubectl::Machine), command)),
        "debian" => Some((Some(Kubectl::Debian), command)),
        _ => None,
    }
}

/// Whether the lines are as expected.
fn lines_match(expected: &[&str], lines: &[&str]) -> bool {
    match (expected, lines) {
        ([], []) => true,
        (["...", rest @ ..], _) => (0..=lines.len()).any(|skipped| lines_match(rest, &lines[skipped..])),
        ([first, rest @ ..], [line, more @ ..]) => line_matches(first, line) && lines_match(rest, more),
        _ => false,
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let Some((before, after)) = expected.split_once("[..]") else { return expected == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    let places = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
    places.into_iter().any(|index| line_matches(after, &rest[index..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "# A comment.\n== a.yaml\nkind: Pod\n==\n$ cat a.yaml |\n> wc -l\n1\n\ndebian$ false\n? 1\n";
        let steps = read(text, folder.path());
        assert_eq!(std::fs::read_to_string(folder.path().join("a.yaml")).unwrap(), "kind: Pod\n");
        assert_eq!(steps.len(), 2);
        assert_eq!(
            (steps[0].command.as_str(), steps[0].expected.as_slice()),
            ("cat a.yaml |\nwc -l", &["1".to_owned()][..])
        );
        assert_eq!((steps[1].only, steps[1].code), (Some(Kubectl::Debian), 1));
    }

    #[test]
    fn what_varies_may_vary_and_nothing_else() {
        assert!(lines_match(&["a [..] c", "...", "z"], &["a b c", "x", "y", "z"]));
        assert!(lines_match(&["[..]s"], &["12s"]));
        assert!(!lines_match(&["a"], &["a", "b"]));
        assert!(!lines_match(&["a [..]", "b"], &["a 1"]));
        assert!(!lines_match(&["...", "z"], &["x"]));
    }
}
