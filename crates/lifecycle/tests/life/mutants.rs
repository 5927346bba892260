//! A check that never fails proves nothing: each mutant breaks one invariant, and that one must be seen broken.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use lifecycle::status::{ALL_CONTAINERS_RESTARTING, CONTAINERS_READY, ContainerState, Phase};
use lifecycle::{Action, Decision, Due, InstanceState, Observation, ProbeKind, Sandbox, Volumes};
use model::pod::{Container, EphemeralContainer, Pod, RestartPolicy};

use crate::simulation::{Mutation, Simulation, first_violation};

/// Runs worlds until a violation is found, and says which invariants it broke.
fn caught(setup: impl Fn(&mut Simulation) + Sync) -> BTreeSet<u8> {
    let (_, found) = first_violation(20_000, setup);
    let (_, violations) = found.expect("the mutant is caught");
    violations.into_iter().map(|violation| violation.number).collect()
}

fn assert_caught(number: u8, mutation: Mutation) {
    let numbers = caught(|simulation| simulation.mutation = Some(mutation));
    assert!(numbers.contains(&number), "expected invariant {number}, saw {numbers:?}");
}

fn is_running(seen: &Observation, name: &str) -> bool {
    seen.containers.get(name).is_some_and(|i| matches!(i.state, InstanceState::Running { .. }))
}

fn start(seen: &Observation, container: &Container) -> Option<Action> {
    let Sandbox::Ready { attempt: sandbox } = seen.sandbox else { return None };
    let attempt = seen.containers.get(&container.name).map_or(0, |instance| instance.attempt + 1);
    let start = Action::Start { container: container.name.clone(), attempt, retry: 0, sandbox };
    let is_starting = |action: &Action| matches!(action, Action::Start { container: other, .. } if *other == container.name);
    (seen.volumes == Volumes::Ready && !seen.in_flight.iter().any(is_starting)).then_some(start)
}

#[test]
fn invariant_1_catches_a_second_incarnation() {
    assert_caught(1, |pod, seen, decision, _| {
        let running = pod.spec.containers.iter().filter(|c| is_running(seen, &c.name));
        decision.actions.extend(running.filter_map(|container| start(seen, container)));
    });
}

#[test]
fn invariant_2_catches_a_main_container_that_does_not_wait() {
    assert_caught(2, |pod, seen, decision, _| {
        let fresh =
            |c: &&Container| !pod.spec.init_containers.is_empty() && !seen.containers.contains_key(&c.name);
        decision.actions.extend(pod.spec.containers.iter().filter(fresh).filter_map(|c| start(seen, c)));
    });
}

#[test]
fn invariant_3_catches_init_containers_side_by_side() {
    assert_caught(3, |pod, seen, decision, _| {
        let starts_first = decision.actions.iter().any(|action| {
            matches!(action, Action::Start { container, .. } if *container == pod.spec.init_containers.first().map_or("", |c| &c.name))
        });
        let second = pod.spec.init_containers.get(1).filter(|_| starts_first);
        decision.actions.extend(second.and_then(|second| start(seen, second)));
    });
}

#[test]
fn invariant_4_catches_a_pull_after_the_end() {
    assert_caught(4, |pod, _, decision, _| {
        if decision.status.phase.is_terminal() {
            let container = pod.spec.containers[0].name.clone();
            let image = pod.spec.containers[0].image.clone();
            decision.actions.push(Action::Pull { container, image, attempt: 0, retry: 0 });
        }
    });
}

#[test]
fn invariant_5_catches_a_restart_without_delay() {
    assert_caught(5, |pod, seen, decision, _| {
        if let Some(Due::Restart { container }) = decision.wake_at.as_ref().map(|wake_at| &wake_at.what) {
            let early = pod.spec.container(container).and_then(|container| start(seen, container));
            decision.actions.extend(early);
        }
    });
}

