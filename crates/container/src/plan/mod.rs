//! From an OCI runtime spec to the operations that make the container: pure, so testable without root.
//!
//! ```text
//! Spec ─┬─ namespaces ─► new ones, and the sandbox's to join
//!       ├─ mounts, devices, masks ─► operations, in the order of runc
//!       ├─ process ─► ProcessPlan
//!       └─ resources ─► limits and the device allow-list
//! ```
//!
//! Whatever the spec says that cannot be carried out is an error here, before anything starts.

pub(crate) mod bundle;
mod mounts;
mod process;

use std::path::{Path, PathBuf};

use linux::clone::{self, CloneFlags};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Mount, Spec,
};
use shim::plan::{
    ContainerPlan, Device, DeviceAccess, DeviceKind, JoinedNamespace, NamespaceOwner, Operation, Overlay,
    SandboxPlan,
};

use crate::devices::{self, Allowlist};
use crate::seccomp::FilterCache;
use crate::sysctls::{self, OwnNamespaces, SysctlError};
use crate::{ContainerRequest, SandboxSpec, limits};

pub(crate) use process::exec;

/// The links of every container (OCI runtime spec, runtime-linux.md, "Dev symbolic links"), and /dev/ptmx.
const DEV_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// What a plan depends on besides the spec.
#[derive(Debug)]
pub struct Context<'a> {
    /// The Pod's run directory.
    pub pod_dir: &'a Path,
    /// The Pod's cgroup.
    pub pod_cgroup: &'a str,
    /// The capabilities that the shim has and can give, as a mask.
    pub available_capabilities: u64,
    /// Seccomp filters that were compiled before.
    pub filters: &'a FilterCache,
}

/// The cgroup of a container below its Pod's: that of its name; the attempts of a container follow each other in it.
pub fn cgroup_of(pod_cgroup: &str, key: &str) -> String {
    container_cgroup(pod_cgroup, key.rsplit_once('/').map_or(key, |(name, _)| name))
}

fn container_cgroup(pod_cgroup: &str, name: &str) -> String {
    format!("{pod_cgroup}/{}", name.replace('/', "."))
}

/// Plans a container. The error says what of the spec cannot be carried out.
pub fn container(request: &ContainerRequest, context: &Context<'_>) -> Result<ContainerPlan, String> {
    let spec = &request.spec;
    let linux = spec.linux().clone().unwrap_or_default();
    let (new_namespaces, joined_namespaces) = namespaces(&linux, request.target_pid_namespace_of.as_deref())?;
    let resources = linux.resources().clone().unwrap_or_default();
    let oci_process = spec.process().as_ref().ok_or("it has no process")?;
    let filter = match linux.seccomp() {
        Some(profile) => Some((*context.filters.filter(profile).map_err(|e| e.to_string())?).clone()),
        None => None,
    };
    let process = process::first(oci_process, request.tty, context.available_capabilities, filter)?;
    Ok(ContainerPlan {
        cgroup: cgroup_of(context.pod_cgroup, &request.key),
        limits: limits::from_resources(&resources),
        devices: device_access(resources.devices().as_deref().unwrap_or_default())?,
        new_namespaces,
        joined_namespaces,
        operations: operations(request, &linux, oci_process.cwd(), context)?,
        process,
        log: request.log.clone(),
        stdin: request.stdin,
    })
}

