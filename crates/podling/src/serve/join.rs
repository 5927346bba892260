//! `podling join`: this machine as a node of a control plane elsewhere. The engine is the same, and so is the agent; only the
//! way to the API is over the network, and logs, exec and the like are served on a port of the node's own.
//!
//! ```text
//!   API server ◄── TLS, as system:node:NAME ── agent ◄─► engine
//!        └──────── TLS, with its own certificate ──► node-api
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::auth::{certificates, identity, kubeconfig};
use api::server::{self, Limits};
use api::{Body, BodyError, Peer, Response, User};
use client::Client;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use node_agent::{Access, AgentConfig, Caller, NodeAgent};
use node_api::NodeApi;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use store::DataLock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::settings::Settings;
use super::{Ends, machine, node_id, settings, start_engine};
use crate::exit::Code;
use crate::failure::{Failure, chain};
use crate::{remote, run, typed};

/// How often the node says that it is alive, as the kubelet does.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(10);
/// What a node's user is called.
const NODE_USER: &str = "system:node:";

/// Is a node until it is told to end. Its Pods go on.
pub(crate) fn perform(asked: typed::Join) -> Result<Code, Failure> {
    let kubeconfig = asked.kubeconfig.clone();
    let settings = settings::of_join(asked)?;
    run::require_root("join")?;
    let _ = std::thread::Builder::new().name("warm-up".to_owned()).spawn(engine::warm_up);
    run::runtime()?.block_on(join(settings, &kubeconfig))
}

async fn join(settings: Settings, kubeconfig: &Path) -> Result<Code, Failure> {
    let mut ends = Ends::listen()?;
    let context = kubeconfig::read(kubeconfig)?;
    let node_name = node_name(kubeconfig, &context)?;
    // Held until the end: the directory is one node's.
    let _lock = DataLock::acquire(&settings.data_dir)?;
    let id = node_id(&settings.data_dir)?;
    let address = settings.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Failure::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| Failure::Listen { address, source })?;
    let tls = certificates::node_server_config(&context.authority_pem, &context.client)
        .map_err(|source| Failure::NodeTls { kubeconfig: kubeconfig.to_owned(), source })?;

    let client = Client::new(Arc::new(remote::server_of(&context)?), "kubelet");
    let agent = NodeAgent::start(AgentConfig {
        client: client.clone(),
        facts: facts(&settings, node_name.clone(), address),
        heartbeat_period: Some(HEARTBEAT_PERIOD),
    })
    .await
    .map_err(|source| Failure::Register { node: node_name.clone(), source })?;
    let engine = start_engine(&settings, id, &agent).await?;
    let node_api =
        NodeApi::new(engine.streams(), node_name.clone(), agent.pods(), node_api::Limits::default());
    let gate = Gate { node_api: node_api.clone(), access: Access::new(client, node_name.clone()) };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        tokio::spawn(server::serve(Arc::new(gate), listener, Arc::new(tls), Limits::default(), async {
            // Dropped or sent, it is the end.
            let _ = stopped.await;
        }));

    println!("podling is the node {node_name} of {}; it serves on https://{address}", context.server);
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    ends.come().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);

    node_api.shutdown().await;
    let _ = stop.send(());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the server ended in a panic");
    }
    for failure in engine.close().await {
        eprintln!("podling: {}", chain(&failure));
    }
    agent.close().await;
    Ok(Code::SUCCESS)
}

/// A node's certificate says which node it is; the control plane takes it for no other.
fn node_name(path: &Path, context: &kubeconfig::Context) -> Result<String, Failure> {
    let certificate = CertificateDer::from_pem_slice(context.client.certificate_pem.as_bytes()).ok();
    let user = certificate.and_then(|certificate| identity::of_certificate(&certificate).ok());
    let name = user.as_ref().and_then(|user| user.name.strip_prefix(NODE_USER)).unwrap_or_default();
    if name.is_empty() {
        let user = user.map(|user| user.name).unwrap_or_default();
        return Err(Failure::NoNode { kubeconfig: path.to_owned(), user });
    }
    Ok(name.to_owned())
}

fn facts(settings: &Settings, node_name: String, address: SocketAddr) -> node_agent::NodeFacts {
    let ip = if address.ip().is_unspecified() { engine::host_address() } else { Some(address.ip()) };
    let mut facts = machine::facts(settings, node_name, ip);
    facts.node_api_port = Some(address.port());
    facts
}

/// Lets those in who may, as the control plane says.
struct Gate {
    node_api: NodeApi,
    access: Access,
}

impl server::Service for Gate {
    async fn answer(self: Arc<Self>, request: Request<Body>, peer: Peer) -> Response {
        let user = peer.certificate.as_deref().map(identity::of_certificate);
        let Some(Ok(User { name, groups, .. })) = user else {
            return refused(StatusCode::UNAUTHORIZED, "Unauthorized");
        };
        let caller = Caller { name, groups };
        let (method, path) = (request.method().as_str(), request.uri().path());
        match self.access.allows(&caller, method, path).await {
            Ok(true) => {
                let response = self.node_api.handle(request).await;
                response.map(|body| body.map_err(BodyError::new).boxed())
            }
            Ok(false) => refused(StatusCode::FORBIDDEN, "Forbidden"),
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot ask the control plane who may come in");
                refused(StatusCode::INTERNAL_SERVER_ERROR, "Authorization error")
            }
        }
    }

    fn close(&self) {
        // Its sessions have been ended before the server was.
    }
}

fn refused(code: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *response.status_mut() = code;
    response
}
