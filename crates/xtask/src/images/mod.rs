//! `cargo xtask images`: image archives made from Debian packages, so that tests run the well-known servers
//! (nginx, redis, haproxy, postgres, busybox) on a machine that reaches no image registry.
//!
//! From the top: a [`recipes::Recipe`] names packages and files; [`packages`] lets apt find and fetch them;
//! [`tree`] holds a root file system in memory and writes it as a layer; [`archive`] writes configuration and
//! layers as one archive that `docker load`, `podman load` and `podling image load` all take.
//!
//! An archive depends on nothing but its recipe and the packages: entries are sorted, times are fixed. A second
//! run does nothing; `--refresh` asks apt for newer packages.

mod archive;
pub(crate) mod packages;
pub(crate) mod recipes;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::failure::{Attempt, Result};
use crate::workspace;
use packages::Packages;
use recipes::Recipe;
use tree::Tree;

/// Raised when the same recipe gives another archive.
const FORMAT: u32 = 3;

/// Arguments of the task.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Where the archives go; target/images when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Ask apt again, also when an archive is there.
    #[arg(long)]
    refresh: bool,
}

/// Makes every archive that is missing or whose recipe has changed.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let out = arguments.out.clone().unwrap_or_else(|| workspace::target().join("images"));
    fs::create_dir_all(&out).attempt(format!("creating {}", out.display()))?;
    let packages = Packages::new(out.join("debs"));
    let mut base = None;
    for recipe in recipes::ALL {
        let path = archive_path(&out, recipe);
        let key = key(recipe);
        let key_path = path.with_extension("key");
        if !arguments.refresh && path.exists() && fs::read_to_string(&key_path).ok().as_ref() == Some(&key) {
            println!("{}: up to date", recipe.name);
            continue;
        }
        let start = Instant::now();
        let base = match &base {
            Some(base) => base,
            None => base.insert(base_tree(&packages)?),
        };
        make(recipe, base, &packages, &path).attempt(format!("making the image {}", recipe.name))?;
        fs::write(&key_path, key).attempt(format!("writing {}", key_path.display()))?;
        let size_mib = fs::metadata(&path).map_or(0, |metadata| metadata.len()) >> 20;
        println!(
            "{}: {} ({size_mib} MiB, {:.1} s)",
            recipe.name,
            path.display(),
            start.elapsed().as_secs_f64()
        );
    }
    write_index(&out)
}

fn archive_path(out: &Path, recipe: &Recipe) -> PathBuf {
    out.join(format!("{}.tar", recipe.name))
}

/// What an archive was made from.
fn key(recipe: &Recipe) -> String {
    let digest = Sha256::digest(format!("{FORMAT} {:?} {recipe:?}", recipes::BASE));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layer below all images: busybox and the directories and files that every image has.
fn base_tree(packages: &Packages) -> Result<Tree> {
    let mut tree = packages.unpack(&recipes::BASE)?;
    recipes::BASE.add_files(&mut tree);
    let busybox = tree.file("/usr/bin/busybox")?;
    for applet in packages::busybox_applets(&busybox)? {
        tree.add_link(&format!("/usr/bin/{applet}"), "busybox");
    }
    Ok(tree)
}

fn make(recipe: &Recipe, base: &Tree, packages: &Packages, path: &Path) -> Result {
    let mut layers = vec![base.to_layer()?];
    if !recipe.packages.is_empty() {
        let mut tree = packages.unpack(recipe)?;
        recipe.add_files(&mut tree);
        layers.push(tree.to_layer()?);
    }
    // Written beside and renamed, so that an interrupted run leaves no half archive.
    let partial = path.with_extension("partial");
    archive::write(&partial, recipe, &layers)?;
    fs::rename(&partial, path).attempt(format!("renaming {}", partial.display()))
}

/// One list for tests: which name stands in which file.
fn write_index(out: &Path) -> Result {
    let images: Vec<_> = recipes::ALL
        .iter()
        .map(|recipe| json!({ "name": recipe.reference(), "archive": format!("{}.tar", recipe.name) }))
        .collect();
    let path = out.join("index.json");
    let text = format!("{:#}\n", json!({ "images": images }));
    fs::write(&path, text).attempt(format!("writing {}", path.display()))
}
