//! The same Pods with `podman play kube`, in a store of its own, so that nothing of the machine's podman is
//! touched. podman tells no times itself, so its commands are timed from outside: up is until the command that
//! starts the Pod returns, down until the one that removes it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::Pod;
use super::statistics::Samples;
use crate::command;
use crate::failure::{Attempt, Failure, Result};

/// Resource limits that can be set without CAP_SYS_RESOURCE. podman would raise them to a million, and lowers
/// its own limit of processes before it starts the runtime.
const CONTAINERS_CONF: &str = "\
[containers]
default_ulimits = [\"nofile=16384:16384\", \"nproc=16384:16384\"]
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

/// A podman with a store of its own, removed at the end.
pub(crate) struct Podman {
    directory: PathBuf,
    image: String,
}

impl Podman {
    pub(crate) fn new(archive: &Path, directory: &Path) -> Result<Self> {
        if !command::is_installed("podman") {
            return Err(Failure::new("it is not installed"));
        }
        let mut podman = Self { directory: directory.join("podman"), image: String::new() };
        fs::create_dir_all(&podman.directory).attempt(format!("creating {}", podman.directory.display()))?;
        fs::write(podman.conf(), CONTAINERS_CONF).attempt("writing podman's configuration")?;
        command::output(podman.command(&["load", "--quiet", "--input"]).arg(archive))?;
        let images = command::text(&mut podman.command(&["images", "--format", "{{.Repository}}:{{.Tag}}"]))?;
        podman.image = images.lines().find(|name| name.contains("toolbox")).unwrap_or_default().to_string();
        // The first run also builds podman's pause image.
        podman.measure(&super::PODS[0], &mut Samples::default())?;
        Ok(podman)
    }

    /// Brings the Pod up and down once.
    pub(crate) fn measure(&self, pod: &Pod, samples: &mut Samples) -> Result {
        let path = self.directory.join("pod.yaml");
        let manifest = pod.manifest.replace("podling/toolbox", &self.image);
        fs::write(&path, manifest).attempt(format!("writing {}", path.display()))?;
        let start = Instant::now();
        command::output(self.command(&["play", "kube"]).arg(&path))?;
        samples.add_ms(format!("podman, {}: up", pod.name), None, start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        command::output(self.command(&["play", "kube", "--down"]).arg(&path))?;
        samples.add_ms(format!("podman, {}: down", pod.name), None, start.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("containers.conf")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command =
            with_stores(&self.conf(), &self.directory.join("root"), &self.directory.join("run"));
        command.args(arguments);
        command
    }
}

/// A podman without arguments whose images are in `root`. Its settings and what it keeps beside them are in `directory`.
pub(crate) fn in_root(directory: &Path, root: &Path) -> Result<Command> {
    let conf = directory.join("containers.conf");
    fs::write(&conf, CONTAINERS_CONF).attempt("writing podman's configuration")?;
    Ok(with_stores(&conf, root, &directory.join("podman-run")))
}

fn with_stores(conf: &Path, root: &Path, run: &Path) -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", conf).arg("--root").arg(root).arg("--runroot").arg(run);
    // crun does not start where cgroup v1 and v2 are mixed.
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    command.args(["--runtime", if is_v2 { "crun" } else { "runc" }]);
    command
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What cannot be removed is below the target directory, and the next run replaces it.
        let _ = command::output(&mut self.command(&["pod", "rm", "--all", "--force", "--time", "0"]));
        let _ = command::output(&mut self.command(&["system", "reset", "--force"]));
        let _ = fs::remove_dir_all(&self.directory);
    }
}
