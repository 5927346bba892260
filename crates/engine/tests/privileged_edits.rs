//! What an edit of a running Pod does: resources change in place, ephemeral containers come. The control plane is the
//! test's: it sends edits and waits for the status that must follow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::streams::Pending;
use engine::{
    ControlPlane, Node, NodeConfig, PodChange, Report, ReportKind, Token, TokenError, TokenRequest,
};
use lifecycle::Status;
use lifecycle::status::{ContainerState, ContainerStatus};
use linux::cgroup::{Cgroup, Hierarchy, Limits, weight_from_shares};
use model::pod::{EphemeralContainer, KeyedObject, ObjectKind, Pod, Resources};
use model::quantity::Quantity;
use tokio::sync::mpsc;

/// No status of these tests takes longer, unless it never comes.
const TIMEOUT: Duration = Duration::from_secs(20);

const MIB: i64 = 1 << 20;

const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: edited}
spec:
  terminationGracePeriodSeconds: 2
  securityContext: {runAsUser: 1000, runAsGroup: 1001, supplementalGroups: [7]}
  containers:
  - name: one
    image: podling/toolbox
    imagePullPolicy: IfNotPresent
    command: [trap, TERM]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: late, emptyDir: {}}
  - {name: late-memory, emptyDir: {medium: Memory}}
";

/// The control plane of one test.
struct Plane {
    watch: Mutex<Option<mpsc::Receiver<PodChange>>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl ControlPlane for Plane {
    fn watch_pods(&self) -> mpsc::Receiver<PodChange> {
        self.watch.lock().unwrap().take().unwrap()
    }

    fn object(&self, _: ObjectKind, _: &str, _: &str) -> Option<KeyedObject> {
        None
    }

    fn objects_may_appear(&self) -> bool {
        false
    }

    fn token(&self, _: TokenRequest) -> Pending<'_, Result<Token, TokenError>> {
        Box::pin(async { Err(TokenError::NoServer) })
    }

    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }
}

/// What a node has on the machine, removed also when its test fails.
struct Remains {
    name: String,
    directory: tempfile::TempDir,
}

impl Drop for Remains {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let errors = runtime.block_on(engine::reclaim(&self.name, &self.directory.path().join("run")));
        if !errors.is_empty() {
            eprintln!("left behind: {errors:?}");
        }
    }
}

/// Plays a test with a Pod that runs.
fn with_pod<F: Future<Output = ()>>(test: &str, play: impl FnOnce(Scene, Status) -> F) {
    let remains = Remains {
        name: format!("edit-{test}-{}", std::process::id()),
        directory: tempfile::Builder::new().prefix("podling-").tempdir().unwrap(),
    };
    // Gone, with all that its tasks hold, before what remains is removed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (scene, status) = Scene::start(&remains).await;
        play(scene, status).await;
    });
    std::fs::remove_dir_all(remains.directory.path()).unwrap();
}

/// A node with one Pod, and what it reports.
struct Scene {
    node: Node,
    name: String,
    pod: Pod,
    changes: mpsc::Sender<PodChange>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// What was told, for the message of a test that waits in vain.
    told: Vec<String>,
}

impl Scene {
    /// A Pod that runs.
    async fn start(remains: &Remains) -> (Scene, Status) {
        assert!(rustix::process::geteuid().is_root(), "this test makes containers and needs root");
        let (name, directory) = (remains.name.clone(), &remains.directory);
        let mut pod = model::manifest::parse("pod.yaml", MANIFEST.as_bytes()).unwrap().pods.remove(0);
        pod.meta.uid = format!("{name}-uid");
        let (changes, watch) = mpsc::channel(8);
        let (sender, reports) = mpsc::unbounded_channel();
        let config = NodeConfig {
            name: name.clone(),
            data_dir: directory.path().join("data"),
            run_dir: directory.path().join("run"),
            image_dir: directory.path().join("images"),
            layer_form: None,
            image_collection: None,
            seccomp_dir: directory.path().join("seccomp"),
            oci_runtime: None,
            publish: Vec::new(),
            pod_range: None,
            keep_journals: false,
        };
        let plane = Plane { watch: Mutex::new(Some(watch)), reports: sender };
        let node = Node::start(config, Arc::new(plane)).await.unwrap();
        let mut scene = Scene { node, name, pod, changes, reports, told: Vec::new() };
        scene.apply().await;
        let status = scene.status(|status| is_running(&status.container_statuses[0])).await;
        (scene, status)
    }

    /// Sends the Pod as it stands.
    async fn apply(&self) {
        self.changes.send(PodChange::Apply(Box::new(self.pod.clone()))).await.unwrap();
    }

