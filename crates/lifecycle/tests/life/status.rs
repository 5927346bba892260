//! What the status says, where the scenarios do not show it: QoS class, conditions, addresses, times.

use std::collections::BTreeMap;

use lifecycle::status::{ContainerState, Phase, QosClass, User, WaitingReason};
use lifecycle::{Action, Decision, Done, Fact, Failure, Memory, Policy, Reason, Retry, decide};
use model::pod::{MountPropagation, Pod, RecursiveReadOnly, Resources, VolumeMount};
use model::quantity::Quantity;

use crate::world::fate::{Fate, Life, Plan};
use crate::world::pods::{container, empty_pod};
use crate::world::{SECOND, World};

/// Everything succeeds at once, but for a pull that the policy forbids.
struct Fair;

impl Fate for Fair {
    fn plan(&mut self, action: &Action) -> Plan {
        let result = match action {
            Action::Pull { container, retry: 0, .. } if container == "never" => {
                let message = "it is not here".to_owned();
                Err(Failure { reason: Reason::ErrImageNeverPull, message, retry: Retry::OnChange })
            }
            _ => Ok(Done::Performed),
        };
        Plan { takes_nanos: 0, result }
    }

    fn life(&mut self, _: &str, _: u32) -> Life {
        Life { exits_after: None, on_signal: Some((0, 143)) }
    }
}

struct Node {
    pod: Pod,
    world: World,
    memory: Memory,
}

impl Node {
    fn new(pod: Pod) -> Node {
        let world = World::new();
        let memory = Memory::new(&pod, Policy::default(), world.now);
        Node { pod, world, memory }
    }

    fn round(&mut self, facts: &[Fact]) -> Decision {
        for fact in facts {
            self.memory.note(&self.pod, fact, &self.world.now);
        }
        let seen = self.world.observe(&self.pod);
        self.memory.note(&self.pod, &Fact::Observed(seen.clone()), &self.world.now);
        let decision = decide(&self.pod, &self.memory, &seen, &self.world.now);
        decision.actions.iter().for_each(|action| self.world.begin(action, &mut Fair));
        decision
    }

    /// Rounds until nothing happens at this instant any more.
    fn settle(&mut self) -> Decision {
        let mut facts = vec![];
        loop {
            let decision = self.round(&facts);
            facts = self.world.settle(&mut Fair);
            if facts.is_empty() && decision.actions.is_empty() {
                return decision;
            }
        }
    }
}

fn pod_of(names: &[&str]) -> Pod {
    let mut pod = empty_pod();
    pod.spec.containers = names.iter().map(|name| container(name)).collect();
    pod
}

fn resources(requests: &[(&str, i128)], limits: &[(&str, i128)]) -> Resources {
    let map = |pairs: &[(&str, i128)]| -> BTreeMap<String, Quantity> {
        let of =
            |(name, units): &(&str, i128)| ((*name).to_owned(), Quantity::from_nanos(units * 1_000_000_000));
        pairs.iter().map(of).collect()
    };
    Resources { requests: map(requests), limits: map(limits) }
}

fn qos_of(all: Vec<Resources>) -> QosClass {
    let mut pod = pod_of(&vec!["c"; all.len()]);
    for (container, resources) in pod.spec.containers.iter_mut().zip(all) {
        container.resources = resources;
    }
    Node::new(pod).round(&[]).status.qos_class
}

#[test]
fn qos_class_follows_requests_and_limits() {
    let none = || resources(&[], &[]);
    let full = || resources(&[("cpu", 1), ("memory", 2)], &[("cpu", 1), ("memory", 2)]);
    assert_eq!(qos_of(vec![none(), none()]), QosClass::BestEffort);
    assert_eq!(qos_of(vec![full(), full()]), QosClass::Guaranteed);
    assert_eq!(qos_of(vec![full(), none()]), QosClass::Burstable);
    assert_eq!(qos_of(vec![resources(&[("cpu", 1)], &[])]), QosClass::Burstable);
    assert_eq!(qos_of(vec![resources(&[("cpu", 1)], &[("cpu", 2), ("memory", 2)])]), QosClass::Burstable);
    assert_eq!(qos_of(vec![resources(&[("ephemeral-storage", 1)], &[])]), QosClass::BestEffort);
}

#[test]
fn the_first_round_begins_everything_that_needs_nothing_else() {
    let mut pod = pod_of(&["web", "worker"]);
    pod.spec.containers[1].image = pod.spec.containers[0].image.clone();
    let decision = Node::new(pod).round(&[]);
    let told: Vec<_> = decision.actions.iter().map(|action| format!("{action:?}")).collect();
    assert_eq!(
        told,
        [
            "PrepareVolumes { retry: 0 }",
            "CreateSandbox { attempt: 0 }",
            "Pull { container: \"web\", image: \"web:1\", attempt: 0, retry: 0 }",
        ],
        "one pull serves both containers of an image"
    );
    assert_eq!(decision.status.phase, Phase::Pending);
}

