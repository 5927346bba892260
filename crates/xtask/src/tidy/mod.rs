//! `cargo xtask tidy`: the rules of the house that no compiler knows, each with its reason in the message.
//! [`sources`] looks at Rust files one by one, [`rooms`] at who depends on whom, [`links`] at the documents.
//!
//! Every rule is a pure function from text to findings; this file reads the files and prints.

mod links;
mod rooms;
mod sources;

use std::fs;
use std::process::Command;

use crate::failure::{Attempt, Failure, Result};
use crate::{command, workspace};

/// Something that breaks a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1; 0 when it is about the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, what: what.into() }
    }
}

/// A file of the repository that is text.
pub(crate) struct Source {
    /// Relative to the root.
    path: String,
    text: String,
}

/// Checks everything that git knows or would add.
pub(crate) fn run() -> Result {
    let sources = read_sources()?;
    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(sources::check(source));
    }
    findings.extend(rooms::check(&sources));
    findings.extend(links::check(&sources));
    for Finding { path, line, what } in &findings {
        println!("{path}:{line}: {what}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", sources.len());
            Ok(())
        }
        count => Err(Failure::new(format!("tidy: {count} findings"))),
    }
}

fn read_sources() -> Result<Vec<Source>> {
    let root = workspace::root();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let mut sources = Vec::new();
    for path in command::text(&mut git)?.lines() {
        let bytes = match fs::read(root.join(path)) {
            Ok(bytes) => bytes,
            // Deleted but not committed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).attempt(format!("reading {path}")),
        };
        // What is not text has nothing to check.
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path: path.to_string(), text });
        }
    }
    Ok(sources)
}
