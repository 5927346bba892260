//! Container escapes of the past, really tried: hostile images, volumes and processes, and what stops them.
//!
//! Each test also shows that the attack got as far as it could (the hostile link is what the container sees,
//! the newcomer was met, the control run works), so that it cannot pass because nothing was tried.

#![allow(clippy::unwrap_used)]

#[path = "oci/mod.rs"]
mod oci;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use container::{Error, capabilities};
use oci::podling::Pod;
use oci::{Stage, spec};
use serde_json::{Value, json};

/// What attacks write to when they can: a program of the attacker's choice, run as root on the host.
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

fn core_pattern() -> String {
    std::fs::read_to_string(CORE_PATTERN).unwrap()
}

/// Runs a container to its end: what it printed, or why it did not start.
fn run(stage: &Stage, name: &str, value: &Value) -> Result<String, String> {
    run_in(&mut Pod::start(stage, name, &spec::parse(value)), "hostile/0", value)
}

fn run_in(pod: &mut Pod, key: &str, value: &Value) -> Result<String, String> {
    pod.container(key, &spec::parse(value)).map_err(|error| error.to_string())?;
    pod.wait(key);
    Ok(pod.output(key))
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

/// Gives a spec every capability the test itself has, and takes the filter away.
fn empower(value: &mut Value) {
    let names: Vec<String> = capabilities::all().into_iter().map(capabilities::name).collect();
    value["process"]["capabilities"] = json!({ "bounding": names, "effective": names, "permitted": names });
    value["linux"].as_object_mut().unwrap().remove("seccomp");
}

/// runc up to 1.0-rc6: a container overwrote the runtime's program on the host through /proc/PID/exe of a
/// process that was just entering it.
#[test]
fn cve_2019_5736_the_program_of_whoever_enters_cannot_be_overwritten() {
    for is_privileged in [false, true] {
        let stage = Stage::new();
        let mut value = spec::ordinary(&["hunt=/tmp/stop"]);
        if is_privileged {
            empower(&mut value);
        }
        let mut pod = Pod::start(&stage, "hunt", &spec::parse(&value));
        pod.container("hunter/0", &spec::parse(&value)).unwrap();
        let process = |act: &str| {
            let mut exec = value["process"].clone();
            exec["args"] = json!(["/bin/probe", act]);
            serde_json::from_value(exec).unwrap()
        };
        let met = pod.upper("hunter/0").join("tmp/stop.met");
        let enters = (0..500).take_while(|_| !met.exists()).map(|attempt| {
            let (output, exit) =
                pod.exec("hunter/0", &format!("exec/{attempt}"), process("say=entered")).unwrap();
            assert_eq!((output.as_str(), exit.code), ("entered\n", 0), "the program is whole");
        });
        println!("met after {} entries", enters.count());
        assert!(met.exists(), "the hunter has met somebody who was entering");
        pod.exec("hunter/0", "exec/last", process("mkdir=/tmp/stop")).unwrap();
        pod.wait("hunter/0");
        let told = pod.output("hunter/0");
        assert!(told.contains("overwritten 0"), "{told}");
        assert!(told.contains("closed true") || told.contains("foreign true"), "{told}");
        // And the shim still makes containers.
        let after = run_in(&mut pod, "after/0", &spec::ordinary(&["say=whole"]));
        assert_eq!(after.as_deref(), Ok("whole\n"));
    }
}

/// The other half of CVE-2019-5736: an image whose program is a link to /proc/self/exe, so that the runtime
/// executes itself with the image's libraries and arguments.
#[test]
fn cve_2019_5736_an_image_whose_program_is_the_runtime() {
    let stage = Stage::new();
    symlink("/proc/self/exe", stage.rootfs().join("bin/me")).unwrap();
    let mut value = spec::ordinary(&[]);
    value["process"]["args"] = json!(["/bin/me", "write=/proc/self/exe"]);
    // It starts or not; what it started as cannot be written, and the next container is made by a whole shim.
    let mut pod = Pod::start(&stage, "self", &spec::parse(&value));
    println!("{:?}", run_in(&mut pod, "self/0", &value));
    let exe = PathBuf::from(format!("/proc/{}/exe", pod.shim_pid()));
    assert!(std::fs::OpenOptions::new().write(true).open(&exe).is_err(), "the shim's program is sealed");
    assert_eq!(run_in(&mut pod, "after/0", &spec::ordinary(&["say=whole"])).as_deref(), Ok("whole\n"));
}

/// runc up to 1.1.11: a descriptor of the host's /sys/fs/cgroup leaked, and a working directory of
/// /proc/self/fd/7 led out of the container.
#[test]
fn cve_2024_21626_a_working_directory_through_a_descriptor() {
    let stage = Stage::new();
    let value = spec::ordinary(&["sleep"]);
    let mut pod = Pod::start(&stage, "cwd", &spec::parse(&value));
    pod.container("target/0", &spec::parse(&value)).unwrap();
    let mut refused_outside = 0;
    for number in 0..40 {
        let leak = format!("/proc/self/fd/{number}");
        let link = stage.rootfs().join(format!("work/leak{number}"));
        symlink(&leak, &link).unwrap();
        for cwd in [leak, format!("/work/leak{number}")] {
            let mut process = value["process"].clone();
            process["cwd"] = json!(cwd);
            process["args"] = json!(["/bin/probe", "report", "list=.", "list=../../../.."]);
            let key = format!("exec/{}", cwd.trim_matches('/').replace('/', "-"));
            match pod.exec("target/0", &key, serde_json::from_value(process.clone()).unwrap()) {
                Err(error) => refused_outside += usize::from(error.to_string().contains("outside")),
                Ok((output, _)) => inside(&output),
            }
            let mut first = value.clone();
            first["process"] = process;
            let key = format!("{}/0", key.replace('/', "-"));
            if let Ok(output) = run_in(&mut pod, &key, &first) {
                inside(&output);
            }
        }
    }
    assert!(refused_outside > 0, "some descriptor did lead outside, and the check behind chdir refused it");
}

/// That a report comes from a container that sees its own files and holds no descriptor but three.
fn inside(output: &str) {
    assert!(!output.contains("unreachable"), "{output}");
    let descriptors: Vec<&str> = output.lines().filter(|line| line.starts_with("descriptor: ")).collect();
    assert_eq!(descriptors.len(), 3, "{descriptors:?}");
    assert!(!output.contains("boot"), "the host's root is not listed: {output}");
}

/// runc up to 1.3.2: masks were binds of the container's /dev/null, which a hostile /dev replaces by a link to
/// what shall become writable.
#[test]
fn cve_2025_31133_masks_do_not_come_from_the_containers_null() {
    for with_link in [true, false] {
        let stage = Stage::new();
        let dev = stage.make("hostile-dev");
        if with_link {
            symlink(CORE_PATTERN, dev.join("null")).unwrap();
        }
        for name in ["pts", "shm", "mqueue"] {
            std::fs::create_dir(dev.join(name)).unwrap();
        }
        let mut value = spec::ordinary(&[
            "link=/dev/null",
            "report",
            "write=/proc/keys",
            "read=/proc/keys",
            "read=/proc/timer_list",
        ]);
        value["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        value["mounts"].as_array_mut().unwrap().insert(0, bind("/dev", &dev, &["bind", "rw"]));
        let before = core_pattern();
        let output = run(&stage, "mask", &value).expect("a /dev of the Pod's own is allowed");
        if with_link {
            assert!(
                output.contains(&format!("link /dev/null: {CORE_PATTERN}")),
                "it sees the hostile link: {output}"
            );
        }
        assert_eq!(core_pattern(), before);
        let masked = oci::observe::parse(&output, stage.path());
        assert_eq!(masked["mount /proc/keys root"], ["/null"], "the mask is a null device");
        assert!(output.contains("read /proc/keys: \n"), "nothing is read through the mask: {output}");
    }
}

/// A masked path that is a link would put the mask elsewhere.
#[test]
fn cve_2025_31133_a_mask_over_a_link_is_refused() {
    let stage = Stage::new();
    let volume = stage.make("volume");
    symlink("/etc/hosts", volume.join("secret")).unwrap();
    let mut value = spec::ordinary(&["read=/etc/hosts", "read=/vol/secret"]);
    spec::add_mount(&mut value, bind("/vol", &volume, &["bind"]));
    assert!(
        run(&stage, "control", &value).unwrap().contains("read /vol/secret: image"),
        "the control run reads"
    );
    value["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/vol/secret"));
    let error = run(&stage, "masked", &value).unwrap_err();
    assert!(error.contains("/vol/secret"), "{error}");
}

/// runc up to 1.3.2: /dev/pts/N was bound to /dev/console by name, so that a link in either place made
/// something else writable before the masks were there.
#[test]
fn cve_2025_52565_a_console_through_links() {
    // The control run: a terminal works, and /dev/console is one.
    let stage = Stage::new();
    let value = spec::ordinary(&["report", "write=/dev/console"]);
    let with_terminal = |stage: &Stage, name: &str, value: &Value| {
        let mut pod = Pod::start(stage, name, &spec::parse(value));
        pod.tty = true;
        run_in(&mut pod, "hostile/0", value)
    };
    let control = with_terminal(&stage, "control", &value).unwrap().replace('\r', "");
    let seen = oci::observe::parse(&control, stage.path());
    assert_eq!(seen["mount /dev/console type"], ["devpts"], "{control}");
    let before = core_pattern();

    // /dev/console is a link, in an image whose /dev is a volume.
    let dev = stage.make("hostile-dev");
    for name in ["pts", "shm", "mqueue"] {
        std::fs::create_dir(dev.join(name)).unwrap();
    }
    symlink(CORE_PATTERN, dev.join("console")).unwrap();
    let mut hostile = value.clone();
    hostile["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    hostile["mounts"].as_array_mut().unwrap().insert(0, bind("/dev", &dev, &["bind", "rw"]));
    assert!(with_terminal(&stage, "console", &hostile).is_err(), "a console through a link is refused");

    // /dev/pts is a volume full of links.
    let pts = stage.make("hostile-pts");
    for number in 0..64 {
        symlink(CORE_PATTERN, pts.join(number.to_string())).unwrap();
    }
    symlink("/dev/tty", pts.join("ptmx")).unwrap();
    let mut hostile = value.clone();
    hostile["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    spec::add_mount(&mut hostile, bind("/dev/pts", &pts, &["bind", "rw"]));
    assert!(with_terminal(&stage, "pts", &hostile).is_err(), "a terminal that is none is refused");
    assert_eq!(core_pattern(), before);
}

/// runc up to 1.3.2: writes to /proc (sysctls, security labels) went by name and could be redirected by what
/// the container had mounted there.
#[test]
fn cve_2025_52881_writes_to_procfs_cannot_be_redirected() {
    const SYSCTL: &str = "net/ipv4/ip_unprivileged_port_start";
    let stage = Stage::new();
    let fake = stage.make("hostile-proc");
    let planted = fake.join("sys").join(SYSCTL);
    let label = fake.join("thread-self/attr/exec");
    for file in [&planted, &label, &fake.join("self/attr/exec"), &fake.join("thread-self/attr/apparmor/exec")]
    {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "planted\n").unwrap();
    }
    let mut value = spec::ordinary(&[&format!("read=/proc/sys/{SYSCTL}")]);
    value["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
    spec::add_mount(&mut value, bind("/proc", &fake, &["rbind", "rw"]));
    let mut pod = Pod::start(&stage, "proc", &spec::parse(&value));
    match run_in(&mut pod, "hostile/0", &value) {
        Ok(output) => {
            assert!(output.contains("planted"), "the container sees the planted /proc: {output}");
            // The true sysctl was set: the next container of the Pod shares the network namespace.
            let seen =
                run_in(&mut pod, "next/0", &spec::ordinary(&[&format!("read=/proc/sys/{SYSCTL}")])).unwrap();
            assert!(seen.ends_with(": 77\n"), "{seen}");
        }
        Err(error) => assert!(error.contains("proc"), "refused for the mount: {error}"),
    }
    value["process"]["apparmorProfile"] = json!("podling-test");
    println!("{:?}", run_in(&mut pod, "label/0", &value));
    for file in [planted, label, fake.join("self/attr/exec"), fake.join("thread-self/attr/apparmor/exec")] {
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "planted\n", "{}", file.display());
    }
}

/// What belongs to the machine is not set for a container, also when the name climbs.
#[test]
fn sysctls_of_the_machine_are_refused() {
    let stage = Stage::new();
    let before = core_pattern();
    for name in ["kernel.core_pattern", "net.//.kernel.core_pattern", "vm.swappiness"] {
        let mut value = spec::ordinary(&["say=started"]);
        value["linux"]["sysctl"] = json!({ name: before.trim() });
        let outcome = run(&stage, "sysctl", &value);
        assert!(outcome.is_err(), "{name}: {outcome:?}");
    }
    let mut value = spec::ordinary(&["say=started"]);
    value["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "0" });
    assert_eq!(run(&stage, "allowed", &value).as_deref(), Ok("started\n"), "one of the Pod's own may be set");
}

/// CVE-2019-19921 and CVE-2023-27561: an image whose /proc is a link, so that the guards lie elsewhere.
#[test]
fn cve_2019_19921_a_proc_that_is_a_link() {
    let stage = Stage::new();
    std::fs::remove_dir(stage.rootfs().join("proc")).unwrap();
    symlink("/data", stage.rootfs().join("proc")).unwrap();
    let error = run(&stage, "proc-link", &spec::ordinary(&["say=started"])).unwrap_err();
    assert!(error.contains("/proc"), "{error}");
}

/// CVE-2026-41579: an image whose /dev is an absolute link made the runtime create and remove files on the host.
#[test]
fn cve_2026_41579_a_dev_that_is_a_link() {
    let stage = Stage::new();
    let outside = stage.make("outside");
    std::fs::write(outside.join("ptmx"), "of the host").unwrap();
    std::fs::remove_dir(stage.rootfs().join("dev")).unwrap();
    symlink(&outside, stage.rootfs().join("dev")).unwrap();
    for without_tmpfs in [false, true] {
        let mut value = spec::ordinary(&["link=/dev"]);
        if without_tmpfs {
            value["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        }
        let outcome = run(&stage, &format!("dev-link-{without_tmpfs}"), &value);
        println!("{outcome:?}");
        let names: Vec<_> =
            std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ptmx"], "nothing was made on the host");
        assert_eq!(std::fs::read_to_string(outside.join("ptmx")).unwrap(), "of the host");
    }
}

/// Mount targets behind links of the image are made inside of it (CVE-2021-30465's class).
#[test]
fn a_mount_target_behind_a_link_stays_inside() {
    let stage = Stage::new();
    let outside = stage.make("outside");
    let volume = stage.make("volume");
    std::fs::write(volume.join("file"), "of the volume\n").unwrap();
    symlink(&outside, stage.rootfs().join("absolute")).unwrap();
    let climbing = PathBuf::from("../".repeat(30)).join(outside.strip_prefix("/").unwrap());
    symlink(climbing, stage.rootfs().join("climbing")).unwrap();
    for (target, name) in
        [("/absolute/target", "absolute"), ("/climbing/target", "climbing"), ("/absolute", "itself")]
    {
        let mut value = spec::ordinary(&[&format!("read={target}/file")]);
        spec::add_mount(&mut value, bind(target, &volume, &["bind"]));
        // Inside of the image the links lead nowhere, so the mount is refused or made at a new place inside.
        if let Ok(output) = run(&stage, name, &value) {
            assert!(output.contains("of the volume"), "{output}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{target}: nothing appears on the host");
    }
    // The control: a link that leads somewhere inside is followed.
    symlink("/data/sub", stage.rootfs().join("inner")).unwrap();
    let mut value = spec::ordinary(&["read=/data/sub/file"]);
    spec::add_mount(&mut value, bind("/inner", &volume, &["bind"]));
    assert_eq!(run(&stage, "inner", &value).as_deref(), Ok("read /data/sub/file: of the volume\n"));
}

/// A container with its own cgroup mounted writable cannot reach above it, nor widen its devices.
#[test]
fn the_device_allow_list_cannot_be_widened_from_inside() {
    let stage = Stage::new();
    let mut value = spec::ordinary(&[
        "open=/nodes/kmsg",
        "list=/sys/fs/cgroup",
        "write=/sys/fs/cgroup/devices/devices.allow",
        "open=/nodes/kmsg",
    ]);
    for mount in value["mounts"].as_array_mut().unwrap() {
        mount["options"].as_array_mut().unwrap().retain(|option| option != "ro");
    }
    let output = run(&stage, "widen", &value).unwrap();
    assert_eq!(output.matches("open /nodes/kmsg: errno 1\n").count(), 2, "{output}");
}

/// The error of a start, as data.
fn start_error(stage: &Stage, value: &Value) -> container::StartError {
    let spec = spec::parse(value);
    let mut pod = Pod::start(stage, "bad", &spec);
    match pod.container("bad/0", &spec) {
        Err(Error::Start(error)) => {
            println!("{error}");
            error
        }
        other => panic!("a start error was expected: {other:?}"),
    }
}

/// Bad input: each a clear error of its own kind, and the Pod lives on.
#[test]
fn programs_that_cannot_be_executed() {
    use container::StartErrorKind as Kind;
    use std::os::unix::fs::PermissionsExt;

    let stage = Stage::new();
    let bin = stage.rootfs().join("bin");
    let put = |name: &str, content: &[u8], mode: u32| {
        std::fs::write(bin.join(name), content).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut foreign = std::fs::read(oci::probe()).unwrap();
    // e_machine: EM_S390.
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    put("foreign", &foreign, 0o755);
    put("plain", b"text\n", 0o644);
    put("text", b"text\n", 0o755);
    put("script", b"#!/bin/missing-shell\necho\n", 0o755);
    for (program, kind) in [
        ("/bin/missing", Kind::NotFound),
        ("missing", Kind::NotFound),
        ("/bin/plain", Kind::NotExecutable),
        ("/bin", Kind::IsDirectory),
        ("/bin/script", Kind::BadInterpreter),
        ("/bin/foreign", Kind::WrongArchitecture),
        ("/bin/text", Kind::NotAProgram),
    ] {
        let mut value = spec::ordinary(&[]);
        value["process"]["args"] = json!([program]);
        let error = start_error(&stage, &value);
        assert_eq!(error.kind, kind, "{program}: {error}");
        assert!(error.message.contains(program), "{error}");
    }
}

/// One variable of 1 MiB is beyond what the kernel takes (MAX_ARG_STRLEN), and so are 10 MB of small ones.
#[test]
fn an_environment_that_is_too_large() {
    let stage = Stage::new();
    let mut value = spec::ordinary(&["say=started"]);
    value["process"]["env"] = json!([format!("BIG={}", "x".repeat(1 << 20))]);
    assert_eq!(start_error(&stage, &value).kind, container::StartErrorKind::TooLarge);
    let many: Vec<String> =
        (0..200_000).map(|number| format!("VARIABLE_{number}={}", "x".repeat(40))).collect();
    value["process"]["env"] = json!(many);
    assert_eq!(start_error(&stage, &value).kind, container::StartErrorKind::TooLarge);
}
