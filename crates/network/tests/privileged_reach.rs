//! Who reaches whom, with real packets, each test on a host of its own.

mod support;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

use network::{HostPort, Protocol, sockets};
use support::{Pod, World, on_fresh_host, peer_seen, run, tcp};

#[test]
fn pods_and_host_reach_each_other_with_their_own_addresses() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let one = Pod::attach(&node, "one", vec![]).unwrap();
        let two = Pod::attach(&node, "two", vec![]).unwrap();
        one.serve(80);
        assert_eq!(two.inside(|| peer_seen(one.address(), 80)).unwrap(), two.address().to_string());
        assert_eq!(one.inside(|| peer_seen(one.address(), 80)).unwrap(), one.address().to_string());
        assert_eq!(one.inside(|| peer_seen(Ipv4Addr::LOCALHOST, 80)).unwrap(), "127.0.0.1");
        assert_eq!(peer_seen(one.address(), 80).unwrap(), one.attachment.gateway.to_string());
        // The host by its gateway address.
        let listener = TcpListener::bind((one.attachment.gateway, 8053)).unwrap();
        two.inside(|| std::net::TcpStream::connect((two.attachment.gateway, 8053))).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), two.address());
        // Nothing was asked of nftables.
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        node.close().unwrap();
    });
}

#[test]
fn an_address_nobody_has_is_refused_at_once() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let one = Pod::attach(&node, "one", vec![]).unwrap();
        let IpAddr::V4(address) = one.address() else { panic!() };
        let nobody = Ipv4Addr::from(u32::from(address) + 100);
        let refused = one.inside(|| peer_seen(nobody, 80)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable, "{refused}");
        node.close().unwrap();
    });
}

#[test]
fn a_pods_namespace_has_loopback_in_both_families_and_no_address_of_its_own_making() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![]).unwrap();
        pod.inside(|| {
            std::net::TcpListener::bind("[::1]:80").unwrap();
            let addresses = run("ip", &["-6", "-o", "addr"]);
            assert!(!addresses.contains("fe80") && !addresses.contains("tentative"), "{addresses}");
        });
        let host_side = run("ip", &["-6", "-o", "addr", "show", "dev", &pod.attachment.link.host_name]);
        assert_eq!(host_side, "");
        node.close().unwrap();
    });
}

#[test]
fn the_world_sees_the_hosts_address() {
    on_fresh_host(|host| {
        let world = World::beyond(host);
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![]).unwrap();
        assert_eq!(pod.attachment.warnings, []);
        assert_eq!(pod.attachment.link.mtu, 1400);
        assert_eq!(node.host_address(), IpAddr::V4(world.host_address));
        let listener = world.inside(|| TcpListener::bind((world.address, 80)).unwrap());
        pod.inside(|| std::net::TcpStream::connect((world.address, 80))).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), IpAddr::V4(world.host_address));
        // Between Pods nothing is masked, also of two nodes.
        let other = host.node("b");
        let guest = Pod::attach(&other, "two", vec![]).unwrap();
        pod.serve(80);
        assert_eq!(guest.inside(|| peer_seen(pod.address(), 80)).unwrap(), guest.address().to_string());
        other.close().unwrap();
        node.close().unwrap();
        assert_eq!(host.traces(), Vec::<String>::new());
    });
}

#[test]
fn a_host_port_is_reached_from_everywhere() {
    on_fresh_host(|host| {
        let world = World::beyond(host);
        let node = host.node("a");
        let server = Pod::attach(&node, "server", vec![tcp(8080, 80)]).unwrap();
        let client = Pod::attach(&node, "client", vec![]).unwrap();
        server.serve(80);
        let gateway = server.attachment.gateway.to_string();
        // From the world, with the client's true address.
        assert_eq!(world.inside(|| peer_seen(world.host_address, 8080)).unwrap(), world.address.to_string());
        // From the host, by loopback and by its own address.
        assert_eq!(peer_seen(Ipv4Addr::LOCALHOST, 8080).unwrap(), gateway);
        assert_eq!(peer_seen(world.host_address, 8080).unwrap(), world.host_address.to_string());
        // From another Pod, and from the Pod itself by the host's address.
        assert_eq!(
            client.inside(|| peer_seen(world.host_address, 8080)).unwrap(),
            client.address().to_string()
        );
        assert_eq!(server.inside(|| peer_seen(world.host_address, 8080)).unwrap(), gateway);
        // Not any more when the Pod is gone.
        drop(server);
        node.detach("server").unwrap();
        assert!(peer_seen(Ipv4Addr::LOCALHOST, 8080).is_err());
        node.close().unwrap();
    });
}

#[test]
fn a_host_port_on_loopback_is_not_reached_from_outside() {
    on_fresh_host(|host| {
        let world = World::beyond(host);
        let node = host.node("a");
        let port = HostPort { host_ip: Some(Ipv4Addr::LOCALHOST.into()), ..tcp(8080, 80) };
        let server = Pod::attach(&node, "server", vec![port]).unwrap();
        server.serve(80);
        assert!(peer_seen(Ipv4Addr::LOCALHOST, 8080).is_ok());
        assert!(world.inside(|| peer_seen(world.host_address, 8080)).is_err());
        node.close().unwrap();
    });
}

/// route_localnet would let a Pod send packets to the host's 127.0.0.1 (CVE-2020-8558).
#[test]
fn cve_2020_8558_a_pod_does_not_reach_the_hosts_loopback() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![tcp(8080, 80)]).unwrap();
        let _secret = TcpListener::bind("127.0.0.1:9000").unwrap();
        pod.inside(|| {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            run("ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]);
            let gateway = pod.attachment.gateway.to_string();
            run("ip", &["route", "add", "127.0.0.1/32", "via", &gateway, "dev", "eth0"]);
            let refused = peer_seen(Ipv4Addr::LOCALHOST, 9000).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "{refused}");
        });
        node.close().unwrap();
    });
}

#[test]
fn udp_host_ports_work() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let port = HostPort { protocol: Protocol::Udp, ..tcp(5353, 53) };
        let pod = Pod::attach(&node, "one", vec![port]).unwrap();
        let server = pod.inside(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:5353").unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        server.send_to(b"answer", peer).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        node.close().unwrap();
    });
}

/// A client that keeps sending from one port meets the Pod that has the host port now, not the one before.
#[test]
fn udp_flows_follow_the_host_port_to_its_next_pod() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for uid in ["first", "second"] {
            let port = HostPort { protocol: Protocol::Udp, ..tcp(5353, 53) };
            let pod = Pod::attach(&node, uid, vec![port]).unwrap();
            let server = pod.inside(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
            server.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            client.send_to(uid.as_bytes(), "127.0.0.1:5353").unwrap();
            let mut buffer = [0; 16];
            let (length, _) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], uid.as_bytes());
            drop((server, pod));
            node.detach(uid).unwrap();
        }
        node.close().unwrap();
    });
}

#[test]
fn listeners_of_a_pod_are_told_with_their_owner() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![]).unwrap();
        let listener = pod.inside(|| TcpListener::bind("127.0.0.1:80").unwrap());
        let found = sockets::listeners(pod.netns.as_fd()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].answers(Protocol::Tcp, Ipv4Addr::LOCALHOST.into(), 80));
        let me = std::process::id() as i32;
        assert_eq!(sockets::owner(found[0].inode, [1, me]), Some(me));
        drop(listener);
        assert_eq!(sockets::listeners(pod.netns.as_fd()).unwrap(), []);
        node.close().unwrap();
    });
}
