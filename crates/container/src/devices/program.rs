//! The allow-list as a BPF program: `struct bpf_cgroup_dev_ctx` in, 1 (allowed) or 0 out.
//!
//! One short block per exception, in order; the first that matches decides, the default stands at the end.

use linux::bpf::Instruction;

use super::{Allowlist, Exception, Kind, MKNOD, READ, WRITE};

// enum BPF_DEVCG_ACC_* and BPF_DEVCG_DEV_* of include/uapi/linux/bpf.h.
const DEVCG_BLOCK: i32 = 1;
const DEVCG_CHAR: i32 = 2;
const DEVCG_MKNOD: i32 = 1;
const DEVCG_READ: i32 = 2;
const DEVCG_WRITE: i32 = 4;

// Offsets in struct bpf_cgroup_dev_ctx. access_type is `access << 16 | type`.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

// Registers: R0 is the answer, R1 the context and later scratch.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const TYPE_REGISTER: u8 = 2;
const ACCESS_REGISTER: u8 = 3;
const MAJOR_REGISTER: u8 = 4;
const MINOR_REGISTER: u8 = 5;

// Class | size or operation | mode or operand: Documentation/bpf/standardization/instruction-set.rst.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_IMMEDIATE: u8 = 0xb4;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP32_EQUAL: u8 = 0x16;
const JUMP32_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

/// The whole program.
pub(super) fn assemble(list: &Allowlist) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, TYPE_REGISTER, SCRATCH, ACCESS_TYPE, 0),
        op(MOVE_REGISTER, ACCESS_REGISTER, TYPE_REGISTER, 0, 0),
        op(AND_IMMEDIATE, TYPE_REGISTER, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS_REGISTER, 0, 0, 16),
        op(LOAD_WORD, MAJOR_REGISTER, SCRATCH, MAJOR, 0),
        op(LOAD_WORD, MINOR_REGISTER, SCRATCH, MINOR, 0),
    ];
    let (default, other) = if list.allows_by_default { (1, 0) } else { (0, 1) };
    for exception in &list.exceptions {
        program.extend(block(exception, list.allows_by_default, other));
    }
    program.extend(answer(default));
    program
}

fn answer(value: i32) -> [Instruction; 2] {
    [op(MOVE_IMMEDIATE, ANSWER, 0, 0, value), op(EXIT, 0, 0, 0, 0)]
}

/// The block of one exception. Each test that fails jumps behind the block.
fn block(exception: &Exception, denies: bool, value: i32) -> Vec<Instruction> {
    let kind = if exception.kind == Kind::Block { DEVCG_BLOCK } else { DEVCG_CHAR };
    let mut access = 0;
    for (bit, devcg) in [(READ, DEVCG_READ), (WRITE, DEVCG_WRITE), (MKNOD, DEVCG_MKNOD)] {
        if exception.access & bit != 0 {
            access |= devcg;
        }
    }
    let mut tests = vec![op(JUMP32_NOT_EQUAL, TYPE_REGISTER, 0, 0, kind)];
    tests.push(op(MOVE_REGISTER, SCRATCH, ACCESS_REGISTER, 0, 0));
    if denies {
        // Denied as soon as one of the wanted letters is in the exception.
        tests.push(op(AND_IMMEDIATE, SCRATCH, 0, 0, access));
        tests.push(op(JUMP32_EQUAL, SCRATCH, 0, 0, 0));
    } else {
        // Allowed only when no wanted letter is outside of the exception.
        tests.push(op(AND_IMMEDIATE, SCRATCH, 0, 0, !access));
        tests.push(op(JUMP32_NOT_EQUAL, SCRATCH, 0, 0, 0));
    }
    for (register, wanted) in [(MAJOR_REGISTER, exception.major), (MINOR_REGISTER, exception.minor)] {
        if let Some(wanted) = wanted {
            // The kernel compares 32 bits; the sign of the immediate is of no consequence.
            tests.push(op(JUMP32_NOT_EQUAL, register, 0, 0, wanted as i32));
        }
    }
    let mut block = tests;
    block.extend(answer(value));
    let length = block.len();
    for (position, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP32_EQUAL | JUMP32_NOT_EQUAL) {
            // At most nine instructions, so it fits.
            instruction.offset = (length - position - 1) as i16;
        }
    }
    block
}
