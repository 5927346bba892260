//! podling measured: `podling run --until ready` brings a Pod up and takes it down again; a second kind of run
//! stays up, to be weighed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::Pod;
use super::events::Timeline;
use super::memory;
use super::statistics::Samples;
use crate::command;
use crate::failure::{Attempt, Failure, Result};

/// Promises of the whole, in ms and KiB.
const DOWN_LIMIT_MS: f64 = 30.0;
const MEMORY_LIMIT_KIB: f64 = 0.6 * 1024.0;

/// A podling with directories of its own; everything is removed at the end.
pub(crate) struct Podling {
    program: PathBuf,
    directory: PathBuf,
    run_dir: PathBuf,
    archive: PathBuf,
}

impl Podling {
    pub(crate) fn new(program: &Path, directory: &Path) -> Result<Self> {
        let podling = Self {
            program: program.to_path_buf(),
            directory: directory.to_path_buf(),
            // Short, because it holds Unix sockets, and on a tmpfs as on a user's machine.
            run_dir: PathBuf::from(format!("/run/podling-bench-{}", std::process::id())),
            archive: directory.join("toolbox.tar"),
        };
        for pod in &super::PODS {
            let path = podling.manifest(pod);
            fs::write(&path, pod.manifest).attempt(format!("writing {}", path.display()))?;
        }
        // The first run also unpacks the built-in image, which no later one does.
        podling.run(&super::PODS[0])?;
        let mut save = podling.command(&["image", "save", "podling/toolbox", "--output"]);
        command::output(save.arg(&podling.archive))?;
        Ok(podling)
    }

    /// The built-in image, for others to run the same.
    pub(crate) fn toolbox_archive(&self) -> &Path {
        &self.archive
    }

    /// Brings the Pod up and down once.
    pub(crate) fn measure(&self, pod: &Pod, samples: &mut Samples) -> Result {
        let start = Instant::now();
        let timeline = self.run(pod)?;
        let all_ms = start.elapsed().as_secs_f64() * 1e3;
        let name = |what: &str| format!("podling, {}: {what}", pod.name);
        let missing = || Failure::new(format!("podling's events are incomplete: {timeline:?}"));
        let up_ms = timeline.up_ms().ok_or_else(missing)?;
        let stopping_ms = timeline.stopping_ms.ok_or_else(missing)?;
        let gone_ms = timeline.gone_ms.ok_or_else(missing)?;
        let ready_ms = timeline.ready_ms.ok_or_else(missing)?;
        let manifest_ms = timeline.manifest_ms.ok_or_else(missing)?;
        samples.add_ms(name("up (start of podling to all executed)"), Some(pod.up_limit_ms), up_ms);
        samples.add_ms(name("  of it until the manifest is read"), None, manifest_ms);
        for (what, ms) in &timeline.steps {
            samples.add_ms(name(&format!("  step {what}")), None, *ms);
        }
        samples.add_ms(name("ready"), None, ready_ms);
        samples.add_ms(name("down (stop to nothing left)"), Some(DOWN_LIMIT_MS), gone_ms - stopping_ms);
        samples.add_ms(name("the whole command"), None, all_ms);
        Ok(())
    }

    /// Weighs the processes that stay with a Pod, beside its containers.
    pub(crate) fn measure_memory(&self, pod: &Pod, samples: &mut Samples) -> Result {
        let mut child = Stopped(self.run_command(pod, &[]).spawn().attempt("starting podling")?);
        let output = child.0.stdout.take().ok_or_else(|| Failure::new("podling has no standard output"))?;
        let mut timeline = Timeline::default();
        for line in BufReader::new(output).lines() {
            timeline.take(&line.attempt("reading podling's output")?);
            if timeline.ready_ms.is_some() {
                break;
            }
        }
        let shim = memory::find("podling-shim", &self.run_dir)?;
        let pause = memory::child(shim, "pause")?;
        let (shim_kib, pause_kib) = (memory::pss_kib(shim)?, memory::pss_kib(pause)?);
        samples.add_kib("podling: PSS of shim and pause", Some(MEMORY_LIMIT_KIB), shim_kib + pause_kib);
        samples.add_kib("podling:   of it the shim", None, shim_kib);
        samples.add_kib("podling: PSS of podling run", None, memory::pss_kib(child.0.id())?);
        Ok(())
    }

    fn run(&self, pod: &Pod) -> Result<Timeline> {
        let output = self.run_command(pod, &["--until", "ready"]).output().attempt("starting podling")?;
        let mut timeline = Timeline::default();
        String::from_utf8_lossy(&output.stdout).lines().for_each(|line| timeline.take(line));
        if output.status.success() {
            return Ok(timeline);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let troubles = timeline.troubles.join("\n");
        Err(Failure::new(format!("podling run failed: {}\n{troubles}\n{stderr}", output.status)))
    }

    fn run_command(&self, pod: &Pod, arguments: &[&str]) -> Command {
        let mut command = self.command(&["run", "--output", "json"]);
        command.args(arguments).arg(self.manifest(pod));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--run-dir").arg(&self.run_dir);
        command.arg("--data-dir").arg(self.directory.join("data"));
        command.arg("--image-dir").arg(self.directory.join("images"));
        command
    }

    fn manifest(&self, pod: &Pod) -> PathBuf {
        self.directory.join(format!("{}.yaml", pod.name.replace(' ', "-")))
    }
}

impl Drop for Podling {
    fn drop(&mut self) {
        // Whatever a failed run left; nothing after a good one.
        let _ = command::output(&mut self.command(&["doctor", "--clean"]));
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

/// A running podling that is asked to stop, and waited for, when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0.id() as i32) {
            // Gone already is what we want.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
