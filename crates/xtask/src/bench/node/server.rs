//! A `podling serve` of one's own: directories, name, port and address range that no other node has, and nothing left after.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::connection::{Access, Connection};
use crate::command;
use crate::failure::{Attempt, Failure, Result};

/// What nodes of a bench are called.
const NAME: &str = "bench";

/// The Pods that a node of a bench runs.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
/// How long a bench that failed tries to leave nothing behind, and how often it looks.
const DELETING: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Where nodes have their directories.
pub(crate) struct Place {
    program: PathBuf,
    data_dir: PathBuf,
    image_dir: PathBuf,
    run_dir: PathBuf,
}

impl Place {
    /// Everything but the images is below `directory`.
    pub(crate) fn new(program: &Path, directory: &Path, image_dir: &Path) -> Place {
        Place {
            program: program.to_path_buf(),
            data_dir: directory.join("data"),
            image_dir: image_dir.to_path_buf(),
            // Short, because it holds Unix sockets, and on a tmpfs as on a user's machine.
            run_dir: PathBuf::from(format!("/run/podling-bench-{}", std::process::id())),
        }
    }

    /// Where a node's objects are.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Removes everything but the images, so that the next node is a new one.
    pub(crate) fn clear(&self) -> Result {
        for directory in [&self.data_dir, &self.run_dir] {
            if directory.exists() {
                fs::remove_dir_all(directory).attempt(format!("removing {}", directory.display()))?;
            }
        }
        Ok(())
    }

    /// Starts a node, and waits until the API says that it is Ready.
    pub(crate) fn start(&self) -> Result<(Server, Duration)> {
        let start = Instant::now();
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--node-name", NAME]);
        for (flag, path) in
            [("--data-dir", &self.data_dir), ("--run-dir", &self.run_dir), ("--image-dir", &self.image_dir)]
        {
            command.arg(flag).arg(path);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().attempt("starting podling")?;
        let mut server = Server { child, access: None };
        let output =
            server.child.stdout.take().ok_or_else(|| Failure::new("podling has no standard output"))?;
        let mut lines = BufReader::new(output).lines();
        let is_serving = |line: &String| line.starts_with("podling serves on");
        if !lines.by_ref().map_while(std::result::Result::ok).any(|line| is_serving(&line)) {
            return Err(Failure::new("podling serve ended before it served"));
        }
        let access = Access::read(&self.data_dir.join("kubeconfig"))?;
        let mut connection = access.connect()?;
        while !is_ready(&mut connection)? {}
        let took = start.elapsed();
        server.access = Some(access);
        Ok((server, took))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whatever a failed bench left; nothing after a good one.
        let mut doctor = Command::new(&self.program);
        doctor.args(["doctor", "--clean", "--run-dir"]).arg(&self.run_dir);
        doctor.arg("--data-dir").arg(&self.data_dir).arg("--image-dir").arg(&self.image_dir);
        let _ = command::output(&mut doctor);
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

fn is_ready(connection: &mut Connection) -> Result<bool> {
    let nodes = connection.json("GET", "/api/v1/nodes", None)?;
    let conditions = nodes["items"][0]["status"]["conditions"].as_array();
    Ok(conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True"))
}

/// A running node; dropping it deletes its Pods and ends it.
pub(crate) struct Server {
    child: Child,
    access: Option<Access>,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection, which has answered once: no handshake is left to be measured.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let access = self.access.as_ref().ok_or_else(|| Failure::new("the node does not serve yet"))?;
        let mut connection = access.connect()?;
        connection.ask("GET", "/readyz", None)?;
        Ok(connection)
    }

    fn delete_pods(&self) -> Result {
        let mut connection = self.connect()?;
        let start = Instant::now();
        while connection.json("GET", PODS, None)?["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
            if start.elapsed() > DELETING {
                return Err(Failure::new("Pods of the bench cannot be deleted"));
            }
            connection.ask("DELETE", &format!("{PODS}?gracePeriodSeconds=1"), None)?;
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A node's Pods outlive it, and nothing would look for those of a bench that failed. A good one has none left.
        let _ = self.delete_pods();
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // Gone already is what we want.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
