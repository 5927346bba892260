//! Debian packages: apt resolves and fetches them, dpkg-deb opens them, nothing is installed. Their maintainer
//! scripts do not run; what those would do (users, links) is in the recipe.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::failure::{Attempt, Failure, Result};
use crate::images::recipes::Recipe;
use crate::images::tree::Tree;

/// A folder of fetched packages.
pub(crate) struct Packages {
    cache: PathBuf,
}

impl Packages {
    pub(crate) fn new(cache: PathBuf) -> Self {
        Self { cache }
    }

    /// Everything in the packages of a recipe and the libraries they need, as one tree.
    pub(crate) fn unpack(&self, recipe: &Recipe) -> Result<Tree> {
        let mut tree = Tree::default();
        for path in self.fetch(recipe.packages, |package| recipe.wants(package))? {
            let archive = command::output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&path))?;
            tree.add_package(&archive).attempt(format!("reading {}", path.display()))?;
        }
        Ok(tree)
    }

    /// The package files of `packages` and of those they depend on, as far as they are wanted; fetched when
    /// they are not in the cache.
    pub(crate) fn fetch(&self, packages: &[&str], wants: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(&self.cache).attempt(format!("creating {}", self.cache.display()))?;
        let files = match resolve(packages) {
            Ok(files) => files,
            // The usual reason on a fresh machine: apt has no package lists yet, or old ones.
            Err(_) => {
                update()?;
                resolve(packages)?
            }
        };
        let wanted: Vec<_> = files.into_iter().filter(|file| wants(package_name(file))).collect();
        let missing = || wanted.iter().filter(|file| !self.cache.join(file).exists());
        if missing().next().is_some() && self.download(missing()).is_err() {
            update()?;
            self.download(missing())?;
        }
        match missing().next() {
            None => Ok(wanted.iter().map(|file| self.cache.join(file)).collect()),
            Some(file) => {
                Err(Failure::new(format!("apt did not fetch {file}; run `apt-get update` and try again")))
            }
        }
    }

    fn download<'a>(&self, files: impl Iterator<Item = &'a String>) -> Result {
        let names: BTreeSet<_> = files.map(|file| package_name(file)).collect();
        let mut apt = Command::new("apt-get");
        // The cache may be in a home directory that the user _apt cannot enter.
        apt.args(["-o", "APT::Sandbox::User=root", "-q", "download"]).args(names);
        command::output(apt.current_dir(&self.cache)).map(drop)
    }
}

fn update() -> Result {
    println!("apt-get update");
    command::output(Command::new("apt-get").args(["-q", "update"])).map(drop)
}

/// The file names of `packages` and all they depend on, as if nothing were installed here.
fn resolve(packages: &[&str]) -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "Dir::State::status=/dev/null", "-q", "--print-uris", "--no-install-recommends", "-y"]);
    let text = command::text(apt.arg("install").args(packages))?;
    let mut files: Vec<_> = text.lines().filter_map(file_name).map(String::from).collect();
    files.sort();
    if files.is_empty() {
        Err(Failure::new(format!("apt finds no file for {packages:?}")))
    } else {
        Ok(files)
    }
}

/// apt-get(8) prints `'URI' FILE SIZE HASH`.
fn file_name(line: &str) -> Option<&str> {
    line.strip_prefix('\'')?.split_once("' ")?.1.split(' ').next()
}

/// deb(5) file names are `NAME_VERSION_ARCHITECTURE.deb`.
fn package_name(file: &str) -> &str {
    file.split('_').next().unwrap_or(file)
}

/// The names busybox answers to.
pub(crate) fn busybox_applets(busybox: &[u8]) -> Result<Vec<String>> {
    let path = Path::new("/tmp").join(format!("xtask-busybox-{}", std::process::id()));
    let listed = list_applets(&path, busybox);
    // It is only a temporary copy.
    let _ = fs::remove_file(&path);
    Ok(listed?.lines().filter(|name| *name != "busybox").map(String::from).collect())
}

fn list_applets(path: &Path, busybox: &[u8]) -> Result<String> {
    let mut file = fs::File::create_new(path).attempt(format!("creating {}", path.display()))?;
    file.write_all(busybox).attempt(format!("writing {}", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o700)).attempt("making busybox executable")?;
    drop(file);
    // It goes by the name it is called by.
    command::text(Command::new(path).arg0("busybox").arg("--list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_apt() {
        let line = "'http://mirror/pool/libssl3_3.0.22-1%7edeb12u2_amd64.deb' libssl3_3.0.22-1~deb12u2_amd64.deb 2039888 SHA256:0";
        assert_eq!(file_name(line), Some("libssl3_3.0.22-1~deb12u2_amd64.deb"));
        assert_eq!(file_name("Reading package lists..."), None);
        assert_eq!(package_name("libssl3_3.0.22-1~deb12u2_amd64.deb"), "libssl3");
    }
}
