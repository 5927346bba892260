//! The compiled filter against the profile: an interpreter of classic BPF on one side, on the other a direct
//! reading of the profile that knows no ranges, trees or halves of words.

use linux::seccomp::Instruction;
use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use proptest::prelude::*;

use super::syscalls::Abi;
use super::*;
use crate::capabilities;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;

/// `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone, Copy)]
struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

/// Executes a filter as the kernel does (kernel/bpf, the instructions that seccomp allows and we use).
fn interpret(program: &[Instruction], call: &Call) -> u32 {
    let mut accumulator = 0u32;
    let mut at = 0usize;
    loop {
        let Instruction { code, jump_true, jump_false, k } = program[at];
        at += 1;
        let mut branch = |condition: bool| at += usize::from(if condition { jump_true } else { jump_false });
        match code {
            compiler::LOAD => {
                accumulator = match k {
                    0 => call.number,
                    4 => call.arch,
                    16..64 => (call.args[(k as usize - 16) / 8] >> (8 * (k % 8))) as u32,
                    _ => panic!("load from {k}"),
                }
            }
            compiler::AND => accumulator &= k,
            compiler::JUMP => at += k as usize,
            compiler::JUMP_EQUAL => branch(accumulator == k),
            compiler::JUMP_GREATER => branch(accumulator > k),
            compiler::JUMP_GREATER_EQUAL => branch(accumulator >= k),
            compiler::RETURN => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn holds(arg: &LinuxSeccompArg, call: &Call, narrow: bool) -> bool {
    let keep = if narrow { u64::from(u32::MAX) } else { u64::MAX };
    let (is, value) = (call.args[arg.index()] & keep, arg.value() & keep);
    match arg.op() {
        Operator::ScmpCmpNe => is != value,
        Operator::ScmpCmpLt => is < value,
        Operator::ScmpCmpLe => is <= value,
        Operator::ScmpCmpEq => is == value,
        Operator::ScmpCmpGe => is >= value,
        Operator::ScmpCmpGt => is > value,
        Operator::ScmpCmpMaskedEq => is & value == arg.value_two().unwrap_or(0) & keep,
    }
}

const SOCKETCALL: &str = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto \
    recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
const IPC: &str = "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat \
    shmdt shmget shmctl";

/// What the profile says about a call on an x86_64 machine.
fn evaluate(profile: &LinuxSeccomp, call: &Call) -> u32 {
    let listed = |arch| profile.architectures().iter().flatten().any(|listed| *listed == arch);
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let (abi, number) = match (call.arch, call.number) {
        (X86_64, u32::MAX) => return default,
        (X86_64, number) if number < 0x4000_0000 => (Abi::X86_64, number),
        (X86_64, number) if listed(Arch::ScmpArchX32) => (Abi::X32, number & !0x4000_0000),
        (I386, number) if listed(Arch::ScmpArchX86) => (Abi::X86, number),
        _ => return rules::KILL_PROCESS,
    };
    let narrow = abi == Abi::X86;
    let mut fixed = None;
    let mut behind = Vec::new();
    let mut mentioned = false;
    let mut highest = None;
    for entry in profile.syscalls().iter().flatten() {
        let answer = entry.action().as_u32(entry.errno_ret());
        let args = entry.args().as_deref().unwrap_or_default();
        for name in entry.names() {
            let is = syscalls::number(name, abi);
            highest = highest.max(is);
            if abi == Abi::X86 && args.is_empty() {
                for (multiplexer, calls) in [("socketcall", SOCKETCALL), ("ipc", IPC)] {
                    // Counted from 1, as in the headers.
                    let through = calls.split(' ').position(|call| call == name);
                    let inner = call.args[0] as u32 as usize;
                    if let Some(position) = through {
                        highest = highest.max(syscalls::number(multiplexer, abi));
                        if syscalls::number(multiplexer, abi) == Some(number) && inner == position + 1 {
                            behind.push(answer);
                        }
                    }
                }
            }
            if is != Some(number) {
                continue;
            }
            mentioned = true;
            let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
            let met = args.iter().filter(|arg| holds(arg, call, narrow)).count();
            if args.is_empty() {
                fixed.get_or_insert(answer);
            } else if met == args.len() || repeated && met > 0 {
                return answer;
            }
        }
    }
    if let (false, Some(answer)) = (mentioned, behind.first()) {
        return *answer;
    }
    let refuses = matches!(
        profile.default_action(),
        Action::ScmpActErrno | Action::ScmpActKill | Action::ScmpActKillProcess | Action::ScmpActTrap
    );
    match fixed {
        Some(answer) => answer,
        None if refuses && highest.is_some_and(|highest| number > highest) => 0x0005_0000 | 38,
        None => default,
    }
}

/// Calls worth asking about, on all architectures.
fn numbers() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0u32..560,
        2 => (0u32..560).prop_map(|number| number | 0x4000_0000),
        1 => any::<u32>(),
        1 => Just(u32::MAX),
    ]
}

/// Arguments near what profiles compare with, in both halves.
fn argument() -> impl Strategy<Value = u64> {
    let low = prop_oneof![0u64..48, Just(0x7e02_0000), Just(0x1200_0000), Just(0xffff_ffff), any::<u64>()];
    (low, prop_oneof![4 => Just(0u64), 1 => 0u64..3, 1 => any::<u64>()])
        .prop_map(|(low, high)| (low & 0xffff_ffff) | high << 32)
}

fn call() -> impl Strategy<Value = Call> {
    let arch = prop_oneof![6 => Just(X86_64), 4 => Just(I386), 1 => any::<u32>()];
    (arch, numbers(), prop::array::uniform6(argument())).prop_map(|(arch, number, args)| Call {
        arch,
        number,
        args,
    })
}

fn capability_set() -> impl Strategy<Value = Capabilities> {
    any::<u64>().prop_map(capabilities::from_mask)
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::ScmpActAllow,
        Action::ScmpActErrno,
        Action::ScmpActKill,
        Action::ScmpActKillProcess,
        Action::ScmpActTrap,
        Action::ScmpActTrace,
        Action::ScmpActLog,
    ])
}

