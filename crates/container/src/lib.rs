//! One sandbox, one container, one exec, from an OCI runtime spec. Knows no Kubernetes.
//!
//! The daemon's side of container creation: [`plan`] turns an OCI spec into operations (pure), [`Shim`] starts
//! or finds the Pod's shim and has it execute them. Nothing here runs inside a container.

pub mod capabilities;
pub mod devices;
pub mod limits;
pub mod plan;
mod request;
pub mod seccomp;
mod shim;

pub use ::shim::protocol::{
    Exit, LogConfig, StagedBind, StartError, StartErrorKind, Step, TmpfsMount, UnixNanos,
};
pub use request::{
    ContainerRequest, Exec, ExecRequest, ExecStdio, ExecStreams, Key, Rootfs, RuntimeHandler, Sandbox,
    SandboxSpec, ShimConfig, Started,
};
pub use shim::{ContainerState, Error, Shim, ShimEvent, ShimState, recorded_exits};
