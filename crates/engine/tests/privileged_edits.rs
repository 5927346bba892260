//! What an edit of a running Pod does: resources change in place, ephemeral containers come. The control plane is the
//! test's: it sends edits and waits for the status that must follow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use lifecycle::Status;
use lifecycle::status::{ContainerState, ContainerStatus};
use linux::cgroup::{Cgroup, Limits, weight_from_shares};
use model::pod::{EphemeralContainer, Pod, Resources};
use model::quantity::Quantity;
use scene::{Scene, all_run};

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

/// Plays a test with a Pod that runs.
fn with_pod<F: Future<Output = ()>>(test: &str, play: impl FnOnce(Edited, Status) -> F) {
    scene::play(&format!("edit-{test}"), |mut scene| async move {
        let mut pod = model::manifest::parse("pod.yaml", MANIFEST.as_bytes()).unwrap().pods.remove(0);
        pod.meta.uid = format!("{}-uid", scene.remains.name);
        let status = scene.run(&pod).await;
        assert!(all_run(&status));
        play(Edited { scene, pod }, status).await;
    });
}

/// A node with one Pod.
struct Edited {
    scene: Scene,
    pod: Pod,
}

impl Edited {
    /// Sends the Pod as it stands.
    async fn apply(&self) {
        self.scene.apply(&self.pod).await;
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
        self.scene.status(&self.pod.meta.uid, is_it).await
    }

    fn cgroup(&self, below: &str) -> Cgroup {
        self.scene.remains.cgroup(&self.pod.meta.uid, below)
    }

    /// What holds for the container, and the same for its Pod.
    fn limits(&self) -> Limits {
        let [pod, container] = ["", "/one"].map(|below| self.cgroup(below).limits_in_force().unwrap());
        assert_eq!(pod, container, "the Pod has one container");
        container
    }

