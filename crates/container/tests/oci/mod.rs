//! Containers run by podling, crun and runc from one OCI spec, for tests that compare or attack them.
//!
//! Needs root, rustc (the probe is compiled, see `probe.rs`) and, for comparisons, the Debian packages crun
//! and runc. What is missing makes the test fail and says what to install.

pub(crate) mod observe;
pub(crate) mod podling;
pub(crate) mod spec;

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType};

/// Everything a test's containers need on disk; removed at the end.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    /// A stage with a root filesystem: the probe, empty mount points, and device nodes that a container may
    /// not open.
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes containers and needs root");
        let directory = tempfile::Builder::new().prefix("podling-oci-").tempdir().unwrap();
        let stage = Self { directory };
        let rootfs = stage.rootfs();
        for name in ["bin", "dev", "proc", "sys", "tmp", "etc", "work", "nodes", "data", "data/sub"] {
            std::fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        std::fs::copy(probe(), rootfs.join("bin/probe")).unwrap();
        std::fs::write(rootfs.join("etc/hosts"), "image\n").unwrap();
        let (character, block) = (FileType::CharacterDevice, FileType::BlockDevice);
        for (name, kind, major, minor) in [
            ("kmsg", character, 1, 11),
            ("loop0", block, 7, 0),
            ("null", character, 1, 3),
            ("fuse", character, 10, 229),
        ] {
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, rootfs.join("nodes").join(name), kind, 0o666.into(), device).unwrap();
        }
        stage
    }

    /// The image, so to say: the lower layer of every container's root.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// A directory of this stage, created empty.
    pub(crate) fn make(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The stage's own directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The probe, compiled when its source has changed; test programs share it.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oci/probe.rs");
        let mut hasher = std::hash::DefaultHasher::new();
        std::fs::read(&source).unwrap().hash(&mut hasher);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let finished = folder.join(format!("probe-{:016x}", hasher.finish()));
        if finished.exists() {
            return finished;
        }
        let draft = folder.join(format!("probe-draft-{}", std::process::id()));
        let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition=2024", "-Copt-level=1", "-Cpanic=abort", "-Cstrip=symbols"])
            .args(["-Ctarget-feature=+crt-static", "-o"])
            .args([&draft, &source])
            .status()
            .expect("rustc compiles the probe");
        assert!(status.success(), "the probe compiles (libc6-dev is installed)");
        // Whole or not at all, also when several test programs compile it at once.
        std::fs::rename(&draft, &finished).unwrap();
        finished
    })
}
