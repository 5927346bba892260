//! Exit codes: a contract with scripts (docs/exit-codes.md), decided purely from how it ended.

use std::process::ExitCode;

use lifecycle::Status;
use lifecycle::status::{ContainerState, ContainerStatus, Phase, Terminated, TerminatedReason};

/// The table of the contract, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    every Pod succeeded, or with --until the state was reached
  124  --timeout, or a Pod's own activeDeadlineSeconds, was exceeded
  125  podling itself failed: the manifest, an image, a sandbox, a container that cannot be started
  130  stopped by Ctrl-C (128 + the number of any other signal that stopped it)
  else the code of the first main container that failed; of the first init container, if none did";

/// The table of `podling check`, for `--help`.
pub(crate) const CHECK_HELP: &str = "\
Exit codes:
  0    nothing was found that cannot work (with --strict: nothing at all)
  1    something was found
  125  a file cannot be read, or the command line is wrong";

/// An exit code of podling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    pub(crate) const SUCCESS: Code = Code(0);
    /// What was looked at is not all well: `podling check`, `podling doctor`.
    pub(crate) const NOT_ALL_WELL: Code = Code(1);
    pub(crate) const TIMED_OUT: Code = Code(124);
    pub(crate) const PODLING_FAILED: Code = Code(125);
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.0)
    }
}

/// Why a run ended; the first reason counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every Pod came to its own end.
    PodsEnded,
    /// `--until` was reached.
    Reached,
    /// `--until` never will be, because a Pod failed, with this code.
    PodFailed(Code),
    /// `--timeout` was exceeded.
    TimedOut,
    /// A signal asked podling to stop.
    Signal(i32),
    /// Going on is hopeless: an image that cannot be had, a sandbox that cannot be made.
    GaveUp(String),
}

impl Ending {
    /// The word for it in machine-readable output.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Ending::PodsEnded => "PodsEnded",
            Ending::Reached => "Reached",
            Ending::PodFailed(_) => "PodFailed",
            Ending::TimedOut => "TimedOut",
            Ending::Signal(_) => "Signal",
            Ending::GaveUp(_) => "GaveUp",
        }
    }
}

/// The exit code of a run. `statuses` are the last ones of its Pods, in the order of the manifest.
pub(crate) fn code<'a>(ending: &Ending, statuses: impl IntoIterator<Item = &'a Status>) -> Code {
    match ending {
        Ending::PodsEnded => {
            statuses.into_iter().map(of_pod).find(|code| *code != Code::SUCCESS).unwrap_or(Code::SUCCESS)
        }
        Ending::Reached => Code::SUCCESS,
        Ending::PodFailed(code) => *code,
        Ending::TimedOut => Code::TIMED_OUT,
        Ending::Signal(signal) => Code(128u8.wrapping_add(*signal as u8)),
        Ending::GaveUp(_) => Code::PODLING_FAILED,
    }
}

/// The code of one Pod that came to its own end.
fn of_pod(status: &Status) -> Code {
    if status.phase == Phase::Succeeded {
        return Code::SUCCESS;
    }
    if status.reason.as_deref() == Some("DeadlineExceeded") {
        return Code::TIMED_OUT;
    }
    // The first in time; main containers before init containers, because a Pod whose main containers ran is
    // past its init containers.
    first_failed(&status.container_statuses)
        .or_else(|| first_failed(&status.init_container_statuses))
        .map_or(Code::PODLING_FAILED, of_container)
}

fn first_failed(containers: &[ContainerStatus]) -> Option<&Terminated> {
    containers
        .iter()
        .filter_map(|container| match &container.state {
            ContainerState::Terminated(ended) if ended.exit_code != 0 => Some(ended),
            _ => None,
        })
        .min_by_key(|ended| ended.finished_at_wall_nanos)
}

fn of_container(ended: &Terminated) -> Code {
    if ended.reason == TerminatedReason::StartError {
        return Code::PODLING_FAILED;
    }
    match u8::try_from(ended.exit_code) {
        Ok(code) => Code(code),
        Err(_) => Code::PODLING_FAILED,
    }
}

#[cfg(test)]
mod tests;
