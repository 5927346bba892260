//! Clients that are slow on purpose, and clients that are many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use e2e::wire::{Connection, head};
use e2e::{Node, Podling, Wire};

/// The time between two bytes of a slow client.
const BETWEEN: Duration = Duration::from_millis(20);

/// Sends a request byte by byte until the node ends the connection; all of it must not be taken.
fn trickle(connection: &mut Connection, bytes: &[u8]) {
    for byte in bytes {
        if connection.send(&[*byte]).is_err() || connection.is_ended_within(BETWEEN) {
            return;
        }
    }
    panic!("the node took all of it");
}

#[test]
fn clients_that_trickle_are_ended() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node", "--client-timeout", "1500ms"]);
    let wire = Wire::of(&node.kubeconfig());
    // No word at all, and a handshake that goes on and on.
    for hello in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut socket = wire.socket();
        socket.write_all(hello).expect("sending");
        assert_eq!(end_of(&mut socket), 0);
    }
    let mut silent = wire.connect();
    silent.assert_ended();
    let long = format!("GET /version HTTP/1.1\r\nHost: node\r\nX-Filler: {}", "x".repeat(10_000));
    trickle(&mut wire.connect(), long.as_bytes());
    let mut slow = wire.connect();
    let path = "/api/v1/namespaces/default/configmaps";
    let request = head("POST", path, &[("Content-Type", "application/json")], Some(10_000));
    slow.send(request.as_bytes()).expect("sending");
    // It is told why, and has no second try on this connection.
    let reply = slow.trickle_until_reply(&[b' '; 10_000], BETWEEN);
    reply.assert_refused("a body that does not come", 504, "Timeout");
    // Whoever is not slow is served, and a watch is no slow client.
    let mut watch = wire.connect();
    let path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=2";
    let reply = watch.request("GET", path, &[], b"");
    assert_eq!(reply.code, 200, "{}", reply.head);
    assert!(reply.body.starts_with(b"{\"type\":\"ADDED\""), "{}", String::from_utf8_lossy(&reply.body));
    node.running().assert_quiet();
}

/// Reads to the end; how many bytes came. An end by force is one, too.
fn end_of(socket: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the node waits for ever"),
        // TLS says goodbye with an alert, which is no answer.
        _ => bytes.len().saturating_sub(7),
    }
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum.or(Some(8192)), ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("more descriptors");
    let mut watch = wire.connect();
    let path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=120";
    watch.send(head("GET", path, &[], None).as_bytes()).expect("sending");
    let silent: Vec<TcpStream> = (0..2100).map(|_| wire.socket()).collect();
    let mut idle: Vec<Connection> = (0..100).map(|_| wire.connect()).collect();
    let reply = wire.request("GET", "/api/v1/nodes", &[], b"");
    assert_eq!(reply.code, 200);
    // Who was there first and is busy stays; who was idle longest went.
    let map = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"told"}}"#;
    let reply = wire.request(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        &[("Content-Type", "application/json")],
        map,
    );
    assert_eq!(reply.code, 201);
    watch.wait_for("\"name\":\"told\"");
    let last = idle.last_mut().expect("a connection");
    assert_eq!(last.request("GET", "/version", &[], b"").code, 200);
    let mut first = silent.into_iter().next().expect("a socket");
    assert_eq!(end_of(&mut first), 0);
    node.running().assert_quiet();
}
