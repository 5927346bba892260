//! A node: its directories, its network, its images, and one task for each Pod.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use image::{Images, Reference};
use lifecycle::{Fact, Policy};
use model::pod::Pod;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::allocations::Allocations;
use crate::checkpoint::Saved;
use crate::collector::Collector;
use crate::control_plane::{ControlPlane, PodChange, Report, ReportKind};
use crate::kept_layers::KeptLayers;
use crate::logs::Growth;
use crate::pod::{Input, PodContext, PodDirectories, PodTask};
use crate::predecessor::Predecessor;
use crate::streams::{NodeStreams, PodStreams};

/// What a node is made of; nothing of it is shared with another node but the image directory.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Name of the node, unique on the machine; part of cgroup paths.
    pub name: String,
    /// What outlives a reboot: Pod volumes on disk, writable layers, logs, checkpoints.
    pub data_dir: PathBuf,
    /// What a reboot clears: sockets, exit records, secrets.
    pub run_dir: PathBuf,
    /// The image store, shared by all nodes of the machine.
    pub image_dir: PathBuf,
    /// In which form new layers come into the store; `None`: whichever the kernel can mount.
    pub layer_form: Option<image::LayerForm>,
    /// When images that nobody uses are removed; `None`: never.
    pub image_collection: Option<image::CollectionPolicy>,
    /// Whether layers stay mounted when the Pods that used them are gone.
    pub keep_layers: bool,
    /// Where `seccompProfile.localhostProfile` is looked up.
    pub seccomp_dir: PathBuf,
    /// Path of an OCI runtime that creates the containers instead of podling itself.
    pub oci_runtime: Option<PathBuf>,
    /// Delays of restarts, pulls and the like. Pods that are taken over from an earlier daemon get them too.
    pub policy: Policy,
    /// Whether the journal of a Pod stays when the Pod is gone.
    pub keep_journals: bool,
    /// Ports of the node that lead to ports of its Pods, beside what the Pods' hostPorts ask for.
    pub publish: Vec<Publish>,
    /// The addresses of the node's Pods; a range that is free on the machine without it.
    pub pod_range: Option<PodRange>,
}

/// Addresses of Pods, in CIDR form.
pub type PodRange = network::Range;

/// `-p [IP:]HOST:CONTAINER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Address of the node.
    pub host_ip: Option<std::net::IpAddr>,
    /// Port of the node.
    pub host_port: u16,
    /// Port of the Pod.
    pub container_port: u16,
}

/// A running node.
pub struct Node {
    shared: Arc<NodeShared>,
    pods: tokio::task::JoinHandle<()>,
}

/// What the Pods of a node share.
pub(crate) struct NodeShared {
    pub(crate) config: NodeConfig,
    pub(crate) control_plane: Arc<dyn ControlPlane>,
    pub(crate) images: Images,
    pub(crate) kept_layers: Option<KeptLayers>,
    collector: Option<Collector>,
    pub(crate) network: crate::network::NodeNetwork,
    pub(crate) allocations: Allocations,
    memory_bytes: OnceLock<u64>,
    cores: OnceLock<i64>,
    /// Every Pod that has a task, by UID: also one that has ended and waits for its deletion.
    pods: Mutex<HashMap<String, Arc<PodContext>>>,
    /// How many Pods were admitted.
    admissions: AtomicU64,
    /// Opened when the first log is followed.
    growth: Mutex<Option<Arc<Growth>>>,
}

impl NodeShared {
    /// The Pods of this node, running and ended.
    pub(crate) fn pods(&self) -> Vec<Arc<PodContext>> {
        lock(&self.pods).values().cloned().collect()
    }

    /// Before the first Pod comes.
    async fn restore_network(&self, predecessor: &Predecessor) -> Result<(), NodeError> {
        if !predecessor.existed {
            return Ok(());
        }
        let attachment = |saved: &Saved| {
            let directories = PodDirectories::of(&saved.pod, &self.config.data_dir, &self.config.run_dir);
            directories.load_sandbox()?.standing?.attachment
        };
        let attachments = predecessor.pods.iter().filter_map(attachment).collect();
        for error in self.network.restore(attachments).await? {
            tracing::warn!(
                error = crate::perform::chain(&error),
                "a host port of a Pod is held by somebody else"
            );
        }
        Ok(())
    }

    fn pod(&self, uid: &str) -> Option<Arc<PodContext>> {
        lock(&self.pods).get(uid).cloned()
    }

    /// Tells when logs grow.
    pub(crate) fn growth(&self) -> std::io::Result<Arc<Growth>> {
        let mut growth = lock(&self.growth);
        match &*growth {
            Some(growth) => Ok(Arc::clone(growth)),
            None => Ok(Arc::clone(growth.insert(Arc::new(Growth::new()?)))),
        }
    }

