//! From ranges of call numbers to classic BPF: one binary search tree per architecture.
//!
//! ```text
//!       load arch
//!       == native? ──► load nr ─► nr >= middle? ─► ... ─► ret, or comparisons of arguments and ret
//!       == other?  ──► load nr ─► ...
//!       kill
//! ```
//!
//! Conditional jumps reach 255 instructions, so a larger distance is taken by an unconditional one. Leaves
//! with the same constant answer share its instruction while it is in reach. Constant answers keep the tree free of argument loads, which lets the
//! kernel (5.11) precompute which calls are always allowed (kernel/seccomp.c, `seccomp_cache_prepare`).

use linux::seccomp::{Instruction, MAX_INSTRUCTIONS};
use oci_spec::runtime::LinuxSeccompOperator;

use super::SeccompError;
use super::rules::{Condition, Decision, KILL_PROCESS, Section};

// Class | size or operation | mode or operand (include/uapi/linux/bpf_common.h).
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

// Offsets in struct seccomp_data; arguments are 64-bit, little-endian on both architectures.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, k }
}

/// The whole filter.
pub(super) fn assemble(sections: &[Section]) -> Result<Vec<Instruction>, SeccompError> {
    let mut program = Backwards::default();
    let mut next = program.answer(KILL_PROCESS);
    for section in sections.iter().rev() {
        let root = program.tree(&section.ranges);
        program.proceed(root);
        program.push(op(LOAD, NUMBER));
        let body = program.here();
        next = program.branch(op(JUMP_EQUAL, section.audit_arch), body, next);
    }
    program.proceed(next);
    program.push(op(LOAD, ARCHITECTURE));
    let instructions = program.finish();
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLong { instructions: instructions.len() });
    }
    Ok(instructions)
}

/// A program under construction from its end to its beginning: jumps lead forward only, so that every
/// target stands already when the jump to it is written.
#[derive(Default)]
struct Backwards {
    reversed: Vec<Instruction>,
    /// The latest place of each answer, to be shared while it is in reach.
    answers: Vec<(u32, Label)>,
}

/// A place in the program, counted from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// How far a conditional jump reaches, less the two jumps that may have to be put in between.
const REACH: usize = 253;

impl Backwards {
    fn push(&mut self, instruction: Instruction) {
        self.reversed.push(instruction);
    }

    /// The instruction written last, which is the first of what stands so far.
    fn here(&self) -> Label {
        Label(self.reversed.len())
    }

    /// How many instructions the next one has to skip to get there.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    /// Makes what is written next continue at a label.
    fn proceed(&mut self, label: Label) {
        if self.distance(label) > 0 {
            // Saturates: a program of such a length is refused.
            let distance = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
            self.push(op(JUMP, distance));
        }
    }

    /// A label in reach of a conditional jump that leads to this one.
    fn within_reach(&mut self, label: Label) -> Label {
        if self.distance(label) > REACH {
            self.proceed(label);
            return self.here();
        }
        label
    }

    fn branch(&mut self, test: Instruction, holds: Label, fails: Label) -> Label {
        let holds = self.within_reach(holds);
        let fails = self.within_reach(fails);
        let place = |label| self.distance(label) as u8;
        let (jump_true, jump_false) = (place(holds), place(fails));
        self.push(Instruction { jump_true, jump_false, ..test });
        self.here()
    }

    fn answer(&mut self, answer: u32) -> Label {
        let known = self.answers.iter().rev().find(|(known, _)| *known == answer);
        if let Some((_, label)) = known.filter(|(_, label)| self.distance(*label) <= REACH) {
            return *label;
        }
        self.push(op(RETURN, answer));
        let label = self.here();
        self.answers.push((answer, label));
        label
    }

    /// The search tree over the ranges of an architecture.
    fn tree(&mut self, ranges: &[(u32, Decision)]) -> Label {
        self.subtree(&distinct(ranges))
    }

    fn subtree(&mut self, ranges: &[(u32, &Decision)]) -> Label {
        let (left, right) = match ranges {
            [] => return self.answer(KILL_PROCESS),
            [(_, decision)] => return self.leaf(decision),
            ranges => ranges.split_at(ranges.len() / 2),
        };
        let middle = right.first().map_or(0, |range| range.0);
        let above = self.subtree(right);
        let below = self.subtree(left);
        self.branch(op(JUMP_GREATER_EQUAL, middle), above, below)
    }

    fn leaf(&mut self, decision: &Decision) -> Label {
        if decision.rules.is_empty() {
            return self.answer(decision.otherwise);
        }
        for instruction in leaf(decision).into_iter().rev() {
            self.push(instruction);
        }
        self.here()
    }

    fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }
}

/// Ranges without empty ones, neighbours with the same decision made one.
fn distinct(ranges: &[(u32, Decision)]) -> Vec<(u32, &Decision)> {
    let mut distinct: Vec<(u32, &Decision)> = Vec::new();
    for (start, decision) in ranges {
        // Of several ranges with one start, the last is the one that is not empty.
        if distinct.last().is_some_and(|last| last.0 == *start) {
            distinct.pop();
        }
        if distinct.last().is_none_or(|last| last.1 != decision) {
            distinct.push((*start, decision));
        }
    }
    distinct
}

/// Comparisons and answers of one decision.
fn leaf(decision: &Decision) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in &decision.rules {
        let mut block: Vec<Step> = rule.conditions.iter().flat_map(compare).collect();
        block.push(Step::Plain(op(RETURN, rule.answer)));
        code.extend(resolve(&block));
    }
    code.push(op(RETURN, decision.otherwise));
    code
}

/// An instruction of a rule, jumps still by meaning.
#[derive(Clone, Copy)]
enum Step {
    Plain(Instruction),
    /// A comparison and where it leads when it holds and when not.
    Branch(Instruction, Target, Target),
}

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum Target {
    /// To the instruction after the next `n`.
    Skip(u8),
    /// To the next rule.
    Fail,
}

/// One comparison; what follows it is reached only when it holds.
fn compare(condition: &Condition) -> Vec<Step> {
    use LinuxSeccompOperator as Operator;
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let masked = condition.operator == Operator::ScmpCmpMaskedEq;
    let (wanted_high, wanted_low) = if masked {
        ((condition.masked_value >> 32) as u32, condition.masked_value as u32)
    } else {
        (high, low)
    };
    let offset = ARGUMENTS + 8 * condition.index;
    let load = |half: u32, mask: u32| {
        let and = (masked && mask != u32::MAX).then_some(Step::Plain(op(AND, mask)));
        std::iter::once(Step::Plain(op(LOAD, offset + half))).chain(and)
    };
    let branch = |code, k, then, otherwise| Step::Branch(op(code, k), then, otherwise);
    let (next, fail) = (Target::Skip(0), Target::Fail);
    let mut steps = Vec::new();
    let low_half: Vec<Step> = load(0, low).collect();
    // Decided by the high half: skip the low half's load and comparison.
    let decided = Target::Skip(low_half.len() as u8 + 1);
    if !condition.narrow {
        steps.extend(load(4, high));
        match condition.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => {
                steps.push(branch(JUMP_EQUAL, wanted_high, next, fail));
            }
            Operator::ScmpCmpNe => steps.push(branch(JUMP_EQUAL, wanted_high, next, decided)),
            Operator::ScmpCmpGt | Operator::ScmpCmpGe => {
                // One instruction, the test for equality, lies between.
                let greater = Target::Skip(low_half.len() as u8 + 2);
                steps.push(branch(JUMP_GREATER, wanted_high, greater, next));
                steps.push(branch(JUMP_EQUAL, wanted_high, next, fail));
            }
            Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
                steps.push(branch(JUMP_GREATER, wanted_high, fail, next));
                steps.push(branch(JUMP_EQUAL, wanted_high, next, decided));
            }
        }
    }
    steps.extend(low_half);
    steps.push(match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => branch(JUMP_EQUAL, wanted_low, next, fail),
        Operator::ScmpCmpNe => branch(JUMP_EQUAL, wanted_low, fail, next),
        Operator::ScmpCmpGt => branch(JUMP_GREATER, wanted_low, next, fail),
        Operator::ScmpCmpGe => branch(JUMP_GREATER_EQUAL, wanted_low, next, fail),
        Operator::ScmpCmpLt => branch(JUMP_GREATER_EQUAL, wanted_low, fail, next),
        Operator::ScmpCmpLe => branch(JUMP_GREATER, wanted_low, fail, next),
    });
    steps
}

/// Jumps by distance; failing leads behind the block. Six comparisons of at most six instructions fit
/// into what a conditional jump reaches.
fn resolve(block: &[Step]) -> impl Iterator<Item = Instruction> + '_ {
    block.iter().enumerate().map(|(position, step)| {
        let place = |target: Target| match target {
            Target::Skip(count) => count,
            Target::Fail => (block.len() - position - 1) as u8,
        };
        match *step {
            Step::Plain(instruction) => instruction,
            Step::Branch(instruction, then, otherwise) => {
                Instruction { jump_true: place(then), jump_false: place(otherwise), ..instruction }
            }
        }
    })
}
