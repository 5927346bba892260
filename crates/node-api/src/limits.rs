//! How much one connection may ask of the node. The times are the kubelet's.

use std::time::Duration;

/// What is allowed to one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long nothing may be sent in either direction (the kubelet's `streamingConnectionIdleTimeout`).
    pub idle_timeout: Duration,
    /// How long a client may take to open the streams it asked for (`DefaultStreamCreationTimeout`).
    pub stream_creation_timeout: Duration,
    /// How long a client is given to show that it reads, before it is sent what there is.
    pub greeting_timeout: Duration,
    /// How long a client may take to close what has ended.
    pub linger_timeout: Duration,
    /// Streams open at once; a forwarded connection has two.
    pub streams: usize,
    /// Bytes that were read and wait for a process or a port to take them.
    pub waiting_bytes: usize,
    /// Of one WebSocket message, as golang.org/x/net/websocket has it (`DefaultMaxPayloadBytes`).
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(4 * 60 * 60),
            stream_creation_timeout: Duration::from_secs(30),
            greeting_timeout: Duration::from_secs(1),
            linger_timeout: Duration::from_secs(10),
            streams: 2048,
            waiting_bytes: 4 << 20,
            message_bytes: 32 << 20,
        }
    }
}
