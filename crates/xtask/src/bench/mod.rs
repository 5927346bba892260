//! `cargo xtask bench`: what podling promises in milliseconds, measured beside what users have today.
//!
//! One round measures everything once, in turn: the floor (a bare clone and exec of a static program), podling,
//! and podman when it is installed. So the rounds of all three see the same machine, whatever else it does.
//! Median and 99th percentile of all rounds are printed as a table and written as JSON.
//!
//! [`floor`], [`podling`] and [`podman`] each measure, [`pull`] measures images (`--images`; [`big_image`] makes them) and
//! [`read`] reading in their containers, [`node`] a node and its API (`--node`); [`events`] alone knows podling's
//! `--output json`;
//! [`statistics`] counts; [`table`] prints.

mod big_image;
mod events;
mod floor;
mod memory;
mod node;
mod podling;
mod podman;
mod probes;
mod pull;
mod read;
mod statistics;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Attempt, Failure, Result};
use crate::{command, images, setup, test, workspace};
use statistics::Samples;

/// The Pods that are measured.
const PODS: [Pod; 2] = [
    Pod { name: "two", manifest: include_str!("two.yaml"), up_limit_ms: 12.0 },
    Pod { name: "init and two", manifest: include_str!("init-and-two.yaml"), up_limit_ms: 18.0 },
];

/// The Pod in which an exec is measured, by its startup probes.
const PROBED: Pod = Pod { name: "probed", manifest: include_str!("probed.yaml"), up_limit_ms: 12.0 };

/// The Pod in which one init container follows the other.
const CHAIN: Pod = Pod { name: "chain", manifest: include_str!("chain.yaml"), up_limit_ms: 40.0 };

/// A Pod that is measured, and how long it may take until its main containers run.
struct Pod {
    name: &'static str,
    manifest: &'static str,
    up_limit_ms: f64,
}

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many rounds.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Measure this podling instead of a release build.
    #[arg(long)]
    podling: Option<PathBuf>,
    /// Measure pulls, loads and removals of images instead of Pods.
    #[arg(long)]
    images: bool,
    /// Measure a node, `podling serve`, instead of Pods in the foreground.
    #[arg(long, conflicts_with = "images")]
    node: bool,
    /// Leave podman out: its rounds take seconds.
    #[arg(long)]
    without_podman: bool,
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !setup::is_root() {
        return Err(Failure::new("Pods need root: run this as root"));
    }
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).attempt(format!("creating {}", directory.display()))?;
    if !arguments.images {
        images::run(&images::Arguments::default())?;
    }
    let program = match &arguments.podling {
        Some(path) => path.clone(),
        None => {
            command::run(&mut test::cargo(["build", "--release", "--package", "podling"]))?;
            workspace::target().join("release/podling")
        }
    };
    // Benches may run side by side, though their figures then tell less.
    let own = directory.join(std::process::id().to_string());
    fs::create_dir_all(&own).attempt(format!("creating {}", own.display()))?;
    let (name, samples) = match arguments {
        Arguments { images: true, .. } => ("images.json", measure_images(arguments, &program, &own)),
        Arguments { node: true, .. } => ("node.json", node::measure(&program, &own, arguments.runs)),
        _ => ("result.json", measure(arguments, &program, &own)),
    };
    fs::remove_dir_all(&own).attempt(format!("removing {}", own.display()))?;
    let samples = samples?;
    let path = directory.join(name);
    let text = format!("{:#}\n", samples.to_json());
    fs::write(&path, text).attempt(format!("writing {}", path.display()))?;
    println!("\n{}\nwritten to {}", table::of(&samples), path.display());
    Ok(())
}

fn measure(arguments: &Arguments, program: &Path, directory: &Path) -> Result<Samples> {
    let mut samples = Samples::default();
    let floor = floor::Floor::new(directory)?;
    let podling = podling::Podling::new(program, directory)?;
    let podman = match arguments.without_podman {
        true => None,
        false => podman_or_reason(podling.toolbox_archive(), directory),
    };
    for round in 1..=arguments.runs {
        eprint!("\rround {round} of {} ", arguments.runs);
        floor.measure(&mut samples)?;
        podling.measure_exec(&PROBED, &mut samples)?;
        podling.measure_init_chain(&CHAIN, &mut samples)?;
        for pod in &PODS {
            podling.measure(pod, &mut samples)?;
            if let Some(podman) = &podman {
                podman.measure(pod, &mut samples)?;
            }
        }
    }
    eprintln!();
    podling.measure_memory(&PODS[0], &mut samples)?;
    podling.measure_probes(&mut samples)?;
    Ok(samples)
}

fn measure_images(arguments: &Arguments, program: &Path, directory: &Path) -> Result<Samples> {
    let mut samples = Samples::default();
    let pulls = pull::Pulls::new(program, directory, !arguments.without_podman)?;
    for round in 1..=arguments.runs {
        eprint!("\rround {round} of {} ", arguments.runs);
        pulls.measure(&mut samples)?;
    }
    eprintln!();
    Ok(samples)
}

/// podman when it can be measured here; else the reason is told and the table goes without it.
fn podman_or_reason(archive: &Path, directory: &Path) -> Option<podman::Podman> {
    match podman::Podman::new(archive, directory) {
        Ok(podman) => Some(podman),
        Err(failure) => {
            println!("podman is left out: {failure}");
            None
        }
    }
}
