//! What a node takes while nothing happens: memory, processor time, and how often anything of it is woken.

use std::fs;
use std::time::{Duration, Instant};

use super::server::Server;
use super::{BUSY, IDLE, IDLE_PERIOD, MEMORY, MEMORY_MANY, SETTLED_PERIOD, WAKES, WAKES_MANY};
use crate::bench::memory;
use crate::bench::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};

/// After the last request: what was begun is finished, and written to the medium.
const SETTLING: Duration = Duration::from_secs(12);

/// A node without Pods, over a minute.
pub(crate) fn measure_empty(server: &Server, samples: &mut Samples) -> Result {
    std::thread::sleep(SETTLING);
    samples.add_mib(MEMORY.name, MEMORY.limit, memory::pss_kib(server.pid())? / 1024.0);
    let (spent, _) = over(IDLE_PERIOD, || Spent::of(server.pid()))?;
    samples.add_ms(IDLE.name, IDLE.limit, spent.nanoseconds / 1e6);
    samples.add_count(WAKES.name, WAKES.limit, spent.switches);
    Ok(())
}

/// A node with Pods that do nothing, and their shims.
pub(crate) fn measure_busy(server: &Server, samples: &mut Samples) -> Result {
    std::thread::sleep(SETTLING);
    let shims = memory::children(server.pid(), "podling-shim")?;
    let all = || {
        let mut all = Spent::of(server.pid())?;
        for shim in &shims {
            let shim = Spent::of(*shim)?;
            all = Spent {
                nanoseconds: all.nanoseconds + shim.nanoseconds,
                switches: all.switches + shim.switches,
            };
        }
        Ok(all)
    };
    samples.add_mib(MEMORY_MANY.name, MEMORY_MANY.limit, memory::pss_kib(server.pid())? / 1024.0);
    let (spent, seconds) = over(SETTLED_PERIOD, all)?;
    samples.add_percent(BUSY.name, BUSY.limit, 100.0 * spent.nanoseconds / 1e9 / seconds);
    samples.add_count(WAKES_MANY.name, WAKES_MANY.limit, spent.switches);
    Ok(())
}

fn over(period: Duration, now: impl Fn() -> Result<Spent>) -> Result<(Spent, f64)> {
    let (start, before) = (Instant::now(), now()?);
    std::thread::sleep(period);
    let (after, seconds) = (now()?, start.elapsed().as_secs_f64());
    let nanoseconds = after.nanoseconds - before.nanoseconds;
    Ok((Spent { nanoseconds, switches: after.switches - before.switches }, seconds))
}

/// Of all threads of a process, sched-stats.rst and proc_pid_status(5).
struct Spent {
    nanoseconds: f64,
    /// Each wait that ended is one.
    switches: f64,
}

impl Spent {
    fn of(process: u32) -> Result<Spent> {
        let mut spent = Spent { nanoseconds: 0.0, switches: 0.0 };
        let tasks = format!("/proc/{process}/task");
        for task in fs::read_dir(&tasks).attempt(format!("reading {tasks}"))?.flatten() {
            let read = |file: &str| {
                let path = task.path().join(file);
                fs::read_to_string(&path).attempt(format!("reading {}", path.display()))
            };
            let (times, status) = (read("schedstat")?, read("status")?);
            let numbers = nanoseconds(&times).zip(switches(&status));
            let (nanoseconds, switches) = numbers
                .ok_or_else(|| Failure::new(format!("cannot read the times of {}", task.path().display())))?;
            spent.nanoseconds += nanoseconds;
            spent.switches += switches;
        }
        Ok(spent)
    }
}

fn nanoseconds(schedstat: &str) -> Option<f64> {
    schedstat.split(' ').next()?.parse().ok()
}

fn switches(status: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_thread_are_read() {
        assert_eq!(nanoseconds("120 7 3\n"), Some(120.0));
        let status = "Name:\ta\nvoluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), Some(41.0));
    }
}
