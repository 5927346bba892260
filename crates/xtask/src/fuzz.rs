//! `cargo xtask fuzz`: every target in `fuzz/`, for some time each, with the compiler that everything is built with.
//!
//! cargo-fuzz wants a nightly compiler, because it links a sanitizer. podling has hardly any unsafe code to watch, and what guides
//! the fuzzer, coverage, is a pass of LLVM that the stable compiler has as well. So targets are built here with that pass,
//! and are libFuzzer programs as cargo-fuzz makes them. What a run has learnt is kept for the next one in `target/fuzz/corpus`, and an
//! input that breaks a rule in `target/fuzz/artifacts`, from where it is run again by giving it to the program.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Attempt, Failure, Result};
use crate::{command, test, workspace};

/// Where the programs are built for. Naming it keeps build scripts and macros free of the instrumentation.
const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// What cargo-fuzz passes, without the sanitizer: counters of edges, and comparisons for the fuzzer to solve.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets.
    targets: Vec<String>,
    /// How long each is run.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Builds and runs.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let targets = chosen(&workspace::root().join("fuzz/fuzz_targets"), &arguments.targets)?;
    let out = workspace::target().join("fuzz");
    let mut build = test::cargo([
        "build",
        "--release",
        "--quiet",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        TRIPLE,
    ]);
    build.env("RUSTFLAGS", INSTRUMENTATION).arg("--target-dir").arg(&out);
    for target in &targets {
        build.args(["--bin", target]);
    }
    command::run(&mut build)?;
    let mut broken = Vec::new();
    for target in &targets {
        println!("\n== {target}");
        if let Err(failure) = fuzz(&out, target, arguments.seconds) {
            eprintln!("== {target}: FAILED: {failure}");
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("these broke a rule: {}", broken.join(", "))))
    }
}

fn fuzz(out: &Path, target: &str, seconds: u32) -> Result {
    let (corpus, artifacts) = (out.join("corpus").join(target), out.join("artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).attempt(format!("creating {}", folder.display()))?;
    }
    let program = out.join(TRIPLE).join("release").join(target);
    let mut fuzzer = std::process::Command::new(program);
    fuzzer
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        // Anything slower is a finding, too.
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1", "-verbosity=0"]);
    command::run(&mut fuzzer)
}

/// The targets that there are, or those of them that are asked for.
fn chosen(folder: &Path, asked: &[String]) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).attempt(format!("reading {}", folder.display()))?;
    let files = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
    let mut all: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    all.sort();
    match asked.iter().find(|target| !all.contains(target)) {
        Some(unknown) => {
            Err(Failure::new(format!("there is no target {unknown}; there are {}", all.join(", "))))
        }
        None if asked.is_empty() => Ok(all),
        None => Ok(asked.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_folder() {
        let folder = workspace::root().join("fuzz/fuzz_targets");
        assert!(chosen(&folder, &[]).unwrap().contains(&"router".to_owned()));
        assert_eq!(chosen(&folder, &["patches".to_owned()]).unwrap(), ["patches"]);
        assert!(chosen(&folder, &["nothing".to_owned()]).is_err());
    }

    #[test]
    fn every_target_is_in_the_manifest() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        for target in chosen(&workspace::root().join("fuzz/fuzz_targets"), &[]).unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        }
    }
}
