//! What exec probes cost: the CPU time of podling, of all shims, and of all that the shims started for a probe, over a
//! period in which nothing but probes happens.
//!
//! A shim's own time comes in nanoseconds from schedstat (sched-stats.rst); that of its children in ticks from
//! proc_pid_stat(5), which over a hundred shims errs to both sides alike. Part of the latter is the command itself, a
//! program that does nothing: where a hypervisor intercepts cpuid, starting any program of glibc takes 0.3 ms.

use std::fs;
use std::process::Command;
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

/// Measures while they run.
pub(crate) fn measure(podling: u32, samples: &mut Samples) -> Result {
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
    samples.add_percent("podling:   of it the probes' processes", None, commands);
    Ok(())
}

/// CPU time in seconds.
struct Spent {
    podling: f64,
    shims: f64,
    commands: f64,
}

impl Spent {
    fn until_now(podling: u32) -> Result<Spent> {
        let ticks_per_second = ticks_per_second()?;
        let stat = |pid: u32| -> Result<[f64; 2]> {
            let path = format!("/proc/{pid}/stat");
            let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
            let ticks = ticks(&text).ok_or_else(|| Failure::new(format!("{path} has no times")))?;
            Ok(ticks.map(|ticks| ticks / ticks_per_second))
        };
        let mut spent = Spent { podling: stat(podling)?[0], shims: 0.0, commands: 0.0 };
        for shim in memory::children(podling, "podling-shim")? {
            let path = format!("/proc/{shim}/schedstat");
            let text = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
            let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
            spent.shims += nanos.ok_or_else(|| Failure::new(format!("{path} has no time")))? / 1e9;
            spent.commands += stat(shim)?[1];
        }
        Ok(spent)
    }
}

/// Of the process itself, and of the children that it has waited for.
fn ticks(stat: &str) -> Option<[f64; 2]> {
    // The name in parentheses may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some([field(11)? + field(12)?, field(13)? + field(14)?])
}

fn ticks_per_second() -> Result<f64> {
    let output = crate::command::output(Command::new("getconf").arg("CLK_TCK"))?;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().map_err(|_| Failure::new(format!("getconf says {text:?} for CLK_TCK")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 400 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some([30.0, 700.0]));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
