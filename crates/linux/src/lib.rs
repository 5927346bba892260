//! Owned-fd wrappers of the kernel calls podling uses. All unsafe code of the project is here.

#![allow(unsafe_code)]

pub mod cgroup;
pub mod netlink;
pub mod netns;
pub mod signalfd;
