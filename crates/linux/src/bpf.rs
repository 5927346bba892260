//! Loading eBPF programs with bpf(2) and attaching them to cgroups: on cgroup v2 the device allow-list is
//! such a program. What the program says is decided in `container::devices`.
//!
//! Must not: keep maps, pin anything, or decide what is allowed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// One eBPF instruction, in the kernel's layout (`struct bpf_insn`, include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Class, operation and operand kind.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate value.
    pub immediate: i32,
}

/// A failed call of bpf(2).
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The verifier refused, or the caller may not.
    #[error("load the device program of {instructions} instructions with bpf(2)")]
    Load {
        /// Its length.
        instructions: usize,
        /// Why the kernel refused.
        #[source]
        source: io::Error,
    },
    /// The cgroup does not take the program.
    #[error("attach the device program to the cgroup with bpf(2)")]
    Attach(#[source] io::Error),
}

/// `union bpf_attr` as far as BPF_PROG_LOAD reads it; later fields count as zero.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// `union bpf_attr` as far as BPF_PROG_ATTACH reads it.
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

// enum bpf_cmd, enum bpf_prog_type, enum bpf_attach_type and the flags of BPF_PROG_ATTACH.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a program that decides access to devices.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, BpfError> {
    let attributes = LoadAttributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        // No helper is called, so no licence is asked for; the kernel wants a string all the same.
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: `attributes` and what it points to (instructions, licence) live until the call returns, and
    // their lengths are told correctly.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &attributes, size_of::<LoadAttributes>()) };
    if fd < 0 {
        let source = io::Error::last_os_error();
        return Err(BpfError::Load { instructions: program.len(), source });
    }
    // SAFETY: the call succeeded, so this is a new descriptor (with close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a loaded program to a cgroup of the v2 tree, beside programs of ancestors, which all have to
/// agree. It stays until the cgroup is removed; the program's descriptor may be closed.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), BpfError> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `attributes` lives until the call returns and its size is told correctly.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &attributes, size_of::<AttachAttributes>()) };
    if outcome < 0 { Err(BpfError::Attach(io::Error::last_os_error())) } else { Ok(()) }
}
