//! Links in the documents: a relative link, or a path of the repository in backticks, leads somewhere.

use std::path::{Component, Path, PathBuf};

use super::{Finding, Source};
use crate::workspace;

/// Paths of the repository begin with one of these; other words in backticks are not looked at.
const PATH_STARTS: &[&str] = &["crates/", "docs/", "examples/", ".ci/"];

/// Checks every Markdown file.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let root = workspace::root();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (index, line) in source.text.lines().enumerate() {
            for target in targets(&source.path, line) {
                if !root.join(&target).exists() {
                    let what = format!("{} does not exist", target.display());
                    findings.push(Finding::new(&source.path, index + 1, what));
                }
            }
        }
    }
    findings
}

/// The paths that a line refers to, relative to the root.
fn targets(document: &str, line: &str) -> Vec<PathBuf> {
    let directory = Path::new(document).parent().unwrap_or(Path::new(""));
    let mut targets: Vec<_> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
        .map(|link| normal(&directory.join(link)))
        .collect();
    let in_backticks = line.split('`').skip(1).step_by(2);
    targets.extend(
        in_backticks
            .filter(|text| PATH_STARTS.iter().any(|start| text.starts_with(start)))
            .filter(|text| !text.contains(['*', '<', '{', ' ', '…']) && !text.contains("..."))
            .map(|text| PathBuf::from(text.split("::").next().unwrap_or(text))),
    );
    targets
}

/// Without `.` and `..`, as far as the text goes.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths_are_found() {
        let line =
            "See [a](../b.md#part), [w](https://x/y), `crates/linux/src/lib.rs`, `crates/*` and `let x`.";
        let expected = [PathBuf::from("b.md"), PathBuf::from("crates/linux/src/lib.rs")];
        assert_eq!(targets("docs/c.md", line), expected);
    }
}
