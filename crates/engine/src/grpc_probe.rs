//! The standard gRPC health protocol: `grpc.health.v1.Health/Check` over HTTP/2 without TLS, as the kubelet asks it
//! (KEP-2727, `pkg/probe/grpc`); only SERVING is success.
//!
//! The two messages of the protocol have one field each, so they are written and read by hand: a frame is a byte that
//! says "not compressed", the length as u32 BE, and the message (gRPC over HTTP2, "Length-Prefixed-Message").

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, LIMIT_BYTES, authority};

/// What a server may send in headers and trailers.
const HEADERS_LIMIT_BYTES: u32 = 16 * 1024;

/// gRPC's status codes as Go's library names them; the kubelet's messages have these words.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const DEADLINE_EXCEEDED: usize = 4;
const UNIMPLEMENTED: usize = 12;

/// `HealthCheckResponse.ServingStatus`.
const SERVING_STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Asks once whether `service` is served; an empty name asks for the server as a whole.
pub(crate) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Answer {
    let address = authority(host, port);
    let deadline = Instant::now() + timeout;
    let connection = match timeout_at(deadline, TcpStream::connect((host, port))).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            return Answer::Failure(format!("error: failed to connect service at {address:?}: {error}"));
        }
        Err(_) => {
            let message = format!("timeout: failed to connect service {address:?} within {timeout:?}");
            return Answer::Failure(message);
        }
    };
    match timeout_at(deadline, ask(connection, &address, service, timeout)).await {
        Ok(Ok(SERVING)) => Answer::Success,
        Ok(Ok(status)) => Answer::Failure(format!(
            "service unhealthy (responded with {:?})",
            named(&SERVING_STATUSES, status)
        )),
        Ok(Err(Refusal::Status(UNIMPLEMENTED, message))) => Answer::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Ok(Err(Refusal::Status(DEADLINE_EXCEEDED, _))) | Err(_) => {
            Answer::Failure(format!("timeout: health rpc did not complete within {timeout:?}"))
        }
        Ok(Err(Refusal::Status(code, message))) => Answer::Failure(format!(
            "error: health rpc probe failed: rpc error: code = {} desc = {message}",
            named(&CODES, code as u64)
        )),
        Ok(Err(Refusal::Protocol(what))) => {
            Answer::Failure(format!("error: health rpc probe failed: {address} does not speak gRPC: {what}"))
        }
    }
}

/// The word for a number of the protocol; a number that the protocol does not have stands for itself.
fn named(words: &[&str], number: u64) -> String {
    let word = usize::try_from(number).ok().and_then(|index| words.get(index));
    word.map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

/// Why there is no health status.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The call failed with a gRPC status and its message.
    Status(usize, String),
    /// What came is not gRPC.
    Protocol(String),
}

impl From<h2::Error> for Refusal {
    fn from(error: h2::Error) -> Self {
        Refusal::Protocol(error.to_string())
    }
}

async fn ask(stream: TcpStream, address: &str, service: &str, timeout: Duration) -> Result<u64, Refusal> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEADERS_LIMIT_BYTES);
    let (client, connection) = builder.handshake(stream).await?;
    let mut call = pin!(call(client, address, service, timeout));
    // The connection is served only for as long as the call needs it.
    tokio::select! {
        biased;
        outcome = &mut call => outcome,
        _ = connection => call.await,
    }
}

async fn call(
    client: SendRequest<Bytes>,
    address: &str,
    service: &str,
    timeout: Duration,
) -> Result<u64, Refusal> {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "kube-probe/1.37")
        .header("grpc-timeout", format!("{}m", timeout.as_millis()))
        .body(())
        .map_err(|error| Refusal::Protocol(error.to_string()))?;
    let (response, mut body) = client.ready().await?.send_request(request, false)?;
    body.send_data(frame(&health_check_request(service)), true)?;
    let (parts, mut body) = response.await?.into_parts();
    if parts.status != StatusCode::OK {
        return Err(Refusal::Protocol(format!("it answered with the HTTP status {}", parts.status.as_u16())));
    }
    // A call that fails at once has its status in the headers ("Trailers-Only").
    status(&parts.headers)?;
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        received.extend_from_slice(&chunk?);
        if received.len() > LIMIT_BYTES {
            return Err(Refusal::Protocol(format!("its answer is longer than {LIMIT_BYTES} bytes")));
        }
    }
    status(&body.trailers().await?.unwrap_or_default())?;
    serving_status(message(&received)?)
}

/// The status in headers or trailers; where it is missing, it is not there yet.
fn status(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status").map(|code| code.parse::<usize>()) {
        None | Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => {
            Err(Refusal::Status(code, percent_decoded(&text("grpc-message").unwrap_or_default())))
        }
        Some(Err(_)) => Err(Refusal::Protocol("its grpc-status is not a number".to_owned())),
    }
}

/// `grpc-message` as it was meant: `%XX` is a byte; what is malformed stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |index: usize| rest.get(index).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &rest[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn frame(message: &[u8]) -> Bytes {
    // A service name is a field of a manifest, far below 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// The message in the one frame that an answer is.
fn message(received: &[u8]) -> Result<&[u8], Refusal> {
    let refused = |what: &str| Err(Refusal::Protocol(what.to_owned()));
    let Some((&[compressed, a, b, c, d], message)) = received.split_first_chunk() else {
        return refused("its answer is not a message");
    };
    if compressed != 0 {
        return refused("its answer is compressed, which was not asked for");
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return refused("its answer is not one message");
    }
    Ok(message)
}

/// `message HealthCheckRequest { string service = 1; }`; an empty string is left out, as protobuf does.
fn health_check_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// `message HealthCheckResponse { ServingStatus status = 1; }`; unknown fields are skipped, the last value holds.
fn serving_status(mut message: &[u8]) -> Result<u64, Refusal> {
    let mut status = 0;
    let mut read = || -> Option<u64> {
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            match (tag >> 3, tag & 7) {
                (1, 0) => status = varint(&mut message)?,
                (_, 0) => drop(varint(&mut message)?),
                (_, 1) => message = message.get(8..)?,
                (_, 2) => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    message = message.get(length..)?;
                }
                (_, 5) => message = message.get(4..)?,
                _ => return None,
            }
        }
        Some(status)
    };
    read().ok_or_else(|| Refusal::Protocol("its answer is no HealthCheckResponse".to_owned()))
}

/// Protobuf's base 128 varint: seven bits a byte, the least first.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
