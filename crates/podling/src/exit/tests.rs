//! The contract, line by line.

use super::*;

fn ended(name: &str, exit_code: i32, finished_at_wall_nanos: i64) -> ContainerStatus {
    let reason = if exit_code == 0 { TerminatedReason::Completed } else { TerminatedReason::Error };
    ContainerStatus {
        name: name.into(),
        state: ContainerState::Terminated(Terminated {
            exit_code,
            signal: None,
            reason,
            message: None,
            started_at_wall_nanos: Some(0),
            finished_at_wall_nanos,
            container_id: None,
        }),
        last_state: None,
        ready: false,
        started: false,
        restart_count: 0,
        image: String::new(),
        image_id: String::new(),
        container_id: None,
        resources: Default::default(),
        allocated_resources: Default::default(),
        volume_mounts: Vec::new(),
        user: None,
        stop_signal: None,
    }
}

fn status(phase: Phase, init: Vec<ContainerStatus>, main: Vec<ContainerStatus>) -> Status {
    Status {
        phase,
        reason: None,
        message: None,
        conditions: Vec::new(),
        init_container_statuses: init,
        container_statuses: main,
        ephemeral_container_statuses: Vec::new(),
        pod_ips: Vec::new(),
        host_ips: Vec::new(),
        resources: None,
        allocated_resources: Default::default(),
        start_time_wall_nanos: 0,
        qos_class: lifecycle::status::QosClass::BestEffort,
        observed_generation: 1,
        cause: None,
    }
}

fn code_of(status: &Status) -> u8 {
    code(&Ending::PodsEnded, [status]).0
}

#[test]
fn success_is_0() {
    assert_eq!(code_of(&status(Phase::Succeeded, vec![], vec![ended("a", 0, 1)])), 0);
}

#[test]
fn the_first_failed_main_container_in_time_gives_the_code() {
    let main = vec![ended("a", 0, 1), ended("b", 3, 9), ended("c", 4, 5)];
    assert_eq!(code_of(&status(Phase::Failed, vec![], main)), 4);
}

#[test]
fn a_sidecar_never_gives_the_code_of_a_pod_whose_main_container_failed() {
    let init = vec![ended("sidecar", 143, 1)];
    assert_eq!(code_of(&status(Phase::Failed, init, vec![ended("a", 7, 9)])), 7);
}

#[test]
fn a_failed_init_container_gives_the_code_when_no_main_container_ran() {
    assert_eq!(code_of(&status(Phase::Failed, vec![ended("i", 5, 1)], vec![])), 5);
}

#[test]
fn a_container_that_could_not_be_started_is_podlings_failure() {
    let mut container = ended("a", 128, 1);
    let ContainerState::Terminated(terminated) = &mut container.state else { panic!() };
    terminated.reason = TerminatedReason::StartError;
    assert_eq!(code_of(&status(Phase::Failed, vec![], vec![container])), 125);
}

#[test]
fn an_exceeded_deadline_is_124() {
    let mut failed = status(Phase::Failed, vec![], vec![ended("a", 137, 1)]);
    failed.reason = Some("DeadlineExceeded".into());
    assert_eq!(code_of(&failed), 124);
}

#[test]
fn of_several_pods_the_first_failed_one_in_the_manifest_counts() {
    let good = status(Phase::Succeeded, vec![], vec![ended("a", 0, 1)]);
    let bad = |exit_code| status(Phase::Failed, vec![], vec![ended("a", exit_code, 1)]);
    assert_eq!(code(&Ending::PodsEnded, [&good, &bad(8), &bad(9)]).0, 8);
}

#[test]
fn other_endings_have_their_own_codes_whatever_the_pods_did() {
    let failed = status(Phase::Failed, vec![], vec![ended("a", 137, 1)]);
    for (ending, expected) in [
        (Ending::Reached, 0),
        (Ending::TimedOut, 124),
        (Ending::Signal(2), 130),
        (Ending::Signal(15), 143),
        (Ending::GaveUp("no image".into()), 125),
    ] {
        assert_eq!(code(&ending, [&failed]).0, expected, "{ending:?}");
    }
}
