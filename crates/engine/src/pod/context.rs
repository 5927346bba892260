//! What the actions of one Pod share: its directories, its shim, what was prepared for it, and its voice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container::{ExecServer, Key, Shim, ShimConfig, ShimEvent};
use image::Image;
use lifecycle::{Event, Status};
use linux::user_namespace::IdRange;
use model::pod::Pod;
use oci_spec::runtime::Process;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use volume::Prepared;

use super::Input;
use super::exec::ExecEnd;
use super::incarnations::Incarnations;
use super::tokens::Tokens;
use crate::control_plane::{Report, ReportKind};
use crate::downward::DownwardApi;
use crate::node::NodeShared;
use crate::perform::Ahead;
use crate::{clock, termination};

/// Where things of one Pod are.
#[derive(Debug, Clone)]
pub(crate) struct PodDirectories {
    /// `<data-dir>/pods/UID`: disk volumes, writable layers, the checkpoint.
    pub(crate) data: PathBuf,
    /// `<run-dir>/pods/UID`: the shim's socket and exit records, secrets, /etc files.
    pub(crate) run: PathBuf,
    /// `<data-dir>/logs/NAMESPACE_NAME_UID`: one directory per container, as the kubelet lays them out.
    pub(crate) logs: PathBuf,
}

impl PodDirectories {
    pub(crate) fn of(pod: &Pod, data_dir: &Path, run_dir: &Path) -> PodDirectories {
        let meta = &pod.meta;
        PodDirectories {
            data: data_dir.join("pods").join(&meta.uid),
            run: run_dir.join("pods").join(&meta.uid),
            logs: data_dir.join("logs").join(format!("{}_{}_{}", meta.namespace, meta.name, meta.uid)),
        }
    }

    /// Makes them, for root's eyes only.
    pub(super) fn create(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let make = |path: &PathBuf| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&self.data).and_then(|()| make(&self.run))
    }

    /// The log of one incarnation, `CONTAINER/ATTEMPT.log`.
    pub(crate) fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.logs.join(container).join(format!("{attempt}.log"))
    }

    /// The file behind `terminationMessagePath` of one incarnation.
    pub(crate) fn termination_log(&self, container: &str, attempt: u32) -> PathBuf {
        self.run.join("containers").join(container).join(format!("{attempt}.termination"))
    }

    /// Where parts of volumes are bound for one incarnation (subPath).
    pub(crate) fn staging(&self, container: &str, attempt: u32) -> PathBuf {
        self.run.join("containers").join(container).join(format!("{attempt}.staged"))
    }

    /// The writable layer of one incarnation.
    pub(crate) fn layer(&self, container: &str, attempt: u32) -> PathBuf {
        self.data.join("containers").join(container).join(attempt.to_string())
    }

    /// Which users of the machine are the Pod's own.
    pub(super) fn users_record(&self) -> PathBuf {
        self.run.join("users.json")
    }

    /// How the sandbox was attached; see [`super::records`].
    pub(super) fn sandbox_record(&self) -> PathBuf {
        self.run.join("sandbox.json")
    }

    /// The volumes, once all of them are made.
    pub(super) fn volumes_record(&self) -> PathBuf {
        self.run.join("volumes.json")
    }

    /// What a later daemon must know of one incarnation.
    pub(crate) fn container_record(&self, container: &str, attempt: u32) -> PathBuf {
        self.run.join("containers").join(container).join(format!("{attempt}.json"))
    }

    /// /etc/hosts and its kin.
    pub(crate) fn etc(&self) -> PathBuf {
        self.run.join("etc")
    }
}

/// Shared by the task of a Pod and its actions.
pub(crate) struct PodContext {
    pub(crate) node: Arc<NodeShared>,
    pub(crate) directories: PodDirectories,
    /// Grows from one admitted Pod to the next.
    pub(crate) admitted: u64,
    /// `/podling/NODE/podUID`.
    pub(crate) cgroup: String,
    pod: Mutex<Arc<Pod>>,
    /// Started when first needed; another one takes the place of one that died.
    shim: Mutex<Arc<OnceCell<Shim>>>,
    inputs: mpsc::Sender<Input>,
    prepared: Mutex<PreparedThings>,
    /// Held while files of volumes are written or removed: a refresh must not bring back what is being removed.
    volumes_in_work: Mutex<()>,
    /// ServiceAccount tokens in its volumes.
    pub(crate) tokens: Tokens,
    /// The newest incarnation of each container.
    pub(crate) incarnations: Incarnations,
    /// What was told of the Pod last.
    status: Mutex<Option<Arc<Status>>>,
    /// Whoever waits for the end of an exec.
    execs: Mutex<HashMap<Key, watch::Sender<Option<container::Exit>>>>,
    /// Whoever must know when an attachment is cut off.
    attachments: Mutex<HashMap<Key, oneshot::Sender<()>>>,
}

