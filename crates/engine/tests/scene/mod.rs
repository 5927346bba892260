//! A node under test, its control plane, and what it reports; gone at the end whatever happens.
//!
//! Containers are of the built-in image, with Debian's static busybox bound in as their shell.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking; each test program is a crate"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::streams::Pending;
use engine::streams::{PodStreams, Target};
use engine::{
    ControlPlane, Node, NodeConfig, PodChange, Report, ReportKind, Token, TokenError, TokenRequest,
};
use lifecycle::Status;
use lifecycle::status::ContainerState;
use linux::cgroup::{Cgroup, Hierarchy};
use model::pod::{KeyedObject, ObjectKind, Pod};
use tokio::sync::mpsc;

/// Nothing that these tests wait for takes longer, unless it never comes.
pub const TIMEOUT: Duration = Duration::from_secs(30);

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

    /// A token says what it was asked for with. Nobody issues any for the audience `nobody`.
    fn token(&self, request: TokenRequest) -> Pending<'_, Result<Token, TokenError>> {
        Box::pin(async move {
            let audience = request.audience.as_deref().unwrap_or("api");
            if audience == "nobody" {
                return Err(TokenError::NoServer);
            }
            let token = format!(
                "{audience} {}/{} {} {}",
                request.namespace, request.service_account, request.pod_name, request.pod_uid
            );
            let lifetime = Duration::from_secs(request.expiration_seconds);
            let expires_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + lifetime;
            let expires_at_wall_nanos = expires_at.as_nanos().try_into().unwrap();
            Ok(Token { token, lifetime, expires_at_wall_nanos })
        })
    }

    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }
}

/// What a node has on the machine, removed also when its test fails.
pub struct Remains {
    pub name: String,
    pub directory: tempfile::TempDir,
}

impl Remains {
    pub fn new(test: &str) -> Remains {
        assert!(rustix::process::geteuid().is_root(), "this test makes containers and needs root");
        assert!(Path::new("/bin/busybox").exists(), "this test needs Debian's busybox-static");
        Remains {
            name: format!("{test}-{}", std::process::id()),
            directory: tempfile::Builder::new().prefix("podling-").tempdir().unwrap(),
        }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn cgroup(&self, uid: &str, below: &str) -> Cgroup {
        let path = format!("/podling/{}/pod{uid}{below}", self.name);
        Cgroup::open(&Hierarchy::detect().unwrap(), &path).unwrap()
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let errors = runtime.block_on(engine::reclaim(&self.name, &self.run_dir()));
        if !errors.is_empty() {
            eprintln!("left behind: {errors:?}");
        }
    }
}

/// A node in a directory of a test.
pub fn config(name: &str, directory: &Path) -> NodeConfig {
    NodeConfig {
        name: name.to_owned(),
        data_dir: directory.join("data"),
        run_dir: directory.join("run"),
        image_dir: directory.join("images"),
        layer_form: None,
        image_collection: None,
        keep_layers: false,
        seccomp_dir: directory.join("seccomp"),
        oci_runtime: None,
        policy: lifecycle::Policy::default(),
        publish: Vec::new(),
        pod_range: None,
        keep_journals: false,
    }
}

/// Plays a test on a node of its own.
pub fn play<F: Future<Output = ()>>(test: &str, act: impl FnOnce(Scene) -> F) {
    let remains = Arc::new(Remains::new(test));
    // Gone, with all that its tasks hold, before what remains is removed.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::start(Arc::clone(&remains)));
    runtime.block_on(act(scene));
    drop(runtime);
}

/// A Pod from its `spec`, with volumes `shell` and `scratch`.
pub fn pod(name: &str, spec: &str) -> Pod {
    pod_with(name, "", spec)
}

/// The same with further volumes, as entries of a flow sequence.
pub fn pod_with(name: &str, volumes: &str, spec: &str) -> Pod {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         volumes: [{{name: shell, hostPath: {{path: /bin/busybox, type: File}}}}, {{name: scratch, emptyDir: {{}}}}{volumes}]\n\
         {spec}\n"
    );
    let parsed = model::manifest::parse("pod.yaml", text.as_bytes());
    let mut pod = parsed.unwrap_or_else(|problems| panic!("{text}\n{problems:?}")).pods.remove(0);
    pod.meta.uid = format!("{name}-uid");
    pod
}

