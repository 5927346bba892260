//! The same OCI specs run by podling, crun and runc, and what is observed from inside compared: namespaces,
//! mounts and their flags, capabilities, seccomp, devices, limits, cgroups, environment, exit codes.
//!
//! crun and runc are the oracle. Where they agree, podling must be like them; where they differ, like one of
//! them. Every exception stands in [`DELIBERATE`] with its reason, and an exception that no longer occurs
//! fails the test, so that the table stays true.

#![allow(clippy::unwrap_used)]

#[path = "oci/external.rs"]
mod external;
#[path = "oci/mod.rs"]
mod oci;

use std::collections::BTreeSet;

use external::Outcome;
use oci::podling::Pod;
use oci::{Stage, observe, spec};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// Differences that are meant: the beginning of the observation's key, a case in which it occurs (there it must,
/// so that the table stays true; none when it depends on the machine), and why.
const DELIBERATE: &[(&str, &str, &str)] = &[
    ("mount /proc/acpi ", "ordinary", MASKED_DIRECTORY),
    ("mount /sys/firmware ", "ordinary", MASKED_DIRECTORY),
    ("mount /proc/keys options", "", MASKED_FILE),
    ("mount /proc/timer_list options", "", MASKED_FILE),
    ("mount /proc/kcore options", "", MASKED_FILE),
    ("node /dev/core", "", "no link to a file that is masked; the specification does not ask for it"),
    (
        "mount /sys/fs/cgroup root",
        "",
        "cgroup v2 without a cgroup namespace: a container sees its own cgroup, not the whole tree",
    ),
    (
        "mount /sys/fs/cgroup options",
        "ordinary",
        "cgroup v1: the directory that holds the hierarchies is read-only as the hierarchies are",
    ),
    ("mount /sys/fs/cgroup/blkio ", "ordinary", UNUSED_HIERARCHY),
    ("mount /sys/fs/cgroup/cpuset ", "ordinary", UNUSED_HIERARCHY),
    ("mount /sys/fs/cgroup/freezer ", "ordinary", UNUSED_HIERARCHY),
    ("mount /sys/fs/cgroup/systemd ", "ordinary", UNUSED_HIERARCHY),
    ("cgroup blkio", "host-network", UNUSED_HIERARCHY),
    ("cgroup cpuset", "host-network", UNUSED_HIERARCHY),
    ("cgroup freezer", "host-network", UNUSED_HIERARCHY),
    ("cgroup name=systemd", "host-network", UNUSED_HIERARCHY),
    (
        "cgroup unified",
        "host-network",
        "hybrid machines: the twin in the v2 tree serves killing and the event of being empty",
    ),
    (
        "read /sys/fs/cgroup/devices/devices.list",
        "limits",
        "crun allows the console 5:1 besides, runc 1.1 the tunnel 10:200 (and 1.2 no more); podling neither",
    ),
];
const MASKED_DIRECTORY: &str = "the empty tmpfs over a masked directory is nosuid, nodev and noexec besides";
const MASKED_FILE: &str = "the mask is the host's null device with the flags it has there, read-only besides";
const UNUSED_HIERARCHY: &str =
    "cgroup v1: no directory is made where no limit needs one, since each costs a join";

/// Runs a spec three times and compares.
fn agree(name: &str, value: &Value) -> [Outcome; 3] {
    let stage = Stage::new();
    agree_on(&stage, name, value)
}

fn agree_on(stage: &Stage, name: &str, value: &Value) -> [Outcome; 3] {
    let spec = spec::parse(value);
    let podling = podling(stage, name, &spec);
    let crun = external::run(stage, "crun", name, &spec);
    let runc = external::run(stage, "runc", name, &spec);
    let seen = [&podling, &crun, &runc].map(|outcome| observe::parse(&outcome.output, stage.path()));
    let deviations = deviations(&seen[0], &seen[1], &seen[2]);
    let meant = |found: &&Deviation| DELIBERATE.iter().any(|(key, ..)| found.key.starts_with(key));
    let unexplained: Vec<_> = deviations.iter().filter(|found| !meant(found)).collect();
    println!("{:?}\n{:?}\n{:?}", podling.exit, crun.exit, runc.exit);
    assert!(unexplained.is_empty(), "{name}: podling differs from both:\n{unexplained:#?}");
    for (key, _, reason) in DELIBERATE.iter().filter(|(_, case, _)| *case == name) {
        let occurs = deviations.iter().any(|found| found.key.starts_with(key));
        assert!(occurs || on_v2(), "{key:?} no longer differs; strike it off the table: {reason}");
    }
    [podling, crun, runc]
}

