//! The service: from a request to its answer, and to the session that an upgraded connection becomes.
//!
//! Everything that can be refused is refused before the connection is upgraded, as an HTTP answer that kubectl shows in
//! full. So a command is started first: what the kubelet's runtime tells only when it starts one (the program is absent) is
//! told where kubectl expects it, on the error stream.

mod exec;
mod port_forward;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::streams::{ExecRequest, PodStreams, StreamError, Streams, Target};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::exec::Conversation;
use crate::body::{Body, streamed, whole};
use crate::command::{self, Talk};
use crate::handshake::Agreed;
use crate::limits::Limits;
use crate::logs::log_request;
use crate::query::Query;
use crate::route::{Route, route};
use crate::stats::{Measured, metrics, node, summary};
use crate::status::Refusal;

/// Of a command run by `/run`, so much output is kept.
const RUN_OUTPUT_BYTES: usize = 16 << 20;

/// The Pods of a node as objects of the API, when they are asked for.
pub type PodObjects = Arc<dyn Fn() -> Vec<Value> + Send + Sync>;

/// A connection that is no HTTP any more.
type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// What a kubelet serves, of one node. Cheap to clone: all clones are one service.
///
/// It authenticates nobody. Whoever calls it has done that.
#[derive(Clone)]
pub struct NodeApi {
    shared: Arc<Shared>,
}

struct Shared {
    streams: Arc<dyn PodStreams>,
    node_name: String,
    pods: PodObjects,
    limits: Limits,
    sessions: Mutex<JoinSet<()>>,
    measured_before: Mutex<Option<Measured>>,
}

