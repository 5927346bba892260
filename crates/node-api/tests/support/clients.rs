//! Clients that speak the protocols by hand, so that they can also speak them badly.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use node_api::spdy::frame::{Decoder, Encoder, Frame, FrameLimits};
use node_api::spdy::headers::Headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Server;

pub(crate) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Asks for an upgrade; gives the connection and the answer's headers.
pub(crate) async fn upgrade(
    server: &Server,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (Upgraded, http::HeaderMap<HeaderValue>) {
    let connection = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(connection)).await.unwrap();
    tokio::spawn(driver.with_upgrades());
    let mut request = Request::post(path).header("host", "here").header("connection", "Upgrade");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let headers = response.headers().clone();
    (TokioIo::new(hyper::upgrade::on(response).await.unwrap()), headers)
}

pub(crate) const WEBSOCKET: [(&str, &str); 3] = [
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

pub(crate) async fn websocket(server: &Server, path: &str, protocol: &str) -> WebSocketStream<Upgraded> {
    let mut headers = WEBSOCKET.to_vec();
    if !protocol.is_empty() {
        headers.push(("sec-websocket-protocol", protocol));
    }
    let (connection, answered) = upgrade(server, path, &headers).await;
    let chosen = answered.get("sec-websocket-protocol").map_or("", |value| value.to_str().unwrap());
    assert_eq!(chosen, protocol);
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
    // The library answers it with what is read or written next.
    assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))), "the server greets");
    socket
}

/// All messages until the close frame, and its code.
pub(crate) async fn messages(socket: &mut WebSocketStream<Upgraded>) -> (Vec<Vec<u8>>, Option<u16>) {
    let mut messages = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(frame) => return (messages, frame.map(|frame| frame.code.into())),
            message => messages.push(message.into_data().to_vec()),
        }
    }
    (messages, None)
}

/// What came on a channel, put together.
pub(crate) fn channel(messages: &[Vec<u8>], number: u8) -> String {
    let of_it = messages.iter().filter(|message| message.first() == Some(&number));
    String::from_utf8(of_it.flat_map(|message| message[1..].to_vec()).collect()).unwrap()
}

/// A SPDY client, frame by frame.
pub(crate) struct Spdy {
    pub(crate) connection: Upgraded,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
}

impl Spdy {
    pub(crate) async fn open(server: &Server, path: &str, version: &str) -> Self {
        let headers = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", version)];
        let (connection, answered) =
            upgrade(server, path, if version.is_empty() { &headers[..1] } else { &headers }).await;
        let chosen = answered.get("x-stream-protocol-version").map_or("", |value| value.to_str().unwrap());
        assert_eq!(chosen, version);
        Self { connection, encoder: Encoder::default(), decoder: Decoder::new(FrameLimits::default()) }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut out = Vec::new();
        self.encoder.encode(&frame, &mut out);
        self.connection.write_all(&out).await.unwrap();
    }

    pub(crate) async fn stream(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.send(Frame::SynStream { stream, fin: false, headers: Headers(fields) }).await;
    }

    /// The next frame; nothing when the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            if !matches!(self.connection.read_buf(self.decoder.buffer()).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// Everything until the server says that it goes away: what came on each stream.
    pub(crate) async fn all(&mut self) -> std::collections::BTreeMap<u32, String> {
        let mut came = std::collections::BTreeMap::new();
        loop {
            match self.next().await.expect("GOAWAY comes first") {
                Frame::Data { stream, bytes, .. } => {
                    let text: &mut String = came.entry(stream).or_default();
                    text.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                Frame::GoAway { status: 0, .. } => return came,
                Frame::SynReply { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
