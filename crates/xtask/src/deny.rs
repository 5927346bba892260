//! cargo-deny: licences, sources and duplicate versions of the dependencies (deny.toml). Security advisories
//! live in a git repository of their own, which a machine without internet does not reach: they are not
//! checked here, and the log says so.

use std::process::Command;

use crate::failure::Result;
use crate::{command, test, workspace};

/// Checks what deny.toml says.
pub(crate) fn run() -> Result {
    println!("advisories are NOT checked: their database is not reachable from every machine");
    let program = match command::is_installed("cargo-deny") {
        true => "cargo-deny".into(),
        false => built()?,
    };
    let mut deny = Command::new(program);
    deny.args(["--workspace", "--log-level", "error", "check", "--hide-inclusion-graph"]);
    command::run(deny.args(["bans", "licenses", "sources"]).current_dir(workspace::root()))
}

/// Our own build of it, made once and kept in the target directory.
fn built() -> Result<std::path::PathBuf> {
    let tools = workspace::target().join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        // Unoptimised: it runs for a second, and is built in half the time.
        let mut install = test::cargo(["install", "cargo-deny", "--locked", "--quiet", "--debug", "--root"]);
        command::run(install.arg(&tools).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    }
    Ok(program)
}
