//! What a kubelet serves: logs, exec, attach, port-forward and stats of the Pods of one node.
//!
//! [`NodeApi`] is a service over [`engine::streams::PodStreams`]: an API server calls it in its own process, with its own
//! request under another path, or over a network as it would call a kubelet. It knows no API store, listens nowhere and
//! authenticates nobody.
//!
//! ```text
//! serve ─► command (exec, attach, run) ─┐
//!   │  └─► forward (port-forward) ──────┴─► pipe ◄── spdy, websocket: what carries the streams
//!   └─► route, query, handshake, logs, status: pure
//! ```
//!
//! What is decoded from bytes of a client ([`spdy::frame`], [`spdy::headers`], [`websocket::channel`]) is pure, bounded, and
//! fuzzed.

mod activity;
mod body;
mod command;
mod forward;
mod handshake;
mod limits;
mod logs;
mod pipe;
mod query;
mod route;
mod serve;
pub mod spdy;
mod stats;
mod status;
pub mod websocket;

pub use body::Body;
pub use limits::Limits;
pub use serve::{NodeApi, PodObjects};
