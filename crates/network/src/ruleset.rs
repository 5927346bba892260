//! The node's nftables table in the kernel: the acting half of [`crate::plan::ruleset`]. The table is replaced
//! as a whole in one transaction, so it is never seen half done and there is nothing to keep in step.
//!
//! Written straight to nfnetlink: running nft(8) costs 4 to 17 ms and would have to be installed. What a rule
//! looks like to the kernel is the output of `nft --debug=netlink`.

use std::io;
use std::net::Ipv4Addr;

use linux::netlink::{self, Batch, Message, NLM_F_APPEND, NLM_F_CREATE, Socket};

use crate::address::Range;
use crate::plan::{Chain, Hook, LINK_PREFIX, Match, Rule, Verdict};
use crate::ports::Protocol;
use wire::*;

/// Numbers of linux/netfilter/nf_tables.h that are not in the libc crate.
mod wire {
    pub(super) const SUBSYSTEM: u16 = 10;
    pub(super) const BATCH_BEGIN: u16 = 0x10;
    pub(super) const BATCH_END: u16 = 0x11;
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const GETTABLE: u16 = 1;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const GETCHAIN: u16 = 4;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const TABLE_USERDATA: u16 = 6;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_HOOKNUM: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ELEM: u16 = 1;
    pub(super) const EXPR_NAME: u16 = 1;
    pub(super) const EXPR_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
    pub(super) const VERDICT_CHAIN: u16 = 2;
    pub(super) const NFT_JUMP: u32 = -3_i32 as u32;
    pub(super) const NF_DROP: u32 = 0;
    pub(super) const REGISTER_VERDICT: u32 = 0;
    pub(super) const REGISTER_1: u32 = 1;
    pub(super) const REGISTER_2: u32 = 2;
}

/// The name of a node's table: its range is what tells one node from another.
pub(crate) fn table_name(range: Range) -> String {
    format!("podling-{}-{}", range.network(), range.prefix_len())
}

/// The range in a table's name; none when the table is not ours.
fn range_of(table: &str) -> Option<Range> {
    let (network, prefix_len) = table.strip_prefix("podling-")?.rsplit_once('-')?;
    format!("{network}/{prefix_len}").parse().ok()
}

/// Puts these chains in place of what the node's table holds; no chains means no table.
pub(crate) fn replace(socket: &mut Socket, range: Range, owner: &str, chains: &[Chain]) -> io::Result<()> {
    let table = table_name(range);
    let mut batch = Batch::new();
    silent(&mut batch, BATCH_BEGIN);
    // Deleting a table that is not there is an error: make it first.
    new_table(&mut batch, &table, None);
    message(&mut batch, DELTABLE, 0).string(TABLE_NAME, &table);
    if !chains.is_empty() {
        new_table(&mut batch, &table, Some(owner));
        for chain in chains {
            new_chain(&mut batch, &table, chain);
        }
        for chain in chains {
            for rule in &chain.rules {
                new_rule(&mut batch, &table, chain.name, rule);
            }
        }
    }
    silent(&mut batch, BATCH_END);
    socket.perform(batch)
}

/// Lists the ranges of which a table of ours exists.
pub(crate) fn tables(socket: &mut Socket) -> io::Result<Vec<Range>> {
    let mut ranges = Vec::new();
    socket.dump(SUBSYSTEM << 8 | GETTABLE, &header(0), |_, payload| {
        let name = payload.get(4..).and_then(|tail| netlink::attribute(tail, TABLE_NAME));
        ranges.extend(name.map(netlink::string).and_then(range_of));
    })?;
    Ok(ranges)
}

/// Lists the chains of others, as "table chain", that drop forwarded packets unless a rule accepts them.
/// Docker's iptables does this; a verdict of ours cannot overrule it.
pub(crate) fn dropping_forwarded(socket: &mut Socket) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    socket.dump(SUBSYSTEM << 8 | GETCHAIN, &[libc::AF_UNSPEC as u8, 0, 0, 0], |_, payload| {
        let Some((family, tail)) = payload.first().zip(payload.get(4..)) else { return };
        let number = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(u32::from_be_bytes).ok();
        let hook = netlink::attribute(tail, CHAIN_HOOK)
            .and_then(|hook| netlink::attribute(hook, HOOK_HOOKNUM))
            .and_then(number);
        let sees_ipv4 = [libc::NFPROTO_IPV4, libc::NFPROTO_INET].contains(&i32::from(*family));
        let policy = netlink::attribute(tail, CHAIN_POLICY).and_then(number);
        if sees_ipv4 && hook == Some(libc::NF_INET_FORWARD as u32) && policy == Some(NF_DROP) {
            let text = |kind| netlink::attribute(tail, kind).map(netlink::string).unwrap_or_default();
            found.push(format!("{} {}", text(CHAIN_TABLE), text(CHAIN_NAME)));
        }
    })?;
    Ok(found)
}