/// What actions made and later actions need. Each round's observation comes from completions instead; this is
/// only where the things themselves are.
#[derive(Default)]
pub(crate) struct PreparedThings {
    pub(crate) volumes: BTreeMap<String, Prepared>,
    pub(crate) images: BTreeMap<String, Arc<Image>>,
    /// IDs of the images that the shim holds.
    pub(crate) held: BTreeSet<String>,
    pub(crate) pod_ips: Vec<String>,
    /// The process of each container as its spec has it; an exec is the same with another command.
    pub(crate) processes: BTreeMap<String, Process>,
    /// What signal stops each container.
    pub(crate) stop_signals: BTreeMap<String, i32>,
    /// Images that are pulled before their containers are due.
    pub(crate) ahead: Option<Ahead>,
    /// The Pod's users, if it has its own: the shim holds the claim on them.
    pub(crate) users: Option<IdRange>,
    /// The sandbox's network namespace.
    pub(crate) netns: Option<Arc<std::os::fd::OwnedFd>>,
    /// What runs the probes' commands in each container, and of which incarnation it is.
    exec_servers: BTreeMap<String, (u32, ExecServerSlot)>,
}

/// An exec server, once it was asked for; none where it cannot be had.
pub(crate) type ExecServerSlot = Arc<OnceCell<Option<ExecServer>>>;

impl PodContext {
    pub(crate) fn new(
        pod: Pod,
        node: Arc<NodeShared>,
        admitted: u64,
        inputs: mpsc::Sender<Input>,
    ) -> PodContext {
        let directories = PodDirectories::of(&pod, &node.config.data_dir, &node.config.run_dir);
        let cgroup = format!("/podling/{}/pod{}", node.config.name, pod.meta.uid);
        PodContext {
            node,
            directories,
            admitted,
            cgroup,
            pod: Mutex::new(Arc::new(pod)),
            shim: Mutex::default(),
            inputs,
            prepared: Mutex::default(),
            volumes_in_work: Mutex::default(),
            tokens: Tokens::default(),
            incarnations: Incarnations::default(),
            status: Mutex::default(),
            execs: Mutex::default(),
            attachments: Mutex::default(),
        }
    }

