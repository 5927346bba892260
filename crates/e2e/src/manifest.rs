//! Manifests of tests: a text, or a file that is there already.

use std::path::{Path, PathBuf};

/// What is given to `podling run`.
#[derive(Debug, Clone, Copy)]
pub enum Manifest<'a> {
    /// The text itself; it is written to a file.
    Text(&'a str),
    /// A file.
    File(&'a Path),
}

impl<'a> From<&'a str> for Manifest<'a> {
    fn from(text: &'a str) -> Self {
        Manifest::Text(text)
    }
}

impl<'a> From<&'a String> for Manifest<'a> {
    fn from(text: &'a String) -> Self {
        Manifest::Text(text)
    }
}

impl<'a> From<&'a Path> for Manifest<'a> {
    fn from(path: &'a Path) -> Self {
        Manifest::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Manifest<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Manifest::File(path)
    }
}

/// A Pod of that name with that `spec`, which may begin at any indentation.
///
/// ```
/// let text = e2e::pod("web", "
///     restartPolicy: Never
///     containers:
///     - {name: a, image: podling/toolbox, args: [sleep, '1']}
/// ");
/// assert!(text.contains("\n  restartPolicy: Never\n"), "{text}");
/// ```
pub fn pod(name: &str, spec: &str) -> String {
    let lines: Vec<&str> = spec.lines().filter(|line| !line.trim().is_empty()).collect();
    let margin = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let spec: String = lines.iter().map(|line| format!("  {}\n", &line[margin..])).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n{spec}")
}
