//! One podling with directories of its own. Tests run side by side, each with its own.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary;
use crate::call::Call;
use crate::leaks::Watcher;
use crate::manifest::Manifest;
use crate::running::{Finished, Running};

/// The binary, its directories, and the watch over what it leaves.
pub struct Podling {
    base: TempDir,
    watcher: Watcher,
    manifests: Cell<usize>,
}

impl Default for Podling {
    fn default() -> Self {
        Podling::new()
    }
}

impl Podling {
    /// A podling with empty directories. Needs root, like podling itself.
    pub fn new() -> Podling {
        assert!(rustix::process::geteuid().is_root(), "end-to-end tests need root, as podling does");
        binary::podling();
        // Short: the path of a Unix socket below it may have 107 bytes.
        let base = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a temporary directory");
        // Whoever is not root gets in, so that only podling's own checks refuse it.
        let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(base.path(), open).expect("the mode of the temporary directory");
        let watcher = Watcher::start(base.path());
        Podling { base, watcher, manifests: Cell::new(0) }
    }

    /// The directory of everything that belongs to this podling and to this test.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// `--data-dir`
    pub fn data_dir(&self) -> PathBuf {
        self.base().join("data")
    }

    /// `--run-dir`
    pub fn run_dir(&self) -> PathBuf {
        self.base().join("run")
    }

    /// `--image-dir`
    pub fn image_dir(&self) -> PathBuf {
        self.base().join("images")
    }

    /// A call of podling with these words and this podling's directories.
    pub fn prepare<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call<'_> {
        let directories = [
            ("--data-dir", self.data_dir()),
            ("--run-dir", self.run_dir()),
            ("--image-dir", self.image_dir()),
        ];
        let mut call = Call::bare(self, words);
        for (flag, directory) in directories {
            call = call.arg(flag).arg(directory);
        }
        call
    }

    /// The same without the directories.
    pub fn prepare_bare<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call<'_> {
        Call::bare(self, words)
    }

    /// A call to its end: `podling.call(["image", "list"])`.
    pub fn call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        self.prepare(words).finish()
    }

    /// A call of `podling run`.
    pub fn prepare_run<'m>(&self, manifest: impl Into<Manifest<'m>>, args: &[&str]) -> Call<'_> {
        let file = self.file_of(manifest.into());
        self.prepare(["run".as_ref(), file.as_os_str()]).args(args)
    }

    /// `podling run` to its end.
    pub fn run<'m>(&self, manifest: impl Into<Manifest<'m>>, args: &[&str]) -> Finished {
        self.prepare_run(manifest, args).finish()
    }

    /// `podling run --output json`, to be watched while it runs.
    pub fn spawn<'m>(&self, manifest: impl Into<Manifest<'m>>, args: &[&str]) -> Running<'_> {
        self.prepare_run(manifest, args).args(&["--output", "json"]).start()
    }

    /// Loads an archive or a layout folder into the images.
    pub fn load(&self, path: &Path) {
        let finished = self.call(["image".as_ref(), "load".as_ref(), path.as_os_str()]);
        assert_eq!(finished.code, 0, "loading {}: {finished}", path.display());
    }

    /// Fails the test when anything of this podling's runs is there while none runs.
    pub fn assert_nothing_left(&self) {
        let leaks = self.watcher.leaks();
        assert!(leaks.is_empty(), "podling left behind:\n  {}", leaks.join("\n  "));
    }

    /// The id of every run there was.
    pub fn run_ids(&self) -> Vec<String> {
        self.watcher.run_ids()
    }

    /// A node that is no run, whose traces are looked for too.
    pub(crate) fn add_run(&self, id: &str) {
        self.watcher.add_run(id);
    }

    fn file_of(&self, manifest: Manifest<'_>) -> PathBuf {
        match manifest {
            Manifest::File(path) => path.to_owned(),
            Manifest::Text(text) => {
                self.manifests.set(self.manifests.get() + 1);
                let path = self.base().join(format!("manifest-{}.yaml", self.manifests.get()));
                fs::write(&path, text).expect("writing the manifest");
                path
            }
        }
    }
}

impl Drop for Podling {
    /// Every test proves on its way out that nothing is left; one that fails is cleaned up after.
    fn drop(&mut self) {
        let leaks = self.watcher.leaks();
        if leaks.is_empty() {
            return;
        }
        let cleaned = self.prepare(["doctor", "--clean"]).command().output();
        self.watcher.clean();
        let report = format!("podling left behind:\n  {}", leaks.join("\n  "));
        if std::thread::panicking() {
            eprintln!("{report}");
        } else {
            panic!("{report}\ncleaned up by `podling doctor --clean`: {cleaned:?}");
        }
    }
}
