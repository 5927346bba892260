//! A `podling serve` of one's own, or a `podling join` to it, and the kubectls that talk to it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::podling::Podling;
use crate::running::{Finished, Running};

/// A node that serves. Dropping it deletes its Pods, ends it, and proves that nothing is left.
pub struct Node<'a> {
    podling: &'a Podling,
    running: Option<Running<'a>>,
}

/// A node of a control plane of another process. It must live for as long as that has Pods of it.
pub struct Worker<'a> {
    podling: &'a Podling,
    running: Option<Running<'a>>,
}

/// The kubectls there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kubectl {
    /// The one on the PATH: a current one, which speaks WebSocket.
    Machine,
    /// Debian's 1.20, which speaks SPDY.
    Debian,
}

impl Kubectl {
    /// Both.
    pub const ALL: [Kubectl; 2] = [Kubectl::Machine, Kubectl::Debian];

    /// The folder of the program; none when the machine has no such kubectl, which is said loudly.
    pub fn folder(self) -> Option<PathBuf> {
        match self {
            Kubectl::Machine => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let found = std::env::split_paths(&path).find(|folder| folder.join("kubectl").is_file());
                if found.is_none() {
                    eprintln!("WARNING: there is no kubectl on the PATH; what it would show is NOT TESTED");
                }
                found
            }
            Kubectl::Debian => {
                // target/PROFILE/deps/TEST-HASH
                let test = std::env::current_exe().expect("the path of this test");
                let target = test.ancestors().nth(3).expect("a target directory").to_owned();
                let folder = target.join("kubectl/debian");
                assert!(
                    folder.join("kubectl").is_file(),
                    "{}: there is no kubectl; `cargo xtask kubectl` unpacks Debian's",
                    folder.display()
                );
                Some(folder)
            }
        }
    }
}

impl<'a> Node<'a> {
    /// Starts a node with an empty data directory, or with what an earlier one left there.
    pub fn start(podling: &'a Podling, args: &[&str]) -> Node<'a> {
        let mut node = Node { podling, running: None };
        node.restart(args);
        node
    }

    /// Starts it (again), and waits until it says that it is ready.
    pub fn restart(&mut self, args: &[&str]) {
        let call = self.podling.prepare(["serve", "--listen", "127.0.0.1:0"]).args(args);
        let mut running = call.start();
        running.wait_for_line("kubectl --kubeconfig");
        // Its cgroups and interfaces carry it.
        let id = std::fs::read_to_string(self.podling.data_dir().join("node-id")).expect("the node's id");
        self.podling.add_run(id.trim());
        self.running = Some(running);
    }

    /// The process.
    pub fn running(&mut self) -> &mut Running<'a> {
        self.running.as_mut().expect("the node runs")
    }

    /// Ends the process, and its Pods stay: kill -9.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(crate::Signal::KILL);
            running.wait();
        }
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> Finished {
        self.running.take().expect("the node runs").wait()
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.podling.data_dir().join("kubeconfig")
    }

    /// A shell in the test's directory, with that kubectl and this node's kubeconfig.
    pub fn shell(&self, kubectl: &Path, script: &str) -> Command {
        let mut path = std::ffi::OsString::from(kubectl);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .env("PATH", path)
            .env("KUBECONFIG", self.kubeconfig())
            // kubectl keeps what it has discovered below it.
            .env("HOME", self.podling.base())
            .env_remove("KUBECTL_EXTERNAL_DIFF")
            .env("TERM", "dumb")
            .current_dir(self.podling.base())
            .stdin(Stdio::null());
        shell
    }

    /// One kubectl command with the machine's kubectl.
    pub fn kubectl<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        let mut command = Command::new("kubectl");
        command
            .args(words)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.podling.base())
            .current_dir(self.podling.base())
            .stdin(Stdio::null());
        command.output().expect("kubectl")
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if self.running.is_none() {
            self.restart(&[]);
        }
        let deleted = self.kubectl(["delete", "pods", "--all", "--all-namespaces", "--now", "--timeout=60s"]);
        if let Some(running) = self.running.take() {
            running.signal(crate::Signal::TERM);
            let finished = running.wait();
            if finished.code != 0 && !std::thread::panicking() {
                panic!("podling serve ended with {finished}; deleting its Pods gave {deleted:?}");
            }
        }
        forget(self.podling);
    }
}

impl<'a> Worker<'a> {
    /// Joins, with the directories of `podling`, the control plane that `control` has.
    pub fn join(podling: &'a Podling, control: &Podling) -> Worker<'a> {
        let mut worker = Worker { podling, running: None };
        worker.restart(control);
        worker
    }

    /// Ends without a word, by kill -9.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(crate::Signal::KILL);
            running.wait();
        }
    }

    /// Ends without a word, and joins again.
    pub fn restart(&mut self, control: &Podling) {
        self.kill();
        let kubeconfig = control.data_dir().join("node-kubeconfig");
        let words = ["join".as_ref(), "--kubeconfig".as_ref(), kubeconfig.as_os_str()];
        let mut running = self.podling.prepare(words).args(&["--listen", "127.0.0.1:0"]).start();
        running.wait_for_line("is the node");
        // Its cgroups and interfaces carry it.
        let id = std::fs::read_to_string(self.podling.data_dir().join("node-id")).expect("the node's id");
        self.podling.add_run(id.trim());
        self.running = Some(running);
    }

    /// The address where it serves the control plane.
    pub fn address(&mut self) -> String {
        let line = self.running().wait_for_line("it serves on https://");
        line.rsplit("https://").next().unwrap_or_default().trim().to_owned()
    }

    /// The process.
    pub fn running(&mut self) -> &mut Running<'a> {
        self.running.as_mut().expect("the node runs")
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(crate::Signal::TERM);
            let finished = running.wait();
            if finished.code != 0 && !std::thread::panicking() {
                panic!("podling join ended with {finished}");
            }
        }
        forget(self.podling);
    }
}

/// Removes what a node keeps for its next start.
fn forget(podling: &Podling) {
    // That is no leak; everything else is looked for afterwards, a Pod's directory too.
    for kept in
        ["kubeconfig", "node-kubeconfig", "node-id", "lock", "pki", "store", "logs", "journal", "journals"]
    {
        let path = podling.data_dir().join(kept);
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    for directory in [podling.data_dir(), podling.run_dir()] {
        let _ = std::fs::remove_dir(directory.join("pods"));
    }
}
