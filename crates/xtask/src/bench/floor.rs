//! What the kernel alone takes: clone, exec and wait of a small static program, without any isolation.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};
use crate::images::packages::Packages;
use crate::images::recipes;
use crate::workspace;

/// A static program on disk.
pub(crate) struct Floor {
    program: PathBuf,
}

impl Floor {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let tree = Packages::new(workspace::target().join("images/debs")).unpack(&recipes::BASE)?;
        let program = directory.join("busybox");
        fs::write(&program, &**tree.file("/usr/bin/busybox")?).attempt("writing the static program")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).attempt("making it executable")?;
        Ok(Self { program })
    }

    pub(crate) fn measure(&self, samples: &mut Samples) -> Result {
        let start = Instant::now();
        let status =
            Command::new(&self.program).arg0("true").status().attempt("running the static program")?;
        samples.add_ms(
            "floor: clone, exec and wait of a static program",
            None,
            start.elapsed().as_secs_f64() * 1e3,
        );
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("the static program failed: {status}")))
        }
    }
}
