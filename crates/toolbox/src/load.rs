//! Applets that use resources up to a known amount, for tests of limits: `alloc`, `cpu`, `spawn`.

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;
use crate::{signals, text, time};

/// The smallest page of the machines podling runs on: touching one byte in each makes all of it resident.
const PAGE_BYTES: usize = 4096;

/// `alloc BYTES`
pub fn alloc(arguments: &[String]) -> Result<(), Failure> {
    let [size] = arguments else { return Err(Failure::usage("needs one size")) };
    let size_bytes = time::parse_size_bytes(size)?;
    let stop = signals::blocked_stop_signals()?;
    let mut memory: Vec<u8> = Vec::new();
    memory
        .try_reserve_exact(size_bytes)
        .map_err(|_| Failure::Failed(format!("{size} bytes of address space are not to be had")))?;
    memory.resize(size_bytes, 0);
    // Written page by page with something that is not zero, so that no page stays the shared zero page.
    for (page, byte) in memory.iter_mut().step_by(PAGE_BYTES).enumerate() {
        *byte = page as u8 | 1;
    }
    black_box(&memory);
    text::print_lines([format!("allocated {size_bytes} bytes")])?;
    signals::wait_for_stop(&stop)
}

/// `cpu SECONDS`
pub fn cpu(arguments: &[String]) -> Result<(), Failure> {
    let [duration] = arguments else { return Err(Failure::usage("needs one duration")) };
    let duration = time::parse_duration(duration)?;
    signals::exit_at_stop(signals::Stop::AsKilled)?;
    let start = Instant::now();
    let mut sum = 0u64;
    while duration.is_none_or(|duration| start.elapsed() < duration) {
        for i in 0..10_000u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = Duration::new(used.tv_sec as u64, used.tv_nsec as u32);
    text::print_lines([format!(
        "wall {:.3} s, cpu {:.3} s",
        start.elapsed().as_secs_f64(),
        used.as_secs_f64()
    )])
}

/// `spawn N`: prints each child's PID; with a pids limit it gets fewer than it asked for and says why.
pub fn spawn(arguments: &[String]) -> Result<(), Failure> {
    let [count] = arguments else { return Err(Failure::usage("needs one number of children")) };
    let count: usize = text::number("N", count)?;
    let stop = signals::blocked_stop_signals()?;
    let mut children = Vec::new();
    let refused = start_children(count, &mut children);
    let ids: Vec<_> = children.iter().map(|child| child.id().to_string()).collect();
    text::print_lines([format!("started {} of {count} children: {}", children.len(), ids.join(" "))])?;
    let ended = match refused {
        None => signals::wait_for_stop(&stop),
        Some(failure) => Err(failure),
    };
    for child in &mut children {
        // A child that has already gone is what we want.
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

/// Fills `children`; gives the reason why there are fewer than `count`.
fn start_children(count: usize, children: &mut Vec<Child>) -> Option<Failure> {
    for number in 1..=count {
        let child = Command::new("/proc/self/exe").args(["sleep", "infinity"]).stdin(Stdio::null()).spawn();
        match child {
            Ok(child) => children.push(child),
            Err(error) => return Some(Failure::io(format!("starting child {number}"), error)),
        }
    }
    None
}
