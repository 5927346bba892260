//! `podling`: Kubernetes Pods on one Linux machine. What was typed becomes what is meant, and one of the
//! commands does it; its exit code is a contract (`docs/exit-codes.md`).
//!
//! This crate speaks to people and scripts. It knows no logic of Pods: that is `lifecycle` and `engine`.

mod backup;
mod check;
mod clock;
mod console;
mod doctor;
mod exit;
mod failure;
mod image;
mod journal;
mod remote;
mod restart;
mod run;
mod serve;
mod typed;
mod version;

use std::process::ExitCode;

use typed::Command;

fn main() -> ExitCode {
    let clock = clock::Clock::start();
    // Whatever podling was started with stays its own: a shim outlives it, and would hold a lock or a pipe of somebody else's for
    // as long as its Pod runs. There is nothing to be done when the kernel refuses.
    let _ = linux::exec::close_all_on_exec();
    let command = match typed::parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    let is_daemon = matches!(command, Command::Serve(_) | Command::Join(_));
    set_up_tracing(is_daemon.then_some(WARNINGS));
    let result = match command {
        Command::Run(asked) => run::perform(asked, clock),
        Command::Serve(asked) => serve::perform(asked),
        Command::Join(asked) => serve::join::perform(asked),
        Command::Backup(asked) => backup::make(&asked),
        Command::Restore(asked) => backup::restore(&asked),
        Command::Check(asked) => check::perform(&asked),
        Command::Image(asked) => image::perform(asked),
        Command::Restart(asked) => restart::perform(&asked),
        Command::Journal(asked) => journal::perform(&asked),
        Command::Doctor(asked) => doctor::perform(asked),
        Command::Version(asked) => version::perform(asked),
    };
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            console::print_failure(&failure);
            exit::Code::PODLING_FAILED.into()
        }
    }
}

/// What whoever runs a node has to know.
const WARNINGS: &str = "warn";

/// The program's own diagnosis, on standard error: what PODLING_LOG asks for, or else what is usual for the command. Most say
/// all that they have to say themselves, and setting it up costs a third of the way to the first container.
fn set_up_tracing(usual: Option<&str>) {
    if let Some(filter) = std::env::var("PODLING_LOG").ok().or(usual.map(str::to_owned)) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
