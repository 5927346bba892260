//! What becomes of actions and processes: by dice from one seed, or fair.

use lifecycle::{Action, Done, Failure, ProbeKind, Reason, Retry};

use super::SECOND;

/// What an action is going to take and yield.
pub struct Plan {
    pub takes_nanos: u64,
    pub result: Result<Done, Failure>,
}

/// What a process is going to do.
pub struct Life {
    /// After how long it ends by itself, with which code, by the OOM killer or not.
    pub exits_after: Option<(u64, i32, bool)>,
    /// How long after the stop signal it ends, and with which code; it ignores the signal otherwise.
    pub on_signal: Option<(u64, i32)>,
}

/// Decides what happens.
pub trait Fate {
    fn plan(&mut self, action: &Action) -> Plan;
    fn life(&mut self, container: &str, attempt: u32) -> Life;
}

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Slow, failing, crashing; or fair once `is_fair`.
pub struct DiceFate {
    pub dice: Dice,
    pub is_fair: bool,
}

fn fail(reason: Reason, dice: &mut Dice) -> Result<Done, Failure> {
    let retry = if dice.percent(10) { Retry::OnChange } else { Retry::Backoff };
    let message = dice.pick(&["refused", "half done"]).to_owned();
    Err(Failure { reason, message, retry })
}

impl Fate for DiceFate {
    fn plan(&mut self, action: &Action) -> Plan {
        let dice = &mut self.dice;
        let millis = dice.pick(&[0, 0, 1, 1, 30, 700, 3_000]);
        let fails = !self.is_fair && dice.percent(12);
        let result = match action {
            Action::Probe { kind, .. } => match dice.below(100) {
                0..4 => fail(Reason::ProbeError, dice),
                roll => {
                    let flaps = if *kind == ProbeKind::Liveness { 15 } else { 35 };
                    match roll < flaps {
                        true => Ok(Done::Unhealthy { message: "statuscode: 500".to_owned() }),
                        false => Ok(Done::Healthy),
                    }
                }
            },
            Action::Pull { .. } if fails => {
                let reason =
                    dice.pick(&[Reason::ErrImagePull, Reason::ErrImagePull, Reason::InvalidImageName]);
                fail(reason, dice)
            }
            Action::Pull { .. } => Ok(Done::Pulled { took_nanos: millis * 1_000_000, size_bytes: 1 }),
            Action::Start { .. } if fails => {
                let reason = dice.pick(&[
                    Reason::CreateContainerError,
                    Reason::CreateContainerConfigError,
                    Reason::StartError,
                    Reason::RunContainerError,
                ]);
                fail(reason, dice)
            }
            Action::PrepareVolumes { .. } if fails => fail(Reason::FailedMount, dice),
            Action::CreateSandbox { .. } if fails => fail(Reason::FailedCreatePodSandBox, dice),
            Action::AllocateResources { .. } if fails => {
                let reason = dice.pick(&[Reason::Deferred, Reason::Infeasible]);
                let retry = dice.pick(&[Retry::OnChange, Retry::OnChange, Retry::Backoff]);
                Err(Failure { reason, message: "not enough memory".to_owned(), retry })
            }
            Action::ResizePod { .. } | Action::ResizeContainer { .. } if fails => {
                let message = "below current usage".to_owned();
                Err(Failure { reason: Reason::ResizeError, message, retry: Retry::Backoff })
            }
            Action::PostStart { .. } if fails => fail(Reason::FailedPostStartHook, dice),
            Action::PreStop { .. } if fails => fail(Reason::FailedPreStopHook, dice),
            Action::RemoveSandbox { .. } | Action::RemoveVolumes | Action::Kill { .. } if fails => {
                let message = "busy".to_owned();
                Err(Failure { reason: Reason::FailedKillPod, message, retry: Retry::Backoff })
            }
            _ => Ok(Done::Performed),
        };
        let hangs = matches!(action, Action::PreStop { .. } | Action::PostStart { .. }) && dice.percent(15);
        Plan { takes_nanos: if hangs { 50 * SECOND } else { millis * 1_000_000 }, result }
    }

    fn life(&mut self, _container: &str, _attempt: u32) -> Life {
        let dice = &mut self.dice;
        let after = dice.pick(&[0, 5, 200, 2_000, 40_000, 700_000]) * 1_000_000;
        let exits_after = match dice.below(100) {
            0..35 => Some((after, 0, false)),
            35..55 => Some((after, dice.pick(&[1, 3, 42]), false)),
            55..60 => Some((after, 137, true)),
            _ => None,
        };
        let on_signal = match dice.below(100) {
            0..25 => None,
            25..60 => Some((dice.pick(&[0, 10, 1_500, 8_000]) * 1_000_000, 143)),
            _ => Some((dice.pick(&[0, 10, 1_500, 8_000]) * 1_000_000, 0)),
        };
        Life { exits_after, on_signal }
    }
}