/// One key in which podling is like neither of the others.
#[derive(Debug)]
struct Deviation {
    key: String,
    podling: Vec<String>,
    crun: Vec<String>,
    runc: Vec<String>,
}

/// Where podling differs. Where crun and runc differ among themselves, being like one of them is enough.
fn deviations(
    podling: &observe::Observation,
    crun: &observe::Observation,
    runc: &observe::Observation,
) -> Vec<Deviation> {
    let keys: BTreeSet<&String> = podling.keys().chain(crun.keys()).chain(runc.keys()).collect();
    let of =
        |observation: &observe::Observation, key: &str| observation.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .map(|key| Deviation {
            key: key.clone(),
            podling: of(podling, key),
            crun: of(crun, key),
            runc: of(runc, key),
        })
        .filter(|found| found.podling != found.crun && found.podling != found.runc)
        .collect()
}

/// Most of the table is about v1.
fn on_v2() -> bool {
    linux::cgroup::Hierarchy::detect().unwrap().is_v2()
}

/// Runs the spec with podling, to its end.
fn podling(stage: &Stage, name: &str, spec: &Spec) -> Outcome {
    let mut pod = Pod::start(stage, name, spec);
    let exit = match pod.container("probe/0", spec) {
        Ok(started) => {
            for warning in started.warnings {
                println!("warning: {warning}");
            }
            Ok(pod.wait("probe/0").code)
        }
        Err(error) => Err(error.to_string()),
    };
    Outcome { output: pod.output("probe/0"), exit }
}

/// Exit codes of all three.
fn codes(outcomes: &[Outcome; 3]) -> Vec<Result<i32, &str>> {
    outcomes.iter().map(|outcome| outcome.exit.as_ref().copied().map_err(String::as_str)).collect()
}

#[test]
fn an_ordinary_container() {
    let outcomes = agree("ordinary", &spec::ordinary(&["report", "exit=3"]));
    assert_eq!(codes(&outcomes), [Ok(3), Ok(3), Ok(3)]);
    assert!(outcomes[0].output.contains("hostname: probed"), "the probe has reported");
}

#[test]
fn a_user_with_groups_umask_and_working_directory() {
    let mut value = spec::ordinary(&["report", "write=/work/file"]);
    value["process"]["user"] =
        json!({ "uid": 1000, "gid": 2000, "umask": 0o077, "additionalGids": [5, 3000, 4000] });
    value["process"]["cwd"] = json!("/work/deep/er");
    value["process"]["env"] = json!(["PATH=/bin", "A=", "B=x=y", "SPACE= two  words "]);
    agree("user", &value);
}

#[test]
fn a_privileged_container() {
    let mut value = spec::ordinary(&["report", "read=/proc/sysrq-trigger", "open=/nodes/kmsg"]);
    let held = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = held.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let bounding = container::capabilities::from_mask(u64::from_str_radix(bounding, 16).unwrap());
    let names: Vec<String> = bounding.into_iter().map(container::capabilities::name).collect();
    value["process"]["capabilities"] = json!({ "bounding": names, "effective": names, "permitted": names });
    value["process"]["noNewPrivileges"] = json!(false);
    let linux = value["linux"].as_object_mut().unwrap();
    linux.retain(|key, _| !["seccomp", "maskedPaths", "readonlyPaths"].contains(&key.as_str()));
    linux["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    for mount in value["mounts"].as_array_mut().unwrap() {
        mount["options"].as_array_mut().unwrap().retain(|option| option != "ro");
    }
    agree("privileged", &value);
}

