//! pause: holds a Pod's namespaces and reaps orphans where the Pod shares a PID namespace. It does nothing else,
//! and it is as small as a process can be: a few pages, no C library, no heap.
//!
//! It blocks all signals and takes them one by one with rt_sigtimedwait(2), because PID 1 of a namespace ignores
//! signals that have their default action. SIGTERM and SIGINT end it, SIGCHLD makes it reap.
//!
//! This is the one place outside of crate `linux` with unsafe code: `_start` runs before there is a stack frame and
//! the system calls must not pull in a C library. It is `no_std` when it is built as the embedded program (profile
//! `program`, which aborts on panic); other builds, like those of clippy, link std to have a panic handler.

#![cfg_attr(panic = "abort", no_std, no_main)]
#![allow(unsafe_code)]

use core::arch::asm;

#[cfg(all(panic = "abort", target_arch = "x86_64"))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {pause}",
    "ud2",
    pause = sym pause,
);

#[cfg(all(panic = "abort", target_arch = "aarch64"))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "bl {pause}",
    "udf #0",
    pause = sym pause,
);

#[cfg(panic = "abort")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

#[cfg(not(panic = "abort"))]
fn main() {
    pause()
}

/// Numbers of system calls.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const WAIT4: usize = 61;
    pub(super) const RT_SIGTIMEDWAIT: usize = 128;
    pub(super) const PRCTL: usize = 157;
    pub(super) const EXIT_GROUP: usize = 231;
}

/// Numbers of system calls.
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const RT_SIGPROCMASK: usize = 135;
    pub(super) const WAIT4: usize = 260;
    pub(super) const RT_SIGTIMEDWAIT: usize = 137;
    pub(super) const PRCTL: usize = 167;
    pub(super) const EXIT_GROUP: usize = 94;
}

const SIG_BLOCK: usize = 0;
const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const PR_SET_NAME: usize = 15;
/// The kernel's sigset_t: one bit for each of 64 signals.
const SIGSET_BYTES: usize = 8;

/// The whole program.
extern "C" fn pause() -> ! {
    let all_signals = u64::MAX;
    let signals = &raw const all_signals as usize;
    let name = b"pause\0";
    system_call(number::PRCTL, [PR_SET_NAME, name.as_ptr() as usize, 0, 0]);
    system_call(number::RT_SIGPROCMASK, [SIG_BLOCK, signals, 0, SIGSET_BYTES]);
    loop {
        match system_call(number::RT_SIGTIMEDWAIT, [signals, 0, 0, SIGSET_BYTES]) as usize {
            SIGTERM | SIGINT => exit(0),
            SIGCHLD => reap(),
            _ => {}
        }
    }
}

/// One signal may stand for many children.
fn reap() {
    while system_call(number::WAIT4, [usize::MAX, 0, WNOHANG, 0]) > 0 {}
}

fn exit(code: usize) -> ! {
    loop {
        system_call(number::EXIT_GROUP, [code, 0, 0, 0]);
    }
}

#[cfg(target_arch = "x86_64")]
fn system_call(number: usize, arguments: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: the calls above get pointers to live, initialised memory or null, and write nowhere; the kernel
    // clobbers rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn system_call(number: usize, arguments: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: the calls above get pointers to live, initialised memory or null, and write nowhere.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            options(nostack),
        );
    }
    result
}
