//! What a probe or a hook saw.

use std::net::IpAddr;
use std::time::Duration;

/// What came of asking. A request that could not be made at all is an error instead: it counts neither way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success.
    Success,
    /// Success that somebody should know about: told as the event ProbeWarning.
    Warning(String),
    /// An answer that counts as a failure, as kubectl shows it; silence until the timeout is one, too.
    Failure(String),
}

/// What an answer may be long; the rest is not read, or not kept (kubelet's `maxRespBodyLength`).
pub(crate) const LIMIT_BYTES: usize = 10 * 1024;

/// Waits for `work` as long as a timeout allows, if there is one: hooks have none but the Pod's grace.
pub(crate) async fn within<T>(timeout: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, work).await.ok(),
        None => Some(work.await),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}