fn comparison() -> impl Strategy<Value = LinuxSeccompArg> {
    let operator = prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ]);
    (0usize..3, argument(), argument(), operator).prop_map(|(index, value, two, op)| {
        let builder = oci_spec::runtime::LinuxSeccompArgBuilder::default();
        builder.index(index).value(value).value_two(two & value).op(op).build().unwrap()
    })
}

/// Calls on which something depends: behind multiplexers, with comparisons, on one architecture only, unknown.
const NAMES: &str = "read write socket socketcall clone bind semget ipc openat personality chown32 removexattrat \
    no_such_call execve";

fn entry() -> impl Strategy<Value = LinuxSyscall> {
    let name = prop::sample::select(NAMES.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let args = prop::option::of(prop::collection::vec(comparison(), 0..4));
    let parts = (prop::collection::vec(name, 1..4), action(), prop::option::of(0u32..4096), args);
    parts.prop_map(|(names, action, errno, args)| {
        let mut entry = LinuxSyscall::default();
        entry.set_names(names).set_action(action).set_errno_ret(errno).set_args(args);
        entry
    })
}

/// Profiles such as users write: any actions, names, comparisons.
fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    let others = vec![Arch::ScmpArchX86, Arch::ScmpArchX32, Arch::ScmpArchArm];
    let arches = prop::sample::subsequence(others, 0..=3);
    let entries = prop::collection::vec(entry(), 0..12);
    (action(), prop::option::of(0u32..4096), arches, entries).prop_map(|(default, errno, arches, entries)| {
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(default)
            .set_default_errno_ret(errno)
            .set_architectures(Some(arches))
            .set_syscalls(Some(entries));
        profile
    })
}

