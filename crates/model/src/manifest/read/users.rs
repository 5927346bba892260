//! `hostUsers: false` (KEP-127), and what it forbids, allows and leaves without an owner.

use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::pod::USERS_PER_POD;

/// Whether the Pod's users are the machine's. One that has its own shares no other namespace with the machine.
pub(super) fn host_users(report: &mut Report<'_, '_>, spec: &Node) -> bool {
    if is_of_host(spec) {
        return true;
    }
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if let (Some(true), Some(written)) = (spec.bool(field), spec.get(field)) {
            report.forbidden(written, "when `hostUsers` is false");
        }
    }
    if let Some(context) = spec.get("securityContext") {
        warn_of_nobody(report, context, &["runAsUser", "runAsGroup", "fsGroup"]);
    }
    false
}

/// What of a container depends on whose users the Pod has.
pub(super) fn of_container(report: &mut Report<'_, '_>, container: &Node, spec: &Node) {
    let Some(context) = container.get("securityContext") else { return };
    if !is_of_host(spec) {
        return warn_of_nobody(report, context, &["runAsUser", "runAsGroup"]);
    }
    if let Some(written) = context.get("procMount").filter(|written| written.as_text() == Some("Unmasked")) {
        report.invalid(written, "`hostUsers` must be false to use `Unmasked`");
    }
}

fn is_of_host(spec: &Node) -> bool {
    spec.bool("hostUsers").unwrap_or(true)
}

fn warn_of_nobody(report: &mut Report<'_, '_>, context: &Node, fields: &[&str]) {
    for written in fields.iter().filter_map(|field| context.get(field)) {
        if written.as_int().is_some_and(|id| id >= i64::from(USERS_PER_POD)) {
            let message = format!(
                "with hostUsers: false a Pod has the users and groups from 0 to {}, so no container can start",
                USERS_PER_POD - 1
            );
            report.warn(Target::Value(written), ProblemKind::Suspicious, &message, None);
        }
    }
}
