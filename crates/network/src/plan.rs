//! What must be in the kernel for a node and its Pods: names, hardware addresses, and the nftables ruleset
//! as data. Pure: the same node and Pods always give the same plan, and `apply` (modules `link` and
//! `ruleset`) has no choice left.
//!
//! The shape of the network, and why there is no bridge:
//!
//! ```text
//!      Pod                                     host
//!   eth0 10.201.7.2/32 ── veth pair ── podlingXXXXXXXX   (no address)
//!   default via 10.201.7.1              10.201.7.2 dev podlingXXXXXXXX src 10.201.7.1
//!                                       10.201.7.1/32 on lo, label lo:podling  = the claim on the range
//!                                       unreachable 10.201.7.0/24
//! ```
//!
//! - Every Pod is routed: one /32 route on the host, one gateway in the Pod, both with a fixed neighbour
//!   entry, so no packet ever waits for ARP.
//! - Removing a bridge costs two RCU barriers one after the other (50 ms where this was measured), with the
//!   kernel's network lock held for the first; a veth pair vanishes with the Pod's namespace in 0.7 ms.
//! - A packet between two Pods passes the host's netfilter in both directions, so Services and host ports
//!   work for Pods of the same node without br_netfilter and without hairpin mode.
//! - Given up: broadcast and multicast between Pods, which Kubernetes does not promise either.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::Range;
use crate::ports::{HostPort, Protocol};

/// The start of the name of every link of ours on the host.
pub const LINK_PREFIX: &str = "podling";
/// The label of the gateway address on the loopback link.
pub const GATEWAY_LABEL: &str = "lo:podling";
/// The Pod's own link.
pub const POD_LINK: &str = "eth0";

/// One Pod's veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    /// The name on the host's side: 15 characters, the most the kernel takes.
    pub host_name: String,
    /// The hardware address on the host's side.
    pub host_mac: Mac,
    /// The hardware address in the Pod.
    pub pod_mac: Mac,
    /// The text that tells whose link this is, in `ip link` too.
    pub alias: String,
    /// The Pod's address.
    pub address: Ipv4Addr,
    /// The host's address in the node's range.
    pub gateway: Ipv4Addr,
    /// The largest packet.
    pub mtu: u32,
    /// Connections from the host's 127.0.0.1 are led to this Pod.
    pub route_localnet: bool,
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

/// Plans a Pod's veth pair. `salt` tells apart two pairs of one Pod: a new one may be needed while the kernel
/// still takes down the last.
pub fn pod_link(owner: &Owner<'_>, address: Ipv4Addr, mtu: u32, salt: u32, route_localnet: bool) -> PodLink {
    let name_hash = hash(&[owner.run_dir.as_bytes(), owner.pod_uid.as_bytes(), &salt.to_be_bytes()]);
    PodLink {
        host_name: format!("{LINK_PREFIX}{:08x}", name_hash as u32),
        host_mac: mac(owner.range.gateway(), 0x02),
        pod_mac: mac(address, 0x06),
        alias: owner.alias(),
        address,
        gateway: owner.range.gateway(),
        mtu,
        route_localnet,
    }
}

/// A locally administered unicast address that says which IP address it belongs to.
fn mac(address: Ipv4Addr, first: u8) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([first, 0x50, a, b, c, d])
}

/// Whose link it is: written to the link's alias, so that what a dead node left can be matched to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The Pod.
    pub pod_uid: &'a str,
    /// The node's range.
    pub range: Range,
    /// The node's run directory.
    pub run_dir: &'a str,
}

impl<'a> Owner<'a> {
    /// The text of the alias. The directory comes last, because it may hold spaces.
    pub fn alias(&self) -> String {
        format!("podling {} {} {}", self.pod_uid, self.range, self.run_dir)
    }

    /// Reads an alias; none when it is not one of ours.
    pub fn parse(alias: &'a str) -> Option<Self> {
        let (pod_uid, rest) = alias.strip_prefix("podling ")?.split_once(' ')?;
        let (range, run_dir) = rest.split_once(' ')?;
        Some(Self { pod_uid, range: range.parse().ok()?, run_dir })
    }
}

/// FNV-1a over the parts, each ended by a byte that cannot be in UTF-8. Not for secrets: for names that stay
/// the same from one version of podling to the next.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter().chain(&[0xff])) {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV mixes its last bytes badly: spread them over all bits (the finaliser of splitmix64).
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A host port that leads to a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// What was asked for.
    pub port: HostPort,
    /// The Pod's address.
    pub pod: Ipv4Addr,
}

