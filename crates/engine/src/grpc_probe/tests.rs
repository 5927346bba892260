//! The health protocol against a real HTTP/2 server in the test, and what else may answer on a port.

use std::net::Ipv4Addr;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

const HOST: &str = "127.0.0.1";
/// Far beyond what a test may take.
const LONG: Duration = Duration::from_secs(30);

/// What the server of a test answers.
#[derive(Clone, Default)]
struct Reply {
    http_status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    /// None is the end of the stream without trailers.
    trailers: Option<&'static [(&'static str, &'static str)]>,
}

fn healthy(status: u8) -> Reply {
    let body = frame(&[0x08, status]).to_vec();
    Reply { http_status: 200, body, trailers: Some(&[("grpc-status", "0")]), ..Reply::default() }
}

fn header_map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Answers one call, and tells what was asked: the head and the message.
async fn serve(reply: Reply) -> (u16, oneshot::Receiver<(http::request::Parts, Vec<u8>)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (parts, mut body) = request.into_parts();
        let mut message = Vec::new();
        while let Some(chunk) = body.data().await {
            message.extend_from_slice(&chunk.unwrap());
        }
        let _ = asked.send((parts, message));
        let mut response = Response::builder().status(reply.http_status).body(()).unwrap();
        *response.headers_mut() = header_map(reply.headers);
        let is_end = reply.body.is_empty() && reply.trailers.is_none();
        let mut stream = respond.send_response(response, is_end).unwrap();
        if !reply.body.is_empty() {
            stream.send_data(reply.body.into(), reply.trailers.is_none()).unwrap();
        }
        if let Some(trailers) = reply.trailers {
            stream.send_trailers(header_map(trailers)).unwrap();
        }
    });
    (port, receiver)
}

async fn answer_to(reply: Reply) -> Answer {
    let (port, _asked) = serve(reply).await;
    check(HOST, port, "", LONG).await
}

fn failure(message: &str) -> Answer {
    Answer::Failure(message.to_owned())
}

#[tokio::test]
async fn only_serving_is_success() {
    assert_eq!(answer_to(healthy(1)).await, Answer::Success);
    for (status, word) in [(0, "UNKNOWN"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (9, "9")] {
        let expected = failure(&format!("service unhealthy (responded with {word:?})"));
        assert_eq!(answer_to(healthy(status)).await, expected);
    }
    // Protobuf leaves a zero out.
    let empty = Reply { body: frame(&[]).to_vec(), ..healthy(0) };
    assert_eq!(answer_to(empty).await, failure("service unhealthy (responded with \"UNKNOWN\")"));
}

#[tokio::test]
async fn the_request_is_the_protocols() {
    let (port, asked) = serve(healthy(1)).await;
    assert_eq!(check(HOST, port, "shop.Cart", Duration::from_secs(7)).await, Answer::Success);
    let (head, message) = asked.await.unwrap();
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri.to_string(), format!("http://127.0.0.1:{port}/grpc.health.v1.Health/Check"));
    let headers = header_map(&[
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.37"),
        ("grpc-timeout", "7000m"),
    ]);
    assert_eq!(head.headers, headers);
    assert_eq!(message, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
}

#[test]
fn a_service_with_a_long_name_is_asked_for_whole() {
    let name = "s".repeat(300);
    let message = health_check_request(&name);
    assert_eq!(message[..3], [0x0a, 0xac, 0x02]);
    assert_eq!(&message[3..], name.as_bytes());
}

#[tokio::test]
async fn a_failed_call_is_told_in_words() {
    let at_once = |headers| Reply { http_status: 200, headers, ..Reply::default() };
    let not_found = at_once(&[("grpc-status", "5"), ("grpc-message", "no %22cart%22 here: 100%")]);
    assert_eq!(
        answer_to(not_found).await,
        failure("error: health rpc probe failed: rpc error: code = NotFound desc = no \"cart\" here: 100%")
    );
    let unimplemented = at_once(&[("grpc-status", "12"), ("grpc-message", "unknown service")]);
    assert_eq!(
        answer_to(unimplemented).await,
        failure(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown \
             service"
        )
    );
    let late = Reply { trailers: Some(&[("grpc-status", "4")]), ..healthy(1) };
    assert_eq!(answer_to(late).await, failure("timeout: health rpc did not complete within 30s"));
    let odd = at_once(&[("grpc-status", "99")]);
    let expected = "error: health rpc probe failed: rpc error: code = 99 desc = ";
    assert_eq!(answer_to(odd).await, failure(expected));
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let not_grpc = |message| {
        let Answer::Failure(message) = message else { panic!("{message:?}") };
        message.split_once("does not speak gRPC: ").unwrap().1.to_owned()
    };
    let web = Reply { http_status: 404, body: b"no such page".to_vec(), ..Reply::default() };
    assert_eq!(not_grpc(answer_to(web).await), "it answered with the HTTP status 404");
    let of = |body: &[u8]| Reply { body: body.to_vec(), ..healthy(1) };
    assert_eq!(not_grpc(answer_to(of(b"\0\0\0")).await), "its answer is not a message");
    assert_eq!(not_grpc(answer_to(of(b"\0\0\0\0\x09\x08\x01")).await), "its answer is not one message");
    let compressed = "its answer is compressed, which was not asked for";
    assert_eq!(not_grpc(answer_to(of(b"\x01\0\0\0\x02\x08\x01")).await), compressed);
    let garbage = "its answer is no HealthCheckResponse";
    assert_eq!(not_grpc(answer_to(of(b"\0\0\0\0\x02\x08\xff")).await), garbage);
    let long = "its answer is longer than 10240 bytes";
    assert_eq!(not_grpc(answer_to(of(&[0; 20_000])).await), long);
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let later = b"\x10\x96\x01\x19\x01\x02\x03\x04\x05\x06\x07\x08\x22\x02ab\x2d\x01\x02\x03\x04\x08\x01";
    assert_eq!(serving_status(later), Ok(1));
    for bad in [
        &b"\x08"[..],
        b"\x22\x7fab",
        b"\x0b",
        b"\x19\x01",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert!(serving_status(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_closed_port_is_refused_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let expected = format!(
        "error: failed to connect service at \"127.0.0.1:{port}\": Connection refused (os error 111)"
    );
    assert_eq!(check(HOST, port, "", LONG).await, failure(&expected));
}

#[tokio::test]
async fn silence_and_other_protocols_are_failures() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The kernel accepts, nobody answers.
    let silent = check(HOST, port, "", Duration::from_millis(20)).await;
    assert_eq!(silent, failure("timeout: health rpc did not complete within 20ms"));

    tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let Answer::Failure(message) = check(HOST, port, "", LONG).await else { panic!("HTTP/1 is not gRPC") };
    assert!(message.contains(&format!("127.0.0.1:{port} does not speak gRPC")), "{message}");
}