    /// Sends the Pod with other resources.
    async fn resize(&mut self, cpu: [&str; 2], memory: [&str; 2]) {
        let list = |at: usize| {
            let entry = |name: &str, text: &str| (name.to_owned(), Quantity::parse(text).unwrap());
            [entry("cpu", cpu[at]), entry("memory", memory[at])].into()
        };
        self.pod.spec.containers[0].resources = Resources { requests: list(0), limits: list(1) };
        self.pod.meta.generation += 1;
        self.apply().await;
    }

    /// Waits for a status.
    async fn status(&mut self, is_it: impl Fn(&Status) -> bool) -> Status {
        let wait = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if report.uid != self.pod.meta.uid {
                    continue;
                }
                match report.kind {
                    ReportKind::Status(status) if is_it(&status) => return *status,
                    kind => self.told.push(format!("{kind:?}")),
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, wait).await {
            Ok(status) => status,
            Err(_) => panic!("the status never came, but:\n{}", self.told.join("\n")),
        }
    }

    fn cgroup(&self, below: &str) -> Cgroup {
        let path = format!("/podling/{}/pod{}{below}", self.name, self.pod.meta.uid);
        Cgroup::open(&Hierarchy::detect().unwrap(), &path).unwrap()
    }

    /// What holds for the container, and the same for its Pod.
    fn limits(&self) -> Limits {
        let [pod, container] = ["", "/one"].map(|below| self.cgroup(below).limits_in_force().unwrap());
        assert_eq!(pod, container, "the Pod has one container");
        container
    }

    /// Deletes a Pod and waits until it is gone.
    async fn delete(&mut self, uid: &str) {
        let change = PodChange::Delete { uid: uid.to_owned(), grace_period_seconds: None };
        self.changes.send(change).await.unwrap();
        loop {
            let report = self.reports.recv().await.unwrap();
            if report.uid == uid && matches!(report.kind, ReportKind::Gone) {
                return;
            }
        }
    }

    /// Stops the Pod; nothing may be left.
    async fn finish(mut self) {
        let uid = self.pod.meta.uid.clone();
        self.delete(&uid).await;
        assert!(!self.cgroup("").exists());
        let errors = self.node.close().await;
        assert!(errors.is_empty(), "{errors:?}");
    }
}

fn is_running(container: &ContainerStatus) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

fn assert_limits(limits: &Limits, shares: u64, quota_us: i64, memory_bytes: i64) {
    assert_eq!(limits.cpu_shares.map(weight_from_shares), Some(weight_from_shares(shares)));
    assert_eq!((limits.cpu_quota_us, limits.memory_limit_bytes), (Some(quota_us), Some(memory_bytes)));
}

#[test]
fn resources_change_in_place() {
    with_pod("resize", |mut scene, first| async move {
        assert_limits(&scene.limits(), 102, 20_000, 64 * MIB);

        for (cpu, memory, shares, quota_us, mib) in [
            (["250m", "500m"], ["48Mi", "128Mi"], 256, 50_000, 128),
            (["50m", "100m"], ["16Mi", "48Mi"], 51, 10_000, 48),
        ] {
            scene.resize(cpu, memory).await;
            let wanted = scene.pod.spec.containers[0].resources.clone();
            let is_resizing =
                |status: &Status| status.conditions.iter().any(|it| it.kind.starts_with("PodResize"));
            let has = |status: &Status| status.container_statuses[0].resources == wanted;
            let status = scene.status(|status| has(status) && !is_resizing(status)).await;
            assert_limits(&scene.limits(), shares, quota_us, mib * MIB);
            let container = &status.container_statuses[0];
            assert_eq!(container.allocated_resources, wanted.requests);
            assert_eq!(container.container_id, first.container_statuses[0].container_id, "nothing restarted");
        }
        scene.finish().await;
    });
}

#[test]
fn what_the_node_does_not_have_stays_asked_for() {
    with_pod("infeasible", |mut scene, _| async move {
        scene.resize(["100m", "200m"], ["1Pi", "1Pi"]).await;
        let pending =
            |status: &Status| status.conditions.iter().find(|it| it.kind == "PodResizePending").cloned();
        let status = scene.status(|status| pending(status).is_some()).await;
        let condition = pending(&status).unwrap();
        assert_eq!(condition.reason.as_deref(), Some("Infeasible"));
        let message = condition.message.unwrap();
        assert!(
            message.starts_with("Node didn't have enough capacity: memory, requested: 1125899906842624,")
        );
        assert_limits(&scene.limits(), 102, 20_000, 64 * MIB);
        assert_eq!(
            status.container_statuses[0].allocated_resources["memory"],
            Quantity::parse("32Mi").unwrap()
        );
        scene.finish().await;
    });
}

fn pending_reason(status: &Status) -> Option<&str> {
    status.conditions.iter().find(|it| it.kind == "PodResizePending")?.reason.as_deref()
}