/// Where in a packet's way a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Not called by the kernel, only by a jump.
    None,
    /// Before connection tracking: filter packets that came in.
    RawPrerouting,
    /// Destination addresses of packets that came in.
    NatPrerouting,
    /// Destination addresses of packets made on this host.
    NatOutput,
    /// Source addresses of packets that leave.
    NatPostrouting,
}

/// One chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the node's table.
    pub name: &'static str,
    /// Where it stands.
    pub hook: Hook,
    /// What it does, in order.
    pub rules: Vec<Rule>,
}

/// One rule: all matches must hold for the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// What happens.
    pub verdict: Verdict,
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The packet came in by one of our links.
    FromAnyPodLink,
    /// The packet does not leave by one of our links.
    NotToAnyPodLink,
    /// The packet leaves by one of our links.
    ToAnyPodLink,
    /// The source address is in this network.
    Source(Range),
    /// The destination address is in this network.
    Destination(Range),
    /// The destination is an address of this host.
    ToThisHost,
    /// The packet is of this protocol, for this port.
    DestinationPort(Protocol, u16),
}

/// What a rule does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Throw it away.
    Drop,
    /// Go on in another chain, then come back.
    Jump(&'static str),
    /// Lead it to another address and port.
    DestinationNat(Ipv4Addr, u16),
    /// Let it seem to come from this address.
    SourceNat(Ipv4Addr),
    /// Let it seem to come from the address of the link by which it leaves.
    Masquerade,
}

/// The node's whole nftables table; no chain at all when nothing needs one, which is the common case on a
/// machine without a default route.
///
/// Host ports are forwarded by the kernel and not by a proxy of ours: a proxy would die with the daemon,
/// hide the client's address, and copy every byte. To be reachable from the host itself by 127.0.0.1 too,
/// the packet's source becomes the gateway, and the Pod's link is allowed to carry loopback addresses
/// (route_localnet). That permission alone would let a Pod talk to services that listen on 127.0.0.1 only
/// (CVE-2020-8558), so what comes from a Pod for 127.0.0.0/8 is dropped before anything else.
pub fn ruleset(range: Range, forwards: &[Forward], masquerade: bool) -> Vec<Chain> {
    let loopback = Range::containing(Ipv4Addr::LOCALHOST, 8);
    let mut chains = Vec::new();
    let mut postrouting = Vec::new();
    if !forwards.is_empty() {
        chains.push(Chain {
            name: "guard-loopback",
            hook: Hook::RawPrerouting,
            rules: vec![Rule {
                matches: vec![Match::FromAnyPodLink, Match::Destination(loopback)],
                verdict: Verdict::Drop,
            }],
        });
        let rules = forwards.iter().map(forward_rule).collect();
        chains.push(Chain { name: "host-ports", hook: Hook::None, rules });
        for (name, hook) in [("prerouting", Hook::NatPrerouting), ("output", Hook::NatOutput)] {
            let rule = Rule { matches: vec![Match::ToThisHost], verdict: Verdict::Jump("host-ports") };
            chains.push(Chain { name, hook, rules: vec![rule] });
        }
        let to_pod = Match::Destination(range);
        postrouting.push(Rule {
            matches: vec![Match::Source(loopback), to_pod, Match::ToAnyPodLink],
            verdict: Verdict::SourceNat(range.gateway()),
        });
        postrouting.extend(own_port_rules(range, forwards));
    }
    if masquerade {
        postrouting.push(Rule {
            matches: vec![Match::Source(range), Match::NotToAnyPodLink],
            verdict: Verdict::Masquerade,
        });
    }
    if !postrouting.is_empty() {
        chains.push(Chain { name: "postrouting", hook: Hook::NatPostrouting, rules: postrouting });
    }
    chains
}

/// The UDP ports of the host that lead elsewhere (or nowhere, or somewhere at last) in the second ruleset.
pub fn changed_udp_ports(before: &[Chain], after: &[Chain]) -> Vec<u16> {
    let udp_rules = |chains: &[Chain]| -> Vec<(u16, Rule)> {
        let rules = chains.iter().flat_map(|chain| &chain.rules);
        let port = |rule: &Rule| match rule.matches.last() {
            Some(Match::DestinationPort(Protocol::Udp, port)) => Some((*port, rule.clone())),
            _ => None,
        };
        rules.filter_map(port).collect()
    };
    let (before, after) = (udp_rules(before), udp_rules(after));
    let missing = |one: &[(u16, Rule)], other: &[(u16, Rule)]| -> Vec<u16> {
        one.iter().filter(|rule| !other.contains(rule)).map(|(port, _)| *port).collect()
    };
    let ports: BTreeSet<u16> = missing(&before, &after).into_iter().chain(missing(&after, &before)).collect();
    ports.into_iter().collect()
}

