//! Connection tracking remembers where the packets of a flow were led, and asks no rule again while they keep
//! coming. UDP has no end that it could see: a client that always sends from one port would be led to a dead
//! Pod, or past a new one, for as long as it sends. So flows of a UDP host port are forgotten when the port
//! gets another Pod. kube-proxy does the same for Services.

use std::io;

use linux::netlink::{self, Batch, Socket};

/// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_DESTINATION_PORT: u16 = 3;
/// `struct nfgenmsg` for IPv4.
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];

/// Makes the kernel forget the UDP flows that were sent to one of these ports of the host. A kernel that tracks
/// nothing has nothing to forget.
pub(crate) fn forget_udp(socket: &mut Socket, host_ports: &[u16]) -> io::Result<()> {
    let mut batch = Batch::new();
    socket.dump(SUBSYSTEM << 8 | GET, &HEADER, |_, payload| {
        let tuple = payload.get(HEADER.len()..).and_then(|tail| netlink::attribute(tail, TUPLE_ORIGINAL));
        if let Some(tuple) = tuple.filter(|tuple| is_udp_to(tuple, host_ports)) {
            batch.message(SUBSYSTEM << 8 | DELETE, 0, &HEADER).nested_after(TUPLE_ORIGINAL, tuple, |_| {});
        }
    })?;
    if batch.is_empty() {
        return Ok(());
    }
    // A flow may end by itself meanwhile.
    match socket.perform_each(batch)?.into_iter().find(|refused| refused.errno != libc::ENOENT) {
        Some(refused) => Err(refused.into()),
        None => Ok(()),
    }
}

fn is_udp_to(tuple: &[u8], host_ports: &[u16]) -> bool {
    let Some(proto) = netlink::attribute(tuple, TUPLE_PROTO) else { return false };
    let port =
        netlink::attribute(proto, PROTO_DESTINATION_PORT).and_then(|value| <[u8; 2]>::try_from(value).ok());
    netlink::attribute(proto, PROTO_NUMBER) == Some(&[libc::IPPROTO_UDP as u8])
        && port.is_some_and(|port| host_ports.contains(&u16::from_be_bytes(port)))
}
