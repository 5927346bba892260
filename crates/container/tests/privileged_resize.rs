//! Limits of what runs already: they hold at once, for a container and for its Pod, and never kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pod;

use container::{Error, Resized, StartErrorKind};
use linux::cgroup::Limits;
use pod::Pod;

const MIB: i64 = 1 << 20;

fn limits(memory_mib: i64, cpu_quota_us: i64) -> Limits {
    let memory = if memory_mib < 0 { -1 } else { memory_mib * MIB };
    Limits {
        cpu_shares: Some(512),
        cpu_quota_us: Some(cpu_quota_us),
        cpu_period_us: Some(100_000),
        memory_limit_bytes: Some(memory),
        memory_swap_bytes: Some(memory),
        ..Limits::default()
    }
}

async fn resize(pod: &Pod, key: Option<&str>, wanted: &Limits) -> (i64, i64) {
    match pod.shim.resize(key, wanted.clone()).await.unwrap() {
        Resized::InForce(has) => (has.memory_limit_bytes.unwrap(), has.cpu_quota_us.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_of_a_running_container_and_its_pod_change_up_and_down() {
    let pod = Pod::new().await;
    pod.start(pod.script("web/0", "sleep 1000")).await.unwrap();
    for key in [None, Some("web/0")] {
        assert_eq!(resize(&pod, key, &limits(256, 50_000)).await, (256 * MIB, 50_000));
    }
    for key in [Some("web/0"), None] {
        assert_eq!(resize(&pod, key, &limits(64, 25_000)).await, (64 * MIB, 25_000));
        // The same asked again is answered with the same.
        assert_eq!(resize(&pod, key, &limits(64, 25_000)).await, (64 * MIB, 25_000));
    }
    for key in [None, Some("web/0")] {
        assert_eq!(resize(&pod, key, &limits(-1, -1)).await, (-1, -1));
    }
    pod.finish().await;
}

#[tokio::test]
async fn a_limit_below_what_is_in_use_changes_nothing_and_kills_nobody() {
    let pod = Pod::new().await;
    let hog = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo holds ${#x}; while :; do sleep 1000; done";
    pod.start(pod.script("hog/0", hog)).await.unwrap();
    pod.wait_for_output("hog/0", "holds 40000000").await;
    assert_eq!(resize(&pod, Some("hog/0"), &limits(512, -1)).await, (512 * MIB, -1));
    let refused = pod.shim.resize(Some("hog/0"), limits(16, -1)).await.unwrap();
    let Resized::MemoryInUse { bytes } = refused else { panic!("{refused:?}") };
    assert!(bytes > 40_000_000, "{bytes}");
    // It still has what it had: a raise of the quota alone finds it there.
    let quota = Limits { cpu_quota_us: Some(30_000), ..Limits::default() };
    assert_eq!(resize(&pod, Some("hog/0"), &quota).await, (512 * MIB, 30_000));
    pod.finish().await;
}

#[tokio::test]
async fn what_does_not_run_is_not_resized() {
    let mut pod = Pod::new().await;
    pod.run("job/0", "true").await;
    for key in ["job/0", "nobody/0"] {
        match pod.shim.resize(Some(key), limits(64, -1)).await {
            Err(Error::Start(refusal)) => assert_eq!(refusal.kind, StartErrorKind::NoSuchContainer),
            other => panic!("{other:?}"),
        }
    }
    pod.finish().await;
}
