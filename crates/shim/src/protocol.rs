//! What the daemon and a shim say to each other.
//!
//! A frame is `length: u32 LE`, `descriptors: u32 LE`, then `length` bytes of postcard. File descriptors travel
//! beside the first byte of their frame (SCM_RIGHTS, unix(7)) and are counted in its header, so that a reader
//! that got several frames in one read still knows whose they are.
//!
//! Every request carries an id that its reply repeats. Acting requests also carry a key: the same key asked
//! again is answered with what the first asking did, so a daemon that died before it read the reply may ask again.

use std::path::PathBuf;

use linux::cgroup::Limits;
use serde::{Deserialize, Serialize};

use crate::plan::{ContainerPlan, ExternalPlan, ProcessPlan, SandboxPlan};

/// The version that [`Request::Hello`] carries. Enum variants are only ever appended, and a shim speaks every version
/// up to its own: a daemon that is older or newer than a running shim goes on with the lower of the two.
///
/// 2 has Attach, Await and SignalOnce, answers the repeated key of an exec, and a Kill of an exec ends its whole session.
/// 3 has OpenExecServer. 4 takes a user namespace beside CreateSandbox, and knows mounts with mapped owners.
pub const VERSION: u32 = 4;

/// The first version that has [`Request::Attach`], [`Request::Await`] and [`Request::SignalOnce`].
pub const ATTACH_VERSION: u32 = 2;

/// The first version that has [`Request::OpenExecServer`].
pub const EXEC_SERVER_VERSION: u32 = 3;

/// The first version whose sandboxes may have a user namespace of their own.
pub const USERS_VERSION: u32 = 4;

/// What the daemon sends: a request and the id that its reply repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the daemon, unique on its connection.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What the daemon asks of a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first request on every connection. Events are told from here on.
    Hello {
        /// [`VERSION`] of the daemon.
        version: u32,
    },
    /// Start pause, which holds the Pod's namespaces, and make the Pod's cgroup and tmpfs. Beside it travel the program
    /// of pause and, unless they are the machine's, the network namespace and the user namespace that owns it.
    CreateSandbox {
        /// The action's key.
        key: String,
        /// What to make.
        plan: Box<SandboxPlan>,
    },
    /// Make a container and execute its program.
    StartContainer {
        /// The container's key.
        key: String,
        /// What to make.
        plan: Box<ContainerPlan>,
    },
    /// The same by another OCI runtime.
    StartExternal {
        /// The container's key.
        key: String,
        /// What to make.
        plan: Box<ExternalPlan>,
    },
    /// Run a further process in a container. Beside it travel its standard streams, as many as `streams` says.
    Exec {
        /// The container's key.
        container: String,
        /// The exec's own key.
        key: String,
        /// What to run.
        process: Box<ProcessPlan>,
        /// Which of standard input, output and error travel beside this; the others are /dev/null.
        streams: [bool; 3],
    },
    /// Send a signal to the first process of a container, or to an exec's.
    Signal {
        /// Whose.
        key: String,
        /// Which.
        signal: i32,
    },
    /// Kill every process of a container.
    Kill {
        /// Whose.
        key: String,
    },
    /// Forget a container that has ended.
    Remove {
        /// Which.
        key: String,
    },
    /// Keep the descriptor that travels beside this open.
    Hold,
    /// Tell everything.
    State,
    /// End pause and unmount the Pod's shared memory.
    StopSandbox,
    /// End everything, then the shim itself. There is no reply but the end of the process, unless it fails.
    Shutdown,
    /// Change limits of a running container's cgroup or of the Pod's. They are absolute, so the same asked again is
    /// answered with what the first asking did.
    Resize {
        /// The container's key; the Pod without one.
        key: Option<String>,
        /// What changes; what is `None` stays as it is.
        limits: Limits,
    },
    /// Copy what a running container writes from now on, and give a way to its standard input.
    Attach {
        /// The attachment's own key, under which it is told that it was cut off.
        key: String,
        /// The container's key.
        container: String,
        /// Which of standard input, output and error. A terminal has no separate standard error.
        streams: [bool; 3],
        /// Whether standard input ends with this attachment, as with `stdinOnce`; else the shim keeps it open.
        hand_over_stdin: bool,
    },
    /// Be told what became of a start that an earlier daemon asked for.
    Await {
        /// The container's key.
        key: String,
    },
    /// Send a signal to the first process of a container, unless that was asked for before: a daemon that died before it
    /// wrote down that it had sent the stop signal asks again.
    SignalOnce {
        /// Whose.
        key: String,
        /// Which.
        signal: i32,
    },
    /// Make a process that runs commands in a container for whoever has the other end of the socket that travels beside
    /// this (see [`crate::commands`]). Answered as an exec; nothing is told of its end but the end of the socket.
    OpenExecServer {
        /// The container's key.
        container: String,
        /// The server's own key.
        key: String,
        /// What every command is but for its arguments.
        process: Box<ProcessPlan>,
    },
}

