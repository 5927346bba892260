//! `cargo xtask kubectl`: Debian's own kubectl (1.20, which speaks SPDY) beside whatever kubectl the machine has.
//!
//! It is unpacked into a folder and not installed: on some machines another package owns /usr/bin/kubectl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::failure::{Attempt, Failure, Result};
use crate::images::packages::Packages;
use crate::workspace;

/// The package.
const PACKAGE: &str = "kubernetes-client";

/// Makes `target/kubectl/debian/kubectl`, when it is not there.
pub(crate) fn run() -> Result {
    let out = workspace::target().join("kubectl");
    let program = debian(&out);
    if program.is_file() {
        println!("{}: up to date", program.display());
        return Ok(());
    }
    let fetched = Packages::new(out.join("debs")).fetch(&[PACKAGE], |name| name == PACKAGE)?;
    let Some(package) = fetched.first() else {
        return Err(Failure::new(format!("apt fetched no package {PACKAGE}")));
    };
    let unpacked = out.join("unpacked");
    fs::create_dir_all(&unpacked).attempt(format!("creating {}", unpacked.display()))?;
    command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    let folder = program.parent().map(PathBuf::from).unwrap_or_default();
    fs::create_dir_all(&folder).attempt(format!("creating {}", folder.display()))?;
    fs::rename(unpacked.join("usr/bin/kubectl"), &program).attempt("moving kubectl to its place")?;
    fs::remove_dir_all(&unpacked).attempt(format!("removing {}", unpacked.display()))?;
    println!("{}", program.display());
    Ok(())
}

fn debian(out: &std::path::Path) -> PathBuf {
    out.join("debian").join("kubectl")
}
