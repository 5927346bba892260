//! The protocols by hand, with what no kubectl does: old versions, silence, broken frames, floods, and clients that leave.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use node_api::Limits;
use node_api::spdy::frame::{Frame, ResetStatus};
use serde_json::{Value, json};
use support::clients::{Spdy, channel, messages, websocket};
use support::{Machine, Server, ask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

const FAILS: &str = "command=sh&command=-c&command=echo%20out%3B%20echo%20err%20%3E%262%3B%20exit%203";

fn exec(query: &str) -> String {
    format!("/exec/default/web/app?{query}")
}

#[tokio::test]
async fn every_websocket_protocol_tells_the_end_in_its_way() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec(&format!("{FAILS}&stdout=1&stderr=1"));
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", ""] {
        let mut socket = websocket(&server, &path, protocol).await;
        let (messages, code) = messages(&mut socket).await;
        assert_eq!(messages[0], [1], "{protocol}: an empty message tells that the connection stands");
        assert_eq!(channel(&messages, 1), "out\n", "{protocol}");
        assert_eq!(channel(&messages, 2), "err\n", "{protocol}");
        assert_eq!(code, Some(1000), "{protocol}");
        let told = channel(&messages, 3);
        if protocol.starts_with('v') {
            let status: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(status["reason"], "NonZeroExitCode");
            assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
        } else {
            assert!(told.starts_with("command terminated with non-zero exit code"), "{told}");
        }
    }
    for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] {
        let mut socket = websocket(&server, &path, protocol).await;
        let (messages, code) = messages(&mut socket).await;
        assert!(messages.contains(&b"1b3V0Cg==".to_vec()), "{protocol}: {messages:?}");
        assert_eq!(code, Some(1000), "{protocol}");
    }
    server.all_gone().await;
}

#[tokio::test]
async fn every_spdy_protocol_tells_the_end_in_its_way() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec(&format!("{FAILS}&output=1&error=1"));
    for version in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", ""] {
        let mut spdy = Spdy::open(&server, &path, version).await;
        for (stream, kind) in [(1, "error"), (3, "stdout"), (5, "stderr")] {
            spdy.stream(stream, &[("streamType", kind)]).await;
        }
        let came = spdy.all().await;
        assert_eq!((came[&3].as_str(), came[&5].as_str()), ("out\n", "err\n"), "{version}");
        if version.starts_with("v5") || version.starts_with("v4") {
            let status: Value = serde_json::from_str(&came[&1]).unwrap();
            assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
        } else {
            assert!(came[&1].starts_with("command terminated with non-zero exit code"), "{version}");
        }
    }
    server.all_gone().await;
}

#[tokio::test]
async fn a_terminal_has_the_size_that_was_told_and_a_new_one() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let script = "command=sh&command=-c&command=while+read+x;do+stty+size;echo+done;done";
    let path = exec(&format!("{script}&stdin=true&stdout=true&tty=true"));
    let mut socket = websocket(&server, &path, "v5.channel.k8s.io").await;
    let mut came = String::new();
    for (size, expected) in
        [("{\"Width\":91,\"Height\":41}", "41 91"), ("{\"Width\":92,\"Height\":42}", "42 92")]
    {
        socket.send(Message::binary([b"\x04", size.as_bytes()].concat())).await.unwrap();
        // The size goes another way than the input, so it may arrive after a line: then another line is sent.
        while !came.contains(expected) {
            let answers = came.matches("done").count();
            socket.send(Message::binary(&b"\0\n"[..])).await.unwrap();
            while came.matches("done").count() == answers {
                let message = socket.next().await.unwrap().unwrap();
                came.push_str(&String::from_utf8_lossy(&message.into_data()));
            }
        }
    }
    drop(socket);
    server.all_gone().await;
}

