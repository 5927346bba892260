//! What a client wants its connection to become, and in which protocol. Pure: headers in, headers out.
//!
//! SPDY is negotiated as `k8s.io/apimachinery/pkg/util/httpstream` does, WebSocket as `golang.org/x/net/websocket` and
//! `httpstream/wsstream` do. kubectl goes on with SPDY when its WebSocket handshake is refused, whatever the code.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::body::{Body, empty};
use crate::status::Refusal;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What a client wants its connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A WebSocket.
    WebSocket,
    /// SPDY.
    Spdy,
    /// Nothing else, or nothing known here.
    Nothing,
}

/// Reads the wish.
pub(crate) fn wanted(headers: &HeaderMap) -> Wanted {
    let upgrades = values(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let to = |protocol: &str| values(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case(protocol));
    match upgrades {
        true if to("websocket") => Wanted::WebSocket,
        true if to(SPDY) => Wanted::Spdy,
        _ => Wanted::Nothing,
    }
}

/// A handshake that can be answered: the protocol chosen, and the headers that say so.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// The chosen one of those offered; empty when the client named none.
    pub(crate) protocol: &'static str,
    headers: HeaderMap,
}

impl Agreed {
    /// 101, and the connection is no HTTP any more.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A handshake that cannot: and what the client may try instead.
#[derive(Debug)]
pub(crate) struct Disagreed {
    refusal: Refusal,
    headers: HeaderMap,
}

impl Disagreed {
    /// The answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = self.refusal.into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Refusal> for Box<Disagreed> {
    fn from(refusal: Refusal) -> Self {
        Box::new(Disagreed { refusal, headers: HeaderMap::new() })
    }
}

/// Agrees on SPDY and on one of `offered`, the client's first wish first. A client that names none speaks version 1, which
/// has the empty name (`httpstream.Handshake`).
pub(crate) fn spdy(headers: &HeaderMap, offered: &[&'static str]) -> Result<Agreed, Box<Disagreed>> {
    let asked: Vec<&str> = values(headers, &STREAM_PROTOCOL).collect();
    let mut agreed = HeaderMap::new();
    agreed.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    agreed.insert(UPGRADE, HeaderValue::from_static(SPDY));
    if asked.is_empty() {
        return Ok(Agreed { protocol: "", headers: agreed });
    }
    let Some(protocol) = asked.iter().find_map(|asked| offered.iter().find(|offer| *offer == asked)) else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            asked.join(" "),
            offered.join(" ")
        );
        let mut headers = HeaderMap::new();
        for offer in offered {
            headers.append(ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(offer));
        }
        return Err(Box::new(Disagreed { refusal: Refusal::forbidden(message), headers }));
    };
    agreed.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(Agreed { protocol, headers: agreed })
}

/// Agrees on a WebSocket and on one of `offered`; the empty name among them stands for clients that name none.
pub(crate) fn websocket(headers: &HeaderMap, offered: &[&'static str]) -> Result<Agreed, Box<Disagreed>> {
    if values(headers, &SEC_WEBSOCKET_VERSION).next() != Some("13") {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let refusal = Refusal::bad_request("missing or bad WebSocket Version");
        return Err(Box::new(Disagreed { refusal, headers }));
    }
    let key =
        headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Refusal::bad_request("challenge/response error"))?;
    // Sixteen bytes in base64 (RFC 6455, section 4.2.1).
    if key.len() != 24 || !key.as_bytes().ends_with(b"==") {
        return Err(Refusal::bad_request("challenge/response error").into());
    }
    let asked: Vec<&str> = values(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let found = if asked.is_empty() {
        offered.iter().find(|offer| offer.is_empty())
    } else {
        asked.iter().find_map(|asked| offered.iter().find(|offer| *offer == asked))
    };
    let protocol = found.ok_or_else(|| {
        let offered: Vec<&str> = offered.iter().copied().filter(|offer| !offer.is_empty()).collect();
        Refusal::forbidden(format!(
            "requested protocol(s) are not supported: [{}]; supports [{}]",
            asked.join(" "),
            offered.join(" ")
        ))
    })?;
    let mut agreed = HeaderMap::new();
    agreed.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    agreed.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| Refusal::bad_request("challenge/response error"))?;
    agreed.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        agreed.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(Agreed { protocol, headers: agreed })
}

/// The values of a header that may come several times and separate its values by commas.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(name).into_iter();
    all.filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const WEBSOCKET: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_wish_is_read_from_both_headers() {
        assert_eq!(wanted(&headers(&WEBSOCKET)), Wanted::WebSocket);
        assert_eq!(wanted(&headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")])), Wanted::Spdy);
        assert_eq!(wanted(&headers(&[("connection", "Upgrade"), ("upgrade", "h2c")])), Wanted::Nothing);
        assert_eq!(wanted(&headers(&[("upgrade", "websocket")])), Wanted::Nothing);
    }

    #[test]
    fn the_accept_key_is_that_of_rfc_6455() {
        let agreed = websocket(&headers(&WEBSOCKET), &["", "v4.channel.k8s.io"]).unwrap();
        assert_eq!(agreed.protocol, "");
        let response = agreed.into_response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn the_clients_order_decides() {
        let mut asked = headers(&WEBSOCKET);
        asked.append(
            "sec-websocket-protocol",
            HeaderValue::from_static("x, v5.channel.k8s.io, v4.channel.k8s.io"),
        );
        let agreed = websocket(&asked, &["v4.channel.k8s.io", "v5.channel.k8s.io"]).unwrap();
        assert_eq!(agreed.protocol, "v5.channel.k8s.io");
    }

    #[test]
    fn a_handshake_without_its_parts_is_refused() {
        let refused = |headers: &HeaderMap| websocket(headers, &[""]).unwrap_err().into_response();
        let mut old = headers(&WEBSOCKET);
        old.insert("sec-websocket-version", HeaderValue::from_static("8"));
        let response = refused(&old);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["sec-websocket-version"]),
            (400, &"13".parse().unwrap())
        );
        let mut keyless = headers(&WEBSOCKET);
        keyless.insert("sec-websocket-key", HeaderValue::from_static("short"));
        assert_eq!(refused(&keyless).status(), 400);
        let mut foreign = headers(&WEBSOCKET);
        foreign.insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
        assert_eq!(refused(&foreign).status(), 403);
    }

    #[test]
    fn spdy_without_a_version_is_the_first() {
        assert_eq!(spdy(&headers(&[]), &["v4.channel.k8s.io"]).unwrap().protocol, "");
    }

    #[test]
    fn spdy_that_cannot_be_agreed_on_names_what_could() {
        let asked = headers(&[("x-stream-protocol-version", "v9.channel.k8s.io")]);
        let response = spdy(&asked, &["v4.channel.k8s.io", "channel.k8s.io"]).unwrap_err().into_response();
        assert_eq!(response.status(), 403);
        let accepted: Vec<_> =
            response.headers().get_all("x-accepted-stream-protocol-versions").iter().collect();
        assert_eq!(accepted, ["v4.channel.k8s.io", "channel.k8s.io"]);
    }
}