/// Plans a sandbox. The error names a sysctl that is not its own to set.
pub fn sandbox(spec: &SandboxSpec, pod_cgroup: &str) -> Result<SandboxPlan, SysctlError> {
    let is_own_network = spec.netns.is_some();
    let own = OwnNamespaces { network: is_own_network, ipc: !spec.host_ipc, uts: is_own_network };
    for name in spec.sysctls.keys() {
        sysctls::check(name, own)?;
    }
    let mut new_namespaces = 0;
    let own = [
        (is_own_network, clone::NEW_UTS),
        (!spec.host_ipc, clone::NEW_IPC),
        (spec.share_process_namespace && !spec.host_pid, clone::NEW_PID),
    ];
    for (is_own, kinds) in own {
        if is_own {
            new_namespaces |= kinds;
        }
    }
    // POSIX shared memory belongs to the sandbox, as its IPC namespace does.
    let shm = (!spec.host_ipc && spec.shm_size_bytes > 0).then(|| crate::TmpfsMount {
        path: PathBuf::from("shm"),
        size_limit_bytes: Some(spec.shm_size_bytes),
        mode: 0o1777,
        gid: None,
    });
    Ok(SandboxPlan {
        new_namespaces,
        hostname: (is_own_network && !spec.hostname.is_empty()).then(|| spec.hostname.clone()),
        domainname: spec.domainname.clone().filter(|_| is_own_network),
        sysctls: spec.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        limits: spec.resources.as_ref().map(limits::from_resources).unwrap_or_default(),
        cgroups: spec.first_containers.iter().map(|name| container_cgroup(pod_cgroup, name)).collect(),
        shm,
        volumes: spec.tmpfs.clone(),
    })
}

/// Which namespaces are made and which are joined. Those that a Pod's containers share are the sandbox's.
fn namespaces(linux: &Linux, target: Option<&str>) -> Result<(CloneFlags, Vec<JoinedNamespace>), String> {
    // Mounts are always the container's own: it gets a root filesystem.
    let mut new = clone::NEW_MOUNT;
    let mut joined = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        let (kind, is_shared) = kind_of(namespace)?;
        let of = match (namespace.path(), is_shared) {
            (Some(path), _) => NamespaceOwner::Path(path.clone()),
            (None, true) => NamespaceOwner::Sandbox,
            (None, false) => {
                new |= kind;
                continue;
            }
        };
        if kind == clone::NEW_USER && namespace.path().is_some() {
            return Err("a user namespace to join by its path: only the sandbox's is joined".to_owned());
        }
        if kind == clone::NEW_MOUNT {
            return Err("a mount namespace to join: the container needs one of its own".to_owned());
        }
        joined.push(JoinedNamespace { kind, of });
    }
    if let Some(key) = target {
        new &= !clone::NEW_PID;
        joined.retain(|namespace| namespace.kind != clone::NEW_PID);
        joined.push(JoinedNamespace { kind: clone::NEW_PID, of: NamespaceOwner::Container(key.to_owned()) });
    }
    Ok((new, joined))
}

/// The clone(2) flag of a namespace, and whether a Pod's containers share it.
fn kind_of(namespace: &LinuxNamespace) -> Result<(CloneFlags, bool), String> {
    match namespace.typ() {
        LinuxNamespaceType::Network => Ok((clone::NEW_NETWORK, true)),
        LinuxNamespaceType::Ipc => Ok((clone::NEW_IPC, true)),
        LinuxNamespaceType::Uts => Ok((clone::NEW_UTS, true)),
        LinuxNamespaceType::User => Ok((clone::NEW_USER, true)),
        LinuxNamespaceType::Pid => Ok((clone::NEW_PID, false)),
        LinuxNamespaceType::Mount => Ok((clone::NEW_MOUNT, false)),
        LinuxNamespaceType::Cgroup => Ok((clone::NEW_CGROUP, false)),
        other => Err(format!("a namespace of type {other}, which is not supported yet")),
    }
}