/// What a shim sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// What became of it.
        outcome: Result<Reply, StartError>,
    },
    /// A container or an exec ended.
    Exited {
        /// Whose end.
        key: String,
        /// How.
        exit: Exit,
    },
    /// Pause ended without having been asked to.
    SandboxGone {
        /// The sandbox's key.
        key: String,
        /// How pause ended.
        exit: Exit,
    },
    /// An attachment did not read fast enough and gets no more of a container's output: the log is never held up.
    CutOff {
        /// The attachment's key.
        key: String,
    },
}

/// What became of a request that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To Hello.
    Welcome {
        /// [`VERSION`] of the shim.
        version: u32,
        /// The shim's pid on the host.
        pid: i32,
        /// The Pod's cgroup.
        cgroup: String,
    },
    /// To CreateSandbox.
    Sandbox {
        /// The pid of pause.
        pause_pid: i32,
        /// When it was made.
        created_at: UnixNanos,
    },
    /// To StartContainer and StartExternal.
    Started {
        /// The pid of the first process.
        pid: i32,
        /// When the program was executed.
        started_at: UnixNanos,
        /// What the machine did not allow.
        warnings: Vec<String>,
    },
    /// To Exec. The master of its terminal travels beside it, if it has one.
    Exec {
        /// Its pid.
        pid: i32,
        /// What the machine did not allow.
        warnings: Vec<String>,
    },
    /// To State.
    State(State),
    /// To everything else.
    Done,
    /// To Resize: the limits hold.
    Resized {
        /// What the kernel made of them.
        in_force: Limits,
    },
    /// To Resize: nothing was changed, because so much memory is in use that the new limit would kill.
    MemoryInUse {
        /// The working set.
        bytes: u64,
    },
    /// To Attach. Beside it travel the terminal's master, if the container has one, then the streams.
    Attached {
        /// Whether the first descriptor is the terminal's master.
        terminal: bool,
        /// Which of standard input, output and error travel.
        streams: [bool; 3],
    },
}

/// Everything a shim knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The sandbox, if it stands.
    pub sandbox: Option<SandboxState>,
    /// Containers not yet removed.
    pub containers: Vec<(String, ContainerState)>,
    /// Execs still running, and their pids.
    pub execs: Vec<(String, i32)>,
}

/// What a shim knows of its sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxState {
    /// The key it was made with.
    pub key: String,
    /// The pid of pause.
    pub pause_pid: i32,
    /// When it was made.
    pub created_at: UnixNanos,
    /// Whether containers share its PID namespace.
    pub shares_processes: bool,
}

/// What a shim knows of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A moment of the wall clock, in nanoseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixNanos(pub u64);