#[test]
fn ambient_capabilities_of_a_user_and_none_at_all() {
    let mut value = spec::ordinary(&["report"]);
    value["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let sets = json!(["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
    value["process"]["capabilities"] = json!({
        "bounding": sets, "effective": sets, "permitted": sets, "inheritable": sets, "ambient": sets
    });
    agree("ambient", &value);
    value["process"]["capabilities"] = json!({});
    agree("no-capabilities", &value);
}

#[test]
fn a_read_only_root_with_limits_of_the_process() {
    let mut value =
        spec::ordinary(&["report", "write=/etc/hosts", "mkdir=/new", "mkdir=/tmp/new", "mkdir=/dev/new"]);
    value["root"]["readonly"] = json!(true);
    value["process"]["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 256, "hard": 512 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_NPROC", "soft": 100, "hard": 200 }
    ]);
    value["process"]["oomScoreAdj"] = json!(987);
    spec::add_mount(
        &mut value,
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=1m"] }),
    );
    agree("read-only", &value);
}

#[test]
fn volumes() {
    let stage = Stage::new();
    let (volume, inner) = (stage.make("volume"), stage.make("volume/inner"));
    std::fs::write(volume.join("file"), "of the volume\n").unwrap();
    std::fs::write(inner.join("deep"), "deep\n").unwrap();
    std::fs::write(volume.join("scratch"), "").unwrap();
    let mut value = spec::ordinary(&[
        "report",
        "read=/data/file",
        "read=/data/inner/deep",
        "mkdir=/data/from-ro",
        "write=/rw/scratch",
        "read=/etc/hosts",
        "write=/etc/hosts",
        "read=/made/by/runtime/file",
        "list=/opts",
        "exec=/opts/probe",
        "list=/tmp/link",
    ]);
    std::fs::copy(oci::probe(), volume.join("probe")).unwrap();
    std::os::unix::fs::symlink("/work", stage.rootfs().join("tmp/link")).unwrap();
    let bind = |to: &str, from: &std::path::Path, options: &[&str]| json!({ "destination": to, "type": "bind", "source": from, "options": options });
    for mount in [
        bind("/data", &volume, &["rbind", "ro", "rprivate"]),
        bind("/rw", &volume, &["bind", "rw", "nosuid", "nodev"]),
        bind("/etc/hosts", &volume.join("file"), &["rbind", "rprivate", "ro"]),
        bind("/made/by/runtime", &volume, &["rbind", "rslave"]),
        bind("/opts", &volume, &["rbind", "noexec", "noatime", "rprivate"]),
        bind("/tmp/link/target", &volume, &["rbind", "rprivate"]),
        json!({ "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=0750", "noexec"] }),
    ] {
        spec::add_mount(&mut value, mount);
    }
    let outcomes = agree_on(&stage, "volumes", &value);
    assert!(outcomes[0].output.contains("read /data/file: of the volume"));
    assert!(outcomes[0].output.contains("mkdir /data/from-ro: errno 30"), "read-only");
    assert!(outcomes[0].output.contains("exec /opts/probe: errno 13"), "noexec");
}

#[test]
fn devices_of_the_spec() {
    let mut value = spec::ordinary(&["report"]);
    value["linux"]["devices"] = json!([
        { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 7, "gid": 8 },
        { "path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600 }
    ]);
    value["linux"]["resources"]["devices"] = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" }
    ]);
    agree("devices", &value);
}

#[test]
fn limits_of_the_cgroup() {
    let mut acts = vec!["report"];
    let files = [
        "read=/sys/fs/cgroup/cpu/cpu.shares",
        "read=/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "read=/sys/fs/cgroup/cpu/cpu.cfs_period_us",
        "read=/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "read=/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
        "read=/sys/fs/cgroup/memory/memory.soft_limit_in_bytes",
        "read=/sys/fs/cgroup/pids/pids.max",
        "read=/sys/fs/cgroup/devices/devices.list",
        "read=/sys/fs/cgroup/cpuset/cpuset.cpus",
        "write=/sys/fs/cgroup/pids/pids.max",
        "read=/sys/fs/cgroup/cpu.max",
        "read=/sys/fs/cgroup/memory.max",
        "read=/sys/fs/cgroup/memory.swap.max",
        "read=/sys/fs/cgroup/pids.max",
        "read=/sys/fs/cgroup/memory.low",
        "read=/sys/fs/cgroup/cpuset.cpus",
    ];
    acts.extend(files);
    let mut value = spec::ordinary(&acts);
    value["linux"]["resources"] = json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "cpu": { "shares": 512, "quota": 25000, "period": 50000, "cpus": "0" },
        "memory": { "limit": 67108864, "reservation": 33554432, "swap": 67108864 },
        "pids": { "limit": 33 }
    });
    let outcomes = agree("limits", &value);
    assert!(outcomes[0].output.contains("67108864"), "the limit is seen from inside: {}", outcomes[0].output);
}