fn device_access(rules: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<DeviceAccess, String> {
    let allowlist = Allowlist::plan(rules).map_err(|error| error.to_string())?;
    let v1 = allowlist.v1_lines().into_iter().map(|(file, line)| (file.to_owned(), line)).collect();
    Ok(DeviceAccess { v1, v2: allowlist.v2_program() })
}

/// What is done in the new process, in order.
fn operations(
    request: &ContainerRequest,
    linux: &Linux,
    cwd: &Path,
    context: &Context<'_>,
) -> Result<Vec<Operation>, String> {
    let spec = &request.spec;
    let mut operations = filesystem(request, context, linux)?;
    for mount in spec.mounts().iter().flatten() {
        only_by_the_pods_namespace(mount, linux)?;
        operations.push(Operation::Mount(mounts::plan(mount)?));
    }
    if !binds_dev(spec) {
        for device in devices::default_nodes().iter().chain(linux.devices().iter().flatten()) {
            operations.push(Operation::Device(node(device)?));
        }
        for (path, target) in DEV_LINKS {
            operations.push(Operation::Symlink { path: path.into(), target: target.into() });
        }
    }
    if cwd != Path::new("/") {
        operations.push(Operation::Directory(cwd.to_owned()));
    }
    let paths = |paths: &Option<Vec<String>>| paths.iter().flatten().map(PathBuf::from).collect::<Vec<_>>();
    operations.extend(paths(linux.readonly_paths()).into_iter().map(Operation::ReadOnly));
    operations.extend(paths(linux.masked_paths()).into_iter().map(Operation::Mask));
    let has = |kind| linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind);
    let own = OwnNamespaces {
        network: has(LinuxNamespaceType::Network),
        ipc: has(LinuxNamespaceType::Ipc),
        uts: has(LinuxNamespaceType::Uts),
    };
    for (name, value) in linux.sysctl().iter().flatten() {
        sysctls::check(name, own).map_err(|error| error.to_string())?;
        operations.push(Operation::Sysctl { name: name.clone(), value: value.clone() });
    }
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        operations.push(Operation::ReadOnlyRoot);
    }
    operations.push(Operation::EnterRoot);
    Ok(operations)
}

/// Owners are mapped by the user namespace that the container is in, and by no other.
fn only_by_the_pods_namespace(mount: &Mount, linux: &Linux) -> Result<(), String> {
    let is_same =
        mount.uid_mappings() == linux.uid_mappings() && mount.gid_mappings() == linux.gid_mappings();
    if mounts::maps_owners(mount) && !is_same {
        let target = mount.destination().display();
        return Err(format!("the mappings of the mount at {target}, which are not those of the container"));
    }
    Ok(())
}

/// The staged binds and the root filesystem, for every runtime.
fn filesystem(
    request: &ContainerRequest,
    context: &Context<'_>,
    linux: &Linux,
) -> Result<Vec<Operation>, String> {
    if request.rootfs.lower.is_empty() {
        return Err("its root filesystem has no layers".to_owned());
    }
    let propagation = match linux.rootfs_propagation().as_deref() {
        Some(name) => mounts::propagation(name).map(|(flag, _)| flag).ok_or_else(|| {
            format!("rootfsPropagation {name:?}, which is none of private, slave, shared, unbindable")
        })?,
        None => 0,
    };
    let mut operations: Vec<Operation> = request.staged.iter().cloned().map(Operation::Stage).collect();
    operations.push(Operation::Rootfs(Overlay {
        lower: request.rootfs.lower.clone(),
        upper: request.rootfs.upper.clone(),
        work: request.rootfs.work.clone(),
        target: context.pod_dir.join("root"),
        propagation,
    }));
    Ok(operations)
}

/// Whether /dev is the host's, and so none of ours to fill.
fn binds_dev(spec: &Spec) -> bool {
    let is_dev = |mount: &&Mount| mount.destination().components().eq(Path::new("/dev").components());
    spec.mounts().iter().flatten().filter(is_dev).any(mounts::is_bind)
}

fn node(device: &LinuxDevice) -> Result<Device, String> {
    let shown = device.path().display();
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => return Err(format!("the device {shown} of type a, which is for rules only")),
    };
    let number = |number: i64| {
        u32::try_from(number).map_err(|_| format!("the device {shown} with the number {number}"))
    };
    Ok(Device {
        path: device.path().clone(),
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests;
