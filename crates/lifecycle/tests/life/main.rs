//! A Pod's life, tested from outside: in random worlds, in worlds with a wrong `decide`, and along written scenarios.

#![allow(unreachable_pub, reason = "the modules of a test are public to one another")]
#![allow(clippy::unwrap_used, reason = "in a test, not being able to go on is a failure")]

mod cause;
mod mutants;
mod nonsense;
mod recording;
mod scenarios;
mod simulation;
mod status;
mod world;
