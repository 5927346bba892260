//! What each system call gets, per architecture: a profile's names and comparisons resolved to numbers.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::SeccompError;
use super::syscalls::{self, Abi};

// SECCOMP_RET_* of include/uapi/linux/seccomp.h.
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;

const ENOSYS: u32 = 38;

/// Set in the numbers of x32 calls (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Where the private calls of 32-bit ARM begin (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x000f_0000;

/// The calls behind socketcall(2), by its first argument (include/uapi/linux/net.h).
const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The calls behind ipc(2), by its first argument (include/uapi/linux/ipc.h).
const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// One comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument.
    pub(super) index: u32,
    /// How it is compared.
    pub(super) operator: LinuxSeccompOperator,
    /// With what; the mask of a masked comparison.
    pub(super) value: u64,
    /// What remains under the mask.
    pub(super) masked_value: u64,
    /// Whether arguments have 32 bits, so that the upper half is not looked at.
    pub(super) narrow: bool,
}

/// An answer that holds when all comparisons do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: u32,
}

/// What a call gets: the first rule that holds, else a fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: u32,
}

impl Decision {
    fn always(answer: u32) -> Self {
        Self { rules: Vec::new(), otherwise: answer }
    }
}

/// Everything about one audit architecture: from each number on, until the next, this decision holds.
#[derive(Debug)]
pub(super) struct Section {
    /// `AUDIT_ARCH_*` (include/uapi/linux/audit.h).
    pub(super) audit_arch: u32,
    /// Starts at zero, ascending.
    pub(super) ranges: Vec<(u32, Decision)>,
}

/// The architecture of this machine.
pub(super) fn native() -> Result<Arch, SeccompError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Arch::ScmpArchX86_64),
        "aarch64" => Ok(Arch::ScmpArchAarch64),
        architecture => Err(SeccompError::Architecture { architecture }),
    }
}

/// The sections of a profile, the native one first. Architectures that such a machine cannot execute are
/// skipped: their calls never arrive.
pub(super) fn plan(profile: &LinuxSeccomp, native: Arch) -> Result<Vec<Section>, SeccompError> {
    let listed = |arch| profile.architectures().iter().flatten().any(|listed| *listed == arch);
    if native == Arch::ScmpArchAarch64 {
        let mut sections = vec![section(profile, Abi::Aarch64, 0xc000_00b7)?];
        if listed(Arch::ScmpArchArm) {
            sections.push(section(profile, Abi::Arm, 0x4000_0028)?);
        }
        return Ok(sections);
    }
    let mut main = section(profile, Abi::X86_64, 0xc000_003e)?;
    // What follows x86_64's own numbers is x32's space, up to -1: that is how a tracer marks a call to be
    // skipped, which is nobody's call and gets the default.
    if listed(Arch::ScmpArchX32) {
        let x32 = section(profile, Abi::X32, 0xc000_003e)?;
        main.ranges.extend(x32.ranges.into_iter().map(|(start, decision)| (start | X32_BIT, decision)));
    } else {
        main.ranges.push((X32_BIT, Decision::always(KILL_PROCESS)));
    }
    main.ranges.push((u32::MAX, Decision::always(default_answer(profile)?)));
    let mut sections = vec![main];
    if listed(Arch::ScmpArchX86) {
        sections.push(section(profile, Abi::X86, 0x4000_0003)?);
    }
    Ok(sections)
}

/// The decisions of one architecture as ranges over its numbers.
fn section(profile: &LinuxSeccomp, abi: Abi, audit_arch: u32) -> Result<Section, SeccompError> {
    let default = Decision::always(default_answer(profile)?);
    let named = decisions(profile, abi)?;
    let beyond = if answers_enosys(profile) { Decision::always(ERRNO | ENOSYS) } else { default.clone() };
    let end = named.range(..ARM_PRIVATE).next_back().map_or(0, |(number, _)| number + 1);
    let mut ranges = vec![(0, default.clone())];
    for (number, decision) in named.range(..ARM_PRIVATE) {
        ranges.push((*number, decision.clone()));
        ranges.push((number + 1, default.clone()));
    }
    // A profile that names nothing is all default.
    if !named.is_empty() {
        ranges.push((end, beyond));
    }
    if abi == Abi::Arm {
        ranges.push((ARM_PRIVATE, default.clone()));
        for (number, decision) in named.range(ARM_PRIVATE..) {
            ranges.push((*number, decision.clone()));
            ranges.push((number + 1, default.clone()));
        }
    }
    Ok(Section { audit_arch, ranges })
}

/// Whether calls that the profile's author cannot have known get ENOSYS: only where the default refuses.
fn answers_enosys(profile: &LinuxSeccomp) -> bool {
    matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActErrno
            | LinuxSeccompAction::ScmpActTrap
            | LinuxSeccompAction::ScmpActKill
            | LinuxSeccompAction::ScmpActKillThread
            | LinuxSeccompAction::ScmpActKillProcess
    )
}

