//! What is to be done to make a container, as data: a list of operations, executed in order.
//!
//! The daemon makes the list from an OCI runtime spec (crate `container`, pure), the shim executes it (`execute`)
//! in the process that becomes the container. The list leaves the shim no choices.

use std::path::PathBuf;

use linux::bpf::Instruction;
use linux::cgroup::Limits;
use linux::clone::CloneFlags;
use linux::seccomp::Filter;
use serde::{Deserialize, Serialize};

use crate::protocol::{LogConfig, StagedBind};

/// A container, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// The cgroup, counted from the hierarchies' roots.
    pub cgroup: String,
    /// Its limits.
    pub limits: Limits,
    /// Which devices it may use.
    pub devices: DeviceAccess,
    /// Namespaces to make anew.
    pub new_namespaces: CloneFlags,
    /// Namespaces to join, before the new mount namespace's mounts are made.
    pub joined_namespaces: Vec<JoinedNamespace>,
    /// What to do, in order.
    pub operations: Vec<Operation>,
    /// What to run at the end.
    pub process: ProcessPlan,
    /// Where its output goes.
    pub log: LogConfig,
    /// Whether standard input is a pipe that the shim holds open.
    pub stdin: bool,
}

/// The device allow-list of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    /// What to write on v1, in order: the control file ("devices.allow") and the line ("c 1:3 rwm").
    pub v1: Vec<(String, String)>,
    /// The program for v2; without one everything is allowed.
    pub v2: Option<Vec<Instruction>>,
}

/// A namespace that exists already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNamespace {
    /// Which kind, as a flag of clone(2).
    pub kind: CloneFlags,
    /// Whose.
    pub of: NamespaceOwner,
}

/// Whose namespace is joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceOwner {
    /// The Pod's: pause's.
    Sandbox,
    /// A running container's.
    Container(String),
    /// The one bound at a path.
    Path(PathBuf),
}

/// One thing to do while a container is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Bind a part of a volume to a path outside of the root filesystem.
    Stage(StagedBind),
    /// Mount the root filesystem, which later operations work in.
    Rootfs(Overlay),
    /// Mount something in the root filesystem.
    Mount(Mount),
    /// Make a directory and its parents, where missing.
    Directory(PathBuf),
    /// Make a device node.
    Device(Device),
    /// Make a symbolic link where nothing is yet.
    Symlink {
        /// Where, in the root filesystem.
        path: PathBuf,
        /// To what.
        target: PathBuf,
    },
    /// Hide a path: /dev/null over a file, an empty read-only tmpfs over a directory. A missing one is fine.
    Mask(PathBuf),
    /// Make a path read-only. A missing one is fine.
    ReadOnly(PathBuf),
    /// Make the root filesystem itself read-only (not what is mounted in it).
    ReadOnlyRoot,
    /// Set a sysctl, like "net.core.somaxconn".
    Sysctl {
        /// Its name, with dots.
        name: String,
        /// Its value.
        value: String,
    },
    /// Set the host name (in a UTS namespace of the container's own).
    HostName(String),
    /// Set the NIS domain name.
    DomainName(String),
    /// Make the root filesystem the root, and leave the old one.
    EnterRoot,
}

/// A root filesystem of layers, by overlayfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only layers, the topmost first: directories, or files that are EROFS images.
    pub lower: Vec<PathBuf>,
    /// The writable layer; created when missing.
    pub upper: PathBuf,
    /// overlayfs' own directory; created when missing.
    pub work: PathBuf,
    /// Where it is mounted, outside of itself; created when missing.
    pub target: PathBuf,
    /// Propagation of the root mount (`MS_PRIVATE`, ...).
    pub propagation: u64,
}

/// A mount in the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, in the root filesystem; created when missing.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on everything below, too (`rro` and its kin).
    pub set_recursive: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// Whether the propagation holds for everything below, too.
    pub propagation_recursive: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// Something that exists, outside of the root filesystem.
    Bind {
        /// Where it is.
        path: PathBuf,
        /// With everything that is mounted below it.
        recursive: bool,
    },
    /// A new filesystem.
    Filesystem {
        /// Like "tmpfs".
        kind: String,
        /// What /proc/mounts shows as its source.
        source: String,
        /// Its parameters; one without a value is a flag.
        parameters: Vec<(String, Option<String>)>,
    },
    /// The control groups as the container may see them: the v2 tree, or on v1 a tmpfs with one mount for each
    /// hierarchy, rooted in the container's own cgroup by its cgroup namespace.
    Cgroup,
    /// Something that exists, outside of the root filesystem, with the owners of its files mapped into the Pod's user
    /// namespace (KEP-127). What is mounted below it is as it is.
    MappedBind {
        /// Where it is.
        path: PathBuf,
        /// With everything that is mounted below it.
        recursive: bool,
    },
}

impl MountSource {
    /// Whether it is something that exists already.
    pub fn is_bind(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::MappedBind { .. })
    }
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where, in the root filesystem.
    pub path: PathBuf,
    /// Which sort.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The sorts of nodes that mknod(2) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// A process in a container: its first, or an exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory in the container; created when missing, as runc does.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Capabilities; without them root keeps what the shim has.
    pub capabilities: Option<CapabilitySets>,
    /// Whether set-user-ID programs give no privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Option<Filter>,
    /// Resource limits: number (RLIMIT_*), soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// How readily the kernel kills it for lack of memory.
    pub oom_score_adj: Option<i32>,
    /// The AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// The SELinux label.
    pub selinux_label: Option<String>,
    /// The size of its terminal, if its standard streams are one: rows, columns.
    pub terminal: Option<(u16, u16)>,
}

/// Capability sets as bit masks (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// The limit of what exec can give.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What exec keeps.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What exec keeps for programs without file capabilities.
    pub ambient: u64,
}

/// A Pod's sandbox, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// Namespaces that are made with pause; it also holds the network namespace that it is given.
    pub new_namespaces: CloneFlags,
    /// The host name, in a UTS namespace of the Pod's own.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Sysctls of the Pod's namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Limits of the Pod's cgroup.
    pub limits: Limits,
    /// Cgroups that containers will be started in, made now because there is time.
    pub cgroups: Vec<String>,
    /// POSIX shared memory, which goes with the sandbox. A relative path is below the Pod's run directory.
    pub shm: Option<crate::protocol::TmpfsMount>,
    /// Memory volumes, which outlive the sandbox: one that is mounted already stays as it is.
    pub volumes: Vec<crate::protocol::TmpfsMount>,
}

/// A container that another OCI runtime makes from a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalPlan {
    /// The runtime's program, like /usr/bin/crun.
    pub runtime: PathBuf,
    /// Where the runtime keeps its state (`--root`).
    pub state_dir: PathBuf,
    /// The bundle: config.json stands in it.
    pub bundle: PathBuf,
    /// The container's id towards the runtime.
    pub id: String,
    /// The cgroup that the spec names, for killing, counting and removing.
    pub cgroup: String,
    /// What to do before the runtime is called: staged binds and the root filesystem.
    pub operations: Vec<Operation>,
    /// The system call filter of its execs, which the shim makes itself.
    pub seccomp: Option<Filter>,
    /// Where its output goes.
    pub log: LogConfig,
    /// Whether standard input is a pipe that the shim holds open.
    pub stdin: bool,
}
