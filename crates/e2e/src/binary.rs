//! Where the binary under test is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

/// The podling that is tested: `PODLING_BIN`, else the one in the target directory that this test was built into.
/// A missing one is built; one that is older than its sources is used, and that is said.
pub fn podling() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(path) = std::env::var_os("PODLING_BIN") {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "PODLING_BIN: there is no {}", path.display());
            return path;
        }
        let test = std::env::current_exe().expect("the path of this test");
        // target/PROFILE/deps/TEST-HASH
        let profile = test.ancestors().nth(2).expect("a target directory").to_owned();
        let path = profile.join("podling");
        if !path.is_file() {
            build(&profile, &path);
        }
        if newest(&root().join("crates")) > modified(&path) {
            eprintln!(
                "note: {} is older than its sources; `cargo build -p podling` renews it",
                path.display()
            );
        }
        path
    })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds it once, however many tests need it: the others wait for the lock and find it there.
fn build(profile: &Path, path: &Path) {
    let lock = File::create(profile.join(".e2e-build-lock")).expect("a lock for the build");
    flock(&lock, FlockOperation::LockExclusive).expect("the lock for the build");
    if path.is_file() {
        return;
    }
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let name = if name == "debug" { "dev" } else { name };
    let target = profile.parent().expect("a target directory");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "-p", "podling", "--profile", name])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .status()
        .expect("cargo");
    assert!(status.success() && path.is_file(), "cargo could not build {}", path.display());
}

/// When the newest source below was written. These tests themselves are no source of it.
fn newest(directory: &Path) -> SystemTime {
    let Ok(entries) = std::fs::read_dir(directory) else { return SystemTime::UNIX_EPOCH };
    let entries = entries.flatten().map(|entry| entry.path());
    let times = entries.filter(|path| !path.ends_with("e2e") && !path.ends_with("tests")).map(|path| {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => newest(&path),
            Some("rs" | "toml") => modified(&path),
            _ => SystemTime::UNIX_EPOCH,
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
