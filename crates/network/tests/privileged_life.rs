//! Taking in and letting go: conflicts, several nodes, restarts, and that nothing is left.

mod support;

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use network::ports::{self, Holder};
use network::{AttachRequest, Error, Network, NetworkConfig, leftovers};
use support::{Host, Pod, World, on_fresh_host, peer_seen, run, tcp};

const NOTHING: Vec<String> = Vec::new();

fn taken(error: Error) -> Holder {
    match error {
        Error::Port(ports::Error::Taken { holder, .. }) => holder,
        other => panic!("{other}"),
    }
}

#[test]
fn a_host_port_is_given_once_and_the_holder_is_named() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let first = Pod::attach(&node, "first", vec![tcp(8080, 80)]).unwrap();
        let refused = Pod::attach(&node, "second", vec![tcp(8081, 80), tcp(8080, 80)]).err().unwrap();
        assert_eq!(taken(refused), Holder::Pod { pod_uid: "first".to_owned() });
        // The failed one holds nothing.
        assert!(TcpListener::bind("0.0.0.0:8081").is_ok());
        // Another node, and any program, meet the same wall.
        let other = host.node("b");
        let refused = Pod::attach(&other, "third", vec![tcp(8080, 80)]).err().unwrap();
        assert!(matches!(taken(refused), Holder::Process { .. }));
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        drop(first);
        node.detach("first").unwrap();
        Pod::attach(&node, "second", vec![tcp(8080, 80)]).unwrap();
        node.close().unwrap();
        other.close().unwrap();
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn a_program_of_the_host_that_has_the_port_is_named() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let _listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        let refused = Pod::attach(&node, "one", vec![tcp(8080, 80)]).err().unwrap();
        let Holder::Process { pid, .. } = taken(refused) else { panic!() };
        assert_eq!(pid, std::process::id() as i32);
        let twice = Pod::attach(&node, "one", vec![tcp(8081, 80), tcp(8081, 81)]).err().unwrap();
        assert!(matches!(twice, Error::PortTwice { .. }), "{twice}");
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn two_nodes_stand_side_by_side() {
    on_fresh_host(|host| {
        let (a, b) = (host.node("a"), host.node("b"));
        // The same Pod UID in both, as from one manifest.
        let in_a = Pod::attach(&a, "same", vec![]).unwrap();
        let in_b = Pod::attach(&b, "same", vec![]).unwrap();
        assert_ne!(in_a.address(), in_b.address());
        in_a.serve(80);
        assert_eq!(in_b.inside(|| peer_seen(in_a.address(), 80)).unwrap(), in_b.address().to_string());
        a.close().unwrap();
        assert_eq!(
            in_b.inside(|| peer_seen(in_b.attachment.gateway, 1)).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        b.close().unwrap();
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn what_the_machine_uses_is_avoided() {
    on_fresh_host(|host| {
        run("ip", &["route", "add", "unreachable", "10.0.0.0/8"]);
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![]).unwrap();
        assert!(pod.address().to_string().starts_with("172.30."), "{}", pod.address());
        node.close().unwrap();
        let wanted = NetworkConfig { pod_range: Some("10.5.0.0/16".parse().unwrap()), ..host.config("b") };
        let refused = Pod::attach(&Network::open(wanted).unwrap(), "one", vec![]).err().unwrap();
        assert!(matches!(refused, Error::RangeTaken { .. }), "{refused}");
    });
}

#[test]
fn a_named_range_is_used_to_its_last_address() {
    on_fresh_host(|host| {
        let config = NetworkConfig { pod_range: Some("10.5.0.0/29".parse().unwrap()), ..host.config("a") };
        let node = Network::open(config).unwrap();
        let pods: Vec<Pod> = (0..5).map(|n| Pod::attach(&node, &format!("p{n}"), vec![]).unwrap()).collect();
        assert_eq!(pods[4].address().to_string(), "10.5.0.6");
        let refused = Pod::attach(&node, "p5", vec![]).err().unwrap();
        assert!(matches!(refused, Error::NoFreeAddress { .. }), "{refused}");
        drop(pods);
        node.detach("p2").unwrap();
        assert_eq!(Pod::attach(&node, "p5", vec![]).unwrap().address().to_string(), "10.5.0.4");
        node.close().unwrap();
    });
}

#[test]
fn a_new_sandbox_keeps_the_pods_address_and_ports() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let first = Pod::attach(&node, "one", vec![tcp(8080, 80)]).unwrap();
        let address = first.address();
        // Whether the old namespace is gone or still there makes no difference.
        for drop_first in [false, true] {
            let again = Pod::attach(&node, "one", vec![tcp(8080, 80)]).unwrap();
            assert_eq!(again.address(), address, "{drop_first}");
            again.serve(80);
            peer_seen(std::net::Ipv4Addr::LOCALHOST, 8080).unwrap();
        }
        drop(first);
        node.close().unwrap();
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn a_daemon_that_starts_again_finds_its_range_and_pods() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![tcp(8080, 80)]).unwrap();
        pod.serve(80);
        drop(node);
        peer_seen(std::net::Ipv4Addr::LOCALHOST, 8080).unwrap();
        let json = serde_json::to_string(&pod.attachment).unwrap();
        let node = host.node("a");
        node.restore(serde_json::from_str(&json).unwrap()).unwrap();
        let second = Pod::attach(&node, "two", vec![]).unwrap();
        assert_ne!(second.address(), pod.address());
        assert_eq!(second.attachment.gateway, pod.attachment.gateway);
        let refused = Pod::attach(&node, "three", vec![tcp(8080, 80)]).err().unwrap();
        assert_eq!(taken(refused), Holder::Pod { pod_uid: "one".to_owned() });
        peer_seen(std::net::Ipv4Addr::LOCALHOST, 8080).unwrap();
        node.close().unwrap();
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn a_daemon_that_starts_again_lets_go_of_pods_it_was_not_told_of() {
    on_fresh_host(|host| {
        let pod = Pod::attach(&host.node("a"), "one", vec![]).unwrap();
        let node = host.node("a");
        node.detach("one").unwrap();
        assert_eq!(run("ip", &["-o", "link"]).matches("podling").count(), 0);
        node.detach("one").unwrap();
        node.close().unwrap();
        drop(pod);
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    on_fresh_host(|host| {
        let node = host.node("a");
        let occupied = Pod::attach(&node, "one", vec![]).unwrap();
        let before = host.traces();
        // The namespace has an eth0 already.
        let request =
            AttachRequest { pod_uid: "two", netns: occupied.netns.as_fd(), host_ports: vec![tcp(8080, 80)] };
        node.attach(&request).unwrap_err();
        assert_eq!(host.traces(), before);
        assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
        node.close().unwrap();
    });
}

#[test]
fn dead_nodes_leftovers_are_found_and_removed_and_live_nodes_are_not() {
    on_fresh_host(|host| {
        let _world = World::beyond(host);
        let live = host.node("live");
        let _live_pod = Pod::attach(&live, "one", vec![]).unwrap();
        let live_traces = host.traces();
        // A node that dies with a Pod whose namespace somebody still holds.
        let _dead_pod = Pod::attach(&host.node("dead"), "one", vec![tcp(8080, 80)]).unwrap();
        let is_alive = |run_dir: &Path| run_dir.ends_with("live");
        let found = leftovers::find(host.claims.path(), is_alive).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].run_dir.as_ref().unwrap().ends_with("dead"));
        assert_eq!((found[0].links.len(), found[0].ranges.len()), (1, 1), "{found:?}");
        leftovers::remove(host.claims.path(), &found[0]).unwrap();
        assert_eq!(leftovers::find(host.claims.path(), is_alive).unwrap(), []);
        assert_eq!(host.traces(), live_traces);
        live.close().unwrap();
        assert_eq!(host.traces(), NOTHING);
    });
}

#[test]
fn leftovers_without_their_file_are_matched_by_their_links() {
    on_fresh_host(|host: &Host| {
        let node = host.node("live");
        let _pod = Pod::attach(&node, "one", vec![]).unwrap();
        for file in std::fs::read_dir(host.claims.path()).unwrap().flatten() {
            std::fs::remove_file(file.path()).unwrap();
        }
        assert_eq!(leftovers::find(host.claims.path(), |_| true).unwrap(), []);
        assert_eq!(leftovers::find(host.claims.path(), |_| false).unwrap().len(), 1);
        node.close().unwrap();
    });
}

#[test]
fn a_firewall_that_drops_forwarded_packets_is_told() {
    on_fresh_host(|host| {
        let _world = World::beyond(host);
        run(
            "nft",
            &[
                "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
            ],
        );
        let node = host.node("a");
        let pod = Pod::attach(&node, "one", vec![]).unwrap();
        let [network::Warning::ForwardDropped { chain }] = &pod.attachment.warnings[..] else { panic!() };
        assert_eq!(chain, "filter FORWARD");
        node.close().unwrap();
    });
}

/// Not a benchmark, a fence: a wait for the kernel's RCU barriers (15 to 50 ms each) must not come back.
#[test]
fn taking_in_and_letting_go_wait_for_nothing() {
    on_fresh_host(|host| {
        let _world = World::beyond(host);
        let (mut ups, mut downs) = (Vec::new(), Vec::new());
        for round in 0..7 {
            let started_at = Instant::now();
            let node = host.node("a");
            let pod = Pod::attach(&node, &format!("pod{round}"), vec![]).unwrap();
            ups.push(started_at.elapsed());
            let started_at = Instant::now();
            drop(pod);
            node.detach(&format!("pod{round}")).unwrap();
            node.close().unwrap();
            downs.push(started_at.elapsed());
            assert_eq!(host.traces(), NOTHING);
        }
        ups.sort();
        downs.sort();
        println!("up {ups:?} down {downs:?}");
        // Where `cargo xtask vm` emulates the processor, everything takes ten times as long.
        let factor = if std::env::var_os("PODLING_EMULATED").is_some() { 10 } else { 1 };
        let limit = Duration::from_millis(25) * factor;
        assert!(ups[3] < limit, "{ups:?}");
        assert!(downs[3] < limit, "{downs:?}");
    });
}
