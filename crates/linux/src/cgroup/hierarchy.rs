//! Which cgroup hierarchies this machine has, and where they are mounted.
//!
//! Read once per process from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). `/proc/self/cgroup` is not
//! consulted: podling's cgroups are counted from the mount points, wherever the caller itself sits.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::CgroupError;

/// The v1 controllers podling makes use of; others mounted beside them are left alone.
const USED_CONTROLLERS: [&str; 8] =
    ["cpu", "cpuacct", "memory", "pids", "devices", "freezer", "cpuset", "hugetlb"];

/// Without these no container is started: they carry limits, accounting and the device allow-list.
const REQUIRED_CONTROLLERS: [&str; 3] = ["memory", "pids", "devices"];

/// One v1 mount; several controllers may share it (`cpu,cpuacct` on systemd machines).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Mount {
    /// The controllers of this mount that podling uses, in `USED_CONTROLLERS`' names.
    pub controllers: Vec<&'static str>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
}

/// Where the controllers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// Controllers on v1. `unified` is the v2 tree without controllers that hybrid machines mount beside.
    V1 {
        /// One entry per mount.
        mounts: Vec<V1Mount>,
        /// The empty v2 tree, when there is one that can be used for killing and for events.
        unified: Option<PathBuf>,
        /// Mounts that podling makes no use of (blkio, named hierarchies). External runtimes create
        /// directories there, too, which are removed with the rest.
        unused: Vec<PathBuf>,
    },
    /// Everything in one v2 tree.
    V2 {
        /// Where it is mounted.
        mount_point: PathBuf,
    },
}

impl Hierarchy {
    /// Reads what is mounted in the caller's mount namespace.
    pub fn detect() -> Result<Self, CgroupError> {
        let mountinfo = fs::read("/proc/self/mountinfo").map_err(CgroupError::Mountinfo)?;
        Self::parse(&mountinfo)
    }

    /// Whether limits are written in v2's files.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2 { .. })
    }

    /// The hierarchy that a `mountinfo` text describes. v1 wins where both exist, because a controller
    /// bound to v1 does not appear in the v2 tree.
    pub fn parse(mountinfo: &[u8]) -> Result<Self, CgroupError> {
        let mut mounts: Vec<V1Mount> = Vec::new();
        let mut unused = Vec::new();
        let mut unified = None;
        for line in mountinfo.split(|byte| *byte == b'\n') {
            let Some((mount_point, fstype, options)) = parse_line(line) else { continue };
            match fstype {
                b"cgroup2" => unified = unified.or(Some(mount_point)),
                b"cgroup" => {
                    let controllers: Vec<&'static str> = USED_CONTROLLERS
                        .into_iter()
                        .filter(|used| options.split(|byte| *byte == b',').any(|o| o == used.as_bytes()))
                        .filter(|used| !mounts.iter().any(|mount| mount.controllers.contains(used)))
                        .collect();
                    if controllers.is_empty() {
                        unused.push(mount_point);
                    } else {
                        mounts.push(V1Mount { controllers, mount_point });
                    }
                }
                _ => {}
            }
        }
        if mounts.is_empty() {
            return match unified {
                Some(mount_point) => Ok(Self::V2 { mount_point }),
                None => Err(CgroupError::NoHierarchy),
            };
        }
        for controller in REQUIRED_CONTROLLERS {
            if !mounts.iter().any(|mount| mount.controllers.contains(&controller)) {
                return Err(CgroupError::NoController { controller });
            }
        }
        Ok(Self::V1 { mounts, unified, unused })
    }

    /// Every mount point, also of the hierarchies that podling makes no use of.
    pub(super) fn roots(&self) -> Vec<&Path> {
        match self {
            Self::V2 { mount_point } => vec![mount_point],
            Self::V1 { mounts, unified, unused } => {
                let used = mounts.iter().map(|mount| &mount.mount_point);
                used.chain(unified).chain(unused).map(PathBuf::as_path).collect()
            }
        }
    }
}

/// Mount point, file system type and super options of one line; `None` for what is not such a line.
fn parse_line(line: &[u8]) -> Option<(PathBuf, &[u8], &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_point = fields.by_ref().nth(4)?;
    // Optional fields (propagation) end with a single hyphen.
    fields.by_ref().find(|field| *field == b"-")?;
    let fstype = fields.next()?;
    let options = fields.nth(1)?;
    Some((unescape(mount_point), fstype, options))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = rest {
            plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = &rest[4..];
        } else {
            plain.push(byte);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v2_machine_has_one_tree() {
        let text = b"29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let expected = Hierarchy::V2 { mount_point: "/sys/fs/cgroup".into() };
        assert_eq!(Hierarchy::parse(text).unwrap(), expected);
    }

    #[test]
    fn a_hybrid_machine_is_v1_with_a_twin_tree() {
        let text = b"10 1 0:1 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            11 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            12 1 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            13 1 0:4 / /cg\\040roups/devices rw - cgroup cgroup rw,devices\n\
            14 1 0:5 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            15 1 0:6 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Hierarchy::V1 { mounts, unified, unused } = Hierarchy::parse(text).unwrap() else {
            panic!("controllers are on v1")
        };
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(mounts[3].mount_point, Path::new("/cg roups/devices"));
        assert_eq!(unused, [Path::new("/sys/fs/cgroup/systemd")]);
        assert_eq!(unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(matches!(Hierarchy::parse(b"garbage\n\n1 2 3"), Err(CgroupError::NoHierarchy)));
        let text = b"11 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert!(matches!(Hierarchy::parse(text), Err(CgroupError::NoController { controller: "pids" })));
    }
}