#[tokio::test]
async fn the_close_signal_ends_standard_input() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec("command=cat&stdin=true&stdout=true");
    let mut socket = websocket(&server, &path, "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    socket.send(Message::binary(&[255_u8, 0][..])).await.unwrap();
    let (messages, code) = messages(&mut socket).await;
    assert_eq!((channel(&messages, 1).as_str(), code), ("hello", Some(1000)));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_command() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec("command=cat&stdin=true&stdout=true");
    let mut socket = websocket(&server, &path, "v4.channel.k8s.io").await;
    assert_eq!(socket.next().await.unwrap().unwrap().into_data()[..], [1]);
    drop(socket);
    server.all_gone().await;
    let mut spdy = Spdy::open(&server, &path, "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        spdy.stream(stream, &[("streamtype", kind)]).await;
    }
    spdy.send(Frame::Data { stream: 3, fin: false, bytes: "x".into() }).await;
    while !matches!(spdy.next().await.unwrap(), Frame::Data { stream: 5, .. }) {}
    drop(spdy);
    server.all_gone().await;
}

#[tokio::test]
async fn silence_and_streams_that_never_come_end_the_session() {
    let short = Duration::from_millis(50);
    let limits = Limits { idle_timeout: short, linger_timeout: short, ..Limits::default() };
    let server = Server::start(Machine::default(), limits).await;
    let path = exec("command=cat&stdin=true&stdout=true");
    let mut socket = websocket(&server, &path, "v4.channel.k8s.io").await;
    while let Some(Ok(_)) = socket.next().await {}
    server.all_gone().await;
    let limits = Limits { stream_creation_timeout: short, linger_timeout: short, ..Limits::default() };
    let server = Server::start(Machine::default(), limits).await;
    let mut spdy = Spdy::open(&server, &path, "v4.channel.k8s.io").await;
    spdy.stream(1, &[("streamtype", "error")]).await;
    while spdy.next().await.is_some() {}
    server.all_gone().await;
}

#[tokio::test]
async fn a_ping_is_answered_and_a_stream_of_another_kind_refused() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec("command=true&stdout=true");
    let mut spdy = Spdy::open(&server, &path, "v4.channel.k8s.io").await;
    spdy.send(Frame::Ping { id: 7 }).await;
    assert_eq!(spdy.next().await, Some(Frame::Ping { id: 7 }));
    spdy.stream(1, &[("streamtype", "stdin")]).await;
    assert_eq!(spdy.next().await, Some(Frame::RstStream { stream: 1, status: ResetStatus::Cancel }));
    spdy.stream(1, &[("streamtype", "error")]).await;
    let again = Frame::RstStream { stream: 1, status: ResetStatus::ProtocolError };
    assert_eq!(spdy.next().await, Some(again), "a number is used once");
    spdy.stream(2, &[("streamtype", "error")]).await;
    let even = Frame::RstStream { stream: 2, status: ResetStatus::ProtocolError };
    assert_eq!(spdy.next().await, Some(even), "even numbers are the server's");
    spdy.stream(3, &[("streamtype", "error")]).await;
    spdy.stream(5, &[("streamtype", "stdout")]).await;
    assert!(spdy.all().await[&3].contains("Success"));
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_others_live() {
    let server = Server::start(Machine::default(), Limits { streams: 4, ..Limits::default() }).await;
    let mut spdy = Spdy::open(&server, "/portForward/default/web", "portforward.k8s.io").await;
    for stream in [1, 3, 5, 7, 9] {
        let request = stream.to_string();
        spdy.stream(stream, &[("streamtype", "error"), ("port", "80"), ("requestid", &request)]).await;
    }
    let mut refused = Vec::new();
    let mut accepted = Vec::new();
    while refused.len() + accepted.len() < 5 {
        match spdy.next().await.unwrap() {
            Frame::SynReply { stream, .. } => accepted.push(stream),
            Frame::RstStream { stream, status: ResetStatus::RefusedStream } => refused.push(stream),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, refused), (vec![1, 3, 5, 7], vec![9]));
}

