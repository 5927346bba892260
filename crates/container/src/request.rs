//! What a caller asks of a shim, and what it gets back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use linux::cgroup::Limits;
use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::{LogConfig, StagedBind, TmpfsMount, UnixNanos};

/// The name of an action, unique in its Pod and for ever: a container's is `NAME/ATTEMPT`, like `web/0`.
///
/// The same key asked again is answered with what the first asking did.
pub type Key = String;

/// What a shim is started with.
#[derive(Clone, Debug)]
pub struct ShimConfig {
    /// The Pod's run directory: socket, exit records, mount points. Created when missing.
    pub pod_dir: PathBuf,
    /// The Pod's cgroup below every controller's root (v1) or the v2 root: `/podling/NODE/podUID`.
    pub cgroup: String,
}

/// The Pod's shared part: pause, its namespaces, and the tmpfs of the Pod.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// The action's key, like `sandbox/0`.
    pub key: Key,
    /// The host name in the Pod's UTS namespace. Not set on the machine's network, as in Kubernetes.
    pub hostname: String,
    /// The NIS domain name, if any.
    pub domainname: Option<String>,
    /// Whether pause is PID 1 of one PID namespace for all containers.
    pub share_process_namespace: bool,
    /// The Pod's network namespace, which pause then holds. None: the machine's, with its UTS namespace (hostNetwork).
    pub netns: Option<Arc<OwnedFd>>,
    /// The Pod's user namespace, which owns its other namespaces, that of `netns` included. None: the machine's.
    pub users: Option<Arc<OwnedFd>>,
    /// Whether the Pod uses the machine's IPC namespace.
    pub host_ipc: bool,
    /// Whether containers use the machine's PID namespace.
    pub host_pid: bool,
    /// Namespaced sysctls, like `net.ipv4.ip_unprivileged_port_start`.
    pub sysctls: BTreeMap<String, String>,
    /// Memory volumes of the Pod.
    pub tmpfs: Vec<TmpfsMount>,
    /// The size of the Pod's /dev/shm, which is mounted at `<pod_dir>/shm` for containers to bind.
    pub shm_size_bytes: u64,
    /// Limits of the Pod as a whole.
    pub resources: Option<LinuxResources>,
    /// The names of the containers that are started first: their cgroups are made beforehand.
    pub first_containers: Vec<String>,
}

/// A sandbox that stands.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    /// The pid of pause on the host.
    pub pause_pid: i32,
    /// When it was made.
    pub created_at: UnixNanos,
}

/// A container's root filesystem: layers of the image under a writable one, joined by overlayfs.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// The image's layers, the topmost first: directories, or files that are EROFS images.
    pub lower: Vec<PathBuf>,
    /// Where writes go. Created when missing.
    pub upper: PathBuf,
    /// overlayfs' work directory, on the same filesystem as `upper`. Created when missing.
    pub work: PathBuf,
}

/// Who makes the container.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RuntimeHandler {
    /// podling itself.
    #[default]
    Podling,
    /// An OCI runtime program (crun, runc), which is given the very same spec.
    External(PathBuf),
}

/// A container to be created and started.
#[derive(Clone, Debug)]
pub struct ContainerRequest {
    /// Unique per attempt, like `web/0`.
    pub key: Key,
    /// What is to run. `root.path` and `linux.cgroupsPath` are set by this crate. Namespaces without a path
    /// are new ones, except network, IPC and UTS (and PID with a shared PID namespace), which are the sandbox's.
    pub spec: Spec,
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// Parts of volumes to be bound before the start; see [`StagedBind`].
    pub staged: Vec<StagedBind>,
    /// Where output goes.
    pub log: LogConfig,
    /// Whether standard input stays open for attaching; else it is /dev/null.
    pub stdin: bool,
    /// Whether the standard streams are a terminal (`process.terminal` is set to this).
    pub tty: bool,
    /// Who makes it.
    pub runtime: RuntimeHandler,
    /// The container whose PID namespace is joined instead of a new one (ephemeral containers with a target).
    pub target_pid_namespace_of: Option<Key>,
}

/// A container that was started: its program has been executed.
#[derive(Clone, Debug)]
pub struct Started {
    /// The pid of its first process on the host.
    pub pid: i32,
    /// When its program was executed.
    pub started_at: UnixNanos,
    /// What the machine did not allow and the container runs without, as sentences (raised rlimits, a lowered
    /// oom_score_adj).
    pub warnings: Vec<String>,
}

/// What became of new limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resized {
    /// They hold; this is what the kernel made of them (it rounds memory down to pages).
    InForce(Box<Limits>),
    /// Nothing was changed: the memory limit is not above what is in use.
    MemoryInUse {
        /// The working set: memory without page cache that was not touched lately.
        bytes: u64,
    },
}

/// A further process in a running container.
#[derive(Debug)]
pub struct ExecRequest {
    /// The container's key.
    pub container: Key,
    /// This exec's own key, under which its exit is told.
    pub key: Key,
    /// What is to run. `terminal` is taken from `stdio`.
    pub process: Process,
    /// Where its streams go.
    pub stdio: ExecStdio,
}

/// Where the streams of an exec go.
#[derive(Debug)]
pub enum ExecStdio {
    /// The caller's own descriptors; what is missing is /dev/null.
    Descriptors {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// New pipes, whose other ends are returned.
    Pipes {
        /// Whether there is one for standard input; else it is /dev/null.
        stdin: bool,
    },
    /// A new pseudo terminal, whose master is returned.
    Terminal {
        /// Height in characters, 0 when unknown.
        rows: u16,
        /// Width in characters, 0 when unknown.
        columns: u16,
    },
}

/// An exec that was started. Its exit arrives as [`crate::ShimEvent::Exited`] with the exec's key.
#[derive(Debug)]
pub struct Exec {
    /// The pid on the host.
    pub pid: i32,
    /// The caller's ends of its streams.
    pub streams: ExecStreams,
}

/// The caller's ends of an exec's streams.
#[derive(Debug)]
pub enum ExecStreams {
    /// The caller gave its own descriptors.
    Given,
    /// The other ends of new pipes (not non-blocking yet).
    Pipes {
        /// Writing here is the process's standard input.
        stdin: Option<OwnedFd>,
        /// Its standard output.
        stdout: OwnedFd,
        /// Its standard error.
        stderr: OwnedFd,
    },
    /// The master of the pseudo terminal; resize it with TIOCSWINSZ.
    Terminal(OwnedFd),
}

/// Joining the first process of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// The container's key.
    pub container: Key,
    /// The attachment's own key, under which [`crate::ShimEvent::CutOff`] is told.
    pub key: Key,
    /// Whether standard input is wanted.
    pub stdin: bool,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted; a terminal has none of its own.
    pub stderr: bool,
    /// Whether the container's standard input ends with this attachment; else it stays open for others.
    pub hand_over_stdin: bool,
}

/// What an attachment is given. All of it can be dropped at any time; the container does not notice, unless it was its
/// standard input that was handed over.
#[derive(Debug)]
pub struct Attached {
    /// The master of the container's terminal, for input and resizing only: what is read from it is missing in the log.
    pub terminal: Option<OwnedFd>,
    /// The write end of standard input, if it is a pipe and still open.
    pub stdin: Option<OwnedFd>,
    /// What the container writes from now on.
    pub stdout: Option<OwnedFd>,
    /// What it writes to standard error.
    pub stderr: Option<OwnedFd>,
}
