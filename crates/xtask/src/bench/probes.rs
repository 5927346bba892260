//! What exec probes cost: the CPU time of podling, of all shims, and of all that runs in the containers for a probe (the
//! exec servers and the commands), over a period in which nothing but probes happens; and beside it the floor, the same
//! command started as often by nobody but the kernel.
//!
//! The time of shims comes in nanoseconds from schedstat (sched-stats.rst), that of what runs in containers from their
//! cgroup; ticks of proc_pid_stat(5) are for processes that use many.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::memory;
use super::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};

/// How many Pods have a probe each second.
pub(crate) const PODS: usize = 100;

/// Promised for all of them, in percent of one core.
const LIMIT_PERCENT: f64 = 5.0;

/// After the last start: caches are warm, the schedules spread.
const SETTLING: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_secs(10);

/// Pods that do nothing but be probed.
pub(crate) fn manifest() -> String {
    let pod = |number| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: probed-{number}}}\nspec:\n  restartPolicy: Never\n  \
             terminationGracePeriodSeconds: 5\n  containers:\n  - name: one\n    image: podling/toolbox\n    \
             imagePullPolicy: IfNotPresent\n    command: [trap, TERM]\n    livenessProbe: {{periodSeconds: 1, \
             exec: {{command: [\"true\"]}}}}\n"
        )
    };
    (0..PODS).map(pod).collect::<Vec<_>>().join("---\n")
}

/// Measures while they run. The copy of the probes' program goes to `directory`.
pub(crate) fn measure(podling: u32, directory: &Path, samples: &mut Samples) -> Result {
    std::thread::sleep(SETTLING);
    let (start, before) = (Instant::now(), Spent::until_now(podling)?);
    std::thread::sleep(PERIOD);
    let (after, seconds) = (Spent::until_now(podling)?, start.elapsed().as_secs_f64());
    let percent = |spent: fn(&Spent) -> f64| 100.0 * (spent(&after) - spent(&before)) / seconds;
    let name = format!("podling: {PODS} Pods with an exec probe each second");
    let (engine, shims) = (percent(|spent| spent.podling), percent(|spent| spent.shims));
    let commands = percent(|spent| spent.commands);
    samples.add_percent(name, Some(LIMIT_PERCENT), engine + shims + commands);
    samples.add_percent("podling:   of it podling", None, engine);
    samples.add_percent("podling:   of it the shims", None, shims);
    samples.add_percent("podling:   of it what runs in the containers", None, commands);
    samples.add_percent(
        "floor: the probes' program, cloned and executed as often",
        None,
        floor(podling, directory)?,
    );
    Ok(())
}

/// What the kernel alone takes to start the same program as often, in percent of one core.
fn floor(podling: u32, directory: &Path) -> Result<f64> {
    let shims = memory::children(podling, "podling-shim")?;
    let shim = *shims.first().ok_or_else(|| Failure::new("no shim runs"))?;
    let program = directory.join("true");
    let original = format!("/proc/{}/exe", memory::child(shim, "trap")?);
    fs::copy(&original, &program).attempt(format!("copying {original}"))?;
    let own = std::process::id();
    let (start, before) = (Instant::now(), seconds_of(own)?);
    let interval = Duration::from_secs(1) / PODS as u32;
    let mut due = start;
    while start.elapsed() < PERIOD {
        command_status(&program)?;
        due += interval;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let after = seconds_of(own)?;
    let spent = after.iter().sum::<f64>() - before.iter().sum::<f64>();
    Ok(100.0 * spent / start.elapsed().as_secs_f64())
}

fn command_status(program: &Path) -> Result {
    let status = Command::new(program).status().attempt(format!("running {}", program.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{} failed: {status}", program.display())))
    }
}

/// CPU time in seconds.
struct Spent {
    podling: f64,
    shims: f64,
    commands: f64,
}

impl Spent {
    fn until_now(podling: u32) -> Result<Spent> {
        let mut spent = Spent { podling: seconds_of(podling)?[0], shims: 0.0, commands: 0.0 };
        let shims = memory::children(podling, "podling-shim")?;
        for shim in &shims {
            spent.shims += nanoseconds_of(*shim)? / 1e9;
        }
        let shim = *shims.first().ok_or_else(|| Failure::new("no shim runs"))?;
        spent.commands = cgroup_seconds(memory::child(shim, "trap")?)?;
        Ok(spent)
    }
}

/// CPU time of all containers of the node, one of whose processes this is.
fn cgroup_seconds(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/cgroup");
    let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
    let (file, key, per_second) =
        cgroup_file(&text).ok_or_else(|| Failure::new(format!("{path}: {text}")))?;
    let text = fs::read_to_string(&file).attempt(format!("reading {}", file.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<f64>().ok());
    value
        .map(|value| value / per_second)
        .ok_or_else(|| Failure::new(format!("{} has no time", file.display())))
}

/// Where the node's CPU time stands: the file, what is before the number, and its unit. The node's cgroup is the second
/// one from the root (`/podling/NODE/podUID/CONTAINER`).
fn cgroup_file(cgroups: &str) -> Option<(PathBuf, &'static str, f64)> {
    let node = |path: &str| path.split('/').skip(1).take(2).collect::<PathBuf>();
    let mut fields = cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    if let Some((_, path)) =
        fields.clone().find(|(controllers, _)| controllers.split(',').any(|it| it == "cpuacct"))
    {
        let file = Path::new("/sys/fs/cgroup/cpuacct").join(node(path)).join("cpuacct.usage");
        return Some((file, "", 1e9));
    }
    let (_, path) = fields.find(|(controllers, _)| controllers.is_empty())?;
    Some((Path::new("/sys/fs/cgroup").join(node(path)).join("cpu.stat"), "usage_usec", 1e6))
}

/// CPU time of a process with one thread, in nanoseconds.
fn nanoseconds_of(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.ok_or_else(|| Failure::new(format!("{path} has no time")))
}

/// CPU time in seconds, of a process itself and of the children that it has waited for.
fn seconds_of(pid: u32) -> Result<[f64; 2]> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
    let ticks = ticks(&text).ok_or_else(|| Failure::new(format!("{path} has no times")))?;
    let ticks_per_second = ticks_per_second()?;
    Ok(ticks.map(|ticks| ticks / ticks_per_second))
}

/// Of the process itself, and of the children that it has waited for.
fn ticks(stat: &str) -> Option<[f64; 2]> {
    // The name in parentheses may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some([field(11)? + field(12)?, field(13)? + field(14)?])
}

fn ticks_per_second() -> Result<f64> {
    static TICKS: OnceLock<f64> = OnceLock::new();
    if let Some(ticks) = TICKS.get() {
        return Ok(*ticks);
    }
    let output = crate::command::output(Command::new("getconf").arg("CLK_TCK"))?;
    let text = String::from_utf8_lossy(&output);
    let ticks =
        text.trim().parse().map_err(|_| Failure::new(format!("getconf says {text:?} for CLK_TCK")))?;
    Ok(*TICKS.get_or_init(|| ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_the_node_is_found() {
        let v1 = "5:memory:/podling/n/podu/c\n4:cpu,cpuacct:/podling/n/podu/c\n0::/podling/n/podu/c\n";
        let (file, key, _) = cgroup_file(v1).unwrap();
        assert_eq!((file.to_str().unwrap(), key), ("/sys/fs/cgroup/cpuacct/podling/n/cpuacct.usage", ""));
        let (file, key, _) = cgroup_file("0::/podling/n/podu/c\n").unwrap();
        assert_eq!((file.to_str().unwrap(), key), ("/sys/fs/cgroup/podling/n/cpu.stat", "usage_usec"));
    }

    #[test]
    fn the_times_of_a_process_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 400 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some([30.0, 700.0]));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
