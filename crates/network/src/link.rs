//! Links, addresses, routes and neighbours in the kernel, by rtnetlink(7): the acting half of
//! [`crate::plan::PodLink`], and what of the machine's network a plan must know. Decides nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, IFA_ADDRESS, IFA_LABEL, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_AF_SPEC,
    IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, IFLA_NET_NS_FD,
    NDA_DST, NDA_LLADDR, NUD_PERMANENT, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTM_DELADDR, RTM_DELLINK,
    RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWROUTE, RTM_SETLINK,
};
use linux::netlink::{self, Batch, Family, Message, NLM_F_CREATE, NLM_F_EXCL, Socket, Subscription};

use crate::address::{NODE_PREFIX_LEN, Range};
use crate::plan::{GATEWAY_LABEL, Mac, POD_LINK, PodLink};

/// The attribute of a veth link that holds its other end (linux/veth.h).
const VETH_INFO_PEER: u16 = 1;
/// Per-link settings of IPv4 and IPv6 (linux/if_link.h), and the settings used (linux/ip.h).
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IPV4_DEVCONF_FORWARDING: u16 = 1;
const IPV4_DEVCONF_ROUTE_LOCALNET: u16 = 26;
/// Who made a route: a number of our own, as routing daemons have, to know our routes again.
const ROUTE_PROTOCOL: u8 = 201;
/// The loopback link is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `struct ifinfomsg`, `ifaddrmsg`, `rtmsg`.
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const ROUTE_HEADER_LEN: usize = 12;

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) mtu: u32,
}

impl Link {
    fn parse(payload: &[u8]) -> Option<Self> {
        let tail = payload.get(LINK_HEADER_LEN..)?;
        let text = |kind| netlink::attribute(tail, kind).map(netlink::string).unwrap_or_default().to_owned();
        Some(Self {
            index: netlink::u32_at(payload, 4)?,
            name: text(IFLA_IFNAME),
            alias: text(IFLA_IFALIAS),
            mtu: netlink::attribute(tail, IFLA_MTU)
                .and_then(|value| netlink::u32_at(value, 0))
                .unwrap_or(1500),
        })
    }
}

/// What of the machine's IPv4 a range must not touch, and which ranges are claimed by podling.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// What no new range may touch.
    pub(crate) taken: Vec<Range>,
    /// The claims of podling's nodes.
    pub(crate) claimed: BTreeSet<Range>,
}

/// Reads all addresses and routes, without the default route.
pub(crate) fn survey(socket: &mut Socket) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut gateways = Vec::new();
    let mut header = [0; ADDRESS_HEADER_LEN];
    header[0] = AF_INET as u8;
    complete(|| {
        socket.dump(RTM_GETADDR, &header, |_, payload| {
            let Some(tail) = payload.get(ADDRESS_HEADER_LEN..) else { return };
            let Some(address) = netlink::attribute(tail, IFA_LOCAL).and_then(ipv4) else { return };
            survey.taken.push(Range::containing(address, payload[1]));
            if netlink::attribute(tail, IFA_LABEL).map(netlink::string) == Some(GATEWAY_LABEL) {
                gateways.push(address);
            }
        })
    })?;
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = AF_INET as u8;
    complete(|| {
        socket.dump(RTM_GETROUTE, &header, |_, payload| {
            let Some(tail) = payload.get(ROUTE_HEADER_LEN..) else { return };
            let Some(network) = netlink::attribute(tail, RTA_DST).and_then(ipv4) else { return };
            if payload[5] == ROUTE_PROTOCOL && payload[7] == libc::RTN_UNREACHABLE {
                survey.claimed.insert(Range::containing(network, payload[1]));
            }
            // Halves of the whole address space are how a VPN writes its default route.
            if payload[1] > 1 {
                survey.taken.push(Range::containing(network, payload[1]));
            }
        })
    })?;
    for gateway in gateways {
        // Somebody may have removed the route beside it: the usual size is a good guess.
        if !survey.claimed.iter().any(|range| range.contains(gateway)) {
            survey.claimed.insert(Range::containing(gateway, NODE_PREFIX_LEN));
        }
    }
    Ok(survey)
}

