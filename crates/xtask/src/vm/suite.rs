//! Which test programs run in the machine, found by name, and the script that runs them one after another.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::failure::{Attempt, Failure, Result};
use crate::{command, test, workspace};

/// A built test program.
#[derive(Debug, PartialEq)]
pub(crate) struct Program {
    package: String,
    name: String,
    executable: PathBuf,
    /// Where cargo would run it: the directory of its package.
    directory: PathBuf,
}

/// Builds all tests and picks those for the machine.
pub(crate) fn find(filter: Option<&str>) -> Result<Vec<Program>> {
    let mut cargo = test::cargo(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    match filter.and_then(named_package) {
        Some(package) => cargo.args(["--package", package]),
        None => cargo.arg("--workspace"),
    };
    let messages = command::text(cargo.stderr(std::process::Stdio::inherit()))?;
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).attempt("reading cargo's messages")?;
        programs.extend(program(&message));
    }
    programs.retain(|program| filter.is_none_or(|filter| program.title().contains(filter)));
    programs.sort_by_key(Program::title);
    match programs.len() {
        0 => Err(Failure::new("no test program of that name belongs to the privileged or end-to-end suites")),
        _ => Ok(programs),
    }
}

/// The package that a filter names, as `volume` and `volume::privileged_volumes` do: no other needs building.
fn named_package(filter: &str) -> Option<&str> {
    let package = filter.split("::").next()?;
    workspace::root().join("crates").join(package).join("Cargo.toml").exists().then_some(package)
}

/// The program that a message of cargo tells of, when it belongs into the machine.
fn program(message: &Value) -> Option<Program> {
    let executable = message["executable"].as_str()?;
    message["profile"]["test"].as_bool()?.then_some(())?;
    let name = message["target"]["name"].as_str()?;
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?;
    let package = directory.file_name()?.to_str()?;
    let is_test = message["target"]["kind"][0] == "test";
    let wanted = is_test && (name.starts_with("privileged_") || package == "e2e");
    wanted.then(|| Program {
        package: package.to_string(),
        name: name.to_string(),
        executable: executable.into(),
        directory: directory.into(),
    })
}

impl Program {
    fn title(&self) -> String {
        format!("{}::{}", self.package, self.name)
    }
}

/// A shell script that runs every program and ends with the number of those that failed.
pub(crate) fn script(programs: &[Program], arguments: &[String], rustc: &str) -> String {
    let arguments: String = arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
    let mut script = String::from("uname -sr; stat -f -c 'cgroup: %T' /sys/fs/cgroup; failed=0; list=\n");
    // Some tests compile a small program; the machine's PATH has no cargo.
    let _ = writeln!(script, "export RUSTC={}", quoted(rustc));
    for program in programs {
        let title = program.title();
        // Writing into a String cannot fail. A suite that hangs must not keep the others from running.
        let _ = writeln!(
            script,
            "echo; echo '== {title}'; cd {directory} && CARGO_MANIFEST_DIR=$PWD timeout 900 {executable}{arguments} \
             </dev/null 2>&1 || {{ echo '== {title} FAILED'; failed=$((failed + 1)); list=\"$list {title}\"; }}",
            directory = quoted(&program.directory.to_string_lossy()),
            executable = quoted(&program.executable.to_string_lossy()),
        );
    }
    let count = programs.len();
    let _ = writeln!(script, "echo; echo \"== {count} test programs, $failed failed:$list\"; exit $failed");
    script
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(package: &str, kind: &str, name: &str) -> Value {
        json!({
            "executable": format!("/t/{name}"),
            "profile": { "test": true },
            "target": { "name": name, "kind": [kind] },
            "manifest_path": format!("/r/crates/{package}/Cargo.toml"),
        })
    }

    #[test]
    fn suites_are_chosen_by_name() {
        assert!(program(&message("volume", "test", "privileged_volumes")).is_some());
        assert!(program(&message("e2e", "test", "seeds")).is_some());
        assert!(program(&message("toolbox", "test", "applets")).is_none());
        assert!(program(&message("volume", "lib", "volume")).is_none());
        assert!(program(&json!({ "reason": "build-finished" })).is_none());
    }

    #[test]
    fn a_filter_may_name_a_package() {
        assert_eq!(named_package("volume::privileged"), Some("volume"));
        assert_eq!(named_package("privileged"), None);
        assert_eq!(named_package(""), None);
    }

    #[test]
    fn the_script_counts_failures() {
        let program = program(&message("e2e", "test", "seeds")).unwrap();
        let script = script(&[program], &["it's".to_string()], "/r/rustc");
        assert!(script.contains(r"timeout 900 '/t/seeds' 'it'\''s' </dev/null"), "{script}");
        assert!(script.ends_with("exit $failed\n"));
    }
}
