//! The images that `cargo xtask images` makes of Debian's packages: busybox, nginx, redis, haproxy, postgres.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::binary;
use crate::podling::Podling;

/// The archive of one of the images. `cargo xtask test` makes them all before the tests; a missing one is made now.
pub fn archive(name: &str) -> PathBuf {
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(3).expect("a target directory").join("images");
    let path = folder.join(format!("{name}.tar"));
    if !path.is_file() {
        make(&folder, &path);
    }
    path
}

/// Makes them once, however many tests need them: the others wait for the lock and find them there.
fn make(folder: &Path, path: &Path) {
    fs::create_dir_all(folder).expect("a directory for the images");
    let lock = File::create(folder.join(".lock")).expect("a lock for the images");
    flock(&lock, FlockOperation::LockExclusive).expect("the lock for the images");
    if path.is_file() {
        return;
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["xtask", "images", "--out"])
        .arg(folder)
        .current_dir(binary::root())
        .status()
        .expect("cargo");
    assert!(status.success() && path.is_file(), "`cargo xtask images` did not make {}", path.display());
}

impl Podling {
    /// A podling that has these of the images.
    pub fn with_images(names: &[&str]) -> Podling {
        let podling = Podling::new();
        for name in names {
            podling.load(&archive(name));
        }
        podling
    }
}
