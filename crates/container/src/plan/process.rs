//! OCI processes: a container's first one, and execs.

use linux::seccomp::Filter;
use oci_spec::runtime::{Capabilities, PosixRlimitType, Process};
use shim::plan::{CapabilitySets, ProcessPlan};

use crate::capabilities;

/// The file mode creation mask when the spec has none, as in runc.
const DEFAULT_UMASK: u32 = 0o022;

/// Plans a container's first process.
pub(super) fn first(
    process: &Process,
    tty: bool,
    available: u64,
    seccomp: Option<Filter>,
) -> Result<ProcessPlan, String> {
    let size = process.console_size().map_or((0, 0), |size| (side(size.height()), side(size.width())));
    Ok(ProcessPlan { seccomp, ..plan(process, tty.then_some(size), available)? })
}

/// Plans an exec; the shim adds the container's seccomp filter.
pub(crate) fn exec(
    process: &Process,
    terminal: Option<(u16, u16)>,
    available: u64,
) -> Result<ProcessPlan, String> {
    plan(process, terminal, available)
}

fn side(characters: u64) -> u16 {
    u16::try_from(characters).unwrap_or(u16::MAX)
}

fn plan(process: &Process, terminal: Option<(u16, u16)>, available: u64) -> Result<ProcessPlan, String> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err("its process has no program to run (args is empty)".to_owned());
    }
    if !process.cwd().is_absolute() {
        return Err(format!("its working directory {:?} is not an absolute path", process.cwd()));
    }
    let user = process.user();
    Ok(ProcessPlan {
        args,
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().clone(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(DEFAULT_UMASK),
        capabilities: process.capabilities().as_ref().map(|sets| {
            let mask = |set: &Option<Capabilities>| capabilities::mask(set.iter().flatten()) & available;
            CapabilitySets {
                bounding: mask(sets.bounding()),
                effective: mask(sets.effective()),
                inheritable: mask(sets.inheritable()),
                permitted: mask(sets.permitted()),
                ambient: mask(sets.ambient()),
            }
        }),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        seccomp: None,
        rlimits: process
            .rlimits()
            .iter()
            .flatten()
            .map(|limit| (resource(limit.typ()), limit.soft(), limit.hard()))
            .collect(),
        oom_score_adj: process.oom_score_adj(),
        apparmor_profile: process.apparmor_profile().clone().filter(|name| !name.is_empty()),
        selinux_label: process.selinux_label().clone().filter(|label| !label.is_empty()),
        terminal,
    })
}

/// The number of a resource (setrlimit(2)).
fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}
