//! Builds shim, pause and toolbox as static non-PIE programs, to be embedded.
//!
//! They need other flags than podling itself (static, not position-independent, small), and cargo has no way to
//! depend on a program, so this runs cargo once more, in a target directory of its own below OUT_DIR. Static glibc
//! needs an explicit `--target`, otherwise the flags would hit build scripts and proc macros, too.

use std::env;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One embedded program: its crate, its binary, and what its linker is told besides.
struct Program {
    package: &'static str,
    binary: &'static str,
    file: &'static str,
    link_args: &'static [&'static str],
}

const PROGRAMS: [Program; 3] = [
    Program { package: "shim", binary: "podling-shim", file: "shim", link_args: &[] },
    Program {
        package: "pause",
        binary: "pause",
        file: "pause",
        // No C library, and all of it in one page.
        link_args: &[
            "-nostartfiles",
            "-nostdlib",
            "-static",
            "-Wl,-z,noseparate-code",
            "-Wl,--build-id=none",
        ],
    },
    Program {
        package: "toolbox",
        binary: "toolbox",
        file: "toolbox",
        // Before the C library's own, see its main.rs.
        link_args: &["-Wl,--entry=toolbox_entry"],
    },
];

/// What the programs are made of.
const SOURCES: [&str; 4] = ["shim", "pause", "toolbox", "linux"];

fn main() {
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    for name in SOURCES {
        let path = workspace.join("crates").join(name);
        println!("cargo::rerun-if-changed={}", path.join("src").display());
        println!("cargo::rerun-if-changed={}", path.join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CARGO_NET_OFFLINE");
    for program in &PROGRAMS {
        build(program, &workspace, &out_dir);
    }
    println!("cargo::rustc-env=TOOLBOX_VERSION={:016x}", version(&out_dir.join("toolbox")));
}

/// Differs when the program differs. Not cryptographic: it compares our own bytes with our own bytes.
fn version(path: &Path) -> u64 {
    let program =
        std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let mut hasher = DefaultHasher::new();
    hasher.write(&program);
    hasher.finish()
}

fn build(program: &Program, workspace: &Path, out_dir: &Path) {
    let target = variable("TARGET");
    let target_dir = out_dir.join("target");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["rustc", "--quiet", "--profile", "program", "--target", &target])
        .args(["--package", program.package, "--bin", program.binary])
        .arg("--target-dir")
        .arg(&target_dir)
        // Those of the outer build are for podling, or for clippy.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static");
    if env::var("CARGO_NET_OFFLINE").is_ok_and(|offline| offline == "true" || offline == "1") {
        cargo.arg("--offline");
    }
    cargo.arg("--");
    for argument in program.link_args {
        cargo.arg(format!("-Clink-arg={argument}"));
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(status.success(), "building {} failed: {status}", program.binary);
    let built = target_dir.join(&target).join("program").join(program.binary);
    let embedded = out_dir.join(program.file);
    std::fs::copy(&built, &embedded)
        .unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", built.display(), embedded.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"))
}