/// What the calls that the profile names get, by number.
fn decisions(profile: &LinuxSeccomp, abi: Abi) -> Result<BTreeMap<u32, Decision>, SeccompError> {
    let default = default_answer(profile)?;
    let mut conditional: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    let mut fixed: BTreeMap<u32, u32> = BTreeMap::new();
    let mut multiplexed: Vec<(u32, Rule)> = Vec::new();
    for entry in profile.syscalls().iter().flatten() {
        let answer = answer_of(entry)?;
        let alternatives = alternatives(entry, abi)?;
        for name in entry.names() {
            if abi == Abi::X86 && alternatives.is_empty() {
                multiplexed.extend(behind_multiplexer(name, answer));
            }
            let Some(number) = syscalls::number(name, abi) else { continue };
            if alternatives.is_empty() {
                fixed.entry(number).or_insert(answer);
                continue;
            }
            let rules = conditional.entry(number).or_default();
            rules.extend(
                alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), answer }),
            );
        }
    }
    // A profile that speaks about the multiplexer itself has the last word on it.
    multiplexed.retain(|(number, _)| !fixed.contains_key(number) && !conditional.contains_key(number));
    for (number, rule) in multiplexed {
        conditional.entry(number).or_default().push(rule);
    }
    let numbers: Vec<u32> = fixed.keys().chain(conditional.keys()).copied().collect();
    let decide = |number| {
        let rules = conditional.remove(&number).unwrap_or_default();
        let otherwise = fixed.get(&number).copied().unwrap_or(default);
        (number, Decision { rules, otherwise })
    };
    let mut unique = numbers;
    unique.sort_unstable();
    unique.dedup();
    Ok(unique.into_iter().map(decide).collect())
}

/// On 32-bit x86 some calls can also be made through socketcall(2) or ipc(2); what a rule says of a call
/// must hold there too. (Their arguments lie in memory, so a rule with comparisons cannot.)
fn behind_multiplexer(name: &str, answer: u32) -> Option<(u32, Rule)> {
    let find = |table: &[(&str, u32)]| table.iter().find(|(known, _)| *known == name).map(|found| found.1);
    let (multiplexer, value) = match (find(&SOCKETCALL), find(&IPC)) {
        (Some(value), _) => ("socketcall", value),
        (None, Some(value)) => ("ipc", value),
        (None, None) => return None,
    };
    let operator = LinuxSeccompOperator::ScmpCmpEq;
    let condition = Condition { index: 0, operator, value: value.into(), masked_value: 0, narrow: true };
    let number = syscalls::number(multiplexer, Abi::X86)?;
    Some((number, Rule { conditions: vec![condition], answer }))
}

/// The sets of comparisons of a rule, of which one has to hold; none at all when the rule always holds.
fn alternatives(entry: &LinuxSyscall, abi: Abi) -> Result<Vec<Vec<Condition>>, SeccompError> {
    let mut conditions = Vec::new();
    for arg in entry.args().iter().flatten() {
        conditions.push(
            condition(arg, abi)
                .ok_or_else(|| SeccompError::Argument { name: first_name(entry), index: arg.index() })?,
        );
    }
    let repeated = conditions
        .iter()
        .enumerate()
        .any(|(position, one)| conditions[..position].iter().any(|before| before.index == one.index));
    Ok(match conditions.len() {
        0 => Vec::new(),
        _ if repeated => conditions.into_iter().map(|condition| vec![condition]).collect(),
        _ => vec![conditions],
    })
}

fn condition(arg: &LinuxSeccompArg, abi: Abi) -> Option<Condition> {
    let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6)?;
    // x32 counts as wide: its registers have 64 bits, and the kernel passes them on.
    let narrow = matches!(abi, Abi::X86 | Abi::Arm);
    let keep = if narrow { u64::from(u32::MAX) } else { u64::MAX };
    let (value, masked_value) = (arg.value() & keep, arg.value_two().unwrap_or(0) & keep);
    Some(Condition { index, operator: arg.op(), value, masked_value, narrow })
}

fn first_name(entry: &LinuxSyscall) -> String {
    entry.names().first().cloned().unwrap_or_default()
}

fn answer_of(entry: &LinuxSyscall) -> Result<u32, SeccompError> {
    answer(entry.action(), entry.errno_ret(), || first_name(entry))
}

pub(super) fn default_answer(profile: &LinuxSeccomp) -> Result<u32, SeccompError> {
    answer(profile.default_action(), profile.default_errno_ret(), || "the default".to_owned())
}

/// The kernel's value of an action.
fn answer(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    name: impl Fn() -> String,
) -> Result<u32, SeccompError> {
    match (action, errno) {
        (LinuxSeccompAction::ScmpActNotify, _) => Err(SeccompError::Notify { name: name() }),
        // MAX_ERRNO; a larger one would reach into the bits of the action.
        (_, Some(errno)) if errno > 4095 => Err(SeccompError::Errno { name: name(), errno }),
        _ => Ok(action.as_u32(errno)),
    }
}