#[tokio::test]
async fn a_stream_of_a_forward_without_its_headers_is_refused() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let mut spdy = Spdy::open(&server, "/portForward/default/web/1-2", "portforward.k8s.io").await;
    let bad: [&[(&str, &str)]; 4] = [
        &[("streamtype", "data")],
        &[("streamtype", "data"), ("port", "0")],
        &[("port", "80")],
        &[("streamtype", "other"), ("port", "80")],
    ];
    for (stream, fields) in (1..).step_by(2).zip(bad) {
        spdy.stream(stream, fields).await;
        assert_eq!(spdy.next().await, Some(Frame::RstStream { stream, status: ResetStatus::Cancel }));
    }
}

#[tokio::test]
async fn a_connection_that_stalls_holds_a_bounded_amount_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [(80, listener.local_addr().unwrap())].into();
    let server = Server::start(Machine { ports, ..Machine::default() }, Limits::default()).await;
    let mut spdy = Spdy::open(&server, "/portForward/default/web", "portforward.k8s.io").await;
    spdy.stream(1, &[("streamtype", "error"), ("port", "80"), ("requestid", "0")]).await;
    spdy.stream(3, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]).await;
    let (mut pod, _) = listener.accept().await.unwrap();
    let (mut from_server, mut to_server) = tokio::io::split(spdy.connection);
    let mut encoder = spdy.encoder;
    let sent = 64_u32 << 20;
    let sending = tokio::spawn(async move {
        let mut out = Vec::new();
        encoder.encode(&Frame::Data { stream: 3, fin: true, bytes: vec![7; 1 << 20].into() }, &mut out);
        // The last only ends the stream.
        out[4] = 0;
        for _ in 0..sent >> 20 {
            to_server.write_all(&out).await.unwrap();
        }
        out.truncate(8);
        out[4..].copy_from_slice(&[1, 0, 0, 0]);
        to_server.write_all(&out).await.unwrap();
        to_server
    });
    // Nobody reads in the Pod yet: what the sockets and the budget do not hold, the client still has.
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    let mut came = 0_u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match pod.read(&mut buffer).await.unwrap() {
            0 => break,
            read => came += read as u64,
        }
    }
    assert_eq!(came, u64::from(sent), "nothing was lost, and the end arrived");
    let _to_server = sending.await.unwrap();
    pod.write_all(b"bye").await.unwrap();
    drop(pod);
    let mut decoder = spdy.decoder;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        match decoder.next_frame().unwrap() {
            Some(Frame::Data { stream, fin: true, .. }) => ended.push(stream),
            Some(_) => {}
            None => assert!(from_server.read_buf(decoder.buffer()).await.unwrap() > 0),
        }
    }
    assert_eq!(ended, [3, 1], "first the data ends, then the errors");
}

#[tokio::test]
async fn broken_frames_end_the_session_and_nothing_else() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let path = exec("command=cat&stdin=true&stdout=true");
    let broken: [&[u8]; 4] = [
        // SPDY/2, a frame of 16 MiB, stream 0, headers that are not deflated.
        &[0x80, 2, 0, 1, 0, 0, 0, 0],
        &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9],
    ];
    for bytes in broken {
        let mut spdy = Spdy::open(&server, &path, "v4.channel.k8s.io").await;
        spdy.connection.write_all(bytes).await.unwrap();
        assert_eq!(spdy.next().await, None);
        server.all_gone().await;
    }
    let mut socket = websocket(&server, &path, "v4.channel.k8s.io").await;
    let connection = socket.get_mut();
    // A reserved opcode, then a length of 2^63.
    connection.write_all(&[0x83, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    server.all_gone().await;
}

#[tokio::test]
async fn ports_are_forwarded_over_plain_channels() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [(80, listener.local_addr().unwrap())].into();
    let server = Server::start(Machine { ports, ..Machine::default() }, Limits::default()).await;
    let mut socket = websocket(&server, "/portForward/default/web?port=80&port=9", "v4.channel.k8s.io").await;
    let (mut pod, _) = listener.accept().await.unwrap();
    socket.send(Message::binary(&b"\0ping"[..])).await.unwrap();
    let mut word = [0; 4];
    pod.read_exact(&mut word).await.unwrap();
    pod.write_all(b"pong").await.unwrap();
    drop(pod);
    let (messages, code) = messages(&mut socket).await;
    let of =
        |number: u8| messages.iter().filter(|m| m[0] == number).map(|m| m[1..].to_vec()).collect::<Vec<_>>();
    assert_eq!(of(0).concat(), b"\x50\0pong");
    assert_eq!(of(1), [[80, 0]]);
    assert_eq!(of(2), [[9, 0]]);
    assert!(String::from_utf8_lossy(&of(3)[1]).starts_with("error forwarding port 9 to pod web, uid"));
    assert_eq!(code, Some(1000));
}

