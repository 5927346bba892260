//! Observations and facts that no machine would give: nothing may panic, whatever the shim or a checkpoint says.

use lifecycle::invariants::Ledger;
use lifecycle::{
    Action, Done, Exit, Fact, Failure, Image, Instance, InstanceState, Memory, Now, Observation, Policy,
    ProbeKind, Reason, Retry, Sandbox, Volumes, decide,
};

use crate::world::fate::Dice;
use crate::world::pods::random_pod;

const NAMES: [&str; 7] = ["i0", "i1", "i2", "m0", "m1", "m2", "stranger"];

fn any_number(dice: &mut Dice) -> u64 {
    let any = dice.next();
    dice.pick(&[0, 1, 2, 3, 1_000_000_000, u64::MAX, any])
}

fn any_instant(dice: &mut Dice) -> Now {
    let wall_nanos = any_number(dice) as i64;
    Now { boot_nanos: any_number(dice), boot_id: u128::from(dice.below(2)), wall_nanos }
}

fn any_action(dice: &mut Dice) -> Action {
    let container = dice.pick(&NAMES).to_owned();
    let attempt = any_number(dice) as u32;
    let retry = any_number(dice) as u32;
    match dice.below(11) {
        0 => Action::PrepareVolumes { retry },
        1 => Action::CreateSandbox { attempt },
        2 => Action::Pull { container, image: "any".to_owned(), attempt, retry },
        3 => Action::Start { container, attempt, retry, sandbox: any_number(dice) as u32 },
        4 => Action::PostStart { container, attempt },
        5 => {
            let kind = dice.pick(&[ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness]);
            Action::Probe { container, attempt, kind, round: any_number(dice) }
        }
        6 => Action::PreStop { container, attempt },
        7 => Action::Signal { container, attempt },
        8 => Action::Kill { container, attempt },
        9 => Action::RemoveSandbox { attempt },
        _ => Action::RemoveVolumes,
    }
}

fn any_observation(dice: &mut Dice) -> Observation {
    let attempt = any_number(dice) as u32;
    let mut seen = Observation {
        sandbox: dice.pick(&[Sandbox::Absent, Sandbox::Ready { attempt }, Sandbox::Dead { attempt }]),
        volumes: dice.pick(&[Volumes::Absent, Volumes::Partial, Volumes::Ready]),
        ..Observation::default()
    };
    for name in NAMES {
        if dice.percent(50) {
            let started_at = any_instant(dice);
            let code = any_number(dice) as i32;
            let state = match dice.percent(50) {
                true => InstanceState::Running { started_at },
                false => InstanceState::Exited {
                    started_at,
                    finished_at: any_instant(dice),
                    exit: Exit { code, ..Exit::default() },
                },
            };
            let attempt = any_number(dice) as u32;
            let (container_id, user, stop_signal) = (String::new(), None, None);
            let instance = Instance { attempt, container_id, user, stop_signal, state };
            seen.containers.insert(name.to_owned(), instance);
        }
        if dice.percent(50) {
            seen.images.insert(name.to_owned(), Image { image_id: String::new() });
        }
    }
    for _ in 0..dice.below(4) {
        seen.in_flight.insert(any_action(dice));
    }
    seen
}

fn any_fact(dice: &mut Dice) -> Fact {
    match dice.below(8) {
        0 => Fact::StopRequested { grace_seconds: dice.percent(50).then(|| any_number(dice)) },
        1 => Fact::RestartRequested { container: dice.percent(50).then(|| dice.pick(&NAMES).to_owned()) },
        2 => Fact::DependencyChanged,
        3 => Fact::PodChanged,
        _ => {
            let message = String::new();
            let retry = dice.pick(&[Retry::Backoff, Retry::OnChange]);
            let reason = dice.pick(&[Reason::StartError, Reason::ErrImagePull, Reason::Canceled]);
            let result = match dice.below(4) {
                0 => Err(Failure { reason, message, retry }),
                1 => Ok(Done::Unhealthy { message }),
                2 => Ok(Done::Healthy),
                _ => Ok(Done::Performed),
            };
            Fact::Completed { action: any_action(dice), result }
        }
    }
}

#[test]
fn nonsense_panics_nowhere() {
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let mut pod = random_pod(&mut dice);
        if dice.percent(30) {
            pod.spec.termination_grace_period_seconds = u64::MAX;
            pod.spec.active_deadline_seconds = Some(u64::MAX);
        }
        let admitted_at = any_instant(&mut dice);
        let mut memory = Memory::new(&pod, Policy::default(), admitted_at);
        let mut ledger = Ledger::new(&pod, Policy::default(), admitted_at);
        for _ in 0..20 {
            let now = any_instant(&mut dice);
            let observation = any_observation(&mut dice);
            for fact in [any_fact(&mut dice), Fact::Observed(observation.clone())] {
                memory.note(&pod, &fact, &now);
                ledger.note(&pod, &fact, &now);
            }
            let decision = decide(&pod, &memory, &observation, &now);
            ledger.check(&pod, &observation, &decision, &now);
        }
    }
}
