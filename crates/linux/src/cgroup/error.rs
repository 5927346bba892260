//! What can go wrong with a cgroup, told so that the owner of the machine knows what to change.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a cgroup; the cause, where there is one, is the source.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// `/proc/self/mountinfo` could not be read.
    #[error("read /proc/self/mountinfo to find the cgroup hierarchies")]
    Mountinfo(#[source] io::Error),
    /// No cgroup file system is mounted at all.
    #[error("no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup")]
    NoHierarchy,
    /// A v1 machine lacks a controller that every container needs.
    #[error("the cgroup v1 controller {controller} is not mounted: mount it below /sys/fs/cgroup")]
    NoController {
        /// The controller, as in `/proc/cgroups`.
        controller: &'static str,
    },
    /// A cgroup path that is not absolute, or climbs.
    #[error("cgroup path {path:?} must be absolute and free of '.' and '..'")]
    BadPath {
        /// The path that was given.
        path: String,
    },
    /// The hierarchy is mounted read-only or belongs to somebody else.
    #[error("write to cgroup {}: not permitted; podling needs a writable cgroup hierarchy (as root; inside a container, a privileged one with its own cgroup namespace)", path.display())]
    NotWritable {
        /// What was to be created or written.
        path: PathBuf,
        /// Why the kernel refused.
        #[source]
        source: io::Error,
    },
    /// A v2 cgroup that holds processes cannot hand its controllers to children (cgroups(7)).
    #[error("enable controllers {controllers} for the children of cgroup {}: it holds processes of its own; move them to a leaf cgroup first", path.display())]
    InternalProcesses {
        /// The parent cgroup.
        path: PathBuf,
        /// What was written to `cgroup.subtree_control`.
        controllers: String,
        /// Why the kernel refused.
        #[source]
        source: io::Error,
    },
    /// A value that the kernel did not take.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The control file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why the kernel refused.
        #[source]
        source: io::Error,
    },
    /// Any other failing call on a path below the hierarchy.
    #[error("{attempt} {}", path.display())]
    Path {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A limit that makes no sense, or that this cgroup version has no file for.
    #[error("cgroup limit {limit} = {value}: {reason}")]
    BadLimit {
        /// The OCI name of the limit.
        limit: String,
        /// Its value.
        value: String,
        /// Why it cannot be applied.
        reason: &'static str,
    },
    /// The processes of a cgroup outlived their killing (uninterruptible sleep, usually a hung mount).
    #[error(
        "cgroup {path} still holds processes {pids:?} after {waited_ms} ms: they sleep in the kernel and cannot be killed"
    )]
    StillPopulated {
        /// The cgroup, counted from the hierarchy's root.
        path: String,
        /// Who is left.
        pids: Vec<u32>,
        /// How long was waited.
        waited_ms: u128,
    },
    /// Removing a cgroup met several failures; everything that could be removed was.
    #[error("remove cgroup {path}: {} directories remain, the first because: {}", failures.len(), failures.first().map(ToString::to_string).unwrap_or_default())]
    Remove {
        /// The cgroup, counted from the hierarchy's root.
        path: String,
        /// One per directory that remains.
        failures: Vec<CgroupError>,
    },
}

impl CgroupError {
    /// The error of a write or mkdir at `path`, with lack of permission told apart.
    pub(super) fn at(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        if is_refusal(&source) {
            return Self::NotWritable { path: path.to_owned(), source };
        }
        Self::Path { attempt, path: path.to_owned(), source }
    }

    /// The error of writing `value` to the control file `path`.
    pub(super) fn write(path: &Path, value: &str, source: io::Error) -> Self {
        if is_refusal(&source) {
            return Self::NotWritable { path: path.to_owned(), source };
        }
        Self::Write { path: path.to_owned(), value: value.to_owned(), source }
    }
}

/// Whether the kernel said "not you" rather than "not this".
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
