//! Frames of exec that are cut, reordered, oversized or nonsense, in WebSocket and in SPDY: they end their session, with the
//! processes that it began, and nothing else.

use e2e::wire::Connection;
use e2e::{Node, Podling, Wire};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
";

/// What is executed: it says that it runs, and it does not end by itself. Its standard input may be closed.
const EXEC: &str = "/api/v1/namespaces/default/pods/web/exec?container=main&stdin=true&stdout=true&stderr=true\
    &command=sh&command=-c&command=echo%20it%20runs;%20exec%20sleep%2031337";

/// Waits, within the Pod, until nothing runs that a session began.
const ALL_GONE: &str = "while grep -q '3133[7]' /proc/[0-9]*/cmdline 2>/dev/null; do :; done; echo gone";

fn websocket(wire: &Wire) -> Connection {
    let mut connection = wire.connect();
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ];
    let rest = connection.upgrade("GET", EXEC, &headers);
    if !String::from_utf8_lossy(&rest).contains("it runs") {
        connection.wait_for("it runs");
    }
    connection
}

/// A SYN_STREAM. Its headers are compressed as a stored block, which every inflater reads; the first one says which dictionary
/// it would have used (RFC 1950, section 2.2).
fn syn_stream(id: u32, stream_type: &str, is_first: bool) -> Vec<u8> {
    let mut headers = 1_u32.to_be_bytes().to_vec();
    for text in ["streamtype", stream_type] {
        headers.extend((text.len() as u32).to_be_bytes());
        headers.extend(text.bytes());
    }
    let mut body = [id.to_be_bytes().as_slice(), &[0; 6]].concat();
    if is_first {
        body.extend([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
    }
    let length = headers.len() as u16;
    body.push(0);
    body.extend(length.to_le_bytes());
    body.extend((!length).to_le_bytes());
    body.extend(headers);
    let mut frame = vec![0x80, 3, 0, 1, 0];
    frame.extend(&(body.len() as u32).to_be_bytes()[1..]);
    frame.extend(body);
    frame
}

fn spdy(wire: &Wire) -> Connection {
    let mut connection = wire.connect();
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ];
    connection.upgrade("POST", EXEC, &headers);
    for (index, stream_type) in ["error", "stdin", "stdout", "stderr"].into_iter().enumerate() {
        let frame = syn_stream(2 * index as u32 + 1, stream_type, index == 0);
        connection.send(&frame).expect("sending");
    }
    connection.wait_for("it runs");
    connection
}

#[test]
fn broken_frames_end_their_session_and_nothing_else() {
    let podling = Podling::with_images(&["busybox"]);
    let mut node = Node::start(&podling, &[]);
    std::fs::write(podling.base().join("pod.yaml"), POD).expect("the manifest");
    for words in
        [&["create", "-f", "pod.yaml"][..], &["wait", "--for=condition=Ready", "--timeout=60s", "pod/web"]]
    {
        let output = node.kubectl(words);
        assert!(output.status.success(), "{output:?}");
    }
    let wire = Wire::of(&node.kubeconfig());
    // Each is sent whole, then the connection is dropped: what a node takes for a beginning must not wait for ever either.
    let of_websocket: [(&str, &[u8]); 10] = [
        ("a cut head", &[0x82]),
        ("a cut body", &[0x82, 0x85, 1, 2, 3, 4, 0]),
        ("not masked", &[0x82, 2, 0, b'x']),
        ("a reserved opcode", &[0x83, 0x80, 1, 2, 3, 4]),
        ("reserved bits", &[0xf2, 0x80, 1, 2, 3, 4]),
        ("a length of 2^63", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("a length of 4 GiB", &[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0]),
        ("a continuation of nothing", &[0x80, 0x81, 0, 0, 0, 0, 0]),
        ("a ping in parts", &[0x09, 0x81, 0, 0, 0, 0, 0]),
        ("a channel that is none", &[0x82, 0x82, 0, 0, 0, 0, 77, b'x']),
    ];
    for (what, bytes) in of_websocket {
        let mut connection = websocket(&wire);
        connection.send(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let before = syn_stream(1, "stdout", false);
    let of_spdy: [(&str, &[u8]); 9] = [
        ("a cut head", &[0x80, 3, 0]),
        ("a cut body", &[0, 0, 0, 3, 0, 0, 0, 100, b'x']),
        ("data of 16 MiB, announced", &[0, 0, 0, 3, 0, 0xff, 0xff, 0xff, 0, 0]),
        ("headers of 16 MiB", &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]),
        ("another version", &[0x80, 2, 0, 1, 0, 0, 0, 0]),
        ("data of a stream that is none", &[0, 0, 0, 99, 0, 0, 0, 1, b'x']),
        ("a stream before the last", &before),
        (
            "headers that are not deflated",
            &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9],
        ),
        ("a window that overflows", &[0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 5, 0x7f, 0xff, 0xff, 0xff]),
    ];
    for (what, bytes) in of_spdy {
        let mut connection = spdy(&wire);
        connection.send(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let output = node.kubectl(["exec", "web", "--", "sh", "-c", ALL_GONE]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "gone\n", "{output:?}");
    node.running().assert_quiet();
}
