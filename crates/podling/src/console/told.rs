//! Everything that a run tells, as data.
//!
//! As JSON, each of these is one line (docs/output-json.md); renaming one breaks scripts. A container's `label` is
//! its name as it stands before its lines: with its Pod's when there are several.

use model::manifest::Problem;
use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Told<'a> {
    /// The manifest was read and understood.
    Manifest { pods: Vec<String>, run: &'a str },
    /// Something is wrong with the manifest; nothing is started.
    Problem(&'a Problem),
    /// Something is worth a word and stops nothing.
    Warning { message: String },
    /// Something went wrong and will be tried again, or is podling's own trouble.
    Trouble { message: String },
    /// The engine finished a step of its work.
    Step { pod: &'a str, what: &'a str, ms: f64 },
    /// A Kubernetes event.
    KubernetesEvent {
        pod: &'a str,
        container: Option<&'a str>,
        warning: bool,
        reason: &'a str,
        message: &'a str,
    },
    /// The Pod's status changed; `cause` says why the Pod is not yet what was asked.
    Status { pod: &'a str, phase: &'a str, ready: bool, pod_ips: &'a [String], cause: Option<&'a str> },
    /// A container was started.
    Started {
        pod: &'a str,
        container: &'a str,
        #[serde(skip)]
        label: &'a str,
        role: Role,
        attempt: u32,
    },
    /// A container ended; `is_stopped` when it was asked to, because the work is done or podling stops.
    Exited {
        pod: &'a str,
        container: &'a str,
        #[serde(skip)]
        label: &'a str,
        role: Role,
        /// Which of the init containers, sidecars included, from 1; and how many there are.
        init: Option<(usize, usize)>,
        code: i32,
        signal: Option<i32>,
        reason: &'a str,
        message: Option<&'a str>,
        ran_ms: Option<f64>,
        #[serde(rename = "stopped")]
        is_stopped: bool,
    },
    /// A container waits for something that is not just its turn.
    Waiting {
        pod: &'a str,
        container: &'a str,
        #[serde(skip)]
        label: &'a str,
        reason: &'a str,
        message: &'a str,
        /// For a restart: how long it is put off, as people say it, and how the last one ended.
        restart_delay: Option<String>,
        last_code: Option<i32>,
    },
    /// The Pod became Ready.
    Ready { pod: &'a str, pod_ips: &'a [String] },
    /// The Pod is no longer Ready, and does not end.
    NotReady { pod: &'a str, cause: Option<&'a str> },
    /// A Pod is not getting on; told when it has lasted for a while.
    Stuck { pod: &'a str, cause: &'a str },
    /// The Pod's phase became terminal; `is_stopped` when podling had been asked to stop it.
    Finished {
        pod: &'a str,
        phase: &'a str,
        reason: Option<&'a str>,
        message: Option<&'a str>,
        #[serde(rename = "stopped")]
        is_stopped: bool,
    },
    /// podling stops the Pods.
    Stopping { why: String, at_once: bool },
    /// Long work goes on.
    Progress { pod: &'a str, what: &'a str, done_bytes: u64, total_bytes: Option<u64> },
    /// Nothing of the Pod is left.
    Gone { pod: &'a str },
    /// The run is over.
    Result { exit_code: u8, reason: &'a str },
}

/// What a container is in its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Runs to its end before the main containers.
    Init,
    /// An init container that runs beside the main containers (KEP-753).
    Sidecar,
    /// What the Pod is for.
    Main,
}

/// One line that a container printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// `namespace/name` of the Pod.
    pub(crate) pod: &'a str,
    /// What stands before the line: the container's name, with its Pod's when there are several.
    pub(crate) label: &'a str,
    /// The container's place among all containers of the run; its colour follows from it.
    pub(crate) index: usize,
    /// The container.
    pub(crate) container: &'a str,
    /// Which start of it.
    pub(crate) attempt: u32,
    /// `stdout` or `stderr`.
    pub(crate) stream: &'a str,
    /// When it was printed, RFC 3339.
    pub(crate) time: &'a str,
    /// The line without its end.
    pub(crate) text: &'a [u8],
}