/// `struct nfgenmsg` for the ip family.
fn header(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [libc::NFPROTO_IPV4 as u8, 0, high, low]
}

fn silent(batch: &mut Batch, kind: u16) {
    let mut header = header(SUBSYSTEM);
    header[0] = 0;
    batch.silent_message(kind, &header);
}

fn message(batch: &mut Batch, kind: u16, flags: u16) -> Message<'_> {
    batch.message(SUBSYSTEM << 8 | kind, flags, &header(0))
}

fn new_table(batch: &mut Batch, table: &str, owner: Option<&str>) {
    let mut message = message(batch, NEWTABLE, NLM_F_CREATE);
    message.string(TABLE_NAME, table);
    // nft shows it as the table's comment: type 0, length, text ended by zero; at most 128 bytes.
    if let Some(owner) = owner.filter(|owner| owner.len() < 128) {
        let mut comment = vec![0, owner.len() as u8 + 1];
        comment.extend_from_slice(owner.as_bytes());
        comment.push(0);
        message.bytes(TABLE_USERDATA, &comment);
    }
}

fn new_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    let mut message = message(batch, NEWCHAIN, NLM_F_CREATE);
    message.string(CHAIN_TABLE, table).string(CHAIN_NAME, chain.name);
    // The priorities of libc's NF_IP_PRI_*: before tracking, destination, source.
    let (kind, hook, priority) = match chain.hook {
        Hook::None => return,
        Hook::RawPrerouting => ("filter", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_RAW),
        Hook::NatPrerouting => ("nat", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_NAT_DST),
        Hook::NatOutput => ("nat", libc::NF_INET_LOCAL_OUT, libc::NF_IP_PRI_NAT_DST),
        Hook::NatPostrouting => ("nat", libc::NF_INET_POST_ROUTING, libc::NF_IP_PRI_NAT_SRC),
    };
    message.string(CHAIN_TYPE, kind).nested(CHAIN_HOOK, |nested| {
        nested.be32(HOOK_HOOKNUM, hook as u32).be32(HOOK_PRIORITY, priority as u32);
    });
}

