//! A node of another process, called as kube-apiserver calls a kubelet: one connection over TLS for each request, which may
//! become something else than HTTP and is then carried through both ways.
//!
//! The node shows a certificate for its name, whatever its address: whoever can write a Node's addresses cannot have the
//! streams of its Pods sent elsewhere. What authorized the client at the API goes no further.

use std::pin::Pin;
use std::time::Duration;

use apimachinery::status::Status;
use http::header::{AUTHORIZATION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::api::Node;
use crate::kinds::fill::text;
use crate::negotiate::Encoding;
use crate::objects::metadata;
use crate::respond::{Body, BodyError, Failure, Response};

/// How long a connection may take, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a node serves.
pub(crate) struct RemoteNode {
    name: ServerName<'static>,
    host: String,
    port: u16,
    tls: TlsConnector,
    is_closing: watch::Receiver<bool>,
}

/// Why a node did not answer. It is told to the client in one line, the cause with it.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("dial tcp {address}: {cause}")]
    Connect { address: String, cause: std::io::Error },
    #[error("dial tcp {address}: i/o timeout")]
    Timeout { address: String },
    #[error("{address}: {cause}")]
    Http { address: String, cause: hyper::Error },
}

impl RemoteNode {
    /// That of a Node object; none, when it does not say where it serves.
    pub(crate) fn of(
        node: &Value,
        tls: TlsConnector,
        is_closing: watch::Receiver<bool>,
    ) -> Option<RemoteNode> {
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port")?.as_u64()?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let name = ServerName::try_from(metadata::name(node).to_owned()).ok()?;
        Some(RemoteNode { name, host: host(node)?.to_owned(), port, tls, is_closing })
    }

    fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn call(&self, mut request: Request<Body>) -> Result<Response, DialError> {
        let client_side = hyper::upgrade::on(&mut request);
        let address = self.address();
        let connecting = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            socket.set_nodelay(true)?;
            self.tls.connect(self.name.clone(), socket).await
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| DialError::Timeout { address: address.clone() })?
            .map_err(|cause| DialError::Connect { address: address.clone(), cause })?;
        let unanswered = |cause| DialError::Http { address: address.clone(), cause };
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(unanswered)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a node ended");
            }
        });
        *request.version_mut() = Version::HTTP_11;
        clean(request.headers_mut());
        if let Ok(host) = HeaderValue::from_str(&address) {
            request.headers_mut().insert(HOST, host);
        }
        let mut response = sender.send_request(request).await.map_err(unanswered)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let node_side = hyper::upgrade::on(&mut response);
            tokio::spawn(carry(client_side, node_side, self.is_closing.clone()));
        } else {
            response.headers_mut().remove(TRANSFER_ENCODING);
        }
        Ok(response.map(|body| body.map_err(BodyError::new).boxed()))
    }
}

impl Node for RemoteNode {
    fn handle(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Response> + Send + '_>> {
        Box::pin(async move {
            self.call(request).await.unwrap_or_else(|error| {
                // kubectl users know this sentence.
                let status = Status::internal_error(format_args!("error dialing backend: {error}"));
                Failure::from(status).response(Encoding::Json)
            })
        })
    }
}

/// The address that the cluster's own parts use, as kube-apiserver's `--kubelet-preferred-address-types` has it here: a host
/// name need not be known to this machine.
fn host(node: &Value) -> Option<&str> {
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    ["InternalIP", "ExternalIP", "InternalDNS", "Hostname"].iter().find_map(|wanted| {
        let found = addresses.iter().find(|address| text(address, "/type") == Some(wanted))?;
        text(found, "/address")
    })
}

/// What was meant for the API is not for the node: nobody's token, and nobody whom the client asked to be taken for.
fn clean(headers: &mut HeaderMap) {
    let mut own: Vec<HeaderName> = vec![AUTHORIZATION, TRANSFER_ENCODING];
    own.extend(headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned());
    for name in own {
        headers.remove(name);
    }
}

/// Carries bytes both ways until both have ended, or the server does.
async fn carry(
    client_side: hyper::upgrade::OnUpgrade,
    node_side: hyper::upgrade::OnUpgrade,
    mut is_closing: watch::Receiver<bool>,
) {
    let carried = async {
        let (client, node) = tokio::try_join!(client_side, node_side).map_err(std::io::Error::other)?;
        tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(node)).await
    };
    tokio::select! {
        carried = carried => if let Err(error) = carried {
            tracing::debug!(%error, "a stream of a node ended early");
        },
        // The API is gone with its sender.
        _ = is_closing.wait_for(|is_closing| *is_closing) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn connector() -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    fn of(status: Value) -> Option<RemoteNode> {
        let node = json!({"metadata": {"name": "n1"}, "status": status});
        RemoteNode::of(&node, connector(), watch::channel(false).1)
    }

    #[test]
    fn a_node_is_called_where_it_says_and_by_its_name() {
        let node = of(json!({
            "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "fd00::1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        }))
        .unwrap();
        assert_eq!(node.address(), "[fd00::1]:10250");
        assert_eq!(node.name, ServerName::try_from("n1").unwrap());
        assert!(of(json!({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]})).is_none());
        assert!(of(json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}})).is_none());
    }

    #[test]
    fn no_token_goes_on_to_a_node() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "impersonate-user", "impersonate-extra-a", "upgrade", "connection"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        clean(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["connection", "upgrade"]);
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_told_as_kubernetes_does() {
        // Nobody listens on a port that was just given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let node = of(json!({
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }))
        .unwrap();
        let response = node.handle(Request::new(crate::respond::whole(""))).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap();
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("error dialing backend: dial tcp 127.0.0.1:"), "{message}");
    }
}
