//! The default filter in the kernel: a thread installs it on itself and tries what it refuses.
//!
//! Refusals must come from the filter and not from lacking privilege, so the test runs as root.

#![allow(clippy::unwrap_used)]

use container::capabilities;
use container::seccomp::{compile, runtime_default};
use linux::seccomp::load;
use oci_spec::runtime::Capabilities;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

/// Runs `act` on a thread of its own under the default filter of these capabilities.
fn filtered(capabilities: &Capabilities, act: impl FnOnce() + Send) {
    let filter = compile(&runtime_default(capabilities)).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            load(&filter).expect("the kernel takes the filter");
            act();
        });
        thread.join().unwrap();
    });
}

#[test]
fn the_kernel_refuses_what_the_profile_refuses() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    // The root stays what it is; what counts is whether the call is let through.
    let chroot = || rustix::process::chroot("/");
    assert_eq!(chroot(), Ok(()), "the test itself may");
    filtered(&Capabilities::new(), || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert_eq!(chroot(), Err(Errno::PERM));
        // AF_ALG.
        let alg = rustix::net::socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, None);
        assert_eq!(alg.err(), Some(Errno::PERM));
        rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    });
    filtered(&capabilities::default_set(), || assert_eq!(chroot(), Ok(()), "CAP_SYS_CHROOT may"));
}

/// No assertion but a number: what one container pays for its filter.
#[test]
fn installing_the_filter_is_quick() {
    let filter = compile(&runtime_default(&capabilities::default_set())).unwrap();
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            let install = || {
                rustix::thread::set_no_new_privs(true).unwrap();
                let started = std::time::Instant::now();
                load(&filter).unwrap();
                started.elapsed()
            };
            std::thread::scope(|scope| scope.spawn(install).join().unwrap())
        })
        .collect();
    times.sort();
    println!("{} instructions installed in {:?} (median of 50)", filter.instructions.len(), times[25]);
}
