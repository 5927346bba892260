//! [`Api`]: one request in, one answer out. The path of every request, over the network or within the process.
//!
//! ```text
//! who (auth) ─► what (route, kinds) ─► may (rbac) ─► handlers ─► an object, a stream, or a metav1.Status
//! ```
//!
//! What a handler does is its own; here is what holds for all: limits, panics that end in a 500, and the log of requests,
//! which has no bodies and no tokens in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apimachinery::status::Status;
use http::Request;
use http::header::HeaderValue;
use http_body_util::BodyExt;
use store::Store;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;

use crate::auth::node;
use crate::auth::tokens::Tokens;
use crate::call::Call;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::negotiate::Encoding;
use crate::remote_node::RemoteNode;
use crate::respond::{Body, BodyError, Failure, Response, holding};
use crate::route::{self, Query, Route};
use crate::security::Security;
use crate::user::User;

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The client's address; `None` within the process.
    pub address: Option<SocketAddr>,
    /// The client's certificate in DER, which TLS has found genuine.
    pub certificate: Option<Arc<[u8]>>,
}

/// What a node does for the API: streams and usage of its Pods. A request comes with a path as of a kubelet.
pub trait Node: Send + Sync + 'static {
    /// Answers a request with a kubelet's path; it may upgrade the connection.
    fn handle(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Response> + Send + '_>>;
}

impl Node for node_api::NodeApi {
    fn handle(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Response> + Send + '_>> {
        Box::pin(async move {
            let response = node_api::NodeApi::handle(self, request).await;
            response.map(|body| body.map_err(BodyError::new).boxed())
        })
    }
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
    /// How long the body of a request may take, so that a slow client does not hold its place for ever.
    pub body_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            service_cidr: ServiceCidr::default(),
            requests_at_once: 600,
            event_ttl: Duration::from_secs(24 * 3600),
            body_timeout: Duration::from_secs(60),
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
    pub(crate) security: Security,
    nodes: RwLock<HashMap<String, Arc<dyn Node>>>,
    /// What it takes to call nodes of other processes.
    node_access: RwLock<Option<TlsConnector>>,
    kinds: RwLock<Arc<Kinds>>,
    running: Semaphore,
    closing: watch::Sender<bool>,
}

impl Api {
    /// An API over that store, which knows its clients by these tokens (and by certificates, which TLS checks).
    pub fn new(store: Store, tokens: Tokens, options: Options) -> Arc<Api> {
        let running = Semaphore::new(options.requests_at_once);
        let security = Security::new(tokens);
        security.read_policy(&store);
        let api = Api {
            store,
            options,
            metrics: Metrics::default(),
            security,
            nodes: RwLock::default(),
            node_access: RwLock::default(),
            kinds: RwLock::new(Arc::new(Kinds::new([]))),
            running,
            closing: watch::Sender::new(false),
        };
        api.read_custom_kinds();
        Arc::new(api)
    }

    /// Says who serves the streams of a node's Pods, in this process.
    pub fn set_node(&self, name: impl Into<String>, node: Arc<dyn Node>) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), node);
    }

    /// Says how nodes of other processes are called; without it, none is.
    pub fn set_node_access(&self, tls: Arc<rustls::ClientConfig>) {
        let mut access = self.node_access.write().unwrap_or_else(PoisonError::into_inner);
        *access = Some(TlsConnector::from(tls));
    }

    /// Who serves the streams of a node's Pods: in this process, or where the Node object says.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<dyn Node>> {
        let here = self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone);
        here.or_else(|| self.remote_node(&self.read("nodes", "", name).ok()??.object))
    }

    /// All nodes that can be called.
    pub(crate) fn nodes(&self) -> Vec<(String, Arc<dyn Node>)> {
        let mut all: HashMap<String, Arc<dyn Node>> = HashMap::new();
        for row in self.rows("nodes/") {
            if let Ok(found) = crate::objects::stored(&row.value, row.revision.get())
                && let Some(node) = self.remote_node(&found.object)
            {
                all.insert(crate::objects::metadata::name(&found.object).to_owned(), node);
            }
        }
        let here = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        all.extend(here.iter().map(|(name, node)| (name.clone(), Arc::clone(node))));
        all.into_iter().collect()
    }

    fn remote_node(&self, node: &serde_json::Value) -> Option<Arc<dyn Node>> {
        let tls = self.node_access.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Arc::new(RemoteNode::of(node, tls, self.is_closing())?))
    }

    /// Reads the CustomResourceDefinitions again. Done under the kinds' lock, so that no older state replaces a newer.
    pub(crate) fn read_custom_kinds(&self) {
        let mut held = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        let mut custom = Vec::new();
        for row in self.rows("customresourcedefinitions.apiextensions.k8s.io/") {
            if let Ok(definition) = crate::objects::stored(&row.value, row.revision.get())
                && !crate::objects::metadata::is_ending(&definition.object)
            {
                custom.extend(crate::custom::kinds(&definition.object));
            }
        }
        *held = Arc::new(Kinds::new(custom));
    }

    /// Answers a request of whoever is at the other end.
    pub async fn handle(self: &Arc<Api>, request: Request<Body>, peer: Peer) -> Response {
        // Whether anybody is at home is no secret, and is asked by those who have none.
        if matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz") {
            return self.handle_as(request, User::anonymous()).await;
        }
        match self.security.identify(&self.store, request.headers(), &peer) {
            Ok(user) => self.handle_as(request, user).await,
            Err(failure) => failure.response(Encoding::Json),
        }
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
                if let Err(failure) = self.security.check_call(&call).and_then(|()| self.check_node(&call)) {
                    return failure.response(call.accepted.encoding);
                }
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

    /// The node elsewhere that asks, if it is one: it is trusted with what concerns it. One of this process has all there is.
    pub(crate) fn remote_asker<'a>(&self, user: &'a User) -> Option<&'a str> {
        let here = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        node::of_user(user).filter(|name| !here.contains_key(*name))
    }

    /// 403, when a node elsewhere asks for what does not concern it.
    fn check_node(&self, call: &Call) -> Result<(), Failure> {
        match self.remote_asker(&call.user) {
            Some(node) => self.security.check_node(&self.store, node, call),
            None => Ok(()),
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