/// One container that runs a script.
pub fn container(name: &str, script: &str, more: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "  - name: {name}\n    image: podling/toolbox\n    imagePullPolicy: IfNotPresent\n    \
         command: [/bin/sh, -c, {script}]\n    volumeMounts: [{{name: shell, mountPath: /bin/sh}}]\n{more}"
    )
}

/// A node, and what it reports.
pub struct Scene {
    pub remains: Arc<Remains>,
    pub node: Node,
    pub streams: Arc<dyn PodStreams>,
    pub changes: mpsc::Sender<PodChange>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// What was told, for the message of a test that waits in vain.
    told: Vec<String>,
}

impl Scene {
    pub async fn start(remains: Arc<Remains>) -> Scene {
        let (changes, watch) = mpsc::channel(8);
        let (sender, reports) = mpsc::unbounded_channel();
        let plane = Plane { watch: Mutex::new(Some(watch)), reports: sender };
        let node =
            Node::start(config(&remains.name, remains.directory.path()), Arc::new(plane)).await.unwrap();
        let streams = node.streams();
        Scene { remains, node, streams, changes, reports, told: Vec::new() }
    }

    pub async fn apply(&self, pod: &Pod) {
        self.changes.send(PodChange::Apply(Box::new(pod.clone()))).await.unwrap();
    }

    pub async fn delete(&self, uid: &str, grace_period_seconds: Option<u64>) {
        let uid = uid.to_owned();
        self.changes.send(PodChange::Delete { uid, grace_period_seconds }).await.unwrap();
    }

    /// Applies a Pod and waits until all of its containers run.
    pub async fn run(&mut self, pod: &Pod) -> Status {
        self.apply(pod).await;
        self.status(&pod.meta.uid, all_run).await
    }

    /// Waits for a status.
    pub async fn status(&mut self, uid: &str, is_it: impl Fn(&Status) -> bool) -> Status {
        self.wait(uid, |kind| match kind {
            ReportKind::Status(status) if is_it(&status) => Ok(*status),
            other => Err(other),
        })
        .await
    }

    /// Waits until nothing of the Pod is left.
    pub async fn gone(&mut self, uid: &str) {
        self.wait(uid, |kind| match kind {
            ReportKind::Gone => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// Waits for a report.
    pub async fn wait<T>(&mut self, uid: &str, choose: impl Fn(ReportKind) -> Result<T, ReportKind>) -> T {
        let wait = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                let is_of_pod = report.uid == uid;
                let shown = format!("{} {:?}", report.uid, report.kind);
                match choose(report.kind) {
                    Ok(chosen) if is_of_pod => return chosen,
                    _ => self.told.push(shown),
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, wait).await {
            Ok(chosen) => chosen,
            Err(_) => panic!("what was waited for never came, but:\n{}", self.told.join("\n")),
        }
    }

    /// Stops the Pods; nothing may be left.
    pub async fn finish(mut self, pods: &[&Pod]) {
        for pod in pods {
            self.delete(&pod.meta.uid, None).await;
            self.gone(&pod.meta.uid).await;
            assert!(!self.remains.cgroup(&pod.meta.uid, "").exists());
        }
        let errors = self.node.close().await;
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// Whether every main container runs.
pub fn all_run(status: &Status) -> bool {
    status.container_statuses.iter().all(|it| matches!(it.state, ContainerState::Running { .. }))
}

/// Somebody's container.
pub fn target(pod: &Pod, container: &str) -> Target {
    Target {
        namespace: pod.meta.namespace.clone(),
        pod: pod.meta.name.clone(),
        uid: None,
        container: Some(container.to_owned()),
    }
}

/// Waits, but not for ever.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, what).await.expect("it comes in time")
}
