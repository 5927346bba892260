//! IPv4 ranges: which /24 of the machine a node takes, and which address of it a Pod gets. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a node's range is looked for, in this order. The first two are not the default of any common
/// network (podman 10.88, flannel 10.244, k3s 10.42, docker 172.17 and up, libvirt and homes 192.168); the
/// third is a last resort.
pub const POOLS: [Range; 3] = [
    Range { network: Ipv4Addr::new(10, 201, 0, 0), prefix_len: 16 },
    Range { network: Ipv4Addr::new(10, 155, 0, 0), prefix_len: 16 },
    Range { network: Ipv4Addr::new(172, 30, 0, 0), prefix_len: 16 },
];

/// The size of a range that a node takes by itself: 253 Pods, above the kubelet's default of 110.
pub const NODE_PREFIX_LEN: u8 = 24;

/// An IPv4 network in CIDR form. The host bits are always zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    network: Ipv4Addr,
    prefix_len: u8,
}

/// Text that is not a network in CIDR form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an IPv4 network: write it like 10.201.7.0/24, with nothing behind the prefix's bits"
)]
pub struct ParseRangeError {
    text: String,
}

impl Range {
    /// The network that `address` is in, with this many leading bits (at most 32).
    pub fn containing(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(32);
        Self { network: Ipv4Addr::from(u32::from(address) & mask(prefix_len)), prefix_len }
    }

    /// The network's first address; its host bits are zero.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// How many leading bits all addresses share.
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The bits of the network as a mask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix_len))
    }

    /// The first usable address: the host's own in this range, and every Pod's gateway.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).saturating_add(1))
    }

    /// Whether the address is in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix_len) == u32::from(self.network)
    }

    /// Whether any address is in both networks.
    pub fn overlaps(self, other: Range) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The addresses Pods may have: all but the network's, the gateway's and the broadcast address.
    fn pod_addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.network);
        let last = first | !mask(self.prefix_len);
        (first.saturating_add(2)..last).map(Ipv4Addr::from)
    }

    /// The networks of this size inside, in order.
    fn subnets(self, prefix_len: u8) -> impl Iterator<Item = Range> {
        let step = 1_u32 << (32 - u32::from(prefix_len));
        let count = 1_u32 << (prefix_len - self.prefix_len);
        let first = u32::from(self.network);
        (0..count).map(move |index| Range { network: Ipv4Addr::from(first + index * step), prefix_len })
    }
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(network, prefix_len)| {
            let network: Ipv4Addr = network.parse().ok()?;
            let prefix_len: u8 = prefix_len.parse().ok().filter(|bits| *bits <= 32)?;
            Some(Range::containing(network, prefix_len)).filter(|range| range.network == network)
        });
        parsed.ok_or_else(|| ParseRangeError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Range {
    type Error = ParseRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

/// Chooses a node's range: the first /24 of the pools that no address or route of the machine touches. The
/// search starts at a place of the node's own (`seed`), so that a node tends to get the same range again and
/// two nodes that start together do not meet.
pub fn choose_range(taken: &[Range], seed: u64) -> Option<Range> {
    POOLS.iter().find_map(|pool| {
        let subnets: Vec<Range> = pool.subnets(NODE_PREFIX_LEN).collect();
        let start = (seed % subnets.len() as u64) as usize;
        let (before, from_start) = subnets.split_at(start);
        from_start
            .iter()
            .chain(before)
            .find(|candidate| !taken.iter().any(|other| other.overlaps(**candidate)))
            .copied()
    })
}

/// Chooses a Pod's address: the next one after the last given that is free, so that an address is used again
/// as late as possible and a late packet for a dead Pod meets nobody.
pub fn choose_address(range: Range, used: &BTreeSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let last = last.unwrap_or(range.network);
    let after = range.pod_addresses().filter(|address| *address > last);
    let around = range.pod_addresses().filter(|address| *address <= last);
    after.chain(around).find(|address| !used.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_parsed_and_written_back() {
        for text in ["10.201.7.0/24", "0.0.0.0/0", "10.0.0.1/32", "128.0.0.0/1"] {
            assert_eq!(range(text).to_string(), text);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/24", "10.0.0/8", "::/0", "10.0.0.0/-1"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlap_is_mutual() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.201.7.0/24", true),
            ("10.201.6.0/24", "10.201.7.0/24", false),
            ("10.201.7.128/25", "10.201.7.0/24", true),
            ("0.0.0.0/0", "10.201.7.0/24", true),
            ("10.201.7.9/32", "10.201.7.0/24", true),
        ] {
            assert_eq!(range(one).overlaps(range(other)), expected, "{one} {other}");
            assert_eq!(range(other).overlaps(range(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_range_avoids_what_the_machine_uses() {
        assert_eq!(choose_range(&[], 0), Some(range("10.201.0.0/24")));
        assert_eq!(choose_range(&[], 256 + 7), Some(range("10.201.7.0/24")));
        assert_eq!(choose_range(&[range("10.201.7.3/32")], 7), Some(range("10.201.8.0/24")));
        // The search goes round the pool.
        let upper: Vec<Range> = vec![range("10.201.128.0/17")];
        assert_eq!(choose_range(&upper, 255), Some(range("10.201.0.0/24")));
        // A company that routes all of 10.0.0.0/8 leaves the last pool.
        assert_eq!(choose_range(&[range("10.0.0.0/8")], 0), Some(range("172.30.0.0/24")));
        assert_eq!(choose_range(&[range("10.0.0.0/8"), range("172.16.0.0/12")], 0), None);
    }

    #[test]
    fn addresses_are_used_again_as_late_as_possible() {
        let small = range("10.201.7.0/29");
        let mut used = BTreeSet::new();
        let mut last = None;
        for expected in 2..=6 {
            last = choose_address(small, &used, last);
            assert_eq!(last, Some(Ipv4Addr::new(10, 201, 7, expected)));
            used.extend(last);
        }
        assert_eq!(choose_address(small, &used, last), None);
        used.remove(&Ipv4Addr::new(10, 201, 7, 3));
        used.remove(&Ipv4Addr::new(10, 201, 7, 5));
        let next = choose_address(small, &used, Some(Ipv4Addr::new(10, 201, 7, 4)));
        assert_eq!(next, Some(Ipv4Addr::new(10, 201, 7, 5)));
        for text in ["10.201.7.1/32", "10.201.7.0/31", "255.255.255.254/31"] {
            assert_eq!(choose_address(range(text), &BTreeSet::new(), None), None, "{text}");
        }
    }
}
