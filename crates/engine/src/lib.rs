//! The imperative shell around [`lifecycle::decide`]: one task per Pod that observes, notes, decides, saves
//! and performs.
//!
//! The engine never knows where its Pods come from: it is given a [`control_plane::ControlPlane`] and tells
//! it everything that happens. It knows no HTTP and no API store.

pub mod control_plane;
pub mod node;

pub use control_plane::{ControlPlane, PodChange, Report, ReportKind};
pub use node::{Node, NodeConfig};