impl From<UnixNanos> for std::time::SystemTime {
    fn from(at: UnixNanos) -> Self {
        std::time::UNIX_EPOCH + std::time::Duration::from_nanos(at.0)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code as Kubernetes shows it: the program's own, or 128 + signal.
    pub code: i32,
    /// The signal that ended the process, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel's out-of-memory killer took a process of the container, be it the first or a child.
    pub oom_killed: bool,
    /// When it ended.
    pub finished_at: UnixNanos,
}

/// The step of a start that failed; what machines react to is [`StartErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Creating, limiting or joining the cgroup.
    Cgroup,
    /// Cloning the process or joining namespaces.
    Namespaces,
    /// Preparing what the shim holds for the container: staged binds, pipes, the log file.
    Stage,
    /// Mounting the root filesystem.
    Rootfs,
    /// A mount of the spec.
    Mount,
    /// A device node or the console.
    Device,
    /// Entering the new root.
    EnterRoot,
    /// Masked and read-only paths.
    Mask,
    /// A sysctl, the host name, or another setting of a namespace.
    Setting,
    /// Standard streams and the terminal.
    Stdio,
    /// Resource limits and scores of the process.
    Limits,
    /// The working directory.
    WorkingDirectory,
    /// User, groups and capabilities.
    Identity,
    /// The seccomp filter.
    Seccomp,
    /// Executing the program.
    Exec,
    /// The external OCI runtime.
    Runtime,
}

/// Why a start failed, as far as a machine or a beginner can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartErrorKind {
    /// The program does not exist in the container's root filesystem.
    NotFound,
    /// The program exists and may not be executed: mode bits, or a mount with noexec.
    NotExecutable,
    /// The program is a directory.
    IsDirectory,
    /// The program is a script or dynamically linked, and its interpreter is missing.
    BadInterpreter,
    /// The program is for another processor.
    WrongArchitecture,
    /// The kernel knows no such executable format.
    NotAProgram,
    /// Arguments and environment are larger than the kernel takes.
    TooLarge,
    /// The working directory is missing, no directory, or outside of the container.
    WorkingDirectory,
    /// A mount could not be made.
    Mount,
    /// The container with this key is not there (or not running).
    NoSuchContainer,
    /// The key is already taken by something else.
    Conflict,
    /// Anything else: the machine or the spec does not allow it.
    Setup,
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartError {
    /// Where it failed.
    pub step: Step,
    /// The kernel's error number, if the kernel refused.
    pub errno: Option<i32>,
    /// What was attempted, on what, and why it failed, as one sentence.
    pub message: String,
    /// What a caller reacts to.
    pub kind: StartErrorKind,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// A tmpfs of the Pod (an emptyDir with medium Memory), mounted in the shim's mount namespace only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsMount {
    /// Where it is mounted; the directory is created when missing.
    pub path: PathBuf,
    /// Its size; without one the kernel's default (half of the memory) holds.
    pub size_limit_bytes: Option<u64>,
    /// The mode of its root directory, like 0o777.
    pub mode: u32,
    /// The group of its root directory (fsGroup), root without one.
    pub gid: Option<u32>,
}

/// A part of a volume made available at a path of its own, in the shim's mount namespace only (subPath).
///
/// The volume's content is under the control of containers, so `sub_path` is resolved beneath `volume_root` by
/// openat2(2) with RESOLVE_BENEATH, through links only when they stay there, and bound by descriptor (CVE-2021-25741).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedBind {
    /// The volume's root on the host.
    pub volume_root: PathBuf,
    /// The path beneath it; missing directories are created with mode 0750, as the kubelet does.
    pub sub_path: PathBuf,
    /// Where it is bound; created as a file or directory, whichever the source is. The container's spec names
    /// this path as the source of its bind mount.
    pub target: PathBuf,
}

/// Where the output of a container goes: CRI log lines, rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The file, like `.../web/0.log`; its directory is created when missing.
    pub path: PathBuf,
    /// The file is rotated before it grows beyond this.
    pub max_bytes: u64,
    /// How many files are kept, the current one included (at least 2, as in the kubelet).
    pub max_files: u32,
}
