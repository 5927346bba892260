//! SPDY/3.1 as Kubernetes speaks it: what kubectl before 1.29 asks for exec and attach with, what control planes ask a
//! kubelet with, and what `kubectl port-forward` still speaks inside of a WebSocket.
//!
//! [`frame`] and [`headers`] are bytes and types without a socket; `session` drives them over a connection. Two
//! freedoms are taken from the protocol's text, because the clients are all made with spdystream (Go), which takes them:
//!
//! - **Windows are not kept.** spdystream neither sends WINDOW_UPDATE nor waits for one, so a window would starve it.
//!   What bounds memory instead is that reading stops while what was read is not taken (`crate::pipe::Budget`).
//! - **Only clients open streams**, and nothing is pushed.

pub mod frame;
pub mod headers;
pub(crate) mod session;

mod dictionary;
