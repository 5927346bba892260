//! Control groups, v1 and v2 behind one type.
//!
//! podling owns `/podling/NODE/podUID/CONTAINER` in every v1 controller or in the v2 tree, counted from
//! the *mount points* of the hierarchies and never from the caller's own cgroup: the daemon, the shim and
//! the containers of one node may sit anywhere, their cgroups must still be found.
//!
//! ```text
//! Hierarchy::detect ─► Cgroup::ensure ─► apply(Limits) ─► dir_fd → clone3(CLONE_INTO_CGROUP)
//!                                                      └► join_files → the child writes "0" (join_self)
//!                      kill_until_empty ─► remove ─► remove_empty_parents
//! ```
//!
//! Hybrid machines (controllers on v1, an empty v2 at `/sys/fs/cgroup/unified`) get the best of both: the
//! v1 directories carry the limits, and a twin directory in the v2 tree gives `cgroup.kill` and the
//! `populated` event, which v1 never had.
//!
//! Why a child joins by writing "0" to `tasks` itself: moving another process, or a whole process through
//! `cgroup.procs`, takes `cgroup_threadgroup_rwsem` for writing, which waits for an RCU grace period when
//! nobody did so lately. Measured on 6.18 for six controllers: median 0.15 ms, but 16 to 28 ms in the
//! tail. A single thread moving itself skips that lock (kernel/cgroup/cgroup.c,
//! `cgroup_procs_write_start`): 0.19 ms median, 0.33 ms in the tail.
//!
//! Must not: allocate in [`join_self`] (it runs between clone and exec), move the caller, or touch
//! anything outside the path it was given.

mod error;
mod group;
mod hierarchy;
mod in_force;
mod limits;
mod teardown;
mod usage;

pub use error::CgroupError;
pub use group::{Cgroup, join_self};
pub use hierarchy::{Hierarchy, V1Mount};
pub use limits::{HugepageLimit, Limits, weight_from_shares};
pub use usage::Usage;
