//! An API server elsewhere: one HTTP/2 connection over TLS, made when it is first needed and again when it broke.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::transport::{Body, BoxError, Pending, Transport};

/// Where an API server is, and as whom to speak to it.
#[derive(Clone)]
pub struct RemoteConfig {
    /// `https://HOST:PORT`.
    pub server: String,
    /// Certificates that may have signed the server's, in PEM.
    pub authority_pem: Vec<u8>,
    /// As whom.
    pub credentials: Credentials,
}

/// As whom to speak.
#[derive(Clone)]
pub enum Credentials {
    /// A client certificate and its key, in PEM.
    Certificate {
        /// The certificate.
        certificate_pem: Vec<u8>,
        /// Its key.
        key_pem: Vec<u8>,
    },
    /// A bearer token.
    Token(String),
}

/// Why a server cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not `https://HOST[:PORT]`.
    #[error("{server:?} is no address of an API server: write https://HOST:PORT")]
    Address {
        /// As given.
        server: String,
    },
    /// Certificates, key or token that cannot be used.
    #[error("cannot use the {what} for {server}")]
    Credentials {
        /// Which of them.
        what: &'static str,
        /// For which server.
        server: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

/// An API server elsewhere.
pub struct Remote {
    authority: Authority,
    name: ServerName<'static>,
    token: Option<HeaderValue>,
    connector: TlsConnector,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Remote {
    /// Prepares for it; nothing is connected yet.
    pub fn new(config: RemoteConfig) -> Result<Remote, RemoteError> {
        let server = config.server;
        let bad_address = || RemoteError::Address { server: server.clone() };
        let uri: Uri = server.parse().map_err(|_| bad_address())?;
        let authority =
            uri.authority().filter(|_| uri.scheme() == Some(&Scheme::HTTPS)).ok_or_else(bad_address)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| bad_address())?;
        let cannot_use = |what: &'static str, source: BoxError| RemoteError::Credentials {
            what,
            server: server.clone(),
            source,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&config.authority_pem) {
            let certificate =
                certificate.map_err(|error| cannot_use("certificate authority", error.into()))?;
            roots.add(certificate).map_err(|error| cannot_use("certificate authority", error.into()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot_use("TLS provider", error.into()))?
            .with_root_certificates(roots);
        let (mut tls, token) = match config.credentials {
            Credentials::Token(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .map_err(|error| cannot_use("token", error.into()))?;
                value.set_sensitive(true);
                (builder.with_no_client_auth(), Some(value))
            }
            Credentials::Certificate { certificate_pem, key_pem } => {
                let chain = CertificateDer::pem_slice_iter(&certificate_pem)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| cannot_use("client certificate", error.into()))?;
                let key = PrivateKeyDer::from_pem_slice(&key_pem)
                    .map_err(|error| cannot_use("client key", error.into()))?;
                let tls = builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| cannot_use("client certificate", error.into()))?;
                (tls, None)
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Remote {
            authority: authority.clone(),
            name,
            token,
            connector: TlsConnector::from(Arc::new(tls)),
            connection: Mutex::default(),
        })
    }

    /// The connection that there is, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, BoxError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let port = self.authority.port_u16().unwrap_or(443);
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, port)).await?;
        socket.set_nodelay(true)?;
        let tls = self.connector.connect(self.name.clone(), socket).await?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the API server ended");
            }
        });
        *held = Some(sender.clone());
        Ok(sender)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, BoxError> {
        let (mut parts, body) = request.into_parts();
        let mut uri = parts.uri.into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.authority.clone());
        parts.uri = Uri::from_parts(uri)?;
        if let Some(token) = &self.token {
            parts.headers.insert(header::AUTHORIZATION, token.clone());
        }
        let mut connection = self.connection().await?;
        connection.ready().await?;
        let response = connection.send_request(Request::from_parts(parts, Full::new(body))).await?;
        Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }
}

impl Transport for Remote {
    fn call(&self, request: Request<Bytes>) -> Pending<'_, Result<Response<Body>, Error>> {
        let (attempted, path) = (request.method().to_string(), request.uri().path().to_owned());
        Box::pin(async move {
            self.send(request).await.map_err(|source| Error::Transport { attempted, path, source })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str, credentials: Credentials) -> RemoteConfig {
        RemoteConfig { server: server.to_owned(), authority_pem: Vec::new(), credentials }
    }

    #[test]
    fn only_tls_is_spoken() {
        for server in ["http://localhost:6443", "localhost:6443", "", "https://"] {
            let refused = Remote::new(config(server, Credentials::Token("t".into())));
            assert!(matches!(refused, Err(RemoteError::Address { .. })), "{server}");
        }
        assert!(Remote::new(config("https://[::1]:6443", Credentials::Token("t".into()))).is_ok());
    }

    #[test]
    fn a_damaged_key_is_named() {
        let credentials =
            Credentials::Certificate { certificate_pem: Vec::new(), key_pem: b"nothing".to_vec() };
        let refused = Remote::new(config("https://localhost", credentials));
        assert!(matches!(refused, Err(RemoteError::Credentials { what: "client key", .. })));
    }
}
