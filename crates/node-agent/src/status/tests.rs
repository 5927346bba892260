//! A status as the API writes it.

use expect_test::expect;
use lifecycle::status::{Phase, TerminatedReason, WaitingReason};
use model::resources::QosClass;

use super::*;

const T: i64 = 1_700_000_000_000_000_000;

fn condition_of(kind: &str, status: bool) -> Condition {
    let reason = (!status).then(|| "ContainersNotReady".to_owned());
    let message = (!status).then(|| "containers with unready status: [web]".to_owned());
    Condition {
        kind: kind.to_owned(),
        status,
        reason,
        message,
        last_transition_wall_nanos: T,
        observed_generation: 2,
    }
}

fn status() -> Status {
    let web = ContainerStatus {
        name: "web".to_owned(),
        state: ContainerState::Waiting {
            reason: WaitingReason::CrashLoopBackOff,
            message: Some("back-off 10s restarting failed container".to_owned()),
        },
        last_state: Some(Terminated {
            exit_code: 1,
            signal: None,
            reason: TerminatedReason::Error,
            message: None,
            started_at_wall_nanos: Some(T),
            finished_at_wall_nanos: T + 1_500_000_000,
            container_id: Some("podling://a".to_owned()),
        }),
        ready: false,
        started: false,
        restart_count: 1,
        image: "nginx:1".to_owned(),
        image_id: "nginx@sha256:0".to_owned(),
        container_id: Some("podling://a".to_owned()),
        resources: Resources::default(),
        allocated_resources: BTreeMap::new(),
        volume_mounts: vec![VolumeMountStatus {
            name: "files".to_owned(),
            mount_path: "/files".to_owned(),
            read_only: true,
            recursive_read_only: Some(false),
        }],
        user: None,
        stop_signal: None,
    };
    Status {
        phase: Phase::Running,
        reason: None,
        message: None,
        conditions: vec![condition_of("Ready", false), condition_of("PodScheduled", true)],
        init_container_statuses: Vec::new(),
        container_statuses: vec![web],
        ephemeral_container_statuses: Vec::new(),
        pod_ips: vec!["10.0.0.2".to_owned()],
        host_ips: vec!["192.0.2.1".to_owned()],
        resources: None,
        allocated_resources: BTreeMap::new(),
        start_time_wall_nanos: T,
        qos_class: QosClass::BestEffort,
        observed_generation: 2,
        cause: Some("container web exits with code 1 at each start".to_owned()),
    }
}

/// Its length is that of what a kubelet writes.
#[test]
fn it_reads_as_the_kubelets() {
    expect![[r#"
        {
          "observedGeneration": 2,
          "phase": "Running",
          "conditions": [
            {
              "type": "Ready",
              "observedGeneration": 2,
              "status": "False",
              "lastProbeTime": null,
              "lastTransitionTime": "2023-11-14T22:13:20Z",
              "reason": "ContainersNotReady",
              "message": "containers with unready status: [web]"
            },
            {
              "type": "PodScheduled",
              "observedGeneration": 2,
              "status": "True",
              "lastProbeTime": null,
              "lastTransitionTime": "2023-11-14T22:13:20Z",
              "reason": null,
              "message": null
            }
          ],
          "message": "container web exits with code 1 at each start",
          "hostIP": "192.0.2.1",
          "hostIPs": [
            {
              "ip": "192.0.2.1"
            }
          ],
          "podIP": "10.0.0.2",
          "podIPs": [
            {
              "ip": "10.0.0.2"
            }
          ],
          "startTime": "2023-11-14T22:13:20Z",
          "containerStatuses": [
            {
              "name": "web",
              "state": {
                "waiting": {
                  "reason": "CrashLoopBackOff",
                  "message": "back-off 10s restarting failed container"
                }
              },
              "lastState": {
                "terminated": {
                  "exitCode": 1,
                  "reason": "Error",
                  "startedAt": "2023-11-14T22:13:20Z",
                  "finishedAt": "2023-11-14T22:13:21Z",
                  "containerID": "podling://a"
                }
              },
              "ready": false,
              "restartCount": 1,
              "image": "nginx:1",
              "imageID": "nginx@sha256:0",
              "containerID": "podling://a",
              "started": false,
              "resources": {},
              "volumeMounts": [
                {
                  "name": "files",
                  "mountPath": "/files",
                  "readOnly": true,
                  "recursiveReadOnly": "Disabled"
                }
              ]
            }
          ],
          "qosClass": "BestEffort"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&to_json(&status())).unwrap());
}

#[test]
fn what_is_told_no_more_is_taken_away() {
    let mut before = status();
    before.conditions.push(condition_of("PodResizeInProgress", true));
    let patch = patch("u-1", &status(), Some(&before));
    assert_eq!(patch["metadata"]["uid"], "u-1");
    assert_eq!(patch["status"]["reason"], Value::Null);
    assert!(patch["status"].get("reason").is_some());
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    assert!(conditions.contains(&json!({"$patch": "delete", "type": "PodResizeInProgress"})));
    assert!(!conditions.contains(&json!({"$patch": "delete", "type": "Ready"})));
}

/// The API's eviction says it of a Pod that the node then stops; its next status took it away.
#[test]
fn a_disruption_that_somebody_else_has_told_stays() {
    let patch = patch("u-1", &status(), None).to_string();
    assert!(patch.contains("PodResizePending") && !patch.contains("DisruptionTarget"), "{patch}");
}

#[test]
fn times_are_kubernetes_own() {
    assert_eq!(seconds(T + 999_999_999), "2023-11-14T22:13:20Z");
    assert_eq!(micros(T + 1_234_567), "2023-11-14T22:13:20.001234Z");
}

#[test]
fn only_what_a_start_passes_through_may_wait() {
    let waiting = |reason| ContainerState::Waiting { reason, message: None };
    let running = || ContainerState::Running { started_at_wall_nanos: T };
    let mut before = Status { phase: Phase::Pending, ..status() };
    let mut other = before.container_statuses[0].clone();
    other.name = "other".to_owned();
    before.container_statuses.push(other);
    let with = |states: [ContainerState; 2]| {
        let mut status = before.clone();
        for (container, state) in status.container_statuses.iter_mut().zip(states) {
            container.state = state;
        }
        status
    };
    let on_its_way = |status: &Status| is_on_its_way(status, Some(&before));
    assert!(is_on_its_way(&before, None), "nothing was told of it yet, and nothing runs");
    let creating = WaitingReason::ContainerCreating;
    assert!(on_its_way(&with([waiting(creating), waiting(creating)])));
    assert!(on_its_way(&with([running(), waiting(creating)])), "the other one follows");
    assert!(
        !on_its_way(&with([running(), waiting(WaitingReason::PodInitializing)])),
        "an init container runs"
    );
    assert!(!on_its_way(&Status { phase: Phase::Running, ..with([running(), running()]) }));
    let mut restarted = with([waiting(creating), waiting(creating)]);
    restarted.container_statuses[0].restart_count += 1;
    assert!(!on_its_way(&restarted));
}
