//! `cargo xtask test`: everything that must hold before a change goes in. First the checks that need no
//! running (format, lints, documentation, tidy), then the tests of all crates: pure, privileged, end to end.
//!
//! A failed check does not keep the rest from running; the exit code tells. The tests come last, so that the
//! log ends with the closing lines of the test runner.

use std::process::Command;
use std::time::Instant;

use crate::failure::{Failure, Result};
use crate::{clients, command, deny, images, kubectl, schema, setup, tidy, workspace};

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also what takes minutes to build or is of no use at the desk: cargo-deny.
    #[arg(long)]
    ci: bool,
    /// Only run tests, none of the checks.
    #[arg(long, conflicts_with = "ci")]
    tests_only: bool,
}

/// Runs checks and tests.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut report = Report::default();
    if setup::is_root() {
        report.step("setup", setup::run);
    } else {
        println!(
            "Not root: the privileged and the end-to-end tests are LEFT OUT. Run this as root for all of them."
        );
    }
    if !arguments.tests_only {
        check(&mut report, arguments.ci);
    }
    if setup::is_root() {
        report.step("images", || images::run(&images::Arguments::default()));
        report.step("kubectl", kubectl::run);
        report.step("clients", clients::run);
    }
    // The end-to-end tests drive the built program.
    report.step("build", || command::run(&mut cargo(["build", "--package", "podling"])));
    report.step("doc tests", || command::run(&mut cargo(["test", "--workspace", "--doc", "--quiet"])));
    report.tell();
    println!("\n== tests");
    // From here on only the test runner speaks.
    let passed = tests().is_ok();
    if passed && report.failed.is_empty() { Ok(()) } else { Err(Failure::told()) }
}

fn check(report: &mut Report, ci: bool) {
    report.step("format", || command::run(&mut cargo(["fmt", "--all", "--check"])));
    report.step("tidy", tidy::run);
    report.step("schema", || schema::run(&workspace::root(), schema::Mode::Check).map_err(Failure::new));
    report.step("clippy", || {
        command::run(&mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    });
    report.step("rustdoc", || {
        let mut doc = cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
        command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    if ci {
        report.step("deny", deny::run);
    }
}

/// All tests of all crates; without root only those inside the crates' own sources.
fn tests() -> Result {
    let all = setup::is_root();
    if command::is_installed("cargo-nextest") {
        let mut nextest = cargo(["nextest", "run", "--workspace", "--no-fail-fast"]);
        if !all {
            nextest.args(["-E", "not (package(e2e) or binary(/^privileged_/))"]);
        }
        return command::run(&mut nextest);
    }
    let mut test = cargo(["test", "--workspace", "--no-fail-fast"]);
    test.args(if all {
        &["--lib", "--bins", "--tests"][..]
    } else {
        &["--exclude", "e2e", "--lib", "--bins"]
    });
    command::run(&mut test)
}

/// A cargo command in the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.args(arguments).current_dir(workspace::root());
    cargo
}

/// What has failed so far.
#[derive(Default)]
struct Report {
    failed: Vec<&'static str>,
}

impl Report {
    fn step(&mut self, name: &'static str, perform: impl FnOnce() -> Result) {
        println!("\n== {name}");
        let start = Instant::now();
        match perform() {
            Ok(()) => eprintln!("== {name}: passed in {:.1} s", start.elapsed().as_secs_f64()),
            Err(failure) => {
                eprintln!("== {name}: FAILED: {failure}");
                self.failed.push(name);
            }
        }
    }

    /// Says before the tests what failed until now: afterwards the test runner has the last word.
    fn tell(&self) {
        match self.failed.as_slice() {
            [] => println!("\n== all checks passed"),
            failed => println!("\n== FAILED before the tests: {}", failed.join(", ")),
        }
    }
}
