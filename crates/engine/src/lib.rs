//! The imperative shell around [`lifecycle::decide`]: one task per Pod that observes, notes, decides, saves
//! and performs.
//!
//! The engine never knows where its Pods come from: it is given a [`control_plane::ControlPlane`] and tells
//! it everything that happens. It knows no HTTP and no API store.

pub mod abandoned;
mod allocations;
mod answer;
mod cgroups;
mod checkpoint;
mod clock;
mod collector;
pub mod control_plane;
mod diagnose;
mod downward;
mod env;
mod grpc_probe;
mod host_devices;
mod http_probe;
mod identity;
pub mod journal;
mod kept_layers;
pub mod logs;
mod names;
mod network;
pub mod node;
mod perform;
mod pod;
mod predecessor;
mod reclaim;
mod signals;
mod spec;
pub mod streams;
mod termination;
mod users;

pub use container::warm_up;
pub use control_plane::{ControlPlane, PodChange, Report, ReportKind, Token, TokenError, TokenRequest};
pub use network::{NetworkError, host_address};
pub use node::{Node, NodeConfig, NodeError, PodRange, Publish};
pub use reclaim::{ReclaimError, reclaim};

/// What the built-in image is made of.
pub const TOOLBOX: image::Toolbox<'static> = image::Toolbox {
    version: programs::TOOLBOX_VERSION,
    program: programs::TOOLBOX,
    applets: toolbox::APPLETS,
};
