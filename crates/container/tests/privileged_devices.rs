//! The device program in the kernel: attached to a cgroup of the v2 tree (on hybrid machines the empty one
//! beside v1), it decides what a process in that cgroup may open.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use container::devices::Allowlist;
use linux::bpf::{attach_device_program, load_device_program};
use linux::cgroup::{Cgroup, Hierarchy};
use oci_spec::runtime::LinuxDeviceCgroup;

/// A cgroup that goes with the test.
struct Scene(Hierarchy, Cgroup);

impl Scene {
    fn new(name: &str) -> Self {
        let hierarchy = Hierarchy::detect().unwrap();
        let path = format!("/podling-devices-{}/{name}", std::process::id());
        let cgroup = Cgroup::ensure(&hierarchy, &path).expect("this test needs root and writable cgroups");
        Self(hierarchy, cgroup)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.1.kill_all();
        let _ = self.1.remove(Duration::from_secs(5));
        self.1.remove_empty_parents(&self.0);
    }
}

/// What opening each device for reading comes to, in the cgroup.
fn opens(cgroup: &Cgroup) -> String {
    let script =
        "read go; for d in null kmsg tty1; do (: </dev/$d) 2>/dev/null && echo $d opens || echo $d not; done";
    let mut shell =
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cgroup.join(shell.id()).unwrap();
    // Only now is it inside.
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn the_program_decides_what_is_opened() {
    let scene = Scene::new("program");
    let Some(directory) = scene.1.dir_fd().unwrap() else {
        panic!("this test needs a cgroup v2 tree: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
    };
    assert!(opens(&scene.1).starts_with("null opens\nkmsg opens\n"), "before, everything is allowed");
    let mut read_kmsg = LinuxDeviceCgroup::default();
    read_kmsg.set_allow(true).set_typ(Some(oci_spec::runtime::LinuxDeviceType::C));
    read_kmsg.set_major(Some(1)).set_minor(Some(11)).set_access(Some("r".to_owned()));
    for (rules, expected) in [
        (vec![read_kmsg], "null opens\nkmsg opens\ntty1 not\n"),
        (vec![], "null opens\nkmsg not\ntty1 not\n"),
    ] {
        // Programs of one cgroup add up: each has to agree.
        let program = Allowlist::plan(&rules).unwrap().v2_program().unwrap();
        let program = load_device_program(&program).expect("the verifier takes it");
        attach_device_program(directory.as_fd(), program.as_fd()).unwrap();
        assert_eq!(opens(&scene.1), expected);
    }
}

#[test]
fn a_program_that_denies_single_devices_is_taken_too() {
    let rule = |allow: bool, minor: Option<i64>| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow).set_access(Some("rwm".to_owned()));
        if minor.is_some() {
            rule.set_typ(Some(oci_spec::runtime::LinuxDeviceType::C)).set_major(Some(1)).set_minor(minor);
        }
        rule
    };
    let scene = Scene::new("deny");
    let Some(directory) = scene.1.dir_fd().unwrap() else { panic!("this test needs a cgroup v2 tree") };
    let program = Allowlist::plan(&[rule(true, None), rule(false, Some(11))]).unwrap().v2_program().unwrap();
    let program = load_device_program(&program).expect("the verifier takes it");
    attach_device_program(directory.as_fd(), program.as_fd()).unwrap();
    assert!(opens(&scene.1).starts_with("null opens\nkmsg not\n"));
}