fn assemble(profile: &LinuxSeccomp) -> Vec<Instruction> {
    compiler::assemble(&rules::plan(profile, Arch::ScmpArchX86_64).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_users_filter_answers_as_its_profile_says(profile in profile(), calls in prop::collection::vec(call(), 60)) {
        let program = assemble(&profile);
        for call in calls {
            prop_assert_eq!(interpret(&program, &call), evaluate(&profile, &call), "{:?}", call);
        }
    }

    #[test]
    fn the_default_filter_answers_as_its_profile_says(
        set in capability_set(),
        calls in prop::collection::vec(call(), 60),
    ) {
        let profile = runtime_default(&set);
        let program = assemble(&profile);
        for call in calls {
            prop_assert_eq!(interpret(&program, &call), evaluate(&profile, &call), "{:?}", call);
        }
    }
}

/// What the default profile compares first arguments with, and their neighbours in both halves.
#[rustfmt::skip]
const FIRST_ARGUMENTS: [u64; 16] = [
    0, 1, 8, 11, 16, 20, 21, 38, 39, 40, 41, 46, 1 << 32 | 38, 1 << 32 | 41, 0x1200_0000, 0x1000_0000,
];

#[test]
fn every_call_of_every_architecture_is_answered_as_the_default_profile_says() {
    let profile = runtime_default(&capabilities::default_set());
    let program = assemble(&profile);
    for (abi, arch, bit) in [(Abi::X86_64, X86_64, 0), (Abi::X32, X86_64, 0x4000_0000), (Abi::X86, I386, 0)] {
        for (name, number) in syscalls::all(abi) {
            for first in FIRST_ARGUMENTS {
                let call = Call { arch, number: number | bit, args: [first, 0, 0, 0, 0, 0] };
                assert_eq!(
                    interpret(&program, &call),
                    evaluate(&profile, &call),
                    "{abi:?} {name} {first:#x}"
                );
            }
        }
    }
}

fn answer(profile: &LinuxSeccomp, name: &str, args: [u64; 6]) -> u32 {
    let number = syscalls::number(name, Abi::X86_64).unwrap();
    interpret(&assemble(profile), &Call { arch: X86_64, number, args })
}

#[test]
fn the_default_profile_by_example() {
    let plain = runtime_default(&capabilities::default_set());
    let admin = runtime_default(&capabilities::all());
    let (allowed, eperm, enosys) = (ALLOW, rules::ERRNO | 1, rules::ERRNO | 38);
    let first = |value| [value, 0, 0, 0, 0, 0];
    for (name, args, ordinary, privileged) in [
        ("read", first(0), allowed, allowed),
        ("mount", first(0), eperm, allowed),
        ("clone", first(0x0100_0011), allowed, allowed),
        // CLONE_NEWUSER | SIGCHLD.
        ("clone", first(0x1000_0011), eperm, allowed),
        ("clone3", first(0), enosys, allowed),
        ("unshare", first(0x1000_0000), eperm, allowed),
        ("keyctl", first(0), eperm, eperm),
        ("io_uring_setup", first(1), eperm, eperm),
        ("socket", first(2), allowed, allowed),
        ("socket", first(38), eperm, eperm),
        ("socket", first(40), eperm, eperm),
        // The kernel looks at 32 bits; a filter that only looked for "greater" would let AF_ALG through.
        ("socket", first(1 << 32 | 38), eperm, eperm),
        ("personality", first(0xffff_ffff), allowed, allowed),
        // ADDR_NO_RANDOMIZE.
        ("personality", first(0x004_0000), eperm, eperm),
        // Newer than the profile.
        ("rseq_slice_yield", first(0), enosys, enosys),
    ] {
        assert_eq!(answer(&plain, name, args), ordinary, "{name} {args:x?}");
        assert_eq!(answer(&admin, name, args), privileged, "{name} {args:x?} with all capabilities");
    }
}

#[test]
fn capabilities_open_their_calls_and_no_other() {
    let none = Capabilities::new();
    for (capability, name) in [
        (Capability::SysChroot, "chroot"),
        (Capability::SysTime, "settimeofday"),
        (Capability::SysModule, "finit_module"),
        (Capability::Bpf, "bpf"),
        (Capability::DacReadSearch, "open_by_handle_at"),
    ] {
        assert_eq!(answer(&runtime_default(&none), name, [0; 6]), rules::ERRNO | 1, "{name}");
        let one = runtime_default(&Capabilities::from([capability]));
        assert_eq!(answer(&one, name, [0; 6]), ALLOW, "{name}");
        assert_eq!(answer(&one, "mount", [0; 6]), rules::ERRNO | 1);
    }
}

#[test]
fn a_profile_that_cannot_be_carried_out_is_refused() {
    let with = |value: serde_json::Value| -> LinuxSeccomp { serde_json::from_value(value).unwrap() };
    let errno =
        with(serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 0x7fff_0000u32 }));
    assert_eq!(
        compile(&errno),
        Err(SeccompError::Errno { name: "the default".to_owned(), errno: 0x7fff_0000 })
    );
    let notify = with(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]
    }));
    assert_eq!(compile(&notify), Err(SeccompError::Notify { name: "mkdir".to_owned() }));
    let index = with(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] }]
    }));
    assert_eq!(compile(&index), Err(SeccompError::Argument { name: "mkdir".to_owned(), index: 6 }));
    let args: Vec<_> = (0..3000)
        .map(|value| serde_json::json!({ "names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }] }))
        .collect();
    let long = with(serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": args }));
    assert!(matches!(compile(&long), Err(SeccompError::TooLong { .. })));
}

#[test]
fn long_leaves_are_jumped_over() {
    // 60 comparisons of one call make a leaf longer than a conditional jump reaches.
    let mut profile = runtime_default(&capabilities::default_set());
    let mut entries = profile.syscalls().clone().unwrap();
    let socket = entries.iter().find(|entry| entry.names() == &["socket"]).unwrap().clone();
    entries.extend(std::iter::repeat_n(socket, 80));
    profile.set_syscalls(Some(entries));
    let program = assemble(&profile);
    for number in 0..600 {
        let call = Call { arch: X86_64, number, args: [40, 0, 0, 0, 0, 0] };
        assert_eq!(interpret(&program, &call), evaluate(&profile, &call), "{number}");
    }
}

#[test]
fn filters_are_short_and_compiled_once() {
    let profile = runtime_default(&capabilities::default_set());
    let started = std::time::Instant::now();
    let filter = compile(&profile).unwrap();
    println!("{} instructions in {:?}", filter.instructions.len(), started.elapsed());
    assert!(filter.instructions.len() < 600, "{}", filter.instructions.len());
    let cache = FilterCache::default();
    let first = cache.filter(&profile).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.filter(&profile.clone()).unwrap()));
    assert!(!Arc::ptr_eq(&first, &cache.filter(&runtime_default(&capabilities::all())).unwrap()));
    for index in 0..2 * CACHED_PROFILES as u32 {
        let mut other = LinuxSeccomp::default();
        other.set_default_action(Action::ScmpActErrno).set_default_errno_ret(Some(index));
        cache.filter(&other).unwrap();
    }
    assert!(cache.filters.lock().unwrap().len() <= CACHED_PROFILES);
}
