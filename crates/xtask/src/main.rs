//! The development tasks: `cargo xtask TASK`. One file or folder for each task; this file only chooses.
//!
//! They know podling from the outside only: its source files, its tests and its built program.

mod bench;
mod clients;
mod command;
mod deny;
mod failure;
mod fuzz;
mod images;
mod kubectl;
mod schema;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of podling.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must hold: format, lints, documentation, tidy, all tests.
    Test(test::Arguments),
    /// Run the privileged and end-to-end tests in a machine with Debian's kernel and cgroup v2.
    Vm(vm::Arguments),
    /// Measure podling beside the kernel's floor and podman.
    Bench(bench::Arguments),
    /// Install the Debian packages that the tests need.
    Setup,
    /// Check the rules of the house that no compiler knows.
    Tidy,
    /// Make image archives (busybox, nginx, redis, haproxy, postgres) from Debian packages.
    Images(images::Arguments),
    /// Unpack Debian's kubectl, for the end-to-end tests.
    Kubectl,
    /// Install Kubernetes' client libraries for Python, JavaScript and Rust, for the end-to-end tests.
    Clients,
    /// Run the fuzz targets, each for some time.
    Fuzz(fuzz::Arguments),
    /// Write the table of manifest fields, crates/model/src/fields.rs.
    Schema {
        /// Only say whether it is current.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Setup => setup::run(),
        Task::Tidy => tidy::run(),
        Task::Images(arguments) => images::run(&arguments),
        Task::Kubectl => kubectl::run(),
        Task::Clients => clients::run(),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Schema { check } => {
            let mode = if check { schema::Mode::Check } else { schema::Mode::Write };
            schema::run(&workspace::root(), mode).map_err(failure::Failure::new)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                eprintln!("xtask: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}
