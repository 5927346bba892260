//! From a container of a Pod to an OCI runtime spec: pure, so that every choice can be read and tested.
//!
//! Everything that needs the machine (image, identity, environment, prepared volumes) is an input. What the
//! spec says is what the container gets, whichever OCI runtime carries it out.

mod linux;
mod mounts;
mod process;
pub(crate) mod resources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use container::StagedBind;
use model::pod::{Container, Pod};
use oci_spec::runtime::{
    LinuxDevice, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, RootBuilder, Spec, SpecBuilder,
};

pub(crate) use linux::SeccompChoice;
pub(crate) use mounts::VolumePath;
pub(crate) use process::{Identity, exec_process, working_directory};

/// All that the spec of one container is made from.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container, of whatever role.
    pub container: &'a Container,
    /// What is executed.
    pub args: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
    /// Working directory: the manifest's, else the image's, else `/`.
    pub cwd: PathBuf,
    /// User and groups.
    pub identity: Identity,
    /// Prepared volumes by name.
    pub volumes: &'a BTreeMap<String, VolumePath>,
    /// `subPathExpr` resolved and `subPath` as written, by mount path.
    pub sub_paths: BTreeMap<String, String>,
    /// Files and directories that every container of the Pod gets.
    pub files: &'a SharedFiles,
    /// The file behind `terminationMessagePath`.
    pub termination_log: PathBuf,
    /// Where this container's staged binds are put.
    pub staging_dir: PathBuf,
    /// The cgroup of the Pod; the container's is a child of it.
    pub pod_cgroup: &'a str,
    /// Memory of the node, for the OOM score.
    pub node_memory_bytes: u64,
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// The Pod's users, unless they are the machine's.
    pub users: Option<::linux::user_namespace::IdRange>,
    /// Device nodes of the machine, for a privileged container.
    pub host_devices: &'a [LinuxDevice],
}

/// What all containers of a Pod share beside volumes.
#[derive(Debug, Clone)]
pub(crate) struct SharedFiles {
    /// Bound at /etc/hosts; absent with hostNetwork, where the node's own is bound.
    pub hosts: PathBuf,
    /// Bound at /etc/hostname.
    pub hostname: PathBuf,
    /// Bound at /etc/resolv.conf.
    pub resolv_conf: PathBuf,
    /// Bound at /dev/shm.
    pub shm: PathBuf,
}

/// A spec, and what must be staged before it can be carried out.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSpec {
    /// The OCI runtime spec.
    pub spec: Spec,
    /// Parts of volumes that the spec's mounts name by their staged path.
    pub staged: Vec<StagedBind>,
}

/// Why there is no spec.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// A mount names a volume that was not prepared.
    #[error("volume {volume} of container {container} has not been prepared")]
    Volume {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// A value that the OCI types refuse.
    #[error("the OCI spec of container {container} cannot be written")]
    Oci {
        /// The container.
        container: String,
        /// Why.
        #[source]
        source: oci_spec::OciSpecError,
    },
    /// A capability that Linux does not have.
    #[error("unknown capability {name:?} in securityContext.capabilities of container {container}")]
    Capability {
        /// The container.
        container: String,
        /// The name.
        name: String,
    },
}

/// Makes the spec.
pub(crate) fn build(input: &Input<'_>) -> Result<ContainerSpec, SpecError> {
    let (mounts, staged) = mounts::plan(input)?;
    let oci = |source| SpecError::Oci { container: input.container.name.clone(), source };
    let root = RootBuilder::default()
        .path(Path::new("rootfs"))
        .readonly(input.container.security_context.read_only_root_filesystem)
        .build()
        .map_err(oci)?;
    let spec = SpecBuilder::default()
        // What Debian 12's crun takes, for `--runtime`; nothing newer is made use of.
        .version("1.0.2")
        .root(root)
        .process(process::build(input)?)
        .mounts(mounts)
        .linux(linux::build(input)?)
        .build()
        .map_err(oci)?;
    Ok(ContainerSpec { spec, staged })
}

/// The Pod's users as the OCI runtime spec has them. The mounts of a container have the same mappings.
fn mappings(input: &Input<'_>) -> Result<Option<Vec<LinuxIdMapping>>, SpecError> {
    let Some(range) = input.users else { return Ok(None) };
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(0u32)
        .host_id(range.first)
        .size(range.count)
        .build()
        .map_err(|source| SpecError::Oci { container: input.container.name.clone(), source })?;
    Ok(Some(vec![mapping]))
}

/// The namespaces of a container: those of the sandbox are joined by whoever starts it.
fn namespaces(pod: &Pod) -> Vec<LinuxNamespaceType> {
    let mut types = vec![LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup];
    if !pod.spec.host_ipc {
        types.push(LinuxNamespaceType::Ipc);
    }
    if !pod.spec.host_network {
        types.extend([LinuxNamespaceType::Network, LinuxNamespaceType::Uts]);
    }
    if !pod.spec.host_pid {
        types.push(LinuxNamespaceType::Pid);
    }
    if !pod.spec.host_users {
        types.push(LinuxNamespaceType::User);
    }
    types
}

#[cfg(test)]
mod tests;
