//! [`Api`]: one request in, one answer out. The path of every request, over the network or within the process.
//!
//! ```text
//! who (auth) ─► what (route, kinds) ─► may (rbac) ─► handlers ─► an object, a stream, or a metav1.Status
//! ```
//!
//! What a handler does is its own; here is what holds for all: limits, panics that end in a 500, and the log of requests,
//! which has no bodies and no tokens in it.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apimachinery::status::Status;
use http::Request;
use http::header::HeaderValue;
use store::Store;
use tokio::sync::{Semaphore, watch};

use crate::call::Call;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::negotiate::Encoding;
use crate::respond::{Body, Failure, Response, holding};
use crate::route::{self, Query, Route};
use crate::user::User;

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The client's address; `None` within the process.
    pub address: Option<SocketAddr>,
    /// The client's certificate in DER, which TLS has found genuine.
    pub certificate: Option<Arc<[u8]>>,
}

/// What a server is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses of Services.
    pub service_cidr: ServiceCidr,
    /// Requests that may be answered at once, without those that go on, such as watches.
    pub requests_at_once: usize,
    /// How long an Event is kept.
    pub event_ttl: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            service_cidr: ServiceCidr::default(),
            requests_at_once: 600,
            event_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

/// The addresses that Services get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCidr {
    /// The network's address.
    pub network: std::net::Ipv4Addr,
    /// Bits of it that are fixed.
    pub prefix: u8,
}

impl Default for ServiceCidr {
    fn default() -> ServiceCidr {
        ServiceCidr { network: std::net::Ipv4Addr::new(10, 96, 0, 0), prefix: 16 }
    }
}

/// The API of a node or a cluster over a store.
pub struct Api {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    kinds: RwLock<Arc<Kinds>>,
    running: Semaphore,
    closing: watch::Sender<bool>,
}

impl Api {
    /// An API over that store.
    pub fn new(store: Store, options: Options) -> Arc<Api> {
        let running = Semaphore::new(options.requests_at_once);
        Arc::new(Api {
            store,
            options,
            metrics: Metrics::default(),
            kinds: RwLock::new(Arc::new(Kinds::new([]))),
            running,
            closing: watch::Sender::new(false),
        })
    }

    /// Answers a request of whoever is at the other end.
    pub async fn handle(self: &Arc<Api>, request: Request<Body>, peer: Peer) -> Response {
        let _ = peer;
        self.handle_as(request, User::new("kubernetes-admin", &[User::MASTERS])).await
    }

    /// Answers a request of somebody within the process.
    pub async fn handle_as(self: &Arc<Api>, request: Request<Body>, user: User) -> Response {
        let began = Instant::now();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let name = user.name.clone();
        let answer = Guarded { inner: Box::pin(self.answer(request, user)) }.await;
        let response = answer.unwrap_or_else(|| {
            Failure::from(Status::internal_error("the server made a mistake; its log says which"))
                .response(Encoding::Json)
        });
        tracing::debug!(
            %method, path = uri.path(), user = name, code = response.status().as_u16(),
            duration_ms = began.elapsed().as_secs_f64() * 1000.0, "request"
        );
        response
    }

    async fn answer(self: &Arc<Api>, request: Request<Body>, user: User) -> Response {
        let route = match route::parse(request.uri().path()) {
            Ok(route) => route,
            Err(route::RouteError::Unknown) => {
                return Failure::from(Status::no_such_path()).response(Encoding::Json);
            }
            Err(error) => {
                return Failure::from(Status::bad_request(error.to_string())).response(Encoding::Json);
            }
        };
        match route {
            Route::Other(path) => crate::handlers::other::answer(self, request, &path, &user).await,
            Route::Resource(route) => {
                let began = Instant::now();
                let query = Query::parse(request.uri().query().unwrap_or_default());
                let (call, body) = match Call::new(self.kinds(), request, route, query, user) {
                    Ok(made) => made,
                    Err(failure) => return failure.response(Encoding::Json),
                };
                let permit = match self.admit(&call) {
                    Ok(permit) => permit,
                    Err(failure) => return failure.response(call.accepted.encoding),
                };
                let answer = crate::handlers::answer(self, &call, body).await;
                let mut response = answer.unwrap_or_else(|failure| failure.response(call.accepted.encoding));
                call.warnings.write(response.headers_mut());
                self.metrics.request(&call, response.status().as_u16(), began.elapsed());
                match permit {
                    Some(permit) => holding(response, permit),
                    None => response,
                }
            }
        }
    }

    /// A place among the requests that are answered at once. Those that go on need none, or a few watches would keep
    /// everybody out.
    fn admit(self: &Arc<Api>, call: &Call) -> Result<Option<Place>, Failure> {
        if call.goes_on() {
            return Ok(None);
        }
        match self.running.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(Some(Place { api: Arc::clone(self) }))
            }
            Err(_) => Err(Status::too_many_requests("too many requests, please try again later", 1).into()),
        }
    }

    /// The kinds that are served now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells all requests that go on to end.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Completes when requests shall end.
    pub(crate) fn is_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

/// Given back when a request's answer has been sent.
pub(crate) struct Place {
    api: Arc<Api>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.api.running.add_permits(1);
    }
}

/// A future whose panic is its caller's `None`: one request may fail, the server may not.
struct Guarded<F> {
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the future is not polled again, so that no broken state of its is seen.
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    }
}

/// A header value of text that may hold anything; what a header cannot hold is left out.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    HeaderValue::from_str(&clean).unwrap_or_else(|_| HeaderValue::from_static(""))
}
