//! A bundle for an external OCI runtime: the very same spec, completed by what podling decides.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Root, Spec};
use shim::plan::{ExternalPlan, Operation, Overlay};

use super::{Context, cgroup_of, filesystem};
use crate::{ContainerRequest, RuntimeHandler};

/// Where the sandbox's namespaces are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SandboxNamespaces {
    /// The process that holds them.
    pub(crate) pause_pid: i32,
    /// Whether its PID namespace is shared, too.
    pub(crate) shares_processes: bool,
}

/// What the shim is told, and the spec that is to stand in the bundle's config.json.
pub(crate) fn plan(
    request: &ContainerRequest,
    sandbox: SandboxNamespaces,
    context: &Context<'_>,
) -> Result<(ExternalPlan, Spec), String> {
    let RuntimeHandler::External(runtime) = &request.runtime else {
        return Err("it is made by podling itself and needs no bundle".to_owned());
    };
    if request.tty {
        return Err("a terminal, which external runtimes are not given yet".to_owned());
    }
    let linux = request.spec.linux().clone().unwrap_or_default();
    if linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User) {
        return Err(
            "a user namespace of the Pod's own (hostUsers: false), which only podling's own runtime gives: \
                    leave runtimeClassName and --runtime away"
                .to_owned(),
        );
    }
    let id = format!("{}.{}", context.pod_cgroup.trim_start_matches('/'), request.key).replace('/', ".");
    let bundle = context.pod_dir.join("bundles").join(request.key.replace('/', "."));
    let rootfs = bundle.join("rootfs");
    let cgroup = cgroup_of(context.pod_cgroup, &request.key);
    let operations = filesystem(request, context, &linux)?
        .into_iter()
        .map(|operation| match operation {
            Operation::Rootfs(overlay) => Operation::Rootfs(Overlay { target: rootfs.clone(), ..overlay }),
            other => other,
        })
        .collect();
    let seccomp = match linux.seccomp() {
        Some(profile) => Some((*context.filters.filter(profile).map_err(|e| e.to_string())?).clone()),
        None => None,
    };
    let plan = ExternalPlan {
        runtime: runtime.clone(),
        state_dir: context.pod_dir.join("runtime"),
        bundle,
        id,
        cgroup: cgroup.clone(),
        operations,
        seccomp,
        log: request.log.clone(),
        stdin: request.stdin,
    };
    Ok((plan, complete(request, &rootfs, &cgroup, sandbox)))
}

/// The spec with its root, its cgroup, and the sandbox's namespaces by path.
fn complete(request: &ContainerRequest, rootfs: &Path, cgroup: &str, sandbox: SandboxNamespaces) -> Spec {
    let mut spec = request.spec.clone();
    let mut root = Root::default();
    let readonly = spec.root().as_ref().and_then(|root| root.readonly());
    root.set_path(rootfs.to_owned()).set_readonly(readonly);
    spec.set_root(Some(root));
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(false));
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_cgroups_path(Some(PathBuf::from(cgroup)));
    let namespaces =
        linux.namespaces().iter().flatten().map(|namespace| joined(namespace, sandbox)).collect();
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
    // The host name is the sandbox's and set already.
    spec.set_hostname(None);
    spec.set_domainname(None);
    spec
}

fn joined(namespace: &LinuxNamespace, sandbox: SandboxNamespaces) -> LinuxNamespace {
    let mut namespace = namespace.clone();
    let name = match namespace.typ() {
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Pid if sandbox.shares_processes => "pid",
        _ => return namespace,
    };
    if namespace.path().is_none() {
        namespace.set_path(Some(PathBuf::from(format!("/proc/{}/ns/{name}", sandbox.pause_pid))));
    }
    namespace
}