    /// The built-in image, and those that Pods of the node name or were given, whether they run or not.
    fn images_of_pods(&self) -> HashSet<image::Digest> {
        let find = |name: &str| self.images.find(&Reference::parse(name).ok()?).ok().flatten();
        let builtin = self.images.find_builtin(&crate::TOOLBOX).ok().flatten();
        let mut found: HashSet<_> = builtin.into_iter().map(|image| image.id).collect();
        for context in self.pods() {
            let pod = context.pod();
            let ephemeral = pod.spec.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
            let containers = pod.spec.all_containers().chain(ephemeral);
            found.extend(containers.filter_map(|container| find(&container.image)).map(|image| image.id));
            found.extend(context.images());
        }
        found
    }

    /// Unused images may have to go.
    fn look_at_images(&self) {
        if let Some(collector) = &self.collector {
            collector.look();
        }
    }

    /// Keeps the logs of Pods that are gone within their bound.
    fn prune_logs(&self) {
        let living: BTreeSet<_> = self
            .pods()
            .iter()
            .filter_map(|context| context.directories.logs.file_name().map(std::ffi::OsStr::to_owned))
            .collect();
        if let Err(error) = crate::logs::prune(&self.config.data_dir.join("logs"), &living) {
            tracing::warn!(%error, "cannot remove old logs");
        }
    }

    /// Processors that the machine gives; asking reads the caller's cgroup.
    pub(crate) fn cores(&self) -> i64 {
        *self.cores.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64))
    }

    /// Memory of the machine.
    pub(crate) fn memory_bytes(&self) -> u64 {
        *self.memory_bytes.get_or_init(|| {
            let info = rustix::system::sysinfo();
            info.totalram as u64 * u64::from(info.mem_unit)
        })
    }
}

impl Node {
    /// Takes the node's directories and starts working on the Pods that `control_plane` gives. Pods of an earlier daemon of
    /// the same directories are taken over as they are: what runs goes on running, with its address, its remaining grace
    /// and its restart delays.
    pub async fn start(config: NodeConfig, control_plane: Arc<dyn ControlPlane>) -> Result<Node, NodeError> {
        for directory in [&config.data_dir, &config.run_dir] {
            std::fs::create_dir_all(directory)
                .map_err(|source| NodeError::Directory { path: directory.clone(), source })?;
        }
        let images = Images::open(&config.image_dir)?;
        let images = match config.layer_form {
            Some(form) => images.with_layers(form),
            None => images,
        };
        let kept_layers = match config.keep_layers {
            true => KeptLayers::begin(&images.layer_directory(), &config.run_dir),
            false => None,
        };
        let shared = Arc::new_cyclic(|shared: &Weak<NodeShared>| NodeShared {
            collector: config.image_collection.map(|policy| {
                let shared = Weak::clone(shared);
                Collector::begin(images.clone(), policy, move || Some(shared.upgrade()?.images_of_pods()))
            }),
            network: crate::network::NodeNetwork::new(&config),
            allocations: Allocations::new(crate::allocations::machine()),
            config,
            control_plane,
            images,
            kept_layers,
            memory_bytes: OnceLock::new(),
            cores: OnceLock::new(),
            pods: Mutex::default(),
            admissions: AtomicU64::new(0),
            growth: Mutex::default(),
        });
        let predecessor = crate::predecessor::find(&shared.config.data_dir, &shared.config.run_dir)
            .map_err(|source| NodeError::Directory { path: shared.config.data_dir.clone(), source })?;
        shared.restore_network(&predecessor).await?;
        let pods = tokio::spawn(work(Arc::clone(&shared), predecessor));
        Ok(Node { shared, pods })
    }

    /// Ways into the node's Pods, and what comes out of them.
    pub fn streams(&self) -> Arc<dyn PodStreams> {
        Arc::new(NodeStreams { node: Arc::clone(&self.shared) })
    }

    /// Ends the node. Pods that still run go on running (a later node of the same directories takes them
    /// over); with no Pod left, nothing of the node stays on the machine. Every error is returned.
    pub async fn close(self) -> Vec<NodeError> {
        let has_pods = self.shared.pods().iter().any(|pod| pod.running_shim().is_some());
        self.pods.abort();
        let _ = self.pods.await;
        if let Some(kept_layers) = &self.shared.kept_layers {
            kept_layers.close().await;
        }
        let mut errors = Vec::new();
        if has_pods {
            return errors;
        }
        if let Err(error) = self.shared.network.close().await {
            errors.push(error.into());
        }
        if let Err(error) = crate::cgroups::remove_node(&self.shared.config.name) {
            errors.push(error.into());
        }
        errors
    }
}