/// Reads every link of the host that has an alias.
pub(crate) fn links_with_alias(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    complete(|| {
        links.clear();
        socket.dump(RTM_GETLINK, &[0; LINK_HEADER_LEN], |_, payload| {
            links.extend(Link::parse(payload).filter(|link| !link.alias.is_empty()));
        })
    })?;
    Ok(links)
}

/// A dump during which the table changed is read once more; a table that never rests is taken as it is.
fn complete(mut dump: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..3 {
        match dump() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    Ok(())
}

/// Reads one link by name; none when there is none.
pub(crate) fn find(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    let mut found = None;
    let asked = socket.query(
        RTM_GETLINK,
        &[0; LINK_HEADER_LEN],
        |message| {
            message.string(IFLA_IFNAME, name);
        },
        |_, payload| found = Link::parse(payload),
    );
    match asked {
        Err(error) if netlink::errno(&error) == Some(libc::ENODEV) => Ok(None),
        other => other.map(|()| found),
    }
}

/// How packets leave for the world.
#[derive(Debug, Clone)]
pub(crate) struct WayOut {
    /// The largest packet of the link by which they leave.
    pub(crate) mtu: u32,
    /// The address of this host that they come from.
    pub(crate) source: Option<Ipv4Addr>,
}

/// Asks the routing table how packets leave for the world; none when they cannot. Nothing is sent: the address
/// stands for any public one.
pub(crate) fn way_out(socket: &mut Socket) -> io::Result<Option<WayOut>> {
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = AF_INET as u8;
    header[1] = 32;
    let mut index = None;
    let mut source = None;
    let asked = socket.query(
        RTM_GETROUTE,
        &header,
        |message| {
            message.bytes(RTA_DST, &[1, 1, 1, 1]);
        },
        |_, payload| {
            let tail = payload.get(ROUTE_HEADER_LEN..).unwrap_or_default();
            index = netlink::attribute(tail, RTA_OIF).and_then(|value| netlink::u32_at(value, 0));
            source = netlink::attribute(tail, RTA_PREFSRC).and_then(ipv4);
        },
    );
    let Some(index) = index.filter(|index| asked.is_ok() && *index != LOOPBACK_INDEX) else {
        return Ok(None);
    };
    let mut link = None;
    socket.query(
        RTM_GETLINK,
        &link_header(index, false),
        |_| {},
        |_, payload| link = Link::parse(payload),
    )?;
    Ok(link.map(|link| WayOut { mtu: link.mtu, source }))
}

/// Puts the gateway on the loopback link and makes what is not a Pod's address unreachable. Both may be there.
pub(crate) fn ensure_range(socket: &mut Socket, range: Range) -> io::Result<()> {
    let mut batch = Batch::new();
    batch
        .message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &gateway_header())
        .bytes(IFA_LOCAL, &range.gateway().octets())
        .bytes(IFA_ADDRESS, &range.gateway().octets())
        .string(IFA_LABEL, GATEWAY_LABEL);
    unreachable(&mut batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, range);
    refused_otherwise(socket.perform_each(batch)?, &[libc::EEXIST])
}

/// Takes both back. Either may be gone.
pub(crate) fn remove_range(socket: &mut Socket, range: Range) -> io::Result<()> {
    let mut batch = Batch::new();
    unreachable(&mut batch, RTM_DELROUTE, 0, range);
    batch.message(RTM_DELADDR, 0, &gateway_header()).bytes(IFA_LOCAL, &range.gateway().octets());
    refused_otherwise(socket.perform_each(batch)?, &[libc::ESRCH, libc::EADDRNOTAVAIL])
}

