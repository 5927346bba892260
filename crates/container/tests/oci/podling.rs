//! podling as one of the runtimes, without async at the caller: a Pod with its shim, and its containers.
//!
//! Dropping the Pod ends everything of it, also when the test fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use container::{
    ContainerRequest, Exec, ExecRequest, ExecStdio, ExecStreams, Exit, LogConfig, Rootfs, RuntimeHandler,
    SandboxSpec, Shim, ShimConfig, ShimEvent, Started,
};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use tokio::sync::mpsc;

use super::Stage;

/// No container of these tests takes so long; an event that never comes fails the test instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Pod of one or more containers.
pub(crate) struct Pod {
    runtime: tokio::runtime::Runtime,
    shim: Option<Shim>,
    events: mpsc::Receiver<ShimEvent>,
    exits: Vec<(String, Exit)>,
    rootfs: PathBuf,
    directory: PathBuf,
    /// Who makes the containers.
    pub(crate) handler: RuntimeHandler,
    /// Whether containers have a terminal.
    pub(crate) tty: bool,
}

impl Pod {
    /// A Pod whose sandbox has the namespaces that the spec does not share with the host.
    pub(crate) fn start(stage: &Stage, name: &str, spec: &Spec) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = stage.make(&format!("pod-{name}"));
        let cgroup = format!("/podling-suite-{}/{name}", std::process::id());
        let config = ShimConfig { pod_dir: directory.clone(), cgroup };
        let (shim, events) = runtime.block_on(Shim::start(config)).expect("the shim starts");
        let namespaces =
            spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
        let shares = |kind| !namespaces.iter().any(|namespace| namespace.typ() == kind);
        let sandbox = SandboxSpec {
            key: "sandbox/0".to_owned(),
            hostname: spec.hostname().clone().unwrap_or_default(),
            netns: (!shares(LinuxNamespaceType::Network))
                .then(|| Arc::new(linux::netns::create().expect("a network namespace"))),
            shm_size_bytes: 64 << 20,
            ..SandboxSpec::default()
        };
        let mut pod = Self {
            runtime,
            shim: Some(shim),
            events,
            exits: Vec::new(),
            rootfs: stage.rootfs(),
            directory,
            handler: RuntimeHandler::Podling,
            tty: false,
        };
        pod.call(|shim| async move { shim.create_sandbox(sandbox).await }).expect("the sandbox stands");
        pod
    }

    fn call<T, F: Future<Output = T>>(&mut self, act: impl FnOnce(Shim) -> F) -> T {
        let shim = self.shim.clone().expect("the shim lives until the Pod is dropped");
        self.runtime.block_on(act(shim))
    }

    /// The pid of the shim.
    pub(crate) fn shim_pid(&self) -> i32 {
        self.shim.as_ref().map_or(0, Shim::pid)
    }

    /// Starts a container.
    pub(crate) fn container(&mut self, key: &str, spec: &Spec) -> Result<Started, container::Error> {
        let own = self.directory.join(key);
        let request = ContainerRequest {
            key: key.to_owned(),
            spec: spec.clone(),
            rootfs: Rootfs {
                lower: vec![self.rootfs.clone()],
                upper: self.upper(key),
                work: own.join("work"),
            },
            staged: Vec::new(),
            log: LogConfig { path: self.log(key), max_bytes: 64 << 20, max_files: 2 },
            stdin: false,
            tty: self.tty,
            runtime: self.handler.clone(),
            target_pid_namespace_of: None,
        };
        self.call(|shim| async move { shim.start_container(request).await })
    }

    /// Runs a further process in a container to its end; its standard output and exit.
    pub(crate) fn exec(
        &mut self,
        container: &str,
        key: &str,
        process: Process,
    ) -> Result<(String, Exit), container::Error> {
        let stdio = ExecStdio::Pipes { stdin: false };
        let request = ExecRequest { container: container.to_owned(), key: key.to_owned(), process, stdio };
        let exec: Exec = self.call(|shim| async move { shim.exec(request).await })?;
        let ExecStreams::Pipes { stdout, .. } = exec.streams else { panic!("pipes were asked for") };
        let mut output = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(stdout), &mut output).unwrap();
        Ok((output, self.wait(key)))
    }

    /// Waits for the end of a container or an exec.
    pub(crate) fn wait(&mut self, key: &str) -> Exit {
        loop {
            if let Some(found) = self.exits.iter().position(|(ended, _)| ended == key) {
                return self.exits.remove(found).1;
            }
            let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
            match self.runtime.block_on(next).expect("the end is told in time").expect("the shim lives") {
                ShimEvent::Exited { key, exit } => self.exits.push((key, exit)),
                other => panic!("{other:?} while waiting for {key}"),
            }
        }
    }

    /// Where a container's writes go.
    pub(crate) fn upper(&self, key: &str) -> PathBuf {
        self.directory.join(key).join("upper")
    }

    /// What a container has written to standard output, from its log in CRI format.
    pub(crate) fn output(&self, key: &str) -> String {
        let log = std::fs::read_to_string(self.log(key)).unwrap_or_default();
        let mut output = String::new();
        for line in log.lines() {
            let mut fields = line.splitn(4, ' ').skip(1);
            let (stream, tag) = (fields.next(), fields.next());
            if stream == Some("stdout") {
                output.push_str(fields.next().unwrap_or_default());
                output.push_str(if tag == Some("F") { "\n" } else { "" });
            }
        }
        output
    }

    fn log(&self, key: &str) -> PathBuf {
        self.directory.join("logs").join(key).with_extension("log")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let Some(shim) = self.shim.take() else { return };
        if let Err(error) = self.runtime.block_on(shim.shutdown()) {
            eprintln!("the Pod was not ended: {error}");
        }
    }
}
