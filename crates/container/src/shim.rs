//! The daemon's end of a shim: starting it, finding it again, and asking it for things.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::{
    ContainerRequest, Exec, ExecRequest, Exit, Key, Sandbox, SandboxSpec, ShimConfig, StartError, Started,
    UnixNanos,
};

/// What went wrong between a caller and a shim, or in what the shim was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, container or exec could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The spec asks for what cannot be planned.
    #[error("the OCI spec of {key} cannot be carried out: {reason}")]
    Spec {
        /// Whose spec.
        key: Key,
        /// What is wrong with it.
        reason: String,
    },
    /// The shim could not be started or reached.
    #[error("cannot {attempt} the shim of {pod_dir}")]
    Shim {
        /// What was attempted.
        attempt: &'static str,
        /// Whose shim.
        pod_dir: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The shim went away before it answered.
    #[error("the shim of {pod_dir} went away before it answered")]
    Gone {
        /// Whose shim.
        pod_dir: PathBuf,
    },
    /// The shim speaks another version of the protocol, or nonsense.
    #[error("the shim of {pod_dir} speaks an unknown protocol: {reason}")]
    Protocol {
        /// Whose shim.
        pod_dir: PathBuf,
        /// What was not understood.
        reason: String,
    },
    /// An act on something that exists failed.
    #[error("cannot {attempt} {key}: {reason}")]
    Act {
        /// What was attempted, like "signal".
        attempt: &'static str,
        /// On what.
        key: Key,
        /// Why not.
        reason: String,
        /// The kernel's error number, if the kernel refused.
        errno: Option<i32>,
    },
}

/// What a shim tells unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShimEvent {
    /// A container or an exec ended. It stands on disk already.
    Exited {
        /// Whose.
        key: Key,
        /// How.
        exit: Exit,
    },
    /// Pause ended without having been asked to: the sandbox and its namespaces are gone.
    SandboxGone {
        /// The sandbox's key.
        key: Key,
        /// How pause ended.
        exit: Exit,
    },
    /// The connection to the shim ended: it is gone, or this daemon is shutting it down.
    Disconnected,
}

/// Everything a shim knows, for a daemon that was restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimState {
    /// The sandbox, if it stands: its key, the pid of pause, and when it was made.
    pub sandbox: Option<(Key, i32, UnixNanos)>,
    /// Containers not yet removed.
    pub containers: BTreeMap<Key, ContainerState>,
    /// Execs still running, and their pids.
    pub execs: BTreeMap<Key, i32>,
}

/// What a shim knows of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Its start has not been answered yet.
    Starting,
    /// It runs.
    Running {
        /// The pid of its first process on the host.
        pid: i32,
        /// Since when.
        started_at: UnixNanos,
    },
    /// It ended.
    Exited {
        /// When it had started.
        started_at: UnixNanos,
        /// How it ended.
        exit: Exit,
    },
    /// It could not be started.
    Failed(StartError),
}

/// A Pod's shim. Cheap to clone; all clones speak over one connection.
#[derive(Clone, Debug)]
pub struct Shim {}

/// The exits that a shim recorded in `pod_dir`, for a shim that is gone.
pub fn recorded_exits(_pod_dir: &Path) -> std::io::Result<BTreeMap<Key, Exit>> {
    unimplemented!()
}

impl Shim {
    /// Starts a shim for a Pod. It outlives this process unless it is told to [`Shim::shutdown`].
    pub async fn start(_config: ShimConfig) -> Result<(Shim, mpsc::Receiver<ShimEvent>), Error> {
        unimplemented!()
    }

    /// Finds the running shim of a Pod again. [`Shim::state`] then gives everything that happened meanwhile.
    pub async fn connect(_pod_dir: &Path) -> Result<(Shim, mpsc::Receiver<ShimEvent>), Error> {
        unimplemented!()
    }

    /// The pid of the shim. Its mount namespace (`/proc/PID/root/...`) shows the Pod's tmpfs and staged binds.
    pub fn pid(&self) -> i32 {
        unimplemented!()
    }

    /// Makes the Pod's namespaces and starts pause in them.
    pub async fn create_sandbox(&self, _sandbox: SandboxSpec) -> Result<Sandbox, Error> {
        unimplemented!()
    }

    /// Creates a container and executes its program.
    pub async fn start_container(&self, _request: ContainerRequest) -> Result<Started, Error> {
        unimplemented!()
    }

    /// Runs a further process in a running container, with all of the container's confinement.
    pub async fn exec(&self, _request: ExecRequest) -> Result<Exec, Error> {
        unimplemented!()
    }

    /// Sends a signal to the first process of a container, or to an exec's. One that has ended is no error.
    pub async fn signal(&self, _key: &str, _signal: i32) -> Result<(), Error> {
        unimplemented!()
    }

    /// Kills every process of a container's cgroup. One that has ended is no error.
    pub async fn kill(&self, _key: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Forgets a container that has ended: its mounts and its cgroup go. The exit record stays on disk.
    pub async fn remove(&self, _key: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Has the shim keep a descriptor open for as long as it lives (the lock on an image in use).
    pub async fn hold(&self, _descriptor: OwnedFd) -> Result<(), Error> {
        unimplemented!()
    }

    /// Everything the shim knows.
    pub async fn state(&self) -> Result<ShimState, Error> {
        unimplemented!()
    }

    /// Ends pause and with it the Pod's namespaces, and the Pod's tmpfs. No SandboxGone is told for it.
    pub async fn stop_sandbox(&self) -> Result<(), Error> {
        unimplemented!()
    }

    /// Ends everything of the Pod: processes, cgroups, mounts, and the shim itself; waits until all of it is gone.
    pub async fn shutdown(self) -> Result<(), Error> {
        unimplemented!()
    }
}
