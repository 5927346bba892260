//! Who may know whom: every arrow between crates stands in one table, and every dependency has its reason
//! beside it in the root Cargo.toml. The arrows' meaning is told in ARCHITECTURE.md.

use super::{Finding, Source};

/// A crate and the crates of ours that it may depend on. An arrow that is not here needs a reason first.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("lifecycle", &["model"]),
    ("check", &["model", "lifecycle"]),
    ("linux", &[]),
    ("shim", &["linux"]),
    ("pause", &["linux"]),
    ("toolbox", &["linux"]),
    ("programs", &["linux"]),
    ("container", &["linux", "shim", "programs"]),
    ("image", &["linux", "toolbox", "programs"]),
    ("network", &["linux"]),
    ("volume", &["model", "linux"]),
    (
        "engine",
        &[
            "model",
            "lifecycle",
            "linux",
            "shim",
            "programs",
            "toolbox",
            "container",
            "image",
            "network",
            "volume",
        ],
    ),
    ("apimachinery", &["model"]),
    ("store", &[]),
    ("client", &["apimachinery"]),
    ("node-api", &["engine"]),
    ("node-agent", &["apimachinery", "client", "engine", "lifecycle", "model"]),
    ("api", &["apimachinery", "client", "model", "node-api", "store"]),
    ("controllers", &["apimachinery", "client", "model"]),
    (
        "podling",
        &[
            "model",
            "lifecycle",
            "check",
            "linux",
            "programs",
            "toolbox",
            "container",
            "image",
            "network",
            "volume",
            "engine",
            "apimachinery",
            "store",
            "client",
            "node-api",
            "node-agent",
            "api",
            "controllers",
        ],
    ),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// Checks the root manifest and those of the crates.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let crate_name =
            source.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        // A manifest further below is a program of a user's, that a test runs.
        if let Some(name) = crate_name.filter(|name| !name.contains('/')) {
            arrows(source, name, &mut findings);
        } else if source.path == "Cargo.toml" {
            reasons(source, &mut findings);
        }
    }
    findings
}

fn arrows(source: &Source, name: &str, findings: &mut Vec<Finding>) {
    let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == name) else {
        findings.push(Finding::new(
            &source.path,
            0,
            format!("the crate {name} is not in the table of rooms"),
        ));
        return;
    };
    for Dependency { section, name: target, line, .. } in dependencies(&source.text) {
        let ours = ARROWS.iter().any(|(room, _)| *room == target);
        // Tests may look at a crate from anywhere.
        if section != "dev-dependencies" && ours && !allowed.contains(&target) {
            let what = format!("{name} may not know {target}");
            findings.push(Finding::new(&source.path, line, what));
        }
    }
}

fn reasons(source: &Source, findings: &mut Vec<Finding>) {
    for dependency in dependencies(&source.text) {
        if !dependency.commented && !dependency.is_path {
            let what = format!("{} has no comment above it that says why it is taken", dependency.name);
            findings.push(Finding::new(&source.path, dependency.line, what));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Dependency<'a> {
    section: &'a str,
    name: &'a str,
    line: usize,
    commented: bool,
    is_path: bool,
}

/// The dependencies in a manifest, written one on a line as cargo add does.
fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut section = "";
    let mut commented = false;
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.rsplit('.').next().unwrap_or(name);
        } else if section.ends_with("dependencies")
            && !line.starts_with('#')
            && let Some((key, value)) = line.split_once('=')
        {
            let name = key.trim().split('.').next().unwrap_or_default();
            let is_path = value.contains("path =");
            found.push(Dependency { section, name, line: index + 1, commented, is_path });
        }
        commented = line.starts_with('#');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn an_arrow_upwards_is_found() {
        let text = "[package]\nname = \"x\"\n[dependencies]\nlinux.workspace = true\nengine.workspace = true\n[dev-dependencies]\nimage.workspace = true\n";
        let found = check(&[manifest("crates/network/Cargo.toml", text)]);
        assert_eq!(found, [Finding::new("crates/network/Cargo.toml", 5, "network may not know engine")]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let text = "[workspace.dependencies]\nlinux = { path = \"x\" }\n# Because.\na = \"1\"\nb = \"1\"\n[profile.dev]\nc = 1\n";
        let found = check(&[manifest("Cargo.toml", text)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 5);
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert_eq!(check(&[manifest("crates/helper/Cargo.toml", "")]).len(), 1);
    }
}