impl NodeApi {
    /// Serves these Pods of the node of this name.
    pub fn new(streams: Arc<dyn PodStreams>, node_name: String, pods: PodObjects, limits: Limits) -> Self {
        let shared = Shared {
            streams,
            node_name,
            pods,
            limits,
            sessions: Mutex::default(),
            measured_before: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers one request. Where it upgrades the connection, a task of its own serves that from then on.
    pub async fn handle<B>(&self, mut request: Request<B>) -> Response<Body> {
        let route = match route(request.method(), request.uri().path()) {
            Ok(route) => route,
            Err(refused) => return refused.into_response(),
        };
        let query = Query::parse(request.uri().query());
        let answered = match route {
            Route::Health => Ok(text("ok".into())),
            Route::Pods => Ok(json_answer(&self.pod_list())),
            Route::Summary => Ok(json_answer(&self.summary().await)),
            Route::ResourceMetrics => Ok(self.metrics().await),
            Route::Logs(target) => self.logs(target, &query).await,
            Route::Run(target) => self.run(target, &query).await,
            Route::Restart(target) => self.restart(target).await,
            Route::Exec(target) => match command::exec_request(&query) {
                Ok(asked) => return self.exec(target, asked, &mut request).await,
                Err(refused) => Err(refused),
            },
            Route::Attach(target) => match command::streams(&query) {
                Ok(wanted) => return self.attach(target, wanted, &mut request).await,
                Err(refused) => Err(refused),
            },
            Route::PortForward(target) => {
                return self.port_forward(target, &query, &mut request);
            }
        };
        answered.unwrap_or_else(Refusal::into_response)
    }

    /// Ends every session that an upgraded connection became, and waits for them.
    pub async fn shutdown(&self) {
        let mut sessions = std::mem::take(&mut *self.shared.sessions());
        sessions.shutdown().await;
    }

    fn pod_list(&self) -> Value {
        json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": (self.shared.pods)() })
    }

    async fn measure(&self) -> Measured {
        let node = node::observe()
            .inspect_err(|error| tracing::warn!(%error, "cannot measure what the node uses"))
            .ok();
        let pods = self.shared.streams.usage().await;
        Measured { node_name: self.shared.node_name.clone(), node, pods }
    }

    async fn summary(&self) -> Value {
        let measured = self.measure().await;
        let mut before = self.shared.measured_before.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = summary::summary(&measured, before.as_ref());
        *before = Some(measured);
        summary
    }

    async fn metrics(&self) -> Response<Body> {
        let mut response = text(metrics::text(&self.measure().await));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    async fn logs(&self, target: Target, query: &Query) -> Result<Response<Body>, Refusal> {
        let asked = log_request(query, &target.pod, Timestamp::now())?;
        let pieces = self.shared.streams.logs(target, asked).await.map_err(|e| Refusal::of_logs(&e))?;
        let mut response = Response::new(streamed(pieces));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    async fn run(&self, target: Target, query: &Query) -> Result<Response<Body>, Refusal> {
        let command: Vec<String> =
            query.first("cmd").unwrap_or_default().split_whitespace().map(Into::into).collect();
        if command.is_empty() {
            return Err(Refusal::bad_request("query parameter \"cmd\" is required"));
        }
        let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
        let started = self.shared.streams.exec(target, ExecRequest { command, streams }).await;
        let session = started.map_err(|error| Refusal::of_stream(&error))?;
        let output = command::output(session, RUN_OUTPUT_BYTES).await?;
        let mut response = Response::new(whole(output));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    async fn restart(&self, target: Target) -> Result<Response<Body>, Refusal> {
        self.shared.streams.restart(target).await.map_err(|error| Refusal::of_stream(&error))?;
        Ok(json_answer(&json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
    }

    async fn exec<B>(&self, target: Target, asked: ExecRequest, request: &mut Request<B>) -> Response<Body> {
        let (agreed, protocol) = match exec::agree(request) {
            Ok(agreed) => agreed,
            Err(disagreed) => return disagreed.into_response(),
        };
        let talk = Talk::Exec(asked.command.clone());
        let streams = asked.streams;
        let started = match self.shared.streams.exec(target, asked).await {
            Err(refused) if !matches!(refused, StreamError::CannotExecute { .. }) => {
                return Refusal::of_stream(&refused).into_response();
            }
            started => started,
        };
        self.converse(request, agreed, Conversation { protocol, streams, talk, started })
    }

    async fn attach<B>(&self, target: Target, streams: Streams, request: &mut Request<B>) -> Response<Body> {
        let (agreed, protocol) = match exec::agree(request) {
            Ok(agreed) => agreed,
            Err(disagreed) => return disagreed.into_response(),
        };
        let started = match self.shared.streams.attach(target, streams).await {
            Err(refused) => return Refusal::of_stream(&refused).into_response(),
            started => started,
        };
        self.converse(request, agreed, Conversation { protocol, streams, talk: Talk::Attach, started })
    }

    fn converse<B>(
        &self,
        request: &mut Request<B>,
        agreed: Agreed,
        conversation: Conversation,
    ) -> Response<Body> {
        let limits = self.shared.limits.clone();
        self.upgrade(request, move |connection| async move {
            conversation.carry(connection, &limits).await;
        });
        agreed.into_response()
    }

    fn port_forward<B>(&self, target: Target, query: &Query, request: &mut Request<B>) -> Response<Body> {
        let (agreed, way) = match port_forward::agree(request.headers(), query) {
            Ok(agreed) => agreed,
            Err(disagreed) => return disagreed.into_response(),
        };
        let forwarder = Arc::new(crate::forward::Forwarder::new(self.shared.streams.clone(), target));
        let limits = self.shared.limits.clone();
        self.upgrade(request, move |connection| async move {
            port_forward::carry(connection, way, forwarder, &limits).await;
        });
        agreed.into_response()
    }

    /// Lets a task of its own serve the connection when it has become something else than HTTP.
    fn upgrade<B, F, W>(&self, request: &mut Request<B>, serve: F)
    where
        F: FnOnce(Upgraded) -> W + Send + 'static,
        W: Future<Output = ()> + Send,
    {
        let upgraded = hyper::upgrade::on(request);
        let mut sessions = self.shared.sessions();
        // Those that have ended are forgotten.
        while sessions.try_join_next().is_some() {}
        sessions.spawn(async move {
            match upgraded.await {
                Ok(connection) => serve(TokioIo::new(connection)).await,
                Err(error) => tracing::debug!(%error, "a client did not go through with its upgrade"),
            }
        });
    }
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told to a request that asks for a stream and wants no other protocol.
fn upgrade_required() -> Refusal {
    Refusal::bad_request("Upgrade request required")
}

/// Why a session ended is of interest to whoever looks for it, and of no use to the client any more.
fn note_end(what: &'static str, ended: Result<(), impl std::error::Error>) {
    if let Err(error) = ended {
        tracing::debug!(error = crate::status::chain(&error), "{what} ended");
    }
}

fn text(text: String) -> Response<Body> {
    let mut response = Response::new(whole(text));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
