//! WebSocket as Kubernetes speaks it: numbered channels in its messages ([`channel`]), driven over a connection
//! (`session`); and SPDY as a stream of bytes through it (`tunnel`).

pub mod channel;
pub(crate) mod session;
pub(crate) mod tunnel;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::limits::Limits;

/// The server's end of a WebSocket whose handshake is over.
pub(crate) async fn open<C>(connection: C, limits: &Limits) -> WebSocketStream<C>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}
