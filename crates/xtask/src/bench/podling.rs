//! podling measured: `podling run` brings a Pod up; when its containers say that they run, it is weighed or at once
//! taken down again, as Ctrl-C does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Pod;
use super::events::Timeline;
use super::memory;
use super::probes;
use super::statistics::Samples;
use crate::command;
use crate::failure::{Attempt, Failure, Result};

/// Promises of the whole, in ms and KiB.
const DOWN_LIMIT_MS: f64 = 30.0;
const EXEC_LIMIT_MS: f64 = 4.0;
const INIT_GAP_LIMIT_MS: f64 = 5.0;
const MEMORY_LIMIT_KIB: f64 = 0.6 * 1024.0;

/// What is weighed is a Pod that runs, not one that is being started: the shim gives its pages back a few
/// milliseconds after its last work.
const SETTLING: Duration = Duration::from_millis(200);

/// In every Pod that is measured; each prints one line.
const MAIN_CONTAINERS: usize = 2;

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
        for pod in super::PODS.iter().chain([&super::PROBED, &super::CHAIN]) {
            let path = podling.manifest(pod);
            fs::write(&path, pod.manifest).attempt(format!("writing {}", path.display()))?;
        }
        // The first run also unpacks the built-in image, which no later one does.
        podling.run(&super::PODS[0])?;
        let mut save = podling.command(&["image", "save", "podling/toolbox"]);
        command::output(save.arg("--output").arg(&podling.archive))?;
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

    /// How long a command in a running container takes, from outside: from the start of the last container until
    /// the startup probes, one exec each, have made the Pod ready. The truth is no longer than this.
    pub(crate) fn measure_exec(&self, pod: &Pod, samples: &mut Samples) -> Result {
        let timeline = self.run(pod)?;
        let times = timeline.ready_ms.zip(timeline.up_ms());
        let (ready_ms, up_ms) =
            times.ok_or_else(|| Failure::new(format!("podling's events are incomplete: {timeline:?}")))?;
        samples.add_ms("podling: exec, by a startup probe", Some(EXEC_LIMIT_MS), ready_ms - up_ms);
        Ok(())
    }

    /// How long it takes from the end of an init container to the start of what comes after it.
    pub(crate) fn measure_init_chain(&self, pod: &Pod, samples: &mut Samples) -> Result {
        for gap_ms in self.run(pod)?.init_gaps_ms {
            let name = "podling: an init container's exit to the next start";
            samples.add_ms(name, Some(INIT_GAP_LIMIT_MS), gap_ms);
        }
        Ok(())
    }

    /// What Pods with an exec probe each second cost while nothing else happens.
    pub(crate) fn measure_probes(&self, samples: &mut Samples) -> Result {
        let manifest = self.directory.join("probed-pods.yaml");
        fs::write(&manifest, probes::manifest()).attempt(format!("writing {}", manifest.display()))?;
        let all_run = |timeline: &Timeline| timeline.ready == probes::PODS && timeline.lines == probes::PODS;
        self.run_until(&manifest, all_run, |podling| probes::measure(podling, &self.directory, samples))
            .map(drop)
    }

    /// Weighs the processes that stay with a Pod, beside its containers.
    pub(crate) fn measure_memory(&self, pod: &Pod, samples: &mut Samples) -> Result {
        self.run_and(pod, |podling| {
            std::thread::sleep(SETTLING);
            let shim = memory::find("podling-shim", &self.run_dir)?;
            let pause = memory::child(shim, "pause")?;
            let (shim_kib, pause_kib) = (memory::pss_kib(shim)?, memory::pss_kib(pause)?);
            samples.add_kib("podling: PSS of shim and pause", Some(MEMORY_LIMIT_KIB), shim_kib + pause_kib);
            samples.add_kib("podling:   of it the shim", None, shim_kib);
            samples.add_kib("podling: PSS of podling run", None, memory::pss_kib(podling)?);
            Ok(())
        })
        .map(drop)
    }

    fn run(&self, pod: &Pod) -> Result<Timeline> {
        self.run_and(pod, |_| Ok(()))
    }

    /// Runs the Pod until its main containers have said that they run, does `meanwhile` with podling's PID, and
    /// stops it.
    fn run_and(&self, pod: &Pod, meanwhile: impl FnOnce(u32) -> Result) -> Result<Timeline> {
        let all_run = |timeline: &Timeline| timeline.ready_ms.is_some() && timeline.lines == MAIN_CONTAINERS;
        self.run_until(&self.manifest(pod), all_run, meanwhile)
    }

    /// The same for any manifest, and any sign that it runs.
    fn run_until(
        &self,
        manifest: &Path,
        is_up: impl Fn(&Timeline) -> bool,
        meanwhile: impl FnOnce(u32) -> Result,
    ) -> Result<Timeline> {
        let mut command = self.command(&["run", "--output", "json"]);
        command.arg(manifest).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Stopped(command.spawn().attempt("starting podling")?);
        let output = child.0.stdout.take().ok_or_else(|| Failure::new("podling has no standard output"))?;
        let mut timeline = Timeline::default();
        let mut meanwhile = Some(meanwhile);
        for line in BufReader::new(output).lines() {
            timeline.take(&line.attempt("reading podling's output")?);
            if is_up(&timeline)
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile(child.0.id())?;
                child.stop();
            }
        }
        let status = child.0.wait().attempt("waiting for podling")?;
        if meanwhile.is_some() {
            let troubles = timeline.troubles.join("\n");
            return Err(Failure::new(format!("podling run failed: {status}\n{troubles}")));
        }
        Ok(timeline)
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

impl Stopped {
    /// As Ctrl-C does.
    fn stop(&self) {
        if let Some(pid) = Pid::from_raw(self.0.id() as i32) {
            // Gone already is what we want.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.stop();
            let _ = self.0.wait();
        }
    }
}