#[test]
fn invariant_6_catches_a_kill_with_the_signal() {
    assert_caught(6, |_, _, decision, _| {
        let kill = |action: &Action| match action {
            Action::Signal { container, attempt } => {
                Some(Action::Kill { container: container.clone(), attempt: *attempt })
            }
            _ => None,
        };
        let kills: Vec<_> = decision.actions.iter().filter_map(kill).collect();
        decision.actions.extend(kills);
    });
}

#[test]
fn invariant_6_catches_a_second_signal() {
    assert_caught(6, |_, _, decision, _| {
        if let Some(Due::Grace { container }) = decision.wake_at.as_ref().map(|wake_at| &wake_at.what) {
            let restart_count = decision.status.container(container).map_or(0, |c| c.restart_count);
            decision.actions.push(Action::Signal { container: container.clone(), attempt: restart_count });
        }
    });
}

#[test]
fn invariant_7_catches_a_phase_that_changes_after_the_end() {
    assert_caught(7, |_, _, decision, _| {
        if decision.end.is_some() {
            decision.status.phase = Phase::Running;
        }
    });
}

#[test]
fn invariant_8_catches_a_restart_against_the_policy() {
    assert_caught(8, |pod, seen, decision, _| {
        let is_over = |c: &&Container| {
            pod.spec.restart_policy == RestartPolicy::Never
                && !decision.status.phase.is_terminal()
                && decision.status.container(&c.name).is_some_and(|status| {
                    let is_seen =
                        seen.containers.get(&c.name).is_some_and(|i| i.attempt == status.restart_count);
                    matches!(status.state, ContainerState::Terminated(_)) && is_seen
                })
        };
        let is_restarting = |c: &&Container| {
            decision
                .actions
                .iter()
                .any(|action| matches!(action, Action::Start { container, .. } if *container == c.name))
        };
        let again: Vec<_> = pod
            .spec
            .containers
            .iter()
            .filter(is_over)
            .filter(|c| !is_restarting(c))
            .filter_map(|c| start(seen, c))
            .collect();
        decision.actions.extend(again);
    });
}

#[test]
fn invariant_9_catches_a_sandbox_that_goes_first() {
    assert_caught(9, |_, seen, decision, _| {
        let stops = decision.actions.iter().any(|action| matches!(action, Action::Signal { .. }));
        if let (true, Sandbox::Ready { attempt }) = (stops, seen.sandbox) {
            decision.actions.push(Action::RemoveSandbox { attempt });
        }
    });
}

#[test]
fn invariant_10_catches_a_sidecar_that_stops_with_the_others() {
    assert_caught(10, |pod, seen, decision, _| {
        let stops_main = decision.actions.iter().any(|action| {
            matches!(action, Action::Signal { container, .. } if pod.spec.containers.iter().any(|c| c.name == *container))
        });
        let sidecars =
            pod.spec.init_containers.iter().filter(|c| c.is_sidecar() && is_running(seen, &c.name));
        for sidecar in sidecars.filter(|_| stops_main) {
            let attempt = seen.containers[&sidecar.name].attempt;
            let signal = Action::Signal { container: sidecar.name.clone(), attempt };
            if !decision.actions.contains(&signal) {
                decision.actions.push(signal);
            }
        }
    });
}

#[test]
fn invariant_11_catches_liveness_before_startup() {
    assert_caught(11, |pod, seen, decision, _| {
        for container in pod.spec.all_containers().filter(|c| c.liveness_probe.is_some()) {
            let starting = decision.status.container(&container.name).is_some_and(|status| !status.started);
            if starting && is_running(seen, &container.name) {
                let attempt = seen.containers[&container.name].attempt;
                let (container, kind) = (container.name.clone(), ProbeKind::Liveness);
                decision.actions.push(Action::Probe { container, attempt, kind, round: 0 });
            }
        }
    });
}

#[test]
fn invariant_12_catches_oversleeping() {
    assert_caught(12, |_, _, decision, _| {
        if let Some(wake_at) = &mut decision.wake_at {
            wake_at.boot_nanos += 1;
        }
    });
}

