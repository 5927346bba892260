//! What reaches into a running Pod, and what comes out of it: exec, attach, port-forward, logs, usage.
//!
//! [`PodStreams`] is what a node gives to whoever serves these over a network. It speaks of bytes, ends and sizes; of
//! HTTP, WebSocket and SPDY it knows nothing.

mod attach;
mod connect;
mod ends;
mod exec;
mod logs;
mod node;
mod usage;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use lifecycle::status::Phase;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub(crate) use node::NodeStreams;

/// A future that a trait object gives.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// What can be read from a process or a port.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// What can be written to a process or a port. Shutting it down is the end of input.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A container of a Pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// UID of the Pod, when the asker insists on one.
    pub uid: Option<String>,
    /// The container; of a Pod with one container it may be left out.
    pub container: Option<String>,
}

/// What an exec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Which streams.
    pub streams: Streams,
}

/// Which of the standard streams somebody wants. With a terminal there is no separate standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// They are one terminal.
    pub tty: bool,
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process somebody talks to. Dropping it, or `ended` alone, ends an exec's processes; of an attach it ends only the
/// listening. The streams may be dropped or ended one by one: a process whose output nobody reads gets SIGPIPE.
pub struct Session {
    /// Goes to standard input or the terminal.
    pub stdin: Option<Writer>,
    /// Comes from standard output or the terminal. It ends when everybody has closed it, or when the process has ended
    /// and all that it wrote was read: what it left in the background is not waited for.
    pub stdout: Option<Reader>,
    /// Comes from standard error.
    pub stderr: Option<Reader>,
    /// Takes new sizes of the terminal, if there is one.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// How the process ended; told after the last of its output was given, so `stdout` and `stderr` must be read to
    /// their ends, or dropped.
    pub ended: Pending<'static, Result<Ended, StreamError>>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The exit code as Kubernetes shows it.
    pub code: i32,
}

/// `kubectl logs`, as its query parameters say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// `follow`.
    pub follow: bool,
    /// `previous`: of the incarnation before the newest.
    pub previous: bool,
    /// `sinceSeconds` or `sinceTime`: nothing older than this instant of wall time, in nanoseconds since 1970.
    pub since_wall_nanos: Option<i64>,
    /// `timestamps`.
    pub timestamps: bool,
    /// `tailLines`.
    pub tail_lines: Option<u64>,
    /// `limitBytes`.
    pub limit_bytes: Option<u64>,
    /// `stream`: `Stdout`, `Stderr`; both without one.
    pub stream: Option<LogStream>,
}

/// Which lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Those of standard output.
    Stdout,
    /// Those of standard error.
    Stderr,
}

/// What a Pod uses, measured when it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PodUsage {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// UID of the Pod.
    pub uid: String,
    /// Each running container.
    pub containers: BTreeMap<String, Usage>,
    /// The Pod's cgroup as a whole.
    pub whole: Usage,
    /// When it was measured, in nanoseconds since 1970.
    pub wall_nanos: i64,
}

/// Usage of one cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time since its beginning, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory that cannot be reclaimed easily: usage without inactive file pages.
    pub working_set_bytes: u64,
    /// All memory charged to it.
    pub memory_bytes: u64,
    /// When the container started, in nanoseconds since 1970.
    pub started_wall_nanos: i64,
}

/// Why something cannot be streamed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No such Pod here, or one of that name with another UID.
    #[error("pod \"{pod}\" not found on this node")]
    NoSuchPod {
        /// `namespace/name`.
        pod: String,
    },
    /// The Pod has no container of that name.
    #[error("container {container} is not valid for pod {pod}")]
    NoSuchContainer {
        /// Its name.
        container: String,
        /// The Pod's name.
        pod: String,
    },
    /// The Pod has several containers and none was named.
    #[error("a container name must be specified for pod {pod}, choose one of: [{choices}]")]
    ContainerNeeded {
        /// The Pod's name.
        pod: String,
        /// Names.
        choices: String,
    },
    /// It does not run (now).
    #[error("container {container} of pod {pod} is not running: {state}")]
    NotRunning {
        /// Its name.
        container: String,
        /// The Pod's name.
        pod: String,
        /// What it does instead.
        state: String,
    },
    /// The Pod has ended, and nothing of it starts again.
    #[error("pod {pod} has ended ({phase}): nothing of it starts again")]
    Over {
        /// The Pod's name.
        pod: String,
        /// How it ended.
        phase: Phase,
    },
    /// There is no incarnation before this one, or its log is gone.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// Its name.
        container: String,
        /// The Pod's name.
        pod: String,
    },
    /// The program cannot be started: absent, not executable.
    #[error("{message}")]
    CannotExecute {
        /// The kernel's reason as a sentence.
        message: String,
    },
    /// An attachment was slower than what the container writes.
    #[error(
        "cut off from container {container}: it writes faster than this connection reads; nothing is lost of its log"
    )]
    CutOff {
        /// The container.
        container: String,
    },
    /// Nothing listens there.
    #[error("cannot reach port {port} of pod {pod}; check that a container of it listens there")]
    Port {
        /// The port.
        port: u16,
        /// The Pod's name.
        pod: String,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// The machine did not allow it.
    #[error("cannot {attempted}")]
    Io {
        /// What.
        attempted: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Names what was attempted.
fn io_error(attempted: impl Into<String>) -> impl FnOnce(std::io::Error) -> StreamError {
    |source| StreamError::Io { attempted: attempted.into(), source }
}

/// What a node offers to whoever serves its Pods' streams.
pub trait PodStreams: Send + Sync + 'static {
    /// Runs a command in a running container.
    fn exec(&self, target: Target, request: ExecRequest) -> Pending<'_, Result<Session, StreamError>>;

    /// Joins the first process of a running container. What it wrote before is not repeated.
    fn attach(&self, target: Target, streams: Streams) -> Pending<'_, Result<Session, StreamError>>;

    /// Connects to a port in the Pod's network namespace, on its loopback address as the kubelet does.
    fn connect(&self, target: Target, port: u16) -> Pending<'_, Result<(Reader, Writer), StreamError>>;

    /// A log, piece by piece; with `follow` until the container has ended. The receiver's end stops it.
    fn logs(
        &self,
        target: Target,
        request: LogRequest,
    ) -> Pending<'_, Result<mpsc::Receiver<Result<Bytes, StreamError>>, StreamError>>;

    /// Starts containers again now, without waiting out any delay; those that run are stopped with their grace first. It is
    /// about the target's container, or about all main containers and sidecars when it names none.
    fn restart(&self, target: Target) -> Pending<'_, Result<(), StreamError>>;

    /// Usage of all Pods of this node now.
    fn usage(&self) -> Pending<'_, Vec<PodUsage>>;
}
