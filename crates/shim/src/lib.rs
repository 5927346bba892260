//! The per-Pod parent of all containers: its protocol, the operations it executes, and how it executes them.
//!
//! The shim is one small static single-threaded process per Pod. It owns the Pod's mount namespace, is the
//! parent of pause and of every container, holds their stdio, writes their logs, reaps them and records each
//! exit on disk before it tells anyone. It knows no Kubernetes and parses no JSON: the daemon turns an OCI
//! runtime spec into a list of operations ([`plan`]) and the shim executes that list.

pub mod commands;
mod execute;
pub mod exits;
pub mod frame;
pub mod mounted;
pub mod plan;
pub mod protocol;
pub mod serve;
