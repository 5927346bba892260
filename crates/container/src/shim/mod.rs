//! The daemon's end of a shim: starting it, finding it again, and asking it for things.
//!
//! ```text
//! Shim (clones) ──► Connection ──► socket ──► podling-shim
//!                       ▲ one reader task: replies to their askers, events to the receiver
//! ```

mod connection;
mod exec_server;
mod programs;
mod spawn;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use linux::cgroup::Limits;
use rustix::pipe::{PipeFlags, pipe_with};
use shim::protocol::{
    ATTACH_VERSION, EXEC_SERVER_VERSION, Reply, Request, SandboxState, State, USERS_VERSION, VERSION,
};
use tokio::sync::mpsc;

use crate::capabilities;
use crate::plan::{self, Context, bundle};
use crate::seccomp::{self, FilterCache};
use crate::{
    AttachRequest, Attached, ContainerRequest, Error, Exec, ExecRequest, ExecStdio, ExecStreams, Exit, Key,
    Resized, RuntimeHandler, Sandbox, SandboxSpec, ShimConfig, StartErrorKind, Started, UnixNanos,
};
use connection::Connection;

pub use exec_server::{ExecServer, Ran};
pub use shim::protocol::ContainerState;

/// The filters of this process: compiled once, whatever number of Pods uses them.
static FILTERS: LazyLock<FilterCache> = LazyLock::new(FilterCache::default);

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
    /// An attachment did not read fast enough and gets no more.
    CutOff {
        /// The attachment's key.
        key: Key,
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

/// A Pod's shim. Cheap to clone; all clones speak over one connection, which ends with the last of them. The shim
/// lives on until [`Shim::shutdown`].
#[derive(Clone, Debug)]
pub struct Shim {
    connection: Arc<Connection>,
    /// The Pod's cgroup.
    cgroup: String,
    /// The version of the protocol that both ends know.
    version: u32,
    /// What is known of the sandbox, for external runtimes.
    sandbox: Arc<Mutex<Option<SandboxState>>>,
}

/// Makes now, in a thread that has time, what the first Pod of this process would otherwise wait for: the programs of shim
/// and pause in memory, and the filter of the default seccomp profile. What fails here fails again where it is needed.
pub fn warm_up() {
    let _ = programs::shim();
    let _ = programs::pause();
    let _ = FILTERS.filter(&seccomp::runtime_default(&capabilities::default_set()));
}

/// The exits that a shim recorded in `pod_dir`, for a shim that is gone.
pub fn recorded_exits(pod_dir: &Path) -> std::io::Result<BTreeMap<Key, Exit>> {
    Ok(shim::exits::read(pod_dir)?.into_iter().collect())
}

impl Shim {
    /// Starts a shim for a Pod. It outlives this process unless it is told to [`Shim::shutdown`].
    pub async fn start(config: ShimConfig) -> Result<(Shim, mpsc::Receiver<ShimEvent>), Error> {
        let spawned = spawn::spawn(&config).map_err(|source| Error::Shim {
            attempt: "start",
            pod_dir: config.pod_dir.clone(),
            source,
        })?;
        let (connection, events) =
            Connection::open(spawned.socket, &config.pod_dir, spawned.pid, spawned.pidfd)?;
        let shim = Self { connection, cgroup: config.cgroup, version: VERSION, sandbox: Arc::default() };
        // Its own version needs no waiting for, the requests that follow are answered in order.
        shim.connection.post(Request::Hello { version: VERSION }).await?;
        Ok((shim, events))
    }

    /// Finds the running shim of a Pod again. [`Shim::state`] then gives everything that happened meanwhile.
    pub async fn connect(pod_dir: &Path) -> Result<(Shim, mpsc::Receiver<ShimEvent>), Error> {
        let refused = |source| Error::Shim { attempt: "connect to", pod_dir: pod_dir.to_owned(), source };
        let found = spawn::connect(pod_dir).map_err(refused)?;
        let (connection, events) = Connection::open(found.socket, pod_dir, found.pid, found.pidfd)?;
        let (version, cgroup) = greet(&connection).await?;
        let shim = Self { connection, cgroup, version, sandbox: Arc::default() };
        *shim.lock_sandbox() = shim.ask_state().await?.sandbox;
        Ok((shim, events))
    }

    /// The pid of the shim. Its mount namespace (`/proc/PID/root/...`) shows the Pod's tmpfs.
    pub fn pid(&self) -> i32 {
        self.connection.pid()
    }

    /// Starts pause, which holds the Pod's namespaces, and makes what containers share besides them.
    pub async fn create_sandbox(&self, sandbox: SandboxSpec) -> Result<Sandbox, Error> {
        let plan = plan::sandbox(&sandbox, &self.cgroup)
            .map_err(|error| Error::Spec { key: sandbox.key.clone(), reason: error.to_string() })?;
        if sandbox.users.is_some() {
            self.need(USERS_VERSION, "give a Pod users of its own")?;
        }
        let namespaces = [&sandbox.netns, &sandbox.users].map(Option::as_ref);
        let [netns, users] = namespaces.map(|held| held.map(|namespace| Ok(namespace.as_fd())));
        let beside = [Some(programs::pause()), netns, users];
        let pass = |descriptor: std::io::Result<BorrowedFd<'_>>| descriptor?.try_clone_to_owned();
        let beside: Result<Vec<_>, _> = beside.into_iter().flatten().map(pass).collect();
        let beside = beside.map_err(|source| Error::Shim {
            attempt: "pass pause and a namespace to",
            pod_dir: self.connection.pod_dir().to_owned(),
            source,
        })?;
        let request = Request::CreateSandbox { key: sandbox.key.clone(), plan: Box::new(plan) };
        let (Reply::Sandbox { pause_pid, created_at }, _) = self.connection.ask(request, beside).await?
        else {
            return Err(self.connection.nonsense("CreateSandbox"));
        };
        *self.lock_sandbox() = Some(SandboxState {
            key: sandbox.key,
            pause_pid,
            created_at,
            shares_processes: sandbox.share_process_namespace && !sandbox.host_pid,
        });
        Ok(Sandbox { pause_pid, created_at })
    }

    /// Creates a container and executes its program.
    pub async fn start_container(&self, request: ContainerRequest) -> Result<Started, Error> {
        let refused = |reason| Error::Spec { key: request.key.clone(), reason };
        let context = Context {
            pod_dir: self.connection.pod_dir(),
            pod_cgroup: &self.cgroup,
            available_capabilities: available_capabilities(),
            filters: &FILTERS,
        };
        let key = request.key.clone();
        let call = match &request.runtime {
            RuntimeHandler::Podling => {
                let plan = Box::new(plan::container(&request, &context).map_err(refused)?);
                Request::StartContainer { key, plan }
            }
            RuntimeHandler::External(_) => {
                let sandbox = self.lock_sandbox().clone();
                let sandbox =
                    sandbox.ok_or("it needs a sandbox, and there is none".to_owned()).map_err(refused)?;
                let namespaces = bundle::SandboxNamespaces {
                    pause_pid: sandbox.pause_pid,
                    shares_processes: sandbox.shares_processes,
                };
                let (plan, spec) = bundle::plan(&request, namespaces, &context).map_err(refused)?;
                self.write_bundle(&plan.bundle, &spec)?;
                Request::StartExternal { key, plan: Box::new(plan) }
            }
        };
        match self.connection.ask(call, Vec::new()).await? {
            (Reply::Started { pid, started_at, warnings }, _) => Ok(Started { pid, started_at, warnings }),
            _ => Err(self.connection.nonsense("StartContainer")),
        }
    }

    fn write_bundle(&self, bundle: &Path, spec: &oci_spec::runtime::Spec) -> Result<(), Error> {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(bundle)?;
            let text = serde_json::to_vec(spec).map_err(std::io::Error::other)?;
            std::fs::write(bundle.join("config.json"), text)
        };
        write().map_err(|source| Error::Shim {
            attempt: "write a bundle for",
            pod_dir: self.connection.pod_dir().to_owned(),
            source,
        })
    }

    /// Runs a further process in a running container, with all of the container's confinement.
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec, Error> {
        let ExecRequest { container, key, process, stdio } = request;
        let failed = |source| Error::Shim {
            attempt: "make pipes for",
            pod_dir: self.connection.pod_dir().to_owned(),
            source,
        };
        let terminal = match &stdio {
            ExecStdio::Terminal { rows, columns } => Some((*rows, *columns)),
            _ => None,
        };
        let (given, ours) = streams(stdio).map_err(failed)?;
        let process = plan::exec(&process, terminal, available_capabilities())
            .map_err(|reason| Error::Spec { key: key.clone(), reason })?;
        let streams = given.each_ref().map(Option::is_some);
        let beside = given.into_iter().flatten().collect();
        let call = Request::Exec { container, key, process: Box::new(process), streams };
        let (reply, mut descriptors) = self.connection.ask(call, beside).await?;
        let Reply::Exec { pid, .. } = reply else { return Err(self.connection.nonsense("Exec")) };
        let streams = match (terminal, descriptors.pop()) {
            (Some(_), Some(master)) => ExecStreams::Terminal(master),
            (Some(_), None) => return Err(self.connection.nonsense("Exec without its terminal")),
            (None, _) => ours,
        };
        Ok(Exec { pid, streams })
    }

    /// Makes a process that runs commands in a running container, each as an exec with the same `process` but other
    /// arguments. Only for a filter that lets it start programs and speak to its socket, as the default one does.
    pub async fn open_exec_server(
        &self,
        container: Key,
        key: Key,
        process: &oci_spec::runtime::Process,
    ) -> Result<ExecServer, Error> {
        self.need(EXEC_SERVER_VERSION, "run repeated commands")?;
        let failed = |source| Error::Shim {
            attempt: "make a socket for",
            pod_dir: self.connection.pod_dir().to_owned(),
            source,
        };
        let process = plan::exec(process, None, available_capabilities())
            .map_err(|reason| Error::Spec { key: key.clone(), reason })?;
        let (ours, theirs) = ExecServer::socket().map_err(failed)?;
        let call = Request::OpenExecServer { container, key, process: Box::new(process) };
        self.connection.ask(call, vec![theirs]).await?;
        ExecServer::open(ours, self.connection.pod_dir()).map_err(failed)
    }

    /// Joins the first process of a running container. What it wrote before is not repeated.
    pub async fn attach(&self, request: AttachRequest) -> Result<Attached, Error> {
        self.need(ATTACH_VERSION, "attach to a container")?;
        let AttachRequest { container, key, stdin, stdout, stderr, hand_over_stdin } = request;
        let call = Request::Attach { key, container, streams: [stdin, stdout, stderr], hand_over_stdin };
        let (reply, descriptors) = self.connection.ask(call, Vec::new()).await?;
        let Reply::Attached { terminal, streams: [stdin, stdout, stderr] } = reply else {
            return Err(self.connection.nonsense("Attach"));
        };
        let mut descriptors = descriptors.into_iter();
        let mut next = |is_sent: bool| if is_sent { descriptors.next() } else { None };
        Ok(Attached {
            terminal: next(terminal),
            stdin: next(stdin),
            stdout: next(stdout),
            stderr: next(stderr),
        })
    }

    /// Changes limits of a running container, or of the Pod as a whole (`None`). What is `None` in them stays as it is.
    pub async fn resize(&self, key: Option<&str>, limits: Limits) -> Result<Resized, Error> {
        let request = Request::Resize { key: key.map(str::to_owned), limits };
        match self.connection.ask(request, Vec::new()).await? {
            (Reply::Resized { in_force }, _) => Ok(Resized::InForce(Box::new(in_force))),
            (Reply::MemoryInUse { bytes }, _) => Ok(Resized::MemoryInUse { bytes }),
            _ => Err(self.connection.nonsense("Resize")),
        }
    }

    /// Sends a signal to the first process of a container, or to an exec's. One that has ended is no error.
    pub async fn signal(&self, key: &str, signal: i32) -> Result<(), Error> {
        self.act("signal", key, Request::Signal { key: key.to_owned(), signal }).await
    }

    /// Kills every process of a container's cgroup, or an exec and what it started in its session. A container that has
    /// ended is no error.
    pub async fn kill(&self, key: &str) -> Result<(), Error> {
        self.act("kill", key, Request::Kill { key: key.to_owned() }).await
    }

    /// Forgets a container that has ended: its mounts and its cgroup go. The exit record stays on disk.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        self.act("remove", key, Request::Remove { key: key.to_owned() }).await
    }

    /// Sends a container its stop signal, once whatever number of daemons asks for it. One that has ended is no error.
    pub async fn signal_once(&self, key: &str, signal: i32) -> Result<(), Error> {
        if self.version < ATTACH_VERSION {
            return self.signal(key, signal).await;
        }
        self.act("signal", key, Request::SignalOnce { key: key.to_owned(), signal }).await
    }

    /// What becomes of a start that an earlier daemon asked for.
    pub async fn started(&self, key: &str) -> Result<Started, Error> {
        self.need(ATTACH_VERSION, "wait for a start")?;
        match self.connection.ask(Request::Await { key: key.to_owned() }, Vec::new()).await? {
            (Reply::Started { pid, started_at, warnings }, _) => Ok(Started { pid, started_at, warnings }),
            _ => Err(self.connection.nonsense("Await")),
        }
    }

    fn need(&self, needed: u32, attempt: &'static str) -> Result<(), Error> {
        if self.version >= needed {
            return Ok(());
        }
        let pod_dir = self.connection.pod_dir().to_owned();
        Err(Error::TooOld { attempt, pod_dir, has: self.version, needed })
    }

    async fn act(&self, attempt: &'static str, key: &str, request: Request) -> Result<(), Error> {
        match self.connection.ask(request, Vec::new()).await {
            Ok(_) => Ok(()),
            Err(Error::Start(refusal)) => Err(Error::Act {
                attempt,
                key: key.to_owned(),
                reason: refusal.message,
                errno: refusal.errno,
            }),
            Err(error) => Err(error),
        }
    }

    /// Has the shim keep a descriptor open for as long as it lives (the lock on an image in use).
    pub async fn hold(&self, descriptor: OwnedFd) -> Result<(), Error> {
        self.connection.ask(Request::Hold, vec![descriptor]).await.map(drop)
    }

    /// Everything the shim knows.
    pub async fn state(&self) -> Result<ShimState, Error> {
        let state = self.ask_state().await?;
        Ok(ShimState {
            sandbox: state.sandbox.map(|sandbox| (sandbox.key, sandbox.pause_pid, sandbox.created_at)),
            containers: state.containers.into_iter().collect(),
            execs: state.execs.into_iter().collect(),
        })
    }

    async fn ask_state(&self) -> Result<State, Error> {
        match self.connection.ask(Request::State, Vec::new()).await? {
            (Reply::State(state), _) => Ok(state),
            _ => Err(self.connection.nonsense("State")),
        }
    }

    /// Ends pause and with it the Pod's namespaces and shared memory; memory volumes stay. No SandboxGone is told for it.
    pub async fn stop_sandbox(&self) -> Result<(), Error> {
        let stopped = self.act("stop", "the sandbox", Request::StopSandbox).await;
        *self.lock_sandbox() = None;
        stopped
    }

    /// Ends everything of the Pod: processes, cgroups, mounts, and the shim itself; waits until all of it is gone.
    pub async fn shutdown(self) -> Result<(), Error> {
        match self.connection.shut_down().await {
            Err(Error::Start(refusal)) => Err(Error::Act {
                attempt: "shut down",
                key: self.connection.pod_dir().display().to_string(),
                reason: refusal.message,
                errno: refusal.errno,
            }),
            outcome => outcome,
        }
    }

    fn lock_sandbox(&self) -> std::sync::MutexGuard<'_, Option<SandboxState>> {
        // One assignment under the lock: a panic elsewhere cannot leave it half-written.
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Agrees on a version with a running shim, which may be older than this process: the newest first. Returns it and the
/// Pod's cgroup.
async fn greet(connection: &Connection) -> Result<(u32, String), Error> {
    let mut version = VERSION;
    loop {
        match connection.ask(Request::Hello { version }, Vec::new()).await {
            Ok((Reply::Welcome { cgroup, .. }, _)) => return Ok((version, cgroup)),
            Ok(_) => return Err(connection.nonsense("Hello")),
            Err(Error::Start(refusal)) if refusal.kind == StartErrorKind::Conflict && version > 1 => {
                version -= 1
            }
            Err(error) => return Err(error),
        }
    }
}

/// What this process, and so a shim it starts, can give.
fn available_capabilities() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits())
}

/// The ends that an exec is given, and those that its caller gets.
fn streams(stdio: ExecStdio) -> std::io::Result<([Option<OwnedFd>; 3], ExecStreams)> {
    match stdio {
        ExecStdio::Descriptors { stdin, stdout, stderr } => Ok(([stdin, stdout, stderr], ExecStreams::Given)),
        ExecStdio::Terminal { .. } => Ok(([None, None, None], ExecStreams::Given)),
        ExecStdio::Pipes { stdin } => {
            let (stdout, theirs_out) = pipe_with(PipeFlags::CLOEXEC)?;
            let (stderr, theirs_err) = pipe_with(PipeFlags::CLOEXEC)?;
            let (theirs_in, stdin) = match stdin {
                true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (Some(read), Some(write)))?,
                false => (None, None),
            };
            Ok((
                [theirs_in, Some(theirs_out), Some(theirs_err)],
                ExecStreams::Pipes { stdin, stdout, stderr },
            ))
        }
    }
}

#[cfg(test)]
mod tests;
