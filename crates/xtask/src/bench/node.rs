//! `cargo xtask bench --node`: what `podling serve` promises, measured by a client of its API, as kubectl is one.
//!
//! One run has everything: [`pods`] brings Pods up, [`reads`] lists and watches, [`exec`] runs a command, [`idle`] looks
//! at what is taken while nothing happens; [`server`] starts and ends the node, [`connection`] speaks to it. What is
//! measured and what is promised is the table below.

mod connection;
mod exec;
mod idle;
mod pods;
mod reads;
pub(crate) mod server;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::floor::Floor;
use super::statistics::Samples;
use crate::failure::{Attempt, Result};
use pods::Pods;
use reads::Watchers;
use server::Place;

/// A line of the result, and what its median must not exceed.
struct Line {
    name: &'static str,
    limit: Option<f64>,
}

const fn line(name: &'static str, limit: f64) -> Line {
    Line { name, limit: Some(limit) }
}

const fn told(name: &'static str) -> Line {
    Line { name, limit: None }
}

const SYNC: Line = told("floor: 4 KiB written and fsynced beside the node's objects");
const READY: Line = line("exec of podling serve until its node is Ready", 300.0);
const POSTED: Line = told("POST of a Pod, until it is answered");
const UP: Line = line("POST of a two-container Pod until a watch sees both running", 20.0);
const INIT_GAP: Line = line("an init container's end until a watch sees the next running", 10.0);
const MANY: Line = line("100 such Pods at once, until a watch sees all running", 3000.0);
const LIST: Line = line("list of 5,000 Pods", 60.0);
const TABLE: Line = told("  the same as kubectl asks for it, 10 pages of a table");
const WATCHING: Line = line("one change until 1,000 watchers have been told", 50.0);
const EXEC: Line = line("exec POD -- true", 8.0);
const MEMORY: Line = line("PSS of an idle node without Pods", 30.0);
const IDLE: Line = line("CPU time of an idle node without Pods in a minute", 0.0);
const WAKES: Line = line("  how often anything of it was woken", 0.0);
const MEMORY_MANY: Line = told("PSS of a node with 100 idle Pods");
const BUSY: Line = line("CPU of a node with 100 idle Pods, shims included", 0.5);
const WAKES_MANY: Line = told("  how often anything of it was woken in 30 s");

const MANY_PODS: usize = 100;
const LISTED_PODS: usize = 5000;
const WATCHERS: usize = 1000;
const IDLE_PERIOD: Duration = Duration::from_secs(60);
const SETTLED_PERIOD: Duration = Duration::from_secs(30);
/// What takes tenths of a second is measured no more often than this...
const MODERATE: usize = 15;
/// ... and what takes seconds this often, whatever number of rounds was asked for.
const FEW: usize = 3;

/// Measures everything, and what takes milliseconds `rounds` times.
pub(crate) fn measure(program: &Path, directory: &Path, rounds: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    let floor = Floor::new(directory)?;
    let place = Place::new(program, directory, &directory.join("images"));
    for _ in 0..rounds.min(MODERATE) {
        place.clear()?;
        let (_server, took) = place.start()?;
        samples.add_ms(READY.name, READY.limit, took.as_secs_f64() * 1e3);
    }
    let (server, _) = place.start()?;
    idle::measure_empty(&server, &mut samples)?;

    let mut running = Pods::new(&server)?;
    for round in 1..=rounds {
        eprint!("\rround {round} of {rounds} ");
        floor.measure(&mut samples)?;
        measure_sync(place.data_dir(), &mut samples)?;
        running.measure_up(&mut samples)?;
        running.measure_init_gap(&mut samples)?;
    }
    for round in 1..=FEW {
        eprint!("\r{MANY_PODS} Pods, round {round} of {FEW} ");
        let names = running.measure_many(&mut samples)?;
        if round == FEW {
            (0..rounds).try_for_each(|_| exec::measure(&server, "many-0", &mut samples))?;
            idle::measure_busy(&server, &mut samples)?;
            running.connect_again()?;
        }
        running.delete(&names)?;
    }
    drop(running);

    eprint!("\r{WATCHERS} watchers, {LISTED_PODS} Pods  ");
    let mut watchers = Watchers::begin(&server)?;
    (0..rounds).try_for_each(|_| watchers.change(&mut samples))?;
    drop(watchers);
    reads::make_list(&server)?;
    let mut client = server.connect()?;
    (0..rounds.min(MODERATE)).try_for_each(|_| reads::measure_list(&mut client, &mut samples))?;
    eprintln!();
    drop(server);
    place.clear()?;
    Ok(samples)
}

/// What a durable write takes at least.
fn measure_sync(directory: &Path, samples: &mut Samples) -> Result {
    let path = directory.join("floor");
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .attempt(format!("opening {}", path.display()))?;
    let start = Instant::now();
    file.write_all(&[1; 4096]).attempt(format!("writing {}", path.display()))?;
    file.sync_data().attempt(format!("syncing {}", path.display()))?;
    samples.add_ms(SYNC.name, SYNC.limit, start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