#[test]
fn two_rounds_lie_between_admission_and_all_started() {
    let mut node = Node::new(pod_of(&["web", "worker"]));
    node.round(&[]);
    let facts = node.world.settle(&mut Fair);
    let decision = node.round(&facts);
    assert_eq!(decision.actions.len(), 2, "both start: {:?}", decision.actions);
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let mut node = Node::new(pod_of(&["web"]));
    let admitted_at = node.world.now.wall_nanos;
    node.settle();
    node.world.set_time(node.world.now.boot_nanos + 10 * SECOND);
    node.world.exit("web", 1, false);
    node.round(&[]);
    node.world.settle(&mut Fair);
    node.world.set_time(node.world.now.boot_nanos + 5 * SECOND);
    let status = node.settle().status;
    let since = |kind: &str| {
        let condition = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        (condition.status, (condition.last_transition_wall_nanos - admitted_at) / SECOND as i64)
    };
    assert_eq!(since("PodScheduled"), (true, 0));
    assert_eq!(since("Initialized"), (true, 0));
    assert_eq!(since("Ready"), (true, 15));
}

#[test]
fn readiness_gates_hold_ready_back_but_not_containers_ready() {
    let mut pod = pod_of(&["web"]);
    pod.spec.readiness_gates.push("example.com/gate".to_owned());
    let status = Node::new(pod).settle().status;
    assert!(status.is_true("ContainersReady") && !status.is_ready());
    assert_eq!(status.cause.as_deref(), Some("readiness gate `example.com/gate` is not True"));
}

#[test]
fn an_ended_pod_still_shows_its_address() {
    let mut node = Node::new(pod_of(&["web"]));
    node.settle();
    node.round(&[Fact::StopRequested { grace_seconds: Some(0) }]);
    node.world.settle(&mut Fair);
    let status = node.settle().status;
    assert_eq!((status.phase, status.pod_ips.as_slice()), (Phase::Failed, &["10.88.0.2".to_owned()][..]));
}

#[test]
fn a_failure_that_only_a_change_ends_blocks_the_pod() {
    let mut node = Node::new(pod_of(&["never"]));
    let decision = node.settle();
    let blocked = decision.blocked.expect("nothing can be done");
    assert_eq!((blocked.container.as_deref(), blocked.reason), (Some("never"), Reason::ErrImageNeverPull));
    let state = &decision.status.container_statuses[0].state;
    let reason = WaitingReason::Failed(Reason::ErrImageNeverPull);
    assert!(matches!(state, ContainerState::Waiting { reason: shown, .. } if *shown == reason));

    node.memory.note(&node.pod, &Fact::DependencyChanged, &node.world.now);
    let decision = node.settle();
    assert_eq!((decision.blocked, decision.status.phase), (None, Phase::Running));
}

#[test]
fn a_running_pod_as_asked_has_no_cause_and_wants_no_round() {
    let decision = Node::new(pod_of(&["web"])).settle();
    assert_eq!((decision.status.cause, decision.wake_at, decision.end), (None, None, None));
}

#[test]
fn status_and_conditions_name_the_generation_that_they_speak_of() {
    let mut node = Node::new(pod_of(&["web"]));
    node.settle();
    node.pod.meta.generation = 7;
    let status = node.round(&[Fact::PodChanged]).status;
    assert_eq!(status.observed_generation, 7);
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == 7));
}

#[test]
fn mounts_say_whether_they_are_read_only_also_below() {
    let mut pod = pod_of(&["web"]);
    let mount = |name: &str, read_only, recursive_read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: format!("/{name}"),
        sub_path: None,
        read_only,
        recursive_read_only,
        propagation: MountPropagation::None,
    };
    pod.spec.containers[0].volume_mounts = vec![
        mount("data", false, RecursiveReadOnly::Disabled),
        mount("config", true, RecursiveReadOnly::Disabled),
        mount("base", true, RecursiveReadOnly::IfPossible),
    ];
    let mounts = Node::new(pod).settle().status.container_statuses.remove(0).volume_mounts;
    let told: Vec<_> = mounts
        .iter()
        .map(|mount| (mount.name.as_str(), mount.read_only, mount.recursive_read_only))
        .collect();
    assert_eq!(told, [("data", false, None), ("config", true, Some(false)), ("base", true, Some(true))]);
}

#[test]
fn a_container_shows_whom_it_runs_as_and_what_stops_it() {
    let mut node = Node::new(pod_of(&["web"]));
    node.round(&[]);
    let facts = node.world.settle(&mut Fair);
    node.round(&facts);
    let facts = node.world.settle(&mut Fair);
    let user = User { uid: 1000, gid: 1000, supplemental_groups: vec![2000] };
    let instance = node.world.instances.get_mut("web").unwrap();
    (instance.user, instance.stop_signal) = (Some(user.clone()), Some("SIGUSR1".to_owned()));
    let web = node.round(&facts).status.container_statuses.remove(0);
    assert_eq!((web.user, web.stop_signal.as_deref()), (Some(user), Some("SIGUSR1")));
}

/// KEP-2837 and KEP-1287: what the Pod has as a whole, and what is set aside for each container.
#[test]
fn resources_are_told_of_the_pod_and_of_each_container() {
    let mut pod = pod_of(&["web"]);
    pod.spec.resources = Some(resources(&[("cpu", 2)], &[("cpu", 4)]));
    pod.spec.containers[0].resources = resources(&[("cpu", 1)], &[("cpu", 3)]);
    let status = Node::new(pod.clone()).settle().status;
    assert_eq!(status.resources, pod.spec.resources);
    assert_eq!(status.allocated_resources["cpu"].value(), 2);
    assert_eq!(status.container_statuses[0].resources, pod.spec.containers[0].resources);
    assert_eq!(status.container_statuses[0].allocated_resources["cpu"].value(), 1);
}