#[tokio::test]
async fn shutting_down_ends_every_session() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let mut socket =
        websocket(&server, &exec("command=cat&stdin=true&stdout=true"), "v4.channel.k8s.io").await;
    assert_eq!(socket.next().await.unwrap().unwrap().into_data()[..], [1]);
    server.api.shutdown().await;
    while let Some(Ok(_)) = socket.next().await {}
    server.all_gone().await;
}

#[tokio::test]
async fn what_is_refused_is_a_status() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let table: [(&str, &str, u16, &str, &str); 9] = [
        ("POST", "/exec/default/web/app?command=a&stdout=1", 400, "BadRequest", "Upgrade request required"),
        (
            "POST",
            "/exec/default/web/app?command=a",
            400,
            "BadRequest",
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        ("GET", "/portForward/default/web", 400, "BadRequest", "Upgrade request required"),
        (
            "GET",
            "/containerLogs/default/none/app",
            404,
            "NotFound",
            "pod \"default/none\" not found on this node",
        ),
        (
            "GET",
            "/containerLogs/default/web/none",
            400,
            "BadRequest",
            "container none is not valid for pod web",
        ),
        (
            "GET",
            "/containerLogs/default/web/app?tailLines=-1",
            422,
            "Invalid",
            "PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("GET", "/nothing", 404, "NotFound", "the server could not find the requested resource"),
        (
            "PUT",
            "/pods",
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        ("POST", "/run/default/web/app", 400, "BadRequest", "query parameter \"cmd\" is required"),
    ];
    for (method, path, code, reason, message) in table {
        let (found, body) = ask(&server, method, path, &[]).await;
        let status: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, &status["code"]), (code, &json!(code)), "{path}");
        assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")), "{path}");
        assert_eq!((&status["reason"], &status["message"]), (&json!(reason), &json!(message)), "{path}");
    }
    let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9")];
    let (code, body) = ask(&server, "POST", "/exec/default/web/app?command=a&stdout=1", &headers).await;
    assert_eq!(code, 403);
    assert!(body.contains("unable to negotiate protocol: client supports [v9]"), "{body}");
}

#[tokio::test]
async fn the_rest_of_the_kubelets_paths_answer() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    assert_eq!(ask(&server, "GET", "/healthz", &[]).await, (200, "ok".into()));
    let (_, pods) = ask(&server, "GET", "/pods", &[]).await;
    let pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!((&pods["kind"], &pods["items"][0]["metadata"]["name"]), (&json!("PodList"), &json!("web")));
    let (_, summary) = ask(&server, "GET", "/stats/summary", &[]).await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["node"]["nodeName"], "here");
    assert_eq!(summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 4096);
    let (_, metrics) = ask(&server, "GET", "/metrics/resource", &[]).await;
    assert!(metrics.contains("\ncontainer_cpu_usage_seconds_total{container=\"app\""), "{metrics}");
    assert_eq!(
        ask(&server, "POST", "/run/default/web/app?cmd=echo+hello", &[]).await,
        (200, "hello\n".into())
    );
    let (code, failed) = ask(&server, "POST", "/run/default/web/app?cmd=false", &[]).await;
    assert!(code == 500 && failed.contains("command exited with 1"), "{failed}");
}
