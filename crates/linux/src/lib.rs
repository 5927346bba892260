//! Owned-fd wrappers of the kernel calls podling uses. All unsafe code of the project is here.

#![allow(unsafe_code)]

pub mod bpf;
pub mod cgroup;
pub mod clone;
pub mod erofs;
pub mod exec;
pub mod limits;
pub mod mount;
pub mod mount_namespace;
pub mod netlink;
pub mod netns;
pub mod pidfd;
pub mod program;
pub mod range_lock;
pub mod seccomp;
pub mod signalfd;
pub mod sockdiag;
pub mod spawn;
pub mod tree;
pub mod user_namespace;
pub mod writeback;
