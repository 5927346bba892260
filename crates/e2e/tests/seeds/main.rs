//! The seed manifests (folder seeds/) run and do what the pages that they come from say of them. Their images are
//! mapped to ones that Debian's packages give ([`text`]), and what they only refer to stands beside them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod fragments;
mod patterns;
mod refusals;
mod sharing;
mod text;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use e2e::{Running, Signal, Value};

/// No answer on this machine takes so long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The Pod's address, once it is ready.
fn address(run: &mut Running<'_>) -> IpAddr {
    run.wait_until_ready()["pod_ips"][0].as_str().unwrap().parse().unwrap()
}

/// What the port answers to `request`, until it closes the connection.
fn ask(address: IpAddr, port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(address, port).into(), ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An HTTP request, answered in full.
fn get(address: IpAddr, port: u16, path: &str) -> String {
    ask(address, port, &format!("GET {path} HTTP/1.0\r\nHost: seed\r\n\r\n")).unwrap()
}

/// Ends a Pod whose programs would run for ever: Ctrl-C, and once more for those that do not hear it.
fn stop(run: Running<'_>) {
    let mut run = run;
    run.signal(Signal::INT);
    run.wait_for("the first Ctrl-C to be told", |event| event["event"] == "stopping");
    run.signal(Signal::INT);
    let finished = run.wait();
    assert_eq!(finished.code, 130, "{finished}");
}

/// Whether an event is this warning.
fn is_warning(event: &Value, reason: &str) -> bool {
    event["event"] == "kubernetes_event" && event["warning"] == true && event["reason"] == reason
}
