//! How plays go, and how they end.

use super::*;
use crate::tests::pod;

fn lives(lives: &[(&str, Life)]) -> Script {
    Script {
        lives: lives.iter().map(|(name, life)| ((*name).to_owned(), life.clone())).collect(),
        ..Script::default()
    }
}

fn seconds(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect()
}

#[test]
fn a_server_comes_up_and_stays() {
    let pod = pod("
        initContainers:
        - {name: first, image: a}
        - {name: helper, image: a, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}
        containers:
        - {name: web, image: b, readinessProbe: {tcpSocket: {port: 80}}, livenessProbe: {tcpSocket: {port: 80}}}
    ");
    let played = play(&pod, &Script::default()).unwrap();
    assert_eq!((played.ended, played.status.phase), (None, Phase::Running));
    assert!(played.status.is_ready() && played.all_started(&pod));
    assert_eq!(played.status.cause, None);
}

#[test]
fn a_job_comes_to_its_end() {
    let pod = pod("
        restartPolicy: Never
        initContainers: [{name: helper, image: a, restartPolicy: Always}]
        containers: [{name: work, image: b}]
    ");
    let script = lives(&[("work", Life::EndsAfter { seconds: 7 })]);
    assert_eq!(play(&pod, &script).unwrap().ended, Some(Phase::Succeeded));
}

#[test]
fn a_wait_for_a_later_container_gets_stuck() {
    let pod = pod("
        initContainers: [{name: wait, image: a}]
        containers: [{name: web, image: b}]
    ");
    let script = lives(&[("wait", Life::EndsWhenRunning(vec![BTreeSet::from(["web".to_owned()])]))]);
    let played = play(&pod, &script).unwrap();
    assert!(!played.all_started(&pod));
    let cause = played.status.cause.unwrap();
    assert_eq!(cause, "init container `wait` is running, and the others wait for its end");
}

#[test]
fn a_wait_for_an_earlier_sidecar_ends() {
    let pod = pod("
        initContainers:
        - {name: web, image: b, restartPolicy: Always}
        - {name: wait, image: a}
        containers: [{name: main, image: b}]
    ");
    let script = lives(&[("wait", Life::EndsWhenRunning(vec![BTreeSet::from(["web".to_owned()])]))]);
    assert!(play(&pod, &script).unwrap().all_started(&pod));
}

#[test]
fn the_startup_budget_is_what_probes_and_hooks_allow() {
    let pod = pod("
        initContainers:
        - name: helper
          image: a
          restartPolicy: Always
          startupProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 5, periodSeconds: 10, failureThreshold: 30}
        containers:
        - {name: one, image: b, lifecycle: {postStart: {sleep: {seconds: 4}}}}
        - {name: two, image: b}
    ");
    let mut script = Script { post_start_seconds: seconds(&[("one", 4)]), ..Script::default() };
    assert_eq!(play(&pod, &script).unwrap().started["two"], 9);
    script.pace = Pace::Slowest;
    assert_eq!(play(&pod, &script).unwrap().started["two"], 5 + 29 * 10 + 4);
}

#[test]
fn a_deadline_ends_a_start_that_takes_longer() {
    let pod = pod("
        activeDeadlineSeconds: 20
        initContainers: [{name: slow, image: a}]
        containers: [{name: web, image: b}]
    ");
    let played = play(&pod, &lives(&[("slow", Life::EndsAfter { seconds: 60 })])).unwrap();
    assert_eq!(played.ended, Some(Phase::Failed));
    assert_eq!(played.status.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(!played.all_started(&pod));
}

#[test]
fn a_hook_longer_than_the_grace_is_cut_off() {
    let pod = pod("
        terminationGracePeriodSeconds: 10
        containers:
        - {name: web, image: b, lifecycle: {preStop: {exec: {command: [x]}}}}
    ");
    let cut = |taken| {
        let script = Script { pre_stop_seconds: seconds(&[("web", taken)]), ..Script::default() };
        let played = play_and_stop(&pod, &script).unwrap();
        assert!(played.ended.is_some());
        !played.cut_off.is_empty()
    };
    assert!(cut(11) && !cut(9));
}

#[test]
fn what_restarts_for_ever_is_given_up() {
    let pod = pod("containers: [{name: echo, image: a}]");
    assert!(play(&pod, &lives(&[("echo", Life::EndsAfter { seconds: 0 })])).is_none());
}
