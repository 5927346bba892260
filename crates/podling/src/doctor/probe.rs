//! What can only be known by trying: links and rules, in a network namespace that goes at once.

use std::io;
use std::os::fd::AsFd;

use linux::cgroup::Hierarchy;
use linux::netlink::{Batch, Family, Socket};
use linux::netns;

use super::Finding;

/// rtnetlink(7): make a link.
const RTM_NEWLINK: u16 = 16;
/// Fail when the link exists; make it when not.
const CREATE: u16 = 0x400 | 0x200;
/// Attributes of a link: its name, and what it is.
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// struct ifinfomsg, all zero: no particular link.
const ANY_LINK: [u8; 16] = [0; 16];
/// nfnetlink: subsystem nftables, message "get table".
const NFT_GET_TABLE: u16 = (10 << 8) | 1;
/// struct nfgenmsg, all zero: any family.
const ANY_TABLE: [u8; 4] = [0; 4];

/// veth and nftables.
pub(super) fn network() -> Vec<Finding> {
    let namespace = match netns::create() {
        Ok(namespace) => namespace,
        Err(error) => {
            let advice = "podling needs network namespaces: root, and a kernel with CONFIG_NET_NS";
            return vec![Finding::missing("network", format!("no namespace: {error}"), advice)];
        }
    };
    let tried = netns::within(namespace.as_fd(), || (link("veth"), tables()));
    let (veth, nftables) = match tried {
        Ok(tried) => tried,
        Err(error) => return vec![Finding::missing("network", format!("{error}"), "see above")],
    };
    vec![
        finding("veth", veth, true, "load it: modprobe veth"),
        finding(
            "nftables",
            nftables,
            false,
            "Pods reach no other machine, and hostPort does nothing: modprobe nf_tables",
        ),
    ]
}

fn finding(name: &'static str, tried: io::Result<()>, is_needed: bool, advice: &str) -> Finding {
    match tried {
        Ok(()) => Finding::good(name, "yes"),
        Err(error) if is_needed => Finding::missing(name, format!("refused: {error}"), advice),
        Err(error) => Finding::weak(name, format!("refused: {error}"), advice),
    }
}

/// Makes a link of that kind. It goes with the namespace.
fn link(kind: &str) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.message(RTM_NEWLINK, CREATE, &ANY_LINK).string(IFLA_IFNAME, &format!("try-{kind}")).nested(
        IFLA_LINKINFO,
        |info| {
            info.string(IFLA_INFO_KIND, kind);
        },
    );
    Socket::open(Family::Route)?.perform(batch)
}

/// Lists the tables of nftables, of which there are none.
fn tables() -> io::Result<()> {
    Socket::open(Family::Netfilter)?.dump(NFT_GET_TABLE, &ANY_TABLE, |_, _| {})
}

/// The controllers that podling can use, sorted.
pub(super) fn controllers(hierarchy: &Hierarchy) -> Vec<String> {
    let mut names: Vec<String> = match hierarchy {
        Hierarchy::V2 { mount_point } => {
            let text = std::fs::read_to_string(mount_point.join("cgroup.controllers")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        }
        Hierarchy::V1 { mounts, .. } => {
            mounts.iter().flat_map(|mount| &mount.controllers).map(|name| (*name).to_owned()).collect()
        }
    };
    names.sort();
    names
}