    /// The Pod that things are made from: as it is asked for, with the resources that the node has set aside.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&lock(&self.pod))
    }

    pub(super) fn set_pod(&self, pod: Arc<Pod>) {
        *lock(&self.pod) = pod;
    }

    /// Waits until nobody else works on the files of volumes. Not to be held across an await.
    pub(crate) fn volumes_in_work(&self) -> MutexGuard<'_, ()> {
        lock(&self.volumes_in_work)
    }

    /// The users of a Pod with its own: those that its shim holds, else those it had before, else new ones, with the claim
    /// that the shim is to hold.
    pub(crate) fn claim_users(&self) -> std::io::Result<(IdRange, Option<std::os::fd::OwnedFd>)> {
        if let Some(range) = self.prepared().users {
            return Ok((range, None));
        }
        let seed = image::Digest::of(self.pod().meta.uid.as_bytes());
        let seed = u64::from_str_radix(&seed.hex()[..8], 16).unwrap_or_default();
        let allocation = crate::users::allocate(self.directories.load_users(), seed)?;
        Ok((allocation.range, Some(allocation.lock)))
    }

    /// What the Pod can be told about itself and the node.
    pub(crate) fn downward(&self) -> DownwardApi {
        DownwardApi {
            pod_ips: self.prepared().pod_ips.clone(),
            host_ip: self.node.network.host_ip(),
            node_name: self.node.config.name.clone(),
            allocatable_cpu_millis: self.node.cores() * 1000,
            allocatable_memory_bytes: i64::try_from(self.node.memory_bytes()).unwrap_or(i64::MAX),
        }
    }

    /// The queue of the Pod's own task.
    pub(crate) fn inputs(&self) -> &mpsc::Sender<Input> {
        &self.inputs
    }

    /// What was prepared. The guard is never held across an await.
    pub(crate) fn prepared(&self) -> MutexGuard<'_, PreparedThings> {
        lock(&self.prepared)
    }

    /// Images that its containers were given.
    pub(crate) fn images(&self) -> BTreeSet<image::Digest> {
        self.prepared().images.values().map(|image| image.id.clone()).collect()
    }

    /// The Pod's shim, started at the first call.
    pub(crate) async fn shim(self: &Arc<Self>) -> Result<Shim, container::Error> {
        let cell = Arc::clone(&lock(&self.shim));
        let start = || async {
            let config = ShimConfig { pod_dir: self.directories.run.clone(), cgroup: self.cgroup.clone() };
            let (shim, events) = Shim::start(config).await?;
            tokio::spawn(forward(Arc::clone(self), events));
            Ok(shim)
        };
        cell.get_or_try_init(start).await.cloned()
    }

    /// Takes over a shim that a dead daemon started.
    pub(super) fn adopt_shim(self: &Arc<Self>, shim: Shim, events: mpsc::Receiver<ShimEvent>) {
        *lock(&self.shim) = Arc::new(OnceCell::new_with(Some(shim)));
        tokio::spawn(forward(Arc::clone(self), events));
    }

    /// Ends what is left in the Pod's cgroup without a shim.
    pub(super) async fn end_cgroup(&self) {
        let cgroup = self.cgroup.clone();
        match tokio::task::spawn_blocking(move || crate::cgroups::end(&cgroup)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot end what a dead shim left"),
            Err(panic) => tracing::warn!(%panic, "cannot end what a dead shim left"),
        }
    }

    /// The shim, if there is one.
    pub(crate) fn running_shim(&self) -> Option<Shim> {
        lock(&self.shim).get().cloned()
    }

    /// Takes the shim away from all others, to end it or because it has ended.
    pub(crate) fn take_shim(&self) -> Option<Shim> {
        std::mem::take(&mut *lock(&self.shim)).get().cloned()
    }

    /// The place of an incarnation's exec server.
    pub(crate) fn exec_server(&self, container: &str, attempt: u32) -> ExecServerSlot {
        let mut prepared = self.prepared();
        match prepared.exec_servers.get(container) {
            Some((of, slot)) if *of == attempt => Arc::clone(slot),
            _ => {
                let slot = ExecServerSlot::default();
                prepared.exec_servers.insert(container.to_owned(), (attempt, Arc::clone(&slot)));
                slot
            }
        }
    }

    /// The shim ends it with its container.
    fn end_exec_server(&self, container: &str, attempt: u32) {
        let mut prepared = self.prepared();
        if prepared.exec_servers.get(container).is_some_and(|(of, _)| *of == attempt) {
            prepared.exec_servers.remove(container);
        }
    }

    /// That incarnation gets no exec server any more.
    pub(crate) fn forgo_exec_server(&self, container: &str, attempt: u32) {
        let without = ExecServerSlot::new(OnceCell::new_with(Some(None)));
        self.prepared().exec_servers.insert(container.to_owned(), (attempt, without));
    }

    /// Awaits the end of an exec: to be called before the exec is asked for.
    pub(crate) fn expect_exec(&self, key: Key) -> ExecEnd {
        let (sender, end) = ExecEnd::new();
        lock(&self.execs).insert(key, sender);
        end
    }

    /// Nobody awaits that exec any more.
    pub(crate) fn forget_exec(&self, key: &str) {
        lock(&self.execs).remove(key);
    }

    /// Awaits that an attachment is cut off: to be called before it is asked for.
    pub(crate) fn expect_cut(&self, key: Key) -> oneshot::Receiver<()> {
        let (sender, cut) = oneshot::channel();
        lock(&self.attachments).insert(key, sender);
        cut
    }

    /// Nobody is attached by that key any more.
    pub(crate) fn forget_attachment(&self, key: &str) {
        lock(&self.attachments).remove(key);
    }

    /// Whether that incarnation was started and has not ended, as far as the engine was told.
    pub(crate) fn is_running(&self, container: &str, attempt: u32) -> bool {
        self.incarnations.is_running(container, attempt)
    }

    /// What was told of the Pod last.
    pub(crate) fn status(&self) -> Option<Arc<Status>> {
        lock(&self.status).clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        *lock(&self.status) = Some(Arc::new(status));
    }

    pub(crate) fn report(&self, kind: ReportKind) {
        let now = clock::now();
        let pod = self.pod();
        self.node.control_plane.report(Report {
            uid: pod.meta.uid.clone(),
            pod: format!("{}/{}", pod.meta.namespace, pod.meta.name),
            wall_nanos: now.wall_nanos,
            boot_nanos: now.boot_nanos,
            kind,
        });
    }

    pub(crate) fn report_event(&self, event: Event) {
        self.report(ReportKind::Event {
            warning: event.warning,
            reason: event.reason.to_owned(),
            message: event.message,
            container: event.container,
        });
    }

    /// Tells how long a step took that began at `since_boot_nanos`.
    pub(crate) fn report_step(&self, what: impl Into<String>, since_boot_nanos: u64) {
        let took = clock::now().boot_nanos.saturating_sub(since_boot_nanos);
        self.report(ReportKind::Step { what: what.into(), duration: std::time::Duration::from_nanos(took) });
    }

    /// Releases the last of the Pod; its logs stay with the node.
    pub(super) async fn forget(&self) {
        for directory in [&self.directories.data, &self.directories.run] {
            if let Err(error) = linux::tree::remove(directory) {
                tracing::warn!(path = %directory.display(), %error, "cannot remove the Pod's directory");
            }
        }
    }
}