/// Makes the pair, with one end in the Pod's namespace, and the host's half of its settings.
pub(crate) fn create_pair(socket: &mut Socket, link: &PodLink, netns: BorrowedFd<'_>) -> io::Result<()> {
    let mut batch = Batch::new();
    batch
        .message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, false))
        .string(IFLA_IFNAME, &link.host_name)
        .bytes(IFLA_ADDRESS, &link.host_mac.0)
        .u32(IFLA_MTU, link.mtu)
        .nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
                data.nested_after(VETH_INFO_PEER, &link_header(0, false), |peer| {
                    peer.string(IFLA_IFNAME, POD_LINK)
                        .bytes(IFLA_ADDRESS, &link.pod_mac.0)
                        .u32(IFLA_MTU, link.mtu)
                        .u32(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
                });
            });
        });
    socket.perform(batch)?;

    let mut batch = Batch::new();
    named(&mut batch, &link.host_name, false).string(IFLA_IFALIAS, &link.alias).nested(
        IFLA_AF_SPEC,
        |families| {
            families.nested(AF_INET as u16, |inet| {
                inet.nested(IFLA_INET_CONF, |settings| {
                    settings.u32(IPV4_DEVCONF_FORWARDING, 1);
                    settings.u32(IPV4_DEVCONF_ROUTE_LOCALNET, u32::from(link.route_localnet));
                });
            });
        },
    );
    without_ipv6_address(named(&mut batch, &link.host_name, false));
    named(&mut batch, &link.host_name, true);
    refused_otherwise(socket.perform_each(batch)?, &[libc::EAFNOSUPPORT])
}

/// The Pod's half. Must run in the Pod's namespace: a netlink socket acts where it was opened.
pub(crate) fn configure_pod(link: &PodLink) -> io::Result<()> {
    let mut socket = Socket::open(Family::Route)?;
    let index = find(&mut socket, POD_LINK)?.ok_or(io::ErrorKind::NotFound)?.index;
    let mut batch = Batch::new();
    batch.message(RTM_SETLINK, 0, &link_header(LOOPBACK_INDEX, true));
    // No IPv6 address is made by itself: there is no duplicate address detection to wait for (up to 3 s).
    without_ipv6_address(batch.message(RTM_SETLINK, 0, &link_header(index, false)));
    batch.message(RTM_SETLINK, 0, &link_header(index, true));
    batch
        .message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address_header(index, 0))
        .bytes(IFA_LOCAL, &link.address.octets())
        .bytes(IFA_ADDRESS, &link.address.octets());
    neighbour(&mut batch, index, link.gateway, link.host_mac);
    route(&mut batch, index, link.gateway, libc::RT_SCOPE_LINK);
    batch
        .message(
            RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
            &route_header(0, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST),
        )
        .bytes(RTA_GATEWAY, &link.gateway.octets())
        .u32(RTA_OIF, index);
    refused_otherwise(socket.perform_each(batch)?, &[libc::EAFNOSUPPORT])
}

/// Leads the Pod's address to its link. The route and the neighbour go with the link.
pub(crate) fn route_to_pod(socket: &mut Socket, link: &PodLink) -> io::Result<()> {
    let index = find(socket, &link.host_name)?.ok_or(io::ErrorKind::NotFound)?.index;
    let mut batch = Batch::new();
    neighbour(&mut batch, index, link.address, link.pod_mac);
    route(&mut batch, index, link.address, libc::RT_SCOPE_LINK).bytes(RTA_PREFSRC, &link.gateway.octets());
    socket.perform(batch)
}

/// How long the death of a Pod's namespace is given to take its links along. It takes 0.7 ms, unless the
/// kernel is still busy with the last namespace (one worker takes them all, with waits of 15 to 40 ms).
const NATURAL_DEATH_TIMEOUT: Duration = Duration::from_millis(3);
/// After this time without any word of the kernel, the deletion's own answer is waited for.
const DELETION_TIMEOUT: Duration = Duration::from_secs(2);

