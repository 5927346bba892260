//! What the daemon and the server of a container's execs say to each other, over a socket of their own.
//!
//! An exec server is a process with everything that an exec of its container has (user, capabilities, filter, cgroup,
//! namespaces but the PID namespace, into which its children are born), made once for commands that are repeated each
//! second: probes. It is no process that the container sees. The frames are those of [`crate::frame`].

use serde::{Deserialize, Serialize};

use crate::protocol::StartError;

/// How much of a command's output is kept; all of it is read (the kubelet's `maxRespBodyLength`).
pub const MAX_OUTPUT_BYTES: usize = 10 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the daemon, unique on its connection.
    pub id: u64,
    /// What is to be done.
    pub what: Asked,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Run a program with these arguments, the first of which is its name. Answered when it has ended.
    Run(Vec<String>),
    /// Kill what runs under this id, and its process group. It is answered as ended.
    Kill,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id that it was asked with.
    pub id: u64,
    /// The exit code, or 128 and the signal; or why it was not executed.
    pub outcome: Result<i32, StartError>,
    /// The beginning of what it wrote.
    pub output: Vec<u8>,
}
