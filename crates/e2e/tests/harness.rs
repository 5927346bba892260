//! What the other tests stand on does what it says.

use std::net::TcpListener;

use e2e::{Podling, Signal, pod};

const SLEEPER: &str = "
    restartPolicy: Never
    containers:
    - {name: sleeper, image: podling/toolbox, args: [sleep, infinity]}
";

#[test]
fn a_run_is_told_with_its_code_its_lines_and_its_id() {
    let podling = Podling::new();
    let echo = "containers: [{name: a, image: podling/toolbox, args: [echo, hi]}]\nrestartPolicy: Never";
    let finished = podling.run(&pod("echo", echo), &[]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("a"), ["hi"]);
    let ids = podling.run_ids();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

/// A guard that sees nothing would let every test pass.
#[test]
fn the_guard_sees_what_a_killed_podling_leaves() {
    let podling = Podling::new();
    // A published port, because a machine without a way out has no other rules.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut running = podling.spawn(&pod("left", SLEEPER), &["-p", &format!("{port}:80")]);
    let id = running.run_id();
    running.wait_until_ready();
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, -9);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| podling.assert_nothing_left()));
    let found = *found.unwrap_err().downcast::<String>().unwrap();
    for what in
        ["process", "podling-shim", "cgroup", "interface podling", "nftables", "claim of", "file", &id]
    {
        assert!(found.contains(what), "{what} is not in:\n{found}");
    }
    let cleaned = podling.call(["doctor", "--clean"]);
    assert_eq!(cleaned.code, 0, "{cleaned}");
}
