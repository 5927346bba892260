//! Sockets, TLS and HTTP around an [`Api`], or around what a node serves by itself: who may connect, for how long, and how it ends.
//!
//! Both HTTP/1.1 and HTTP/2 are spoken on one port, as ALPN agrees. Nothing here knows what a request means. Hostile
//! clients are bounded by time (handshake, headers) and by number (connections; the one that has been idle longest makes
//! room), so that somebody who opens thousands of sockets keeps nobody out.

mod connections;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::{Api, Peer};
use crate::respond::{Body, BodyError, Response, holding};
use connections::{Connections, Seat};

/// What a server allows its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; beyond, the one idle longest is closed.
    pub connections: usize,
    /// Until the TLS handshake is done.
    pub handshake_timeout: Duration,
    /// Until the headers of a request have come; of HTTP/1.1 also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long requests may go on when the server ends.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// What is served.
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        request: hyper::Request<Body>,
        peer: Peer,
    ) -> impl Future<Output = Response> + Send;

    /// Tells the requests that go on to end.
    fn close(&self);
}

impl Service for Api {
    async fn answer(self: Arc<Self>, request: hyper::Request<Body>, peer: Peer) -> Response {
        self.handle(request, peer).await
    }

    fn close(&self) {
        Api::close(self);
    }
}

/// The largest header block, of both protocols. `kubectl exec` puts its command there.
const HEADER_BYTES: usize = 256 << 10;
/// Requests at once on one HTTP/2 connection, the value of kube-apiserver.
const STREAMS: u32 = 250;
/// How long the listener rests when the process has no file descriptors left and nobody could be closed.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes, then lets requests end.
pub async fn serve<S: Service>(
    served: Arc<S>,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (closing, is_closing) = watch::channel(false);
    let connections = Connections::new(limits.connections);
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            // Ended connections are taken off the set as they end, so that it does not grow.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
        };
        match accepted {
            Ok((socket, address)) => {
                let seat = connections.take();
                let connection = Connection {
                    served: Arc::clone(&served),
                    acceptor: acceptor.clone(),
                    limits: limits.clone(),
                    is_closing: is_closing.clone(),
                };
                tasks.spawn(connection.run(socket, address, seat));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; closing the one that is idle longest");
                if !connections.close_idlest() {
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }
    drop(listener);
    served.close();
    closing.send_replace(true);
    let drained =
        tokio::time::timeout(limits.drain_timeout, async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::info!(connections = tasks.len(), "closing connections that did not end by themselves");
        tasks.shutdown().await;
    }
}

struct Connection<S> {
    served: Arc<S>,
    acceptor: TlsAcceptor,
    limits: Limits,
    is_closing: watch::Receiver<bool>,
}

impl<S: Service> Connection<S> {
    async fn run(self, socket: TcpStream, address: SocketAddr, seat: Seat) {
        // Small answers are not held back for the sake of the next one.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, self.acceptor.accept(socket));
        let stream = tokio::select! {
            () = seat.evicted() => return,
            handshake = handshake => match handshake {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!(%address, "TLS handshake took too long");
                    return;
                }
            },
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let peer = Peer {
            address: Some(address),
            certificate: certificate.map(|certificate| Arc::from(certificate.as_ref())),
        };
        let (served, seat_of_requests) = (Arc::clone(&self.served), seat.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (served, peer, seat) = (Arc::clone(&served), peer.clone(), seat_of_requests.clone());
            async move {
                let busy = seat.busy();
                let request = request.map(|body| body.map_err(BodyError::new).boxed());
                // A watch keeps its connection busy until its body ends.
                Ok::<_, Infallible>(holding(served.answer(request, peer).await, busy))
            }
        });
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        // TLS has agreed on it. hyper-util's builder of both looks at the first bytes instead, and waits for them for ever.
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
            builder.max_header_list_size(HEADER_BYTES as u32);
            self.speak(builder.serve_connection(stream, service), address, seat).await;
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(self.limits.header_timeout);
            builder.max_buf_size(HEADER_BYTES);
            self.speak(builder.serve_connection(stream, service).with_upgrades(), address, seat).await;
        }
    }

    async fn speak(mut self, connection: impl Speaking, address: SocketAddr, seat: Seat) {
        tokio::pin!(connection);
        let mut is_told = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, error = %error, "connection ended");
                    }
                    return;
                }
                () = seat.evicted() => return,
                changed = self.is_closing.changed(), if !is_told => {
                    is_told = true;
                    if changed.is_ok() {
                        connection.as_mut().close();
                    }
                }
            }
        }
    }
}

/// A connection of either protocol, which is polled to its end.
trait Speaking: Future<Output = hyper::Result<()>> {
    /// Ends after the requests that go on.
    fn close(self: Pin<&mut Self>);
}

impl<I, S> Speaking for http1::UpgradeableConnection<I, S>
where
    I: Read + Write + Unpin + Send + 'static,
    S: hyper::service::Service<hyper::Request<Incoming>, Response = Response, Error = Infallible>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Speaking for http2::Connection<I, S, TokioExecutor>
where
    I: Read + Write + Unpin,
    S: hyper::service::Service<hyper::Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