fn forward_rule(forward: &Forward) -> Rule {
    let mut matches = Vec::new();
    if let Some(address) = forward.port.host_address() {
        matches.push(Match::Destination(Range::containing(address, 32)));
    }
    matches.push(Match::DestinationPort(forward.port.protocol, forward.port.host_port));
    Rule { matches, verdict: Verdict::DestinationNat(forward.pod, forward.port.container_port) }
}

/// A Pod that connects to its own host port would see itself as the peer and answer itself directly: such a
/// connection seems to come from the gateway. Between different Pods the true address stays.
fn own_port_rules(range: Range, forwards: &[Forward]) -> impl Iterator<Item = Rule> {
    let pods: BTreeSet<Ipv4Addr> = forwards.iter().map(|forward| forward.pod).collect();
    pods.into_iter().map(move |pod| {
        let own = Range::containing(pod, 32);
        Rule {
            matches: vec![Match::Source(own), Match::Destination(own)],
            verdict: Verdict::SourceNat(range.gateway()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Range {
        "10.201.7.0/24".parse().unwrap()
    }

    #[test]
    fn a_link_tells_whose_it_is() {
        let owner = Owner { pod_uid: "0f2c", range: range(), run_dir: "/run/my pods/x" };
        let link = pod_link(&owner, Ipv4Addr::new(10, 201, 7, 2), 1500, 0, false);
        assert_eq!(link.host_name.len(), 15);
        assert_eq!(Owner::parse(&link.alias), Some(owner));
        assert_eq!(link.pod_mac, Mac([6, 0x50, 10, 201, 7, 2]));
        for foreign in ["", "podling", "podling x", "podling x y z", "podlingx 10.0.0.0/24 y z"] {
            assert_eq!(Owner::parse(foreign), None, "{foreign}");
        }
        let again = pod_link(&owner, Ipv4Addr::new(10, 201, 7, 2), 1500, 1, false);
        assert_ne!(again.host_name, link.host_name);
    }

    #[test]
    fn nothing_asked_for_is_nothing_in_the_kernel() {
        assert_eq!(ruleset(range(), &[], false), []);
    }

    #[test]
    fn udp_ports_that_lead_elsewhere_are_named() {
        let forward = |protocol, host_port, last| Forward {
            port: HostPort { host_ip: None, host_port, container_port: 53, protocol },
            pod: Ipv4Addr::new(10, 201, 7, last),
        };
        let before = ruleset(
            range(),
            &[forward(Protocol::Udp, 1, 2), forward(Protocol::Udp, 2, 2), forward(Protocol::Tcp, 3, 2)],
            false,
        );
        let after = ruleset(range(), &[forward(Protocol::Udp, 2, 2), forward(Protocol::Udp, 4, 3)], true);
        assert_eq!(changed_udp_ports(&before, &after), [1, 4]);
        assert_eq!(changed_udp_ports(&after, &after), []);
    }

    #[test]
    fn masquerade_alone_is_one_rule() {
        let chains = ruleset(range(), &[], true);
        assert_eq!(chains.len(), 1);
        assert_eq!(chains[0].rules.len(), 1);
        assert_eq!(chains[0].rules[0].verdict, Verdict::Masquerade);
    }

    #[test]
    fn a_host_port_leads_to_its_pod_and_guards_loopback() {
        let pod = Ipv4Addr::new(10, 201, 7, 2);
        let port =
            |host_ip, host_port| HostPort { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp };
        let forwards = [
            Forward { port: port(None, 8080), pod },
            Forward { port: port(Some(Ipv4Addr::LOCALHOST.into()), 8081), pod },
        ];
        let chains = ruleset(range(), &forwards, false);
        let chain = |name: &str| chains.iter().find(|chain| chain.name == name).unwrap();
        assert_eq!(chain("guard-loopback").rules[0].verdict, Verdict::Drop);
        assert_eq!(chain("host-ports").rules[0].matches, [Match::DestinationPort(Protocol::Tcp, 8080)]);
        assert_eq!(chain("host-ports").rules[1].matches.len(), 2);
        assert_eq!(chain("host-ports").rules[0].verdict, Verdict::DestinationNat(pod, 80));
        // From loopback, and the Pod's own port: twice the same Pod is one rule.
        assert_eq!(chain("postrouting").rules.len(), 2);
        // A chain stands before the chains that jump to it.
        let position = |name| chains.iter().position(|chain| chain.name == name);
        assert!(position("host-ports") < position("prerouting"));
    }
}