/// The kinds of deadlines, in the order of [`Due`]. A new kind does not compile without its place here.
fn kind_of(due: &Due) -> usize {
    match due {
        Due::ActiveDeadline => 0,
        Due::Grace { .. } => 1,
        Due::Restart { .. } => 2,
        Due::Pull { .. } => 3,
        Due::Create { .. } => 4,
        Due::Probe { .. } => 5,
        Due::Resize => 6,
        Due::Sandbox => 7,
        Due::Volumes => 8,
        Due::Removal => 9,
    }
}

#[test]
fn invariant_12_catches_every_kind_of_deadline_that_nobody_waits_for() {
    static FORGOTTEN: AtomicUsize = AtomicUsize::new(0);
    for kind in 0..=9 {
        FORGOTTEN.store(kind, Ordering::SeqCst);
        assert_caught(12, |_, _, decision, _| {
            decision.wake_at.take_if(|wake_at| kind_of(&wake_at.what) == FORGOTTEN.load(Ordering::Relaxed));
        });
    }
}

#[test]
fn invariant_12_catches_a_kill_that_is_forgotten() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::Kill { .. }));
    });
}

#[test]
fn invariant_12_catches_a_start_that_is_forgotten() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::Start { attempt: 1, .. }));
    });
}

#[test]
fn invariant_12_catches_a_pull_that_is_not_tried_again() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::Pull { retry: 1, .. }));
    });
}

#[test]
fn invariant_12_catches_a_post_start_hook_that_is_forgotten() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::PostStart { .. }));
    });
}

#[test]
fn invariant_12_catches_a_resize_that_is_forgotten() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::ResizeContainer { .. }));
    });
}

#[test]
fn invariant_12_catches_an_edit_that_is_forgotten() {
    assert_caught(12, |pod, _, decision, _| {
        let status = &decision.status;
        let runs_old = |name: &str| {
            let wanted = pod.spec.container(name).map(|container| &container.image);
            status.container(name).map(|shown| &shown.image) != wanted
        };
        decision.actions.retain(|action| match action {
            Action::Signal { container, .. } => !runs_old(container),
            _ => true,
        });
    });
}

#[test]
fn invariant_12_catches_a_node_that_is_not_asked() {
    assert_caught(12, |_, _, decision, _| {
        decision.actions.retain(|action| !matches!(action, Action::AllocateResources { .. }));
    });
}

#[test]
fn invariant_13_catches_unrest() {
    thread_local!(static QUIET_ROUNDS: Cell<u32> = const { Cell::new(0) });
    // Rests when it is asked once, and not when it is asked again.
    assert_caught(13, |_, seen, decision, _| {
        let nothing_to_do = decision.actions.is_empty() && seen.in_flight.is_empty();
        if nothing_to_do && decision.wake_at.is_none() && decision.end.is_none() {
            QUIET_ROUNDS.set(QUIET_ROUNDS.get() + 1);
            if QUIET_ROUNDS.get().is_multiple_of(2) {
                decision.actions.push(Action::PreStop { container: "nobody".to_owned(), attempt: 0 });
            }
        }
    });
}

#[test]
fn invariant_13_catches_what_is_begun_twice() {
    assert_caught(13, |_: &Pod, seen, decision: &mut Decision, _| {
        decision.actions.extend(seen.in_flight.iter().next().cloned());
    });
}

#[test]
fn invariant_13_catches_a_pod_that_does_not_go() {
    assert_caught(13, |_, _, decision, _| decision.end = None);
}

#[test]
fn invariant_15_catches_an_ephemeral_container_that_restarts() {
    assert_caught(15, |pod, seen, decision, _| {
        if !decision.status.phase.is_terminal() {
            let ended = |c: &&Container| seen.containers.contains_key(&c.name) && !is_running(seen, &c.name);
            let ephemeral = pod.spec.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
            decision.actions.extend(ephemeral.filter(ended).filter_map(|container| start(seen, container)));
        }
    });
}