/// Goes on with the Pods of the daemon before, and follows what the control plane wants, for as long as it wants anything.
async fn work(node: Arc<NodeShared>, predecessor: Predecessor) {
    let mut pods = Pods { node, tasks: JoinSet::new(), unconfirmed: BTreeSet::new() };
    for uid in predecessor.remains {
        crate::predecessor::discard(&pods.node, &uid).await;
    }
    for Saved { pod, memory, ledger } in predecessor.pods {
        let uid = pod.meta.uid.clone();
        pods.unconfirmed.insert(uid.clone());
        let (policy, old) = (pods.node.config.policy, memory.policy());
        pods.begin(pod, |context, inputs| PodTask::resume(context, inputs, memory, ledger));
        if let Some(context) = pods.node.pod(&uid).filter(|_| policy != old) {
            give(&context, Input::Fact(Fact::PolicyChanged(policy))).await;
        }
    }
    let mut changes = pods.node.control_plane.watch_pods();
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => pods.take(change).await,
                None => break,
            },
            Some(_) = pods.tasks.join_next() => {}
        }
    }
    while pods.tasks.join_next().await.is_some() {}
}

/// The Pods of a node, and their tasks.
struct Pods {
    node: Arc<NodeShared>,
    tasks: JoinSet<()>,
    /// Taken over from an earlier daemon, and not yet wanted by the control plane.
    unconfirmed: BTreeSet<String>,
}

/// Inputs that may wait for a Pod's task.
const QUEUE_LENGTH: usize = 64;

impl Pods {
    async fn take(&mut self, change: PodChange) {
        match change {
            PodChange::Apply(pod) => {
                let uid = pod.meta.uid.clone();
                self.unconfirmed.remove(&uid);
                match self.node.pod(&uid) {
                    Some(context) => give(&context, Input::PodChanged(Arc::from(pod))).await,
                    None => self.begin(*pod, PodTask::admit),
                }
            }
            PodChange::Keep { uid } => {
                self.unconfirmed.remove(&uid);
            }
            PodChange::Delete { uid, grace_period_seconds } => {
                self.unconfirmed.remove(&uid);
                let fact = Fact::StopRequested { grace_seconds: grace_period_seconds };
                match self.node.pod(&uid) {
                    Some(context) => give(&context, Input::Fact(fact)).await,
                    None => self.report_gone(uid),
                }
            }
            PodChange::DependencyChanged { uid } => {
                if let Some(context) = self.node.pod(&uid) {
                    give(&context, Input::DependencyChanged).await;
                }
            }
            PodChange::Gates { uid, open } => {
                if let Some(context) = self.node.pod(&uid) {
                    give(&context, Input::Gates(open)).await;
                }
            }
            PodChange::Synced => {
                self.node.look_at_images();
                for context in
                    std::mem::take(&mut self.unconfirmed).iter().filter_map(|uid| self.node.pod(uid))
                {
                    give(&context, Input::Fact(Fact::StopRequested { grace_seconds: None })).await;
                }
            }
        }
    }

    /// Begins the task of a Pod.
    fn begin(&mut self, pod: Pod, task: impl FnOnce(Arc<PodContext>, mpsc::Receiver<Input>) -> PodTask) {
        let (sender, inputs) = mpsc::channel(QUEUE_LENGTH);
        let admitted = self.node.admissions.fetch_add(1, Ordering::Relaxed);
        let context = Arc::new(PodContext::new(pod, Arc::clone(&self.node), admitted, sender));
        let entry = Entry::new(&context);
        let task = task(Arc::clone(&context), inputs);
        self.tasks.spawn(async move {
            task.run().await;
            // Whoever hears that the Pod is gone finds nothing of it any more.
            drop(entry);
            context.report(ReportKind::Gone);
        });
    }

    /// Nothing is left of a Pod that this node does not have: whoever waits for its end need not wait.
    fn report_gone(&self, uid: String) {
        let now = crate::clock::now();
        self.node.control_plane.report(Report {
            uid,
            pod: String::new(),
            wall_nanos: now.wall_nanos,
            boot_nanos: now.boot_nanos,
            kind: ReportKind::Gone,
        });
    }
}

/// A task that has just ended needs no input.
async fn give(context: &PodContext, input: Input) {
    let _ = context.inputs().send(input).await;
}

/// A Pod's place among the node's, until its task has ended, be it by a panic.
struct Entry {
    node: Arc<NodeShared>,
    uid: String,
}

impl Entry {
    fn new(context: &Arc<PodContext>) -> Entry {
        let (node, uid) = (Arc::clone(&context.node), context.pod().meta.uid.clone());
        lock(&node.pods).insert(uid.clone(), Arc::clone(context));
        Entry { node, uid }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let removed = lock(&self.node.pods).remove(&self.uid);
        self.node.prune_logs();
        if self.node.collector.is_some() {
            removed.iter().flat_map(|pod| pod.images()).for_each(|image| self.node.images.was_used(&image));
            self.node.look_at_images();
        }
    }
}

/// Entries are put in and taken out whole; a panic elsewhere leaves none half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A directory cannot be made or used.
    #[error("cannot use the directory {path}: check that it exists, is writable and not full")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image store cannot be used.
    #[error(transparent)]
    Images(#[from] image::Error),
    /// The node's network cannot be made or removed.
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    /// The node's cgroup cannot be removed.
    #[error(transparent)]
    Cgroup(#[from] linux::cgroup::CgroupError),
}
