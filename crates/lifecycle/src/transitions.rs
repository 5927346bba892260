//! What changed between two statuses, as the lines of `podling run` tell it.

use serde::Serialize;

use crate::status::{Phase, Status, Terminated};

/// One change that a person watching the Pod wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Transition {
    /// An init container succeeded.
    InitDone {
        /// 1 for the first.
        index: usize,
        /// Number of init containers, sidecars included.
        total: usize,
        /// Its name.
        container: String,
        /// How long it ran.
        took_nanos: u64,
    },
    /// A container was started.
    Started {
        /// The container.
        container: String,
        /// Its restart count.
        restart_count: u32,
    },
    /// A container ended and stays so, or ended and will restart.
    Exited {
        /// The container.
        container: String,
        /// How.
        terminated: Terminated,
    },
    /// A container waits, and why.
    Waiting {
        /// The container.
        container: String,
        /// The waiting reason.
        reason: String,
        /// Its message, such as `back-off 10s restarting failed container`.
        message: String,
    },
    /// The Pod became Ready.
    Ready,
    /// The Pod is no longer Ready.
    NotReady,
    /// The phase became terminal.
    Finished(Phase),
}

/// The changes from `old` to `new`, in the order in which they are told.
pub fn transitions(_old: &Status, _new: &Status) -> Vec<Transition> {
    unreachable!("follows in the next commit")
}
