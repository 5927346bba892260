//! `kubectl exec POD -- true` as the server sees it: from the request for a WebSocket until the channel of the outcome
//! says Success. The connection is warm, as nothing of TCP or TLS is podling's to be fast at.

use std::time::Instant;

use serde_json::Value;

use super::EXEC;
use super::connection::Connection;
use super::server::Server;
use crate::bench::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};

/// RFC 6455, and Kubernetes' remotecommand of KEP-4006. The key is any 16 bytes.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: cG9kbGluZyBiZW5jaG1hcg==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
/// The channel that tells the outcome.
const OUTCOME: u8 = 3;
/// A frame with data, and the bit that says it is whole.
const BINARY: u8 = 0x82;
/// The server's greeting, and the answer that it waits for (masked, by zeroes).
const PING: u8 = 0x89;
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Runs `true` in a container of that Pod once.
pub(crate) fn measure(server: &Server, pod: &str, samples: &mut Samples) -> Result {
    let mut connection = server.connect()?;
    let path = format!(
        "/api/v1/namespaces/default/pods/{pod}/exec?command=true&container=one&stdout=true&stderr=true"
    );
    let start = Instant::now();
    connection.send("GET", &path, UPGRADE, "")?;
    let code = connection.answer()?.code;
    if code != 101 {
        return Err(Failure::new(format!("exec was answered with {code}")));
    }
    let outcome = outcome(&mut connection)?;
    samples.add_ms(EXEC.name, EXEC.limit, start.elapsed().as_secs_f64() * 1e3);
    if outcome["status"] == "Success" { Ok(()) } else { Err(Failure::new(format!("exec failed: {outcome}"))) }
}

fn outcome(connection: &mut Connection) -> Result<Value> {
    loop {
        let head = connection.take(2)?;
        let length = match head[1] {
            126 => {
                let long = connection.take(2)?;
                usize::from(u16::from_be_bytes([long[0], long[1]]))
            }
            127 => return Err(Failure::new("a frame is longer than anything that `true` says")),
            short => usize::from(short),
        };
        let data = connection.take(length)?;
        if head[0] == PING {
            connection.write(&PONG)?;
        }
        if head[0] == BINARY && data.first() == Some(&OUTCOME) {
            return serde_json::from_slice(&data[1..]).attempt("reading the outcome of exec");
        }
    }
}