/// Sees to it that the link is gone, and returns as soon as nobody can see it any more.
///
/// A process that deletes a link is held by the kernel for an RCU barrier (15 to 35 ms) after the link has
/// disappeared. So the namespace's own death is preferred, which happens in a worker of the kernel; and when
/// that does not come, a thread deletes the link and is left waiting while we listen for the notification.
/// For the first the caller must have let go of the namespace.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    let mut socket = Socket::open(Family::Route)?;
    let mut events = Subscription::open(libc::RTMGRP_LINK as u32)?;
    let Some(link) = find(&mut socket, name)? else { return Ok(()) };
    let mut gone_by = |deadline| {
        events.wait_for(deadline, |kind, payload| {
            kind == RTM_DELLINK && netlink::u32_at(payload, 4) == Some(link.index)
        })
    };
    if matches!(gone_by(Instant::now() + NATURAL_DEATH_TIMEOUT), Ok(true)) {
        return Ok(());
    }
    let index = link.index;
    let deletion = std::thread::Builder::new().name("delete-link".to_owned()).spawn(move || {
        let mut batch = Batch::new();
        batch.message(RTM_DELLINK, 0, &link_header(index, false));
        refused_otherwise(socket.perform_each(batch)?, &[libc::ENODEV])
    })?;
    if matches!(gone_by(Instant::now() + DELETION_TIMEOUT), Ok(true)) {
        return Ok(());
    }
    deletion.join().unwrap_or_else(|_| Err(io::Error::other("the thread that deletes the link panicked")))
}

fn link_header(index: u32, up: bool) -> [u8; LINK_HEADER_LEN] {
    let mut header = [0; LINK_HEADER_LEN];
    header[0] = AF_UNSPEC as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let flags = if up { IFF_UP as u32 } else { 0 };
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn address_header(index: u32, scope: u8) -> [u8; ADDRESS_HEADER_LEN] {
    let mut header = [0; ADDRESS_HEADER_LEN];
    header[0] = AF_INET as u8;
    header[1] = 32;
    header[3] = scope;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// The gateway is an address of the host, but never one it would choose by itself as a source: scope link.
fn gateway_header() -> [u8; ADDRESS_HEADER_LEN] {
    address_header(LOOPBACK_INDEX, libc::RT_SCOPE_LINK)
}

fn route_header(prefix_len: u8, scope: u8, kind: u8) -> [u8; ROUTE_HEADER_LEN] {
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = AF_INET as u8;
    header[1] = prefix_len;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = ROUTE_PROTOCOL;
    header[6] = scope;
    header[7] = kind;
    header
}

fn unreachable(batch: &mut Batch, message: u16, flags: u16, range: Range) {
    let header = route_header(range.prefix_len(), libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE);
    batch.message(message, flags, &header).bytes(RTA_DST, &range.network().octets());
}

fn route(batch: &mut Batch, index: u32, to: Ipv4Addr, scope: u8) -> Message<'_> {
    let mut message =
        batch.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route_header(32, scope, libc::RTN_UNICAST));
    message.bytes(RTA_DST, &to.octets()).u32(RTA_OIF, index);
    message
}

fn neighbour(batch: &mut Batch, index: u32, address: Ipv4Addr, mac: Mac) {
    let mut header = [0; 12];
    header[0] = AF_INET as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    batch
        .message(RTM_NEWNEIGH, NLM_F_CREATE, &header)
        .bytes(NDA_DST, &address.octets())
        .bytes(NDA_LLADDR, &mac.0);
}

fn named<'a>(batch: &'a mut Batch, name: &str, up: bool) -> Message<'a> {
    let mut message = batch.message(RTM_SETLINK, 0, &link_header(0, up));
    message.string(IFLA_IFNAME, name);
    message
}

fn without_ipv6_address(mut message: Message<'_>) {
    message.nested(IFLA_AF_SPEC, |families| {
        families.nested(AF_INET6 as u16, |inet6| {
            inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
}

/// The first refusal whose error number is not one of those that mean "it is so already".
fn refused_otherwise(refusals: Vec<netlink::Refused>, fine: &[i32]) -> io::Result<()> {
    match refusals.into_iter().find(|refused| !fine.contains(&refused.errno)) {
        Some(refused) => Err(refused.into()),
        None => Ok(()),
    }
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}