    /// Stops the Pod; nothing may be left.
    async fn finish(self) {
        self.scene.finish(&[&self.pod]).await;
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
    with_pod("resize", |mut edited, first| async move {
        assert_limits(&edited.limits(), 102, 20_000, 64 * MIB);

        for (cpu, memory, shares, quota_us, mib) in [
            (["250m", "500m"], ["48Mi", "128Mi"], 256, 50_000, 128),
            (["50m", "100m"], ["16Mi", "48Mi"], 51, 10_000, 48),
        ] {
            edited.resize(cpu, memory).await;
            let wanted = edited.pod.spec.containers[0].resources.clone();
            let is_resizing =
                |status: &Status| status.conditions.iter().any(|it| it.kind.starts_with("PodResize"));
            let has = |status: &Status| status.container_statuses[0].resources == wanted;
            let status = edited.status(|status| has(status) && !is_resizing(status)).await;
            assert_limits(&edited.limits(), shares, quota_us, mib * MIB);
            let container = &status.container_statuses[0];
            assert_eq!(container.allocated_resources, wanted.requests);
            assert_eq!(container.container_id, first.container_statuses[0].container_id, "nothing restarted");
        }
        edited.finish().await;
    });
}

#[test]
fn what_the_node_does_not_have_stays_asked_for() {
    with_pod("infeasible", |mut edited, _| async move {
        edited.resize(["100m", "200m"], ["1Pi", "1Pi"]).await;
        let pending =
            |status: &Status| status.conditions.iter().find(|it| it.kind == "PodResizePending").cloned();
        let status = edited.status(|status| pending(status).is_some()).await;
        let condition = pending(&status).unwrap();
        assert_eq!(condition.reason.as_deref(), Some("Infeasible"));
        let message = condition.message.unwrap();
        assert!(
            message.starts_with("Node didn't have enough capacity: memory, requested: 1125899906842624,")
        );
        assert_limits(&edited.limits(), 102, 20_000, 64 * MIB);
        assert_eq!(
            status.container_statuses[0].allocated_resources["memory"],
            Quantity::parse("32Mi").unwrap()
        );
        edited.finish().await;
    });
}

fn pending_reason(status: &Status) -> Option<&str> {
    status.conditions.iter().find(|it| it.kind == "PodResizePending")?.reason.as_deref()
}

#[test]
fn what_another_pod_has_is_waited_for() {
    with_pod("deferred", |mut edited, _| async move {
        // It asks for all that the machine has but 100 MiB.
        let info = rustix::system::sysinfo();
        let total_bytes = info.totalram as u64 * u64::from(info.mem_unit);
        let mut other = edited.pod.clone();
        (other.meta.uid, other.meta.name) = (format!("{}-other", other.meta.uid), "other".to_owned());
        let most = Quantity::parse(&(total_bytes - 100 * MIB as u64).to_string()).unwrap();
        other.spec.containers[0].resources = Resources::default();
        other.spec.containers[0].resources.requests.insert("memory".to_owned(), most);
        edited.scene.apply(&other).await;
        // Admission is in the order of the changes, so the other has its share when this is looked at.
        edited.resize(["100m", "200m"], ["256Mi", "512Mi"]).await;
        let status = edited.status(|status| pending_reason(status).is_some()).await;
        assert_eq!(pending_reason(&status), Some("Deferred"));
        assert_limits(&edited.limits(), 102, 20_000, 64 * MIB);

        edited.scene.delete(&other.meta.uid, None).await;
        edited.scene.gone(&other.meta.uid).await;
        let wanted = edited.pod.spec.containers[0].resources.clone();
        let is_done = |status: &Status| {
            status.container_statuses[0].resources == wanted && pending_reason(status).is_none()
        };
        edited.status(is_done).await;
        assert_limits(&edited.limits(), 102, 20_000, 512 * MIB);
        edited.finish().await;
    });
}

/// The volumes of the manifest that no other container mounts are made for it.
#[test]
fn an_ephemeral_container_brings_its_volumes() {
    with_pod("volumes", |mut edited, _| async move {
        let mut container = edited.pod.spec.containers[0].clone();
        container.name = "debug".to_owned();
        container.resources = Resources::default();
        let mut mounts = Vec::new();
        for (name, path) in [("late", "/late"), ("late-memory", "/memory")] {
            let mut mount = container.volume_mounts[0].clone();
            (mount.name, mount.mount_path) = (name.to_owned(), path.into());
            mounts.push(mount);
        }
        container.volume_mounts = mounts;
        edited.pod.spec.ephemeral_containers.push(EphemeralContainer { container, target: None });
        edited.apply().await;
        edited.status(|status| status.ephemeral_container_statuses.first().is_some_and(is_running)).await;
        let pid = edited.cgroup("/debug").procs().unwrap()[0];
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
        let kind_at = |path: &str| {
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            mounts.find(|fields| fields[1] == path).map(|fields| fields[2].to_owned())
        };
        assert!(kind_at("/late").is_some(), "{mounts}");
        assert_eq!(kind_at("/memory").as_deref(), Some("tmpfs"), "{mounts}");
        edited.finish().await;
    });
}

#[test]
fn an_ephemeral_container_joins_the_processes_of_its_target() {
    with_pod("ephemeral", |mut edited, _| async move {
        let mut container = edited.pod.spec.containers[0].clone();
        container.name = "debug".to_owned();
        container.resources = Resources::default();
        let target = Some("one".to_owned());
        edited.pod.spec.ephemeral_containers.push(EphemeralContainer { container, target });
        edited.apply().await;
        let status =
            edited.status(|status| status.ephemeral_container_statuses.first().is_some_and(is_running)).await;
        assert!(is_running(&status.container_statuses[0]));
        let pid_namespace = |container: &str| {
            let pids = edited.cgroup(&format!("/{container}")).procs().unwrap();
            std::fs::read_link(format!("/proc/{}/ns/pid", pids[0])).unwrap()
        };
        assert_eq!(pid_namespace("debug"), pid_namespace("one"));
        edited.finish().await;
    });
}

#[test]
fn the_status_tells_what_the_engine_knows() {
    with_pod("status", |edited, status| async move {
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
        assert_eq!(container.resources, edited.pod.spec.containers[0].resources);
        edited.finish().await;
    });
}
