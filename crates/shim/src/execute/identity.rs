//! Who the process is: user, groups, capabilities; and what it may use: resource limits and scores.
//!
//! Raw system calls only, by rustix: glibc's setuid family signals threads by ids that a raw clone leaves stale.

use std::io;

use linux::limits::Rlimit;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets as Sets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::attempt::Attempt;
use super::proc::Proc;
use super::report::Reporter;
use crate::plan::{CapabilitySets, ProcessPlan};
use crate::protocol::{StartError, Step};

/// Sets resource limits and the OOM score. What the machine refuses for want of CAP_SYS_RESOURCE is set as far as
/// it goes, and reported.
pub(super) fn set_limits(process: &ProcessPlan, proc: &Proc, reporter: &Reporter) -> Result<(), StartError> {
    for &(resource, soft, hard) in &process.rlimits {
        let wanted = Rlimit { soft, hard };
        match linux::limits::set(resource, wanted) {
            Err(error) if error.raw_os_error() == Some(libc_eperm()) => {
                let had = linux::limits::get(resource)
                    .attempt(Step::Limits, || format!("read rlimit {resource}"))?;
                let reached = Rlimit { soft: soft.min(had.hard), hard: hard.min(had.hard) };
                linux::limits::set(resource, reached)
                    .attempt(Step::Limits, || format!("set rlimit {resource}"))?;
                reporter.warn(format!(
                    "resource limit {resource} is {} instead of {hard}: raising it needs CAP_SYS_RESOURCE",
                    reached.hard
                ));
            }
            outcome => outcome.attempt(Step::Limits, || format!("set rlimit {resource}"))?,
        }
    }
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    match proc.write("self/oom_score_adj", &score.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            reporter.warn(format!("oom_score_adj is not {score}: lowering it needs CAP_SYS_RESOURCE"));
            Ok(())
        }
        outcome => outcome.attempt(Step::Limits, || format!("set oom_score_adj to {score}")),
    }
}

/// Becomes user and group 0 of the user namespace that the caller has just entered; it has all capabilities there.
pub(crate) fn become_root() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

fn libc_eperm() -> i32 {
    Errno::PERM.raw_os_error()
}

/// Takes on user, groups and capabilities, in the order in which each step is still allowed.
pub(super) fn assume(process: &ProcessPlan) -> Result<(), StartError> {
    let describe = || format!("become user {}:{}", process.uid, process.gid);
    if let Some(capabilities) = &process.capabilities {
        drop_bounding(capabilities.bounding).attempt(Step::Identity, || "limit capabilities".to_owned())?;
        // Otherwise the permitted set is emptied together with the user id 0.
        set_keep_capabilities(true).attempt(Step::Identity, || "keep capabilities".to_owned())?;
    }
    change_user(process).attempt(Step::Identity, describe)?;
    if let Some(capabilities) = &process.capabilities {
        set_keep_capabilities(false).attempt(Step::Identity, || "keep capabilities".to_owned())?;
        set_sets(capabilities).attempt(Step::Identity, || "set capabilities".to_owned())?;
    }
    Ok(())
}

fn change_user(process: &ProcessPlan) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = process.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

fn drop_bounding(keep: u64) -> rustix::io::Result<()> {
    for number in 0..64 {
        if keep & (1 << number) != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // The kernel has no more capabilities than this.
            Err(Errno::INVAL) => break,
            outcome => outcome?,
        }
    }
    Ok(())
}

fn set_sets(wanted: &CapabilitySets) -> rustix::io::Result<()> {
    let set = CapabilitySet::from_bits_retain;
    let sets = Sets {
        effective: set(wanted.effective),
        permitted: set(wanted.permitted),
        inheritable: set(wanted.inheritable),
    };
    set_capabilities(None, sets)?;
    clear_ambient_capability_set()?;
    for number in 0..64 {
        let bit = 1u64 << number;
        // The kernel gives only what is permitted and inheritable, too.
        if wanted.ambient & wanted.permitted & wanted.inheritable & bit != 0 {
            configure_capability_in_ambient_set(set(bit), true)?;
        }
    }
    Ok(())
}
