//! `cargo xtask clients`: Kubernetes' client libraries for Python, JavaScript and Rust, for the end-to-end tests that use them as
//! a user's program does.
//!
//! What is installed is pinned to the last package, in the files beside the tests; it is installed into the target directory
//! and once, until those files change. For Rust that is a program, which cargo builds with a lock file of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::failure::{Attempt, Result};
use crate::{setup, test, workspace};

/// Makes `target/clients/python`, `js` and `rust`, where they are not there or not of these versions.
pub(crate) fn run() -> Result {
    let pins = workspace::root().join("crates/e2e/tests/clients");
    let out = workspace::target().join("clients");
    fs::create_dir_all(&out).attempt(format!("creating {}", out.display()))?;
    ensure(&out.join("python"), &[pins.join("requirements.txt")], install_python)?;
    ensure(&out.join("js"), &[pins.join("package.json"), pins.join("package-lock.json")], install_js)?;
    build_rust(&pins.join("rust"), &out.join("rust"))
}

/// Cargo knows itself what is up to date.
fn build_rust(program: &Path, out: &Path) -> Result {
    let manifest = program.join("Cargo.toml");
    let mut build = test::cargo(["build", "--quiet", "--locked"]);
    build.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(out);
    command::run(&mut build)?;
    println!("{}", out.display());
    Ok(())
}

/// Installs, unless what these files say is installed already. The files are copied last: their copies are the proof.
fn ensure(folder: &Path, pins: &[PathBuf], install: fn(&Path, &[PathBuf]) -> Result) -> Result {
    let installed = folder.join("installed");
    if pins.iter().all(|pin| is_copied(pin, &installed)) {
        println!("{}: up to date", folder.display());
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).attempt(format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).attempt(format!("creating {}", folder.display()))?;
    install(folder, pins)?;
    copy(pins, &installed)?;
    println!("{}", folder.display());
    Ok(())
}

fn is_copied(pin: &Path, installed: &Path) -> bool {
    let copy = installed.join(pin.file_name().unwrap_or_default());
    matches!((fs::read(pin), fs::read(copy)), (Ok(wanted), Ok(have)) if wanted == have)
}

fn copy(files: &[PathBuf], folder: &Path) -> Result {
    fs::create_dir_all(folder).attempt(format!("creating {}", folder.display()))?;
    for file in files {
        let copy = folder.join(file.file_name().unwrap_or_default());
        fs::copy(file, copy).attempt(format!("copying {}", file.display()))?;
    }
    Ok(())
}

/// A virtual environment of Python's own.
fn install_python(folder: &Path, pins: &[PathBuf]) -> Result {
    // Debian's python3 has no ensurepip without this package; other Pythons have it.
    if command::output(Command::new("python3").args(["-c", "import ensurepip"])).is_err() {
        setup::ensure_installed(&["python3-venv"])?;
    }
    command::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
    for pin in pins {
        pip.arg("--requirement").arg(pin);
    }
    command::run(&mut pip)
}

fn install_js(folder: &Path, pins: &[PathBuf]) -> Result {
    if !(command::is_installed("node") && command::is_installed("npm")) {
        setup::ensure_installed(&["nodejs", "npm"])?;
    }
    copy(pins, folder)?;
    let mut npm = Command::new("npm");
    // No package's own scripts are run: none of these needs any.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"].map(OsStr::new)).arg(folder);
    command::run(npm.current_dir(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_nothing(_: &Path, _: &[PathBuf]) -> Result {
        Ok(())
    }

    fn fail(_: &Path, _: &[PathBuf]) -> Result {
        Err(crate::failure::Failure::new("asked to install".to_owned()))
    }

    #[test]
    fn what_is_installed_is_installed_again_only_when_its_versions_change() {
        let base = std::env::temp_dir().join(format!("xtask-clients-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let (pin, folder) = (base.join("pins.txt"), base.join("out"));
        fs::write(&pin, "a==1").unwrap();
        let pins = [pin.clone()];
        assert!(ensure(&folder, &pins, fail).is_err());
        ensure(&folder, &pins, write_nothing).unwrap();
        ensure(&folder, &pins, fail).unwrap();
        fs::write(&pin, "a==2").unwrap();
        assert!(ensure(&folder, &pins, fail).is_err());
        fs::remove_dir_all(&base).unwrap();
    }
}