fn new_rule(batch: &mut Batch, table: &str, chain: &str, rule: &Rule) {
    let mut message = message(batch, NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    message.string(RULE_TABLE, table).string(RULE_CHAIN, chain).nested(RULE_EXPRESSIONS, |list| {
        for condition in &rule.matches {
            match_expressions(list, condition);
        }
        verdict_expressions(list, &rule.verdict);
    });
}

fn match_expressions(list: &mut Message<'_>, condition: &Match) {
    // Comparing fewer bytes than a name has is how nft writes "podling*".
    let prefix = LINK_PREFIX.as_bytes();
    match condition {
        Match::FromAnyPodLink => {
            meta(list, libc::NFT_META_IIFNAME);
            compare(list, libc::NFT_CMP_EQ, prefix);
        }
        Match::ToAnyPodLink => {
            meta(list, libc::NFT_META_OIFNAME);
            compare(list, libc::NFT_CMP_EQ, prefix);
        }
        Match::NotToAnyPodLink => {
            meta(list, libc::NFT_META_OIFNAME);
            compare(list, libc::NFT_CMP_NEQ, prefix);
        }
        Match::Source(range) => in_network(list, 12, *range),
        Match::Destination(range) => in_network(list, 16, *range),
        Match::ToThisHost => {
            // NFTA_FIB_DREG, _RESULT = address type, _FLAGS = of the destination.
            expression(list, "fib", |data| {
                data.be32(1, REGISTER_1).be32(2, 3).be32(3, 2);
            });
            compare(list, libc::NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
        }
        Match::DestinationPort(protocol, port) => {
            let number = match protocol {
                Protocol::Tcp => libc::IPPROTO_TCP,
                Protocol::Udp => libc::IPPROTO_UDP,
                Protocol::Sctp => libc::IPPROTO_SCTP,
            };
            meta(list, libc::NFT_META_L4PROTO);
            compare(list, libc::NFT_CMP_EQ, &[number as u8]);
            payload(list, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
            compare(list, libc::NFT_CMP_EQ, &port.to_be_bytes());
        }
    }
}

fn verdict_expressions(list: &mut Message<'_>, verdict: &Verdict) {
    match verdict {
        Verdict::Drop => immediate_verdict(list, NF_DROP, None),
        Verdict::Jump(chain) => immediate_verdict(list, NFT_JUMP, Some(chain)),
        Verdict::DestinationNat(address, port) => {
            immediate(list, REGISTER_1, &address.octets());
            immediate(list, REGISTER_2, &port.to_be_bytes());
            nat(list, libc::NFT_NAT_DNAT, true);
        }
        Verdict::SourceNat(address) => {
            immediate(list, REGISTER_1, &Ipv4Addr::octets(address));
            nat(list, libc::NFT_NAT_SNAT, false);
        }
        Verdict::Masquerade => expression(list, "masq", |_| {}),
    }
}

fn expression(list: &mut Message<'_>, name: &str, fill: impl FnOnce(&mut Message<'_>)) {
    list.nested(LIST_ELEM, |element| {
        element.string(EXPR_NAME, name).nested(EXPR_DATA, fill);
    });
}

/// NFTA_META_DREG, _KEY.
fn meta(list: &mut Message<'_>, key: i32) {
    expression(list, "meta", |data| {
        data.be32(1, REGISTER_1).be32(2, key as u32);
    });
}

/// NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN.
fn payload(list: &mut Message<'_>, base: i32, offset: u32, len: u32) {
    expression(list, "payload", |data| {
        data.be32(1, REGISTER_1).be32(2, base as u32).be32(3, offset).be32(4, len);
    });
}

/// NFTA_CMP_SREG, _OP, _DATA.
fn compare(list: &mut Message<'_>, operator: i32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.be32(1, REGISTER_1).be32(2, operator as u32).nested(3, |nested| {
            nested.bytes(DATA_VALUE, value);
        });
    });
}

/// An address of the IPv4 header is in a network: NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR between.
fn in_network(list: &mut Message<'_>, offset: u32, range: Range) {
    payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, offset, 4);
    if range.prefix_len() < 32 {
        expression(list, "bitwise", |data| {
            data.be32(1, REGISTER_1).be32(2, REGISTER_1).be32(3, 4);
            data.nested(4, |mask| {
                mask.bytes(DATA_VALUE, &range.mask().octets());
            });
            data.nested(5, |xor| {
                xor.bytes(DATA_VALUE, &[0; 4]);
            });
        });
    }
    compare(list, libc::NFT_CMP_EQ, &range.network().octets());
}

/// NFTA_IMMEDIATE_DREG, _DATA.
fn immediate(list: &mut Message<'_>, register: u32, value: &[u8]) {
    expression(list, "immediate", |data| {
        data.be32(1, register).nested(2, |nested| {
            nested.bytes(DATA_VALUE, value);
        });
    });
}

fn immediate_verdict(list: &mut Message<'_>, code: u32, chain: Option<&str>) {
    expression(list, "immediate", |data| {
        data.be32(1, REGISTER_VERDICT).nested(2, |nested| {
            nested.nested(DATA_VERDICT, |verdict| {
                verdict.be32(VERDICT_CODE, code);
                if let Some(chain) = chain {
                    verdict.string(VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

/// NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _REG_PROTO_MIN.
fn nat(list: &mut Message<'_>, kind: i32, with_port: bool) {
    expression(list, "nat", |data| {
        data.be32(1, kind as u32).be32(2, libc::NFPROTO_IPV4 as u32).be32(3, REGISTER_1);
        if with_port {
            data.be32(5, REGISTER_2);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_again_by_its_name() {
        let range: Range = "10.201.7.0/24".parse().unwrap();
        assert_eq!(range_of(&table_name(range)), Some(range));
        for foreign in ["nat", "podling-", "podling-x-24", "podling-10.201.7.0-99"] {
            assert_eq!(range_of(foreign), None, "{foreign}");
        }
    }
}