#[test]
fn sysctls_and_names() {
    let mut value = spec::ordinary(&[
        "report",
        "read=/proc/sys/net/ipv4/ip_unprivileged_port_start",
        "read=/proc/sys/kernel/shm_rmid_forced",
        "read=/proc/sys/net/ipv4/ip_forward",
        "write=/proc/sys/net/ipv4/ip_forward",
        "write=/proc/sysrq-trigger",
        "read=/proc/kcore",
        "read=/proc/keys",
        "read=/proc/timer_list",
        "list=/sys/firmware",
        "list=/proc/acpi",
        "write=/proc/irq/default_smp_affinity",
        "mkdir=/sys/fs/cgroup/pids/new",
        "list=/sys/class/net",
    ]);
    value["linux"]["sysctl"] =
        json!({ "net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1" });
    let outcomes = agree("sysctls", &value);
    assert!(outcomes[0].output.contains("ip_unprivileged_port_start: 0"), "{}", outcomes[0].output);
}

#[test]
fn a_seccomp_profile_of_the_user() {
    let mut value = spec::ordinary(&[
        "report",
        "mkdir=/tmp/refused",
        "connect6",
        "symlink=/tmp/kills",
        "say=not reached",
    ]);
    value["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 123 },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
              "args": [{ "index": 0, "value": 10, "op": "SCMP_CMP_EQ" }] },
            { "names": ["symlink", "symlinkat"], "action": "SCMP_ACT_KILL_PROCESS" }
        ]
    });
    let outcomes = agree("seccomp", &value);
    assert!(outcomes[0].output.contains("mkdir /tmp/refused: errno 123"), "{}", outcomes[0].output);
    assert!(outcomes[0].output.contains("connect6 : errno 97"));
    assert!(!outcomes[0].output.contains("\nnot reached"));
    assert_eq!(codes(&outcomes), [Ok(128 + 31), Ok(128 + 31), Ok(128 + 31)]);
}

#[test]
fn ways_to_end() {
    // SIGABRT does not end PID 1 of a namespace; abort(3) then takes an instruction that does, by SIGSEGV.
    for (act, code) in [("exit=0", 0), ("exit=1", 1), ("exit=255", 255), ("abort", 139)] {
        let outcomes = agree(&act.replace('=', "-"), &spec::ordinary(&["say=hello", act]));
        assert_eq!(codes(&outcomes), [Ok(code), Ok(code), Ok(code)], "{act}");
        assert!(outcomes.iter().all(|outcome| outcome.output.starts_with("hello\n")));
    }
}

/// As a Pod with hostNetwork is: the host's network and host name, and its cgroups' names seen as they are.
#[test]
fn without_namespaces_of_its_own() {
    let mut value = spec::ordinary(&["report"]);
    value["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }]);
    value.as_object_mut().unwrap().remove("hostname");
    agree("host-network", &value);
}

/// What an exec sees is what the container's first process sees: the same confinement, from the same spec.
#[test]
fn an_exec_is_confined_as_its_container() {
    let stage = Stage::new();
    let first = spec::parse(&spec::ordinary(&["report"]));
    let mut pod = Pod::start(&stage, "exec", &first);
    pod.container("first/0", &first).unwrap();
    pod.wait("first/0");
    let sleeping = spec::ordinary(&["sleep"]);
    pod.container("first/1", &spec::parse(&sleeping)).unwrap();
    let (output, exit) = pod.exec("first/1", "exec/0", first.process().clone().unwrap()).unwrap();
    assert_eq!(exit.code, 0);
    let own = observe::parse(&pod.output("first/0"), stage.path());
    let exec = observe::parse(&output, stage.path());
    // It is another process, of a session of its own, and its streams are the caller's.
    let differ = |key: &str| ["pid", "NSpgid", "NSsid", "descriptor"].contains(&key);
    for key in own.keys().chain(exec.keys()).filter(|key| !differ(key)) {
        assert_eq!(own.get(key), exec.get(key), "{key}");
    }
    // And the shim is part of none of it.
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(namespace(&pod.shim_pid().to_string()), namespace("self"));
    assert_eq!(own["namespace net"], ["its own"]);
}
