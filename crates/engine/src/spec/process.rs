//! The process: who it runs as, with which capabilities and limits.

use std::path::PathBuf;

use model::pod::SecurityContext;
use model::resources::{QosClass, qos_class};
use oci_spec::runtime::{
    Capabilities, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, ProcessBuilder, User, UserBuilder,
};

use super::{Input, SpecError};

/// User and groups of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Open files of a process. Container engines give a million where the machine allows it; a shell's soft
/// limit of 1024 would be inherited otherwise.
const OPEN_FILES_LIMIT: u64 = 1_048_576;

pub(super) fn build(input: &Input<'_>) -> Result<Process, SpecError> {
    let context = &input.container.security_context;
    let oci = |source| SpecError::Oci { container: input.container.name.clone(), source };
    ProcessBuilder::default()
        .terminal(input.container.tty)
        .user(user(&input.identity).map_err(oci)?)
        .args(input.args.clone())
        .env(input.env.clone())
        .cwd(input.cwd.clone())
        .capabilities(capabilities(input)?)
        .rlimits(rlimits().map_err(oci)?)
        .no_new_privileges(no_new_privileges(context))
        .oom_score_adj(oom_score_adj(input))
        .build()
        .map_err(oci)
}

/// A further process of a running container: the container's own, with another command.
pub(crate) fn exec_process(container: &Process, command: Vec<String>, tty: bool) -> Process {
    let mut process = container.clone();
    process.set_args(Some(command)).set_terminal(Some(tty));
    process
}

fn user(identity: &Identity) -> Result<User, oci_spec::OciSpecError> {
    UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.groups.clone())
        .build()
}

/// Kubernetes sets no_new_privs exactly when `allowPrivilegeEscalation` is false; a privileged container and
/// one with CAP_SYS_ADMIN are always allowed to escalate.
fn no_new_privileges(context: &SecurityContext) -> bool {
    context.allow_privilege_escalation == Some(false) && !context.privileged
}

fn rlimits() -> Result<Vec<PosixRlimit>, oci_spec::OciSpecError> {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = hard.map_or(OPEN_FILES_LIMIT, |hard| hard.min(OPEN_FILES_LIMIT));
    let open_files =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(limit).hard(limit).build()?;
    Ok(vec![open_files])
}

/// Bounding, effective and permitted sets. Inheritable and ambient stay empty, as in container engines since
/// CVE-2022-24769, so that a non-root process has no capability but through file capabilities.
pub(super) fn bounding(input: &Input<'_>) -> Result<Capabilities, SpecError> {
    let context = &input.container.security_context;
    let parse = |name: &String| {
        container::capabilities::parse(name).ok_or_else(|| SpecError::Capability {
            container: input.container.name.clone(),
            name: name.clone(),
        })
    };
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut set: Capabilities = if context.privileged || context.capabilities_add.iter().any(is_all) {
        container::capabilities::all()
    } else {
        container::capabilities::default_set()
    };
    if context.capabilities_drop.iter().any(is_all) && !context.privileged {
        set.clear();
    }
    if !context.privileged {
        for name in context.capabilities_drop.iter().filter(|name| !is_all(name)) {
            set.remove(&parse(name)?);
        }
    }
    for name in context.capabilities_add.iter().filter(|name| !is_all(name)) {
        set.insert(parse(name)?);
    }
    Ok(set)
}

/// Bounding, effective and permitted sets. Inheritable and ambient stay empty, as in container engines since
/// CVE-2022-24769, so that a non-root process has no capability but through file capabilities.
fn capabilities(input: &Input<'_>) -> Result<LinuxCapabilities, SpecError> {
    let set = bounding(input)?;
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
        .map_err(|source| SpecError::Oci { container: input.container.name.clone(), source })
}

/// How willingly the kernel kills the process when memory runs out, by QoS class (kubelet's
/// `GetContainerOOMScoreAdjust`): the more of the node a Burstable container asked for, the later.
fn oom_score_adj(input: &Input<'_>) -> i32 {
    match qos_class(&input.pod.spec) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let request =
                input.container.resources.requests.get("memory").map_or(0, |memory| memory.value().max(0));
            let node = i64::try_from(input.node_memory_bytes).unwrap_or(i64::MAX).max(1);
            let share = (1000 * i128::from(request) / i128::from(node)) as i32;
            (1000 - share).clamp(3, 999)
        }
    }
}

/// The working directory: the manifest's, else the image's, else the root.
pub(crate) fn working_directory(manifest: Option<&str>, image: Option<&str>) -> PathBuf {
    [manifest, image].into_iter().flatten().find(|dir| !dir.is_empty()).unwrap_or("/").into()
}
