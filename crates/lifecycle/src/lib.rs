//! What a Pod needs next: one pure function and its numbered invariants. No IO, no clock, no random.
//!
//! ```text
//!            completions, stop, restart ...            the world
//!                        │                                │
//!                        ▼                                ▼
//!   Memory ◄── note(fact) ◄───────────────── note(Observed(observation))
//!     │                                                   │
//!     └──────► decide(pod, memory, observation, now) ◄────┘
//!                        │
//!                        ▼
//!       Decision { actions, cancel, status, wake_at, end, blocked }
//! ```
//!
//! The engine's round: note the completions and requests that came → observe → note the observation →
//! decide → save the Memory → begin the actions, give up the cancelled ones → wait for a request, a
//! completion, a change of the world or `wake_at`. It takes no decision while acting.
//!
//! | where is ...? | |
//! |---|---|
//! | what follows from an exit, a lost container, a dead sandbox | `note/observed.rs` |
//! | what a completed action leaves behind, probe thresholds | `note/completed.rs` |
//! | whether and when a container restarts | `restart.rs` |
//! | start order; stop order; probe schedules; cleaning up | `plan/` |
//! | in-place resize: what is asked, allocated, applied | `resize.rs`, `plan/resize.rs`, `note/resized.rs` |
//! | phase, conditions, container states, the cause | `report/` |
//! | the 16 promises, checked from outside | [`invariants`] |
//! | what is recorded of a life, and how it is played again | [`journal`], [`replay`] |
//! | every rule as a timeline for a Kubernetes user | `scenarios/` |
//! | random worlds, and wrong decisions that must be caught | `tests/life/` |

mod action;
mod decide;
mod event;
pub mod invariants;
pub mod journal;
mod memory;
mod note;
mod observation;
mod plan;
mod policy;
pub mod replay;
mod report;
mod resize;
mod restart;
mod role;
mod schedule;
pub mod status;
mod time;
mod transitions;

pub use action::{Action, Done, Failure, ProbeKind, Reason, Retry};
pub use decide::{Blocked, Deadline, Decision, Due, End, decide};
pub use event::Event;
pub use memory::{Eviction, Fact, Memory, Remembered};
pub use observation::{Exit, Image, Instance, InstanceState, Observation, Sandbox, User, Volumes};
pub use policy::{Backoff, Policy};
pub use status::Status;
pub use time::Now;
pub use transitions::{Transition, transitions};
