//! The toolbox: chooses the applet and turns its result into an exit code. The applets: lib.rs.
//!
//! The applet `true` is answered before there is a C library, whose start asks the processor what it is some dozen
//! times: where a hypervisor intercepts cpuid that takes half a millisecond, and `true` is what a probe of this image
//! runs each second. It is a few lines of unsafe code, because there is nothing to stand on yet; `--entry` of the
//! embedded program's linker (programs/build.rs) leads here.

#![cfg_attr(panic = "abort", allow(unsafe_code))]

use std::process::ExitCode;

// The stack has the number of arguments, then the first of them, as the kernel laid it out (execve(2)). What is not
// `true`, or `/any/where/true`, goes on as if nothing had been.
#[cfg(all(panic = "abort", target_arch = "x86_64"))]
core::arch::global_asm!(
    ".globl toolbox_entry",
    "toolbox_entry:",
    "mov rsi, [rsp + 8]",
    "test rsi, rsi",
    "jz _start",
    "mov rdi, rsi",
    // To the end of the name.
    "2: cmp byte ptr [rdi], 0",
    "je 3f",
    "inc rdi",
    "jmp 2b",
    "3: mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, 4",
    "jb _start",
    // "true", lowest byte first.
    "cmp dword ptr [rdi - 4], 0x65757274",
    "jne _start",
    "cmp rcx, 4",
    "je 4f",
    "cmp byte ptr [rdi - 5], 0x2f",
    "jne _start",
    // exit_group(0)
    "4: mov eax, 231",
    "xor edi, edi",
    "syscall",
    "ud2",
);

#[cfg(all(panic = "abort", target_arch = "aarch64"))]
core::arch::global_asm!(
    ".globl toolbox_entry",
    "toolbox_entry:",
    "ldr x9, [sp, 8]",
    "cbz x9, 5f",
    "mov x10, x9",
    // To the end of the name.
    "2: ldrb w11, [x10]",
    "cbz w11, 3f",
    "add x10, x10, 1",
    "b 2b",
    "3: sub x12, x10, x9",
    "cmp x12, 4",
    "b.lo 5f",
    // "true", lowest byte first.
    "ldur w11, [x10, -4]",
    "movz w13, 0x7274",
    "movk w13, 0x6575, lsl 16",
    "cmp w11, w13",
    "b.ne 5f",
    "cmp x12, 4",
    "b.eq 4f",
    "ldurb w11, [x10, -5]",
    "cmp w11, 0x2f",
    "b.ne 5f",
    // exit_group(0)
    "4: mov x8, 94",
    "mov x0, xzr",
    "svc 0",
    "5: b _start",
);

fn main() -> ExitCode {
    toolbox::run(std::env::args_os().collect())
}
