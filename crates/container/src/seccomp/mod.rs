//! Seccomp: from OCI's `LinuxSeccomp` to a classic BPF filter, by a compiler of our own. Pure.
//!
//! ```text
//! LinuxSeccomp ─► rules: what each call gets, per architecture ─► compiler: ranges ─► binary tree ─► Filter
//! ```
//!
//! Why not libseccomp: it is C, takes 9 to 11 ms for the default profile, and its list of comparisons has
//! 1,000 instructions. Here calls with the same answer form ranges, and a binary search over them decides
//! in 7 or 8 comparisons. Installing the result is `linux::seccomp`.
//!
//! Where profiles leave the meaning open, it is the engines':
//! - Names that an architecture (or this version) does not know are skipped.
//! - A call whose number lies beyond every call that the profile names is answered with ENOSYS rather than
//!   the refusing default, so that a C library falls back instead of giving up (as runc does).
//! - An argument that is compared twice in one rule makes its comparisons alternatives (as runc and crun do).
//! - Rules with comparisons are tried in order before a rule without (libseccomp lets the latter swallow
//!   them, whichever comes first; here the more precise one counts).
//! - 32-bit calls from an architecture that the profile does not list kill the process.

mod compiler;
mod profile;
mod rules;
pub mod syscalls;

use std::sync::{Arc, Mutex, PoisonError};

use linux::seccomp::Filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub use profile::runtime_default;

/// A profile that cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    /// podling has no table of system calls for this machine.
    #[error("seccomp filters are not supported on {architecture}; use seccompProfile type Unconfined")]
    Architecture {
        /// As Rust calls it.
        architecture: &'static str,
    },
    /// An error number beyond what a system call can return.
    #[error("seccomp rule for {name}: errnoRet {errno} is not between 0 and 4095")]
    Errno {
        /// The first call of the rule, or "the default".
        name: String,
        /// The number.
        errno: u32,
    },
    /// An argument beyond the sixth.
    #[error("seccomp rule for {name}: there is no argument {index}, they count from 0 to 5")]
    Argument {
        /// The first call of the rule.
        name: String,
        /// The index.
        index: usize,
    },
    /// SCMP_ACT_NOTIFY needs an agent behind a socket.
    #[error("seccomp rule for {name}: SCMP_ACT_NOTIFY is not supported")]
    Notify {
        /// The first call of the rule, or "the default".
        name: String,
    },
    /// The kernel takes 4096 instructions.
    #[error(
        "the seccomp profile compiles to {instructions} instructions, the kernel takes 4096: simplify it"
    )]
    TooLong {
        /// How many it would be.
        instructions: usize,
    },
}

/// Compiles a profile for this machine.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, SeccompError> {
    let instructions = compiler::assemble(&rules::plan(profile, rules::native()?)?)?;
    let flags = profile.flags().iter().flatten().fold(0, |flags, flag| {
        // include/uapi/linux/seccomp.h
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 4,
                // Only of use with a listener, which is not supported.
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            }
    });
    Ok(Filter { instructions, flags })
}

/// How many profiles are kept; a node sees one per set of capabilities, and few profiles of users.
const CACHED_PROFILES: usize = 64;

/// Filters that were compiled before. Found by comparing profiles, which costs microseconds and needs no
/// name; compiling costs a fraction of a millisecond, so nothing is kept on disk.
#[derive(Debug, Default)]
pub struct FilterCache {
    filters: Mutex<Vec<(LinuxSeccomp, Arc<Filter>)>>,
}

impl FilterCache {
    /// The filter of a profile, compiled at its first use.
    pub fn filter(&self, profile: &LinuxSeccomp) -> Result<Arc<Filter>, SeccompError> {
        // A panic elsewhere cannot leave the list half-written, so a poisoned lock is as good as any.
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, filter)) = filters.iter().find(|(known, _)| known == profile) {
            return Ok(Arc::clone(filter));
        }
        let filter = Arc::new(compile(profile)?);
        if filters.len() == CACHED_PROFILES {
            filters.remove(0);
        }
        filters.push((profile.clone(), Arc::clone(&filter)));
        Ok(filter)
    }
}

#[cfg(test)]
mod tests;
