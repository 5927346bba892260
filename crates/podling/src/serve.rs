//! `podling serve`: a node that kubectl talks to. Everything of it is put together here, and nothing is decided.
//!
//! ```text
//!   lock ─► certificates ─► store ─► API ─► server ─┬─► controllers     all clients of the API, within the process
//!                                                   └─► agent ─► engine
//! ```
//!
//! It ends in the opposite order, on SIGTERM or Ctrl-C, and its Pods go on: the next `podling serve` of the same directories
//! takes them over, as it does after kill -9. A restore of a backup is that too, within one process ([`Life`] after [`Life`]):
//! nothing of what was in memory outlives the objects that it was about.

pub(crate) mod control;
mod in_process;
pub(crate) mod join;
mod machine;
mod presence;
mod settings;

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::auth::certificates::{Certificates, Names};
use api::auth::tokens::{self, Keys, Tokens};
use api::auth::{bootstrap, certificates, kubeconfig};
use api::server::{self, Limits};
use api::{Api, Options, ServiceCidr, User};
use client::Client;
use controllers::{Controllers, ControllersConfig};
use engine::{Node, NodeConfig};
use node_agent::{AgentConfig, NodeAgent};
use node_api::NodeApi;
use store::{DataLock, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use self::control::Control;
use self::in_process::InProcess;
use self::presence::Presence;
use self::settings::Settings;
use crate::exit::Code;
use crate::failure::{Failure, chain};
use crate::{run, typed};

/// How many events are kept at most.
const MOST_EVENTS: usize = 10_000;

/// Serves until it is told to end.
pub(crate) fn perform(asked: typed::Serve) -> Result<Code, Failure> {
    let settings = settings::decide(asked)?;
    run::require_root("serve")?;
    // While everything else starts. Without the thread, the first Pod waits for it.
    let _ = std::thread::Builder::new().name("warm-up".to_owned()).spawn(engine::warm_up);
    run::runtime()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<Code, Failure> {
    let mut ends = Ends::listen()?;
    let place = Place::take(settings).await?;
    let mut control = Control::listen(&place.lock)?;
    let mut tried = None;
    loop {
        let life = Life::begin(&place).await?;
        match tried.take() {
            Some(tried) => control::Tried::tell(tried).await,
            None => place.announce(),
        }
        let presence = Presence::watch(&place.settings.data_dir)?;
        let end = tokio::select! {
            () = ends.come() => End::Told,
            request = control.restore() => End::Restore(request),
            failure = presence.lost() => End::Failed(failure),
        };
        if !matches!(end, End::Restore(_)) {
            // Without systemd there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        life.end().await;
        match end {
            End::Told => return Ok(Code::SUCCESS),
            End::Restore(request) => tried = Some(request.perform(&place.lock).await),
            End::Failed(failure) => return Err(failure),
        }
    }
}

/// Why a life ends.
enum End {
    /// By SIGTERM or Ctrl-C.
    Told,
    /// For another one, with other objects.
    Restore(control::RestoreRequest),
    /// It cannot go on.
    Failed(Failure),
}

/// What a node has from its start to its end, also while its objects are exchanged: clients that call meanwhile wait.
struct Place {
    settings: Settings,
    lock: DataLock,
    id: String,
    node_name: String,
    listener: std::net::TcpListener,
    certificates: Arc<Mutex<Certificates>>,
    kubeconfigs: Kubeconfigs,
}

impl Place {
    async fn take(settings: Settings) -> Result<Place, Failure> {
        let node_name = settings.node_name.clone().unwrap_or_else(machine::node_name);
        let lock = DataLock::acquire(&settings.data_dir)?;
        let id = node_id(&settings.data_dir)?;
        let address = settings.listen;
        let failed = |source| Failure::Listen { address, source };
        let listener = TcpListener::bind(address).await.and_then(TcpListener::into_std).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let names = Names { node: node_name.clone(), server: settings.tls_names.clone() };
        let certificates =
            Certificates::ensure(&settings.data_dir.join("pki"), names, jiff::Timestamp::now())?;
        let kubeconfigs = Kubeconfigs::of(&settings, format!("https://{address}"));
        kubeconfigs.ensure(&certificates)?;
        let certificates = Arc::new(Mutex::new(certificates));
        Ok(Place { settings, lock, id, node_name, listener, certificates, kubeconfigs })
    }

    fn announce(&self) {
        println!(
            "podling serves on {}; use it with: kubectl --kubeconfig {} get nodes",
            self.kubeconfigs.server_url,
            self.kubeconfigs.admin.display()
        );
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// Everything that lives with the store: it ends when other objects take the place of these.
struct Life {
    store: Store,
    stop_server: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    renewal: JoinHandle<()>,
    node: Option<Running>,
    controllers: Controllers,
}

impl Life {
    async fn begin(place: &Place) -> Result<Life, Failure> {
        let settings = &place.settings;
        let store = Store::open(place.lock.clone(), &store::Options::default())?;
        let api = make_api(settings, &store)?;
        api.bootstrap().await?;
        let (tls, authority_pem) = {
            let certificates = place.certificates.lock().await;
            api.set_node_access(Arc::new(certificates.node_client_config()?));
            (Arc::new(certificates.server_config()?), certificates.authority_pem().to_owned())
        };
        let failed = |source| Failure::Listen { address: settings.listen, source };
        let listener = place.listener.try_clone().and_then(TcpListener::from_std).map_err(failed)?;
        let (stop_server, stopped) = oneshot::channel::<()>();
        let usual = Limits::default();
        let limits = Limits {
            handshake_timeout: settings.client_timeout.unwrap_or(usual.handshake_timeout),
            header_timeout: settings.client_timeout.unwrap_or(usual.header_timeout),
            ..usual
        };
        let serving = tokio::spawn(server::serve(Arc::clone(&api), listener, tls, limits, async {
            // Dropped or sent, it is the end.
            let _ = stopped.await;
        }));
        let kubeconfigs = place.kubeconfigs.clone();
        let renewal = tokio::spawn(renew(Arc::clone(&place.certificates), Arc::clone(&api), kubeconfigs));
        let node = match settings.is_node {
            true => Some(start_node(settings, &api, place.id.clone(), place.node_name.clone()).await?),
            false => None,
        };
        let controllers = start_controllers(&api, authority_pem, settings);
        Ok(Life { store, stop_server, serving, renewal, node, controllers })
    }

    async fn end(self) {
        self.renewal.abort();
        self.controllers.close().await;
        let failures = match self.node {
            Some(node) => node.close().await,
            None => Vec::new(),
        };
        let _ = self.stop_server.send(());
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server ended in a panic");
        }
        let closed = self.store.close().await;
        for failure in failures.into_iter().chain(closed.err().map(|error| chain(&error))) {
            eprintln!("podling: {failure}");
        }
    }
}

/// The API over what is stored.
fn make_api(settings: &Settings, store: &Store) -> Result<Arc<Api>, Failure> {
    let usual = Options::default();
    let options = Options {
        body_timeout: settings.client_timeout.unwrap_or(usual.body_timeout),
        service_cidr: ServiceCidr {
            network: settings.service_cidr.network(),
            prefix: settings.service_cidr.prefix_len(),
        },
        event_ttl: settings.event_ttl,
        ..usual
    };
    let keys = Keys::ensure(&settings.data_dir.join("pki").join("tokens"))?;
    Ok(Api::new(store.clone(), Tokens::new(keys, tokens::ISSUER, tokens::MAX_LIFE), options))
}

/// What acts on objects, each as the user that it is in Kubernetes.
fn start_controllers(api: &Arc<Api>, authority_pem: String, settings: &Settings) -> Controllers {
    let client =
        |name: &str| Client::new(Arc::new(InProcess::new(Arc::clone(api), User::new(name, &[]))), "podling");
    Controllers::start(ControllersConfig {
        client: client(bootstrap::CONTROLLER_MANAGER),
        scheduler: client(bootstrap::SCHEDULER),
        authority_pem,
        event_ttl: settings.event_ttl,
        most_events: MOST_EVENTS,
    })
}

/// The kubeconfigs that are written.
#[derive(Clone)]
struct Kubeconfigs {
    server_url: String,
    admin: PathBuf,
    /// Where the node is another process, it is given this.
    node: Option<PathBuf>,
}

impl Kubeconfigs {
    fn of(settings: &Settings, server_url: String) -> Kubeconfigs {
        let node = (!settings.is_node).then(|| settings.data_dir.join("node-kubeconfig"));
        Kubeconfigs { server_url, admin: settings.data_dir.join("kubeconfig"), node }
    }

    fn ensure(&self, certificates: &Certificates) -> Result<(), Failure> {
        kubeconfig::ensure_admin(&self.admin, &self.server_url, certificates)
            .map_err(Failure::io("write", &self.admin))?;
        match &self.node {
            Some(path) => kubeconfig::ensure_node(path, &self.server_url, certificates)
                .map_err(Failure::io("write", path)),
            None => Ok(()),
        }
    }
}

/// Renews certificates when they are due, and with them what was made of them.
async fn renew(certificates: Arc<Mutex<Certificates>>, api: Arc<Api>, kubeconfigs: Kubeconfigs) {
    let renewed = |certificates: &Certificates| {
        if let Err(error) = kubeconfigs.ensure(certificates) {
            tracing::error!(error = chain(&error), "cannot write the renewed kubeconfig");
        }
        match certificates.node_client_config() {
            Ok(access) => api.set_node_access(Arc::new(access)),
            Err(error) => tracing::error!(error = chain(&error), "cannot use the renewed certificate"),
        }
    };
    certificates::keep_renewed(&certificates, renewed).await;
}

/// The node's part: its agent and its engine.
struct Running {
    agent: NodeAgent,
    engine: Node,
}

impl Running {
    /// Ends it; its Pods go on.
    async fn close(self) -> Vec<String> {
        let failures = self.engine.close().await.iter().map(|error| chain(error)).collect();
        self.agent.close().await;
        failures
    }
}

async fn start_node(
    settings: &Settings,
    api: &Arc<Api>,
    id: String,
    node_name: String,
) -> Result<Running, Failure> {
    let user = User::new(format!("system:node:{node_name}"), &[bootstrap::NODES]);
    let client = Client::new(Arc::new(InProcess::new(Arc::clone(api), user)), "kubelet");
    let facts = machine::facts(settings, node_name.clone(), engine::host_address());
    let agent = NodeAgent::start(AgentConfig { client, facts, heartbeat_period: None })
        .await
        .map_err(|source| Failure::Register { node: node_name.clone(), source })?;
    let engine = start_engine(settings, id, &agent).await?;
    let streams =
        NodeApi::new(engine.streams(), node_name.clone(), agent.pods(), node_api::Limits::default());
    api.set_node(node_name, Arc::new(streams));
    Ok(Running { agent, engine })
}

/// The engine, for whatever control plane the agent speaks to.
async fn start_engine(settings: &Settings, id: String, agent: &NodeAgent) -> Result<Node, Failure> {
    let oci_runtime = settings.runtime.as_deref().map(run::find_runtime).transpose()?;
    let config = NodeConfig {
        name: id,
        data_dir: settings.data_dir.clone(),
        run_dir: settings.run_dir.clone(),
        image_dir: settings.image_dir.clone(),
        layer_form: settings.layer_form,
        image_collection: Some(settings.image_collection),
        keep_layers: true,
        seccomp_dir: settings.data_dir.join("seccomp"),
        oci_runtime,
        policy: settings.policy,
        keep_journals: true,
        publish: Vec::new(),
        pod_range: settings.pod_cidr,
    };
    Node::start(config, agent.control_plane()).await.map_err(Failure::Node)
}

/// What ends a server: SIGTERM, or Ctrl-C.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> Result<Ends, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::io("listen for signals on", "the process"));
        Ok(Ends { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What tells this node's cgroups and links from those of other nodes of the machine; made once for its data directory.
fn node_id(data_dir: &Path) -> Result<String, Failure> {
    let path = data_dir.join("node-id");
    match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::io("read", path)(error));
        }
        _ => {}
    }
    let id = run::input::hex(&run::input::random::<4>()?);
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    written
        .and_then(|mut file| std::io::Write::write_all(&mut file, id.as_bytes()))
        .map_err(Failure::io("write", path))?;
    Ok(id)
}
