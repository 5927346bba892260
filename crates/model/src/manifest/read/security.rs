//! `securityContext` of the Pod and of its containers.

use super::{bounded, choice};
use crate::manifest::report::Report;
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{
    FsGroupChangePolicy, PodSecurityContext, ProcMount, SeccompProfile, SecurityContext,
    SupplementalGroupsPolicy,
};

/// User and group ids that Kubernetes takes.
const IDS: std::ops::RangeInclusive<i64> = 0..=2_147_483_647;

/// Every capability of Linux (capabilities(7)), without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Reads a container's security context.
pub(crate) fn of_container(report: &mut Report<'_, '_>, container: &Node) -> SecurityContext {
    let Some(node) = container.get("securityContext") else { return SecurityContext::default() };
    let lists = node.get("capabilities");
    let capabilities_add = lists.map(|node| capabilities(report, node, "add")).unwrap_or_default();
    let capabilities_drop = lists.map(|node| capabilities(report, node, "drop")).unwrap_or_default();
    let privileged = node.bool("privileged").unwrap_or(false);
    let allow_privilege_escalation = node.bool("allowPrivilegeEscalation");
    if allow_privilege_escalation == Some(false)
        && let Some(written) = node.get("allowPrivilegeEscalation")
    {
        if privileged {
            report
                .invalid(written, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if capabilities_add.iter().any(|name| name == "SYS_ADMIN") {
            let rule = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            report.invalid(written, rule);
        }
    }
    let mounts = [("Default", ProcMount::Default), ("Unmasked", ProcMount::Unmasked)];
    let proc_mount = choice(report, node, "procMount", &mounts).unwrap_or_default();
    SecurityContext {
        run_as_user: id(report, node, "runAsUser"),
        run_as_group: id(report, node, "runAsGroup"),
        run_as_non_root: node.bool("runAsNonRoot"),
        capabilities_add,
        capabilities_drop,
        privileged,
        allow_privilege_escalation,
        read_only_root_filesystem: node.bool("readOnlyRootFilesystem").unwrap_or(false),
        seccomp_profile: seccomp(report, node),
        proc_mount,
    }
}

/// Reads the Pod's security context; `host_network` and `host_ipc` forbid some kernel parameters.
pub(crate) fn of_pod(
    report: &mut Report<'_, '_>,
    spec: &Node,
    host_network: bool,
    host_ipc: bool,
) -> PodSecurityContext {
    let Some(node) = spec.get("securityContext") else { return PodSecurityContext::default() };
    let mut supplemental_groups = Vec::new();
    for group in node.list("supplementalGroups") {
        let Some(value) = group.as_int() else { continue };
        match u32::try_from(value).ok().filter(|_| IDS.contains(&value)) {
            Some(value) => supplemental_groups.push(value),
            None => report.invalid(group, "must be between 0 and 2147483647, inclusive"),
        }
    }
    let policies = [("Merge", SupplementalGroupsPolicy::Merge), ("Strict", SupplementalGroupsPolicy::Strict)];
    let supplemental_groups_policy =
        choice(report, node, "supplementalGroupsPolicy", &policies).unwrap_or_default();
    let changes =
        [("Always", FsGroupChangePolicy::Always), ("OnRootMismatch", FsGroupChangePolicy::OnRootMismatch)];
    let fs_group_change_policy = choice(report, node, "fsGroupChangePolicy", &changes).unwrap_or_default();
    PodSecurityContext {
        run_as_user: id(report, node, "runAsUser"),
        run_as_group: id(report, node, "runAsGroup"),
        run_as_non_root: node.bool("runAsNonRoot"),
        supplemental_groups,
        supplemental_groups_policy,
        fs_group: id(report, node, "fsGroup"),
        fs_group_change_policy,
        sysctls: sysctls(report, node, host_network, host_ipc),
        seccomp_profile: seccomp(report, node),
    }
}

fn id(report: &mut Report<'_, '_>, node: &Node, field: &str) -> Option<u32> {
    bounded(report, node, field, IDS).and_then(|id| u32::try_from(id).ok())
}

/// `CAP_NET_ADMIN` and `NET_ADMIN` are the same; `ALL` is every one.
fn capabilities(report: &mut Report<'_, '_>, node: &Node, field: &str) -> Vec<String> {
    let mut names = Vec::new();
    for written in node.list(field) {
        let Some(text) = written.as_text() else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name != "ALL" && CAPABILITIES.binary_search(&name).is_err() {
            let nearest = crate::manifest::suggest::nearest(name, CAPABILITIES.into_iter());
            let hint = nearest.map(|nearest| format!("did you mean {nearest}?"));
            report.invalid_hint(written, "must be a capability of Linux (capabilities(7)) or ALL", hint);
        }
        names.push(name.to_owned());
    }
    names
}

fn seccomp(report: &mut Report<'_, '_>, parent: &Node) -> Option<SeccompProfile> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        RuntimeDefault,
        Unconfined,
        Localhost,
    }
    let node = parent.get("seccompProfile")?;
    let kinds = [
        ("Localhost", Kind::Localhost),
        ("RuntimeDefault", Kind::RuntimeDefault),
        ("Unconfined", Kind::Unconfined),
    ];
    let kind = choice(report, node, "type", &kinds)?;
    match (kind, node.get("localhostProfile")) {
        (Kind::Localhost, None) => {
            report.required_because(
                node,
                "localhostProfile",
                "must be set when seccomp type is Localhost",
                None,
            );
            None
        }
        (Kind::Localhost, Some(profile)) => {
            let path = profile.as_text()?;
            super::check(report, profile, path, names::path_below);
            Some(SeccompProfile::Localhost(path.to_owned()))
        }
        (_, Some(profile)) => {
            report.invalid(profile, "can only be set when seccomp type is Localhost");
            None
        }
        (Kind::RuntimeDefault, None) => Some(SeccompProfile::RuntimeDefault),
        (Kind::Unconfined, None) => Some(SeccompProfile::Unconfined),
    }
}

/// Parameters that are the Pod's own (namespaced); any other would change the whole machine.
fn sysctls(
    report: &mut Report<'_, '_>,
    node: &Node,
    host_network: bool,
    host_ipc: bool,
) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for entry in node.list("sysctls") {
        let Some(written) = entry.get("name") else { continue };
        let Some(text) = written.as_text().filter(|text| !text.is_empty()) else { continue };
        super::check(report, written, text, names::sysctl);
        // `net/ipv4/ip_forward` and `net.ipv4.ip_forward` are the same parameter (sysctl(8)).
        let name = text.replace('/', ".");
        let is_network = name.starts_with("net.");
        let is_ipc = name.starts_with("kernel.shm")
            || name.starts_with("kernel.msg")
            || name == "kernel.sem"
            || name.starts_with("fs.mqueue.");
        if is_network && host_network {
            report.invalid(written, "may not be specified when 'hostNetwork' is true");
        } else if is_ipc && host_ipc {
            report.invalid(written, "may not be specified when 'hostIPC' is true");
        } else if !is_network && !is_ipc {
            report
                .forbidden(written, "this parameter is not the Pod's own: it would change the whole machine");
        }
        if parameters.iter().any(|(known, _)| *known == name) {
            report.duplicate(written);
        }
        parameters.push((name, entry.text("value").unwrap_or_default().to_owned()));
    }
    parameters
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_capabilities_are_sorted_for_their_search() {
        assert!(super::CAPABILITIES.is_sorted());
    }
}
