//! `cargo xtask setup`: installs the Debian packages that the tests need (packages.txt); what is installed
//! already is left alone. podling itself needs none.

use std::process::Command;

use rustix::process::geteuid;

use crate::command;
use crate::failure::{Failure, Result};

/// The list, one package a line.
const PACKAGES: &str = include_str!("../packages.txt");

/// Installs what is missing.
pub(crate) fn run() -> Result {
    let wanted = packages(PACKAGES);
    ensure_installed(&wanted)
}

/// Installs those of `packages` that are not installed.
pub(crate) fn ensure_installed(packages: &[&str]) -> Result {
    let missing: Vec<_> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        println!("installed already: {}", packages.join(" "));
        return Ok(());
    }
    if !command::is_installed("apt-get") {
        let list = missing.join(", ");
        return Err(Failure::new(format!(
            "this is not a Debian; install by hand what these packages contain: {list}"
        )));
    }
    if !is_root() {
        return Err(Failure::new(format!("as root, run: apt-get install {}", missing.join(" "))));
    }
    // The lists may be missing or old on a fresh machine, which the first attempt tells.
    install(&missing).or_else(|_| {
        command::run(Command::new("apt-get").args(["-q", "update"]))?;
        install(&missing)
    })
}

fn install(packages: &[&str]) -> Result {
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-y", "--no-install-recommends", "install"]).args(packages);
    // Single-user runlevel: invoke-rc.d(8) then starts none of the services that come with the packages.
    command::run(apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status}", package]);
    command::text(&mut query).is_ok_and(|status| status == "installed")
}

/// Whether we may install packages and run privileged tests.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

fn packages(list: &str) -> Vec<&str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_not_packages() {
        assert_eq!(packages("# a\n\nb\n  c \n"), ["b", "c"]);
        assert!(!packages(PACKAGES).is_empty());
    }
}
