//! Installing a seccomp filter with seccomp(2). The filter is compiled in `container::seccomp`.
//!
//! Must not: allocate or take a lock. [`load`] runs in the child between clone and exec.

use std::io;

use serde::{Deserialize, Serialize};

/// One classic BPF instruction, in the kernel's layout (`struct sock_filter`, include/uapi/linux/filter.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instruction {
    /// Class, size or operation, and mode.
    pub code: u16,
    /// How many instructions a jump skips when its condition holds.
    pub jump_true: u8,
    /// How many it skips when not.
    pub jump_false: u8,
    /// Immediate value, offset or jump distance.
    pub k: u32,
}

/// A compiled filter and how to install it. Compiled once, then sent to whoever installs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The program, at most [`MAX_INSTRUCTIONS`] long.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` of seccomp(2).
    pub flags: u32,
}

/// BPF_MAXINSNS of include/uapi/linux/bpf_common.h.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Installs the filter on the calling thread. It needs no_new_privs or CAP_SYS_ADMIN (seccomp(2)), and holds
/// for ever, across exec too.
pub fn load(filter: &Filter) -> io::Result<()> {
    let length = u16::try_from(filter.instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.instructions.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies `length` of them and only
    // reads, until the call returns.
    let outcome = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, filter.flags, &raw const program)
    };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
