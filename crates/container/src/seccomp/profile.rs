//! RuntimeDefault: what the container engines allow when a Pod asks for their default. Pure data and its
//! dependence on capabilities.
//!
//! The list is the common ground of containerd's and Docker's default profiles of 2026 (the same list, kept
//! in two places): everything ordinary programs need, refused with EPERM is what reaches around namespaces,
//! loads code into the kernel or has been a source of escapes. Calls that need a capability are allowed with
//! the capability only, so that the kernel's own check comes second.
//!
//! One difference to those engines: socketcall(2) of 32-bit x86 is not allowed as a whole, since AF_ALG would be
//! reached through it. The compiler allows behind it what the other rules allow without looking at arguments;
//! programs built against a C library since 2016 open sockets with socket(2).
//!
//! Names are space-separated in blocks; a name that an architecture lacks is skipped by the compiler.

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Allowed to everybody.
#[rustfmt::skip]
const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat
    dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
    getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
    listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
    preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64
    ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
    signalfd4 sigprocmask sigreturn socketpair splice stat stat64 statfs statfs64 statmount statx symlink
    symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
";

/// Allowed on some architectures only, by Rust's name of the machine.
const BY_MACHINE: [(&str, &str); 2] = [
    ("x86_64", "arch_prctl modify_ldt"),
    ("aarch64", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
];

/// Allowed with a capability.
const BY_CAPABILITY: [(Capability, &str); 14] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open \
         quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module finit_module init_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (Capability::SysTime, "clock_settime clock_settime64 settimeofday stime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// The values of personality(2) that are harmless: PER_LINUX, PER_LINUX32, both with UNAME26, and the query.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} of clone(2).
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// The first socket family that is refused: AF_ALG reaches kernel code that containers have no use for.
const AF_ALG: u64 = 38;

/// Families allowed beyond AF_ALG: NFC, KCM, QIPCRTR, SMC, XDP, MCTP. Left out is AF_VSOCK (40), which knows
/// no network namespaces. Listed one by one and not as "greater than": the kernel reads 32 bits of the
/// argument, so a comparison that is true of a large upper half would let every family through.
const FAMILIES_BEYOND: [u64; 6] = [39, 41, 42, 43, 44, 45];

/// The default profile for a container with these capabilities (its bounding set).
pub fn runtime_default(capabilities: &Capabilities) -> LinuxSeccomp {
    let mut entries = vec![allow(ALWAYS)];
    let machine = std::env::consts::ARCH;
    entries.extend(BY_MACHINE.iter().filter(|(name, _)| *name == machine).map(|(_, names)| allow(names)));
    let granted = BY_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability));
    entries.extend(granted.map(|(_, names)| allow(names)));
    let equal = LinuxSeccompOperator::ScmpCmpEq;
    entries.extend(PERSONALITIES.map(|persona| allow_if("personality", equal, persona, None)));
    entries.push(allow_if("socket", LinuxSeccompOperator::ScmpCmpLt, AF_ALG, None));
    entries.extend(FAMILIES_BEYOND.map(|family| allow_if("socket", equal, family, None)));
    if !capabilities.contains(&Capability::SysAdmin) {
        let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
        entries.push(allow_if("clone", masked, NEW_NAMESPACES, Some(0)));
        // The flags of clone3 lie in memory, where a filter cannot look; ENOSYS sends C libraries to clone.
        let mut clone3 = allow("clone3");
        clone3.set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(ENOSYS));
        entries.push(clone3);
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(EPERM))
        .set_architectures(Some(architectures(machine)))
        .set_syscalls(Some(entries));
    profile
}

fn architectures(machine: &str) -> Vec<Arch> {
    match machine {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => Vec::new(),
    }
}

fn allow(names: &str) -> LinuxSyscall {
    let mut entry = LinuxSyscall::default();
    entry
        .set_names(names.split_whitespace().map(str::to_owned).collect())
        .set_action(LinuxSeccompAction::ScmpActAllow);
    entry
}

/// Allows a call when its first argument compares as told.
fn allow_if(name: &str, operator: LinuxSeccompOperator, value: u64, masked: Option<u64>) -> LinuxSyscall {
    let mut entry = allow(name);
    entry.set_args(Some(vec![first_argument(operator, value, masked)]));
    entry
}

fn first_argument(operator: LinuxSeccompOperator, value: u64, masked: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(0usize).op(operator).value(value);
    let builder = match masked {
        Some(masked) => builder.value_two(masked),
        None => builder,
    };
    // Every field has a default, so building does not fail; and the default compares with zero, which
    // would allow less.
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::syscalls::{self, Abi};
    use super::*;

    #[test]
    fn every_name_exists_somewhere() {
        let blocks = std::iter::once(ALWAYS)
            .chain(BY_MACHINE.iter().map(|block| block.1))
            .chain(BY_CAPABILITY.iter().map(|block| block.1));
        for name in blocks.flat_map(str::split_whitespace) {
            let known = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm]
                .into_iter()
                .any(|abi| syscalls::number(name, abi).is_some());
            assert!(known, "{name}");
        }
    }

    #[test]
    fn what_escapes_are_made_of_is_not_allowed_by_default() {
        let profile = runtime_default(&crate::capabilities::default_set());
        let allowed: Vec<&str> = profile
            .syscalls()
            .iter()
            .flatten()
            .filter(|entry| entry.args().is_none() && entry.action() == LinuxSeccompAction::ScmpActAllow)
            .flat_map(|entry| entry.names().iter().map(String::as_str))
            .collect();
        for name in [
            "add_key",
            "bpf",
            "clone",
            "clone3",
            "finit_module",
            "fsopen",
            "init_module",
            "io_uring_setup",
            "kexec_load",
            "keyctl",
            "mount",
            "move_mount",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "personality",
            "pivot_root",
            "setns",
            "socket",
            "swapon",
            "umount2",
            "unshare",
            "userfaultfd",
        ] {
            assert!(!allowed.contains(&name), "{name}");
        }
        assert!(allowed.contains(&"chroot"), "the default capabilities include SYS_CHROOT");
    }
}