/// Passes on what the shim tells: the end of an exec to whoever awaits it, everything else to the Pod's task.
async fn forward(context: Arc<PodContext>, mut events: mpsc::Receiver<ShimEvent>) {
    while let Some(event) = events.recv().await {
        let input = match event {
            ShimEvent::Exited { key, exit } => {
                let waiting = lock(&context.execs).remove(&key);
                if let Some(waiting) = waiting {
                    waiting.send_replace(Some(exit));
                    continue;
                }
                let Some((container, attempt)) = parse_key(&key) else { continue };
                let ended = termination::ended(&context, container, attempt, exit);
                context.end_exec_server(container, attempt);
                context.incarnations.ended(container, attempt, Some(exit.code));
                Input::ContainerEnded { container: container.to_owned(), attempt, ended }
            }
            ShimEvent::CutOff { key } => {
                if let Some(attachment) = lock(&context.attachments).remove(&key) {
                    // One that has just left does not need to know.
                    let _ = attachment.send(());
                }
                continue;
            }
            ShimEvent::SandboxGone { .. } => Input::SandboxDied,
            ShimEvent::Disconnected => return shim_ended(&context).await,
        };
        if context.inputs.send(input).await.is_err() {
            break;
        }
    }
}

/// The connection to the shim is over. One that was not shut down was killed, by hand or for want of memory: its
/// containers die with it, and the Pod goes on as after the death of pause. Exits that it recorded are told as they
/// were; of the others nothing is known.
async fn shim_ended(context: &Arc<PodContext>) {
    if context.take_shim().is_none() {
        return;
    }
    let message = "the Pod's shim was killed, and its containers with it".to_owned();
    context.report_event(Event { warning: true, reason: "ShimDied", message, container: None });
    context.end_cgroup().await;
    // Whoever waits for the end of an exec is told that nothing will come.
    lock(&context.execs).clear();
    {
        let mut prepared = context.prepared();
        prepared.held.clear();
        prepared.users = None;
    }
    let recorded = container::recorded_exits(&context.directories.run).unwrap_or_default();
    for (key, exit) in recorded {
        let Some((container, attempt)) = parse_key(&key) else { continue };
        if !context.is_running(container, attempt) {
            continue;
        }
        let ended = termination::ended(context, container, attempt, exit);
        context.incarnations.ended(container, attempt, Some(exit.code));
        let input = Input::ContainerEnded { container: container.to_owned(), attempt, ended };
        // Without a receiver the Pod is gone already.
        let _ = context.inputs.send(input).await;
    }
    context.incarnations.all_ended();
    let _ = context.inputs.send(Input::ShimDied).await;
}

/// The key under which the shim knows an incarnation.
pub(crate) fn key(container: &str, attempt: u32) -> Key {
    format!("{container}/{attempt}")
}

pub(super) fn parse_key(key: &str) -> Option<(&str, u32)> {
    let (container, attempt) = key.split_once('/')?;
    Some((container, attempt.parse().ok()?))
}

/// A panic of another action must not take the Pod's task with it; what the lock guards is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
