//! What can go wrong with a node's network, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::address::Range;
use crate::ports;

/// A failure of [`crate::Network`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host port cannot be had.
    #[error(transparent)]
    Port(#[from] ports::Error),
    /// Two host ports of one request are the same.
    #[error(
        "host port {port} is asked for twice by the same Pod: every host port leads to one container port"
    )]
    PortTwice {
        /// Which one.
        port: ports::HostPort,
    },
    /// The process may not change the network.
    #[error("{attempt} is not permitted: run podling as root (CAP_NET_ADMIN is needed)")]
    NotPermitted {
        /// What was attempted.
        attempt: String,
    },
    /// The kernel has no veth links.
    #[error("this kernel cannot make veth links: run `modprobe veth`, or give the Pod hostNetwork: true")]
    NoVeth {
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel cannot forward host ports.
    #[error(
        "host ports need nftables in the kernel: run `modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_fib_ipv4`, or leave hostPort out"
    )]
    NoNftables {
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// No pool has a range left.
    #[error(
        "every private address range podling looks at overlaps a route of this machine: name a free one (pod CIDR)"
    )]
    NoFreeRange,
    /// The wanted range is in use.
    #[error("the Pod range {range} overlaps {other}, which this machine already uses{}: choose another",
        owner.as_ref().map(|owner| format!(" (the node of {owner})")).unwrap_or_default())]
    RangeTaken {
        /// The wanted range.
        range: Range,
        /// What it overlaps.
        other: Range,
        /// The run directory of the node that has it.
        owner: Option<String>,
    },
    /// The range has no room for Pods.
    #[error("the Pod range {range} is too small: at least a /29 is needed")]
    RangeTooSmall {
        /// The wanted range.
        range: Range,
    },
    /// The node's Pods still use another range than the one now asked for.
    #[error("this node already uses the Pod range {current}, not {wanted}: stop its Pods before changing it")]
    RangeChanged {
        /// What it has.
        current: Range,
        /// What is asked for.
        wanted: Range,
    },
    /// All addresses of the range are given.
    #[error(
        "all addresses of the Pod range {range} are in use: stop some Pods, or start the node with a larger range"
    )]
    NoFreeAddress {
        /// The node's range.
        range: Range,
    },
    /// The names that are written to the link's alias are longer than the kernel takes.
    #[error(
        "the run directory {run_dir:?} is too long to be noted at a network link: use a path of at most 150 bytes"
    )]
    RunDirTooLong {
        /// The path.
        run_dir: PathBuf,
    },
    /// The directory of the machine-wide lock cannot be used.
    #[error("the directory of the address claims cannot be used at {}", path.display())]
    Claims {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something else.
    #[error("{attempt} failed")]
    Kernel {
        /// What was attempted.
        attempt: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The kernel's answer to an attempt.
    pub(crate) fn kernel(attempt: impl Into<String>, source: io::Error) -> Self {
        let attempt = attempt.into();
        match linux::netlink::errno(&source) {
            Some(libc::EPERM | libc::EACCES) => Error::NotPermitted { attempt },
            _ => Error::Kernel { attempt, source },
        }
    }
}