#[test]
fn invariant_15_catches_an_ephemeral_container_that_is_killed_while_all_restart() {
    assert_caught(15, |pod, seen, decision, _| {
        let restarts =
            decision.status.conditions.iter().any(|c| c.kind == ALL_CONTAINERS_RESTARTING && c.status);
        let running = |e: &&EphemeralContainer| restarts && is_running(seen, &e.container.name);
        let kill = |e: &EphemeralContainer| {
            let attempt = seen.containers[&e.container.name].attempt;
            Action::Kill { container: e.container.name.clone(), attempt }
        };
        decision.actions.extend(pod.spec.ephemeral_containers.iter().filter(running).map(kill));
    });
}

#[test]
fn invariant_15_catches_an_ephemeral_container_that_counts_for_readiness() {
    assert_caught(15, |pod, seen, decision, _| {
        let is_up = |e: &EphemeralContainer| is_running(seen, &e.container.name);
        if !pod.spec.ephemeral_containers.iter().all(is_up) {
            set_ready(decision, false);
        }
    });
}

#[test]
fn invariant_15_catches_a_sidecar_that_does_not_count_for_readiness() {
    assert_caught(15, |pod, _, decision, _| {
        let is_ready = |c: &Container| decision.status.container(&c.name).is_some_and(|status| status.ready);
        if pod.spec.containers.iter().all(is_ready) {
            set_ready(decision, true);
        }
    });
}

#[test]
fn invariant_15_catches_a_pod_that_succeeds_whatever_its_containers_did() {
    assert_caught(15, |_, _, decision, _| {
        if decision.status.phase == Phase::Failed {
            decision.status.phase = Phase::Succeeded;
        }
    });
}

fn set_ready(decision: &mut Decision, status: bool) {
    for condition in &mut decision.status.conditions {
        if condition.kind == CONTAINERS_READY {
            condition.status = status;
        }
    }
}

#[test]
fn invariant_16_catches_resources_that_nobody_granted() {
    assert_caught(16, |_, _, decision, _| {
        for action in &mut decision.actions {
            if let Action::ResizeContainer { resources, .. } = action {
                resources.limits.clear();
            }
        }
    });
}

#[test]
fn invariant_16_catches_a_container_that_grows_before_the_pod() {
    assert_caught(16, |pod, seen, decision, _| {
        let grown = decision.actions.iter().find_map(|action| match action {
            Action::ResizePod { number, .. } => Some(*number),
            _ => None,
        });
        if let Some(number) = grown {
            let running = pod.spec.containers.iter().filter(|c| is_running(seen, &c.name));
            decision.actions.extend(running.map(|c| Action::ResizeContainer {
                container: c.name.clone(),
                attempt: seen.containers[&c.name].attempt,
                resources: c.resources.clone(),
                number,
            }));
        }
    });
}

#[test]
fn invariant_16_catches_a_pod_that_shrinks_before_its_containers() {
    assert_caught(16, |pod, seen, decision, _| {
        let Sandbox::Ready { attempt: sandbox } = seen.sandbox else { return };
        let is_first = |action: &Action| matches!(action, Action::ResizeContainer { .. });
        if decision.actions.iter().any(is_first) {
            let resources = model::resources::effective(&pod.spec);
            decision.actions.push(Action::ResizePod { sandbox, resources, number: 0 });
        }
    });
}

#[test]
fn invariant_16_catches_a_start_while_the_node_is_asked() {
    assert_caught(16, |pod, seen, decision, _| {
        let asks = |action: &Action| matches!(action, Action::AllocateResources { .. });
        if seen.in_flight.iter().any(asks) {
            let absent = pod.spec.containers.iter().filter(|c| !is_running(seen, &c.name));
            decision.actions.extend(absent.filter_map(|container| start(seen, container)));
        }
    });
}

#[test]
fn invariant_14_catches_a_daemon_that_forgets() {
    let numbers = caught(|simulation| simulation.forgets = true);
    assert!(!numbers.is_empty());
}