#[test]
fn what_another_pod_has_is_waited_for() {
    with_pod("deferred", |mut scene, _| async move {
        // It asks for all that the machine has but 100 MiB.
        let info = rustix::system::sysinfo();
        let total_bytes = info.totalram as u64 * u64::from(info.mem_unit);
        let mut other = scene.pod.clone();
        (other.meta.uid, other.meta.name) = (format!("{}-other", other.meta.uid), "other".to_owned());
        let most = Quantity::parse(&(total_bytes - 100 * MIB as u64).to_string()).unwrap();
        other.spec.containers[0].resources = Resources::default();
        other.spec.containers[0].resources.requests.insert("memory".to_owned(), most);
        scene.changes.send(PodChange::Apply(Box::new(other.clone()))).await.unwrap();
        // Admission is in the order of the changes, so the other has its share when this is looked at.
        scene.resize(["100m", "200m"], ["256Mi", "512Mi"]).await;
        let status = scene.status(|status| pending_reason(status).is_some()).await;
        assert_eq!(pending_reason(&status), Some("Deferred"));
        assert_limits(&scene.limits(), 102, 20_000, 64 * MIB);

        scene.delete(&other.meta.uid).await;
        let wanted = scene.pod.spec.containers[0].resources.clone();
        let is_done = |status: &Status| {
            status.container_statuses[0].resources == wanted && pending_reason(status).is_none()
        };
        scene.status(is_done).await;
        assert_limits(&scene.limits(), 102, 20_000, 512 * MIB);
        scene.finish().await;
    });
}

/// The volumes of the manifest that no other container mounts are made for it.
#[test]
fn an_ephemeral_container_brings_its_volumes() {
    with_pod("volumes", |mut scene, _| async move {
        let mut container = scene.pod.spec.containers[0].clone();
        container.name = "debug".to_owned();
        container.resources = Resources::default();
        let mut mounts = Vec::new();
        for (name, path) in [("late", "/late"), ("late-memory", "/memory")] {
            let mut mount = container.volume_mounts[0].clone();
            (mount.name, mount.mount_path) = (name.to_owned(), path.into());
            mounts.push(mount);
        }
        container.volume_mounts = mounts;
        scene.pod.spec.ephemeral_containers.push(EphemeralContainer { container, target: None });
        scene.apply().await;
        scene.status(|status| status.ephemeral_container_statuses.first().is_some_and(is_running)).await;
        let pid = scene.cgroup("/debug").procs().unwrap()[0];
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
        let kind_at = |path: &str| {
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            mounts.find(|fields| fields[1] == path).map(|fields| fields[2].to_owned())
        };
        assert!(kind_at("/late").is_some(), "{mounts}");
        assert_eq!(kind_at("/memory").as_deref(), Some("tmpfs"), "{mounts}");
        scene.finish().await;
    });
}

#[test]
fn an_ephemeral_container_joins_the_processes_of_its_target() {
    with_pod("ephemeral", |mut scene, _| async move {
        let mut container = scene.pod.spec.containers[0].clone();
        container.name = "debug".to_owned();
        container.resources = Resources::default();
        let target = Some("one".to_owned());
        scene.pod.spec.ephemeral_containers.push(EphemeralContainer { container, target });
        scene.apply().await;
        let status =
            scene.status(|status| status.ephemeral_container_statuses.first().is_some_and(is_running)).await;
        assert!(is_running(&status.container_statuses[0]));
        let pid_namespace = |container: &str| {
            let pids = scene.cgroup(&format!("/{container}")).procs().unwrap();
            std::fs::read_link(format!("/proc/{}/ns/pid", pids[0])).unwrap()
        };
        assert_eq!(pid_namespace("debug"), pid_namespace("one"));
        scene.finish().await;
    });
}

#[test]
fn the_status_tells_what_the_engine_knows() {
    with_pod("status", |scene, status| async move {
        assert!(!status.host_ips.is_empty());
        assert_eq!(status.pod_ips.len(), 1);
        let container = &status.container_statuses[0];
        let user = container.user.as_ref().unwrap();
        assert_eq!((user.uid, user.gid, user.supplemental_groups.as_slice()), (1000, 1001, &[7][..]));
        assert_eq!(container.stop_signal.as_deref(), Some("SIGTERM"));
        assert!(container.image_id.contains("sha256:"), "{}", container.image_id);
        assert!(container.container_id.as_deref().is_some_and(|id| id.starts_with("podling://")));
        let mounts = &container.volume_mounts;
        assert_eq!((mounts.len(), mounts[0].mount_path.as_str()), (1, "/scratch"));
        assert_eq!(container.resources, scene.pod.spec.containers[0].resources);
        scene.finish().await;
    });
}
