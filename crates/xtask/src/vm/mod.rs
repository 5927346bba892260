//! `cargo xtask vm`: the privileged and the end-to-end tests on what users have: Debian's stock cloud kernel
//! (6.1) with cgroup v2, in a QEMU machine without acceleration, so that it runs wherever QEMU does.
//!
//! The test programs are built here and run there: the machine sees this host's files through virtiofs, read
//! only, under a tmpfs. A test belongs to the suite by its name: `tests/privileged_*.rs` of any crate, and every
//! test of the crate e2e. So a new suite runs here without being listed.
//!
//! [`kernel`] fetches the kernel, [`initramfs`] packs what boots, [`machine`] runs it, [`suite`] finds the tests.

mod initramfs;
mod kernel;
mod machine;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::failure::{Attempt, Failure, Result};
use crate::{clients, command, images, kubectl, setup, test, workspace};

/// What the host must have: the emulator, module dependencies, a file system maker.
const PACKAGES: &[&str] = &["qemu-system-x86", "kmod", "e2fsprogs"];

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only test programs whose `package::name` contains this.
    filter: Option<String>,
    /// Instead of tests, run this command line in the machine's shell.
    #[arg(long)]
    shell: Option<String>,
    /// Passed on to the test programs.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Boots the machine, runs the suite in it, fails when a test failed.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !setup::is_root() {
        return Err(Failure::new("the machine sees this host's files with their owners: run this as root"));
    }
    setup::ensure_installed(PACKAGES)?;
    setup::run()?;
    let directory = workspace::target().join("vm");
    fs::create_dir_all(&directory).attempt(format!("creating {}", directory.display()))?;
    let script = match &arguments.shell {
        Some(line) => format!("cd {}\n{line}\n", workspace::root().display()),
        None => {
            images::run(&images::Arguments::default())?;
            kubectl::run()?;
            clients::run()?;
            command::run(&mut test::cargo(["build", "--package", "podling"]))?;
            let sysroot = command::text(Command::new("rustc").args(["--print", "sysroot"]))?;
            let rustc = format!("{}/bin/rustc", sysroot.trim());
            suite::script(&suite::find(arguments.filter.as_deref())?, &arguments.arguments, &rustc)
        }
    };
    let kernel = kernel::ensure(&directory)?;
    // Machines may run side by side: each has its script, its disk and its socket for itself.
    let own = Own::new(&directory)?;
    let run_path = own.0.join("run.sh");
    fs::write(&run_path, script).attempt(format!("writing {}", run_path.display()))?;
    let initramfs = initramfs::write(&own.0, &kernel, &run_path)?;
    let start = Instant::now();
    let code = machine::run(&own.0, &kernel.image, &initramfs)?;
    println!("== the machine ran for {:.0} s", start.elapsed().as_secs_f64());
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::new(format!("the tests in the machine failed with code {code}"))),
        None => Err(Failure::new("the machine ended before the tests did")),
    }
}

/// The directory of one machine, removed with it.
struct Own(PathBuf);

impl Own {
    fn new(directory: &Path) -> Result<Self> {
        let path = directory.join(format!("machine-{}", std::process::id()));
        fs::create_dir_all(&path).attempt(format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It is below the target directory; what remains does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
