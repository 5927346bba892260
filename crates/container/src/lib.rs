//! One sandbox, one container, one exec, from an OCI runtime spec. Knows no Kubernetes.
//!
//! The daemon's side of container creation: [`plan`] turns an OCI spec into operations (pure), [`Shim`] starts
//! or finds the Pod's shim and has it execute them. Nothing here runs inside a container.

pub mod capabilities;
pub mod devices;
mod error;
pub mod limits;
pub mod plan;
mod request;
pub mod seccomp;
mod shim;
pub mod sysctls;

pub use ::shim::protocol::{
    Exit, LogConfig, StagedBind, StartError, StartErrorKind, Step, TmpfsMount, UnixNanos,
};
pub use error::Error;
pub use plan::cgroup_of;
pub use request::{
    AttachRequest, Attached, ContainerRequest, Exec, ExecRequest, ExecStdio, ExecStreams, Key, Resized,
    Rootfs, RuntimeHandler, Sandbox, SandboxSpec, ShimConfig, Started,
};
pub use shim::{ContainerState, ExecServer, Ran, Shim, ShimEvent, ShimState, recorded_exits, warm_up};
