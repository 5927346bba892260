//! A look into a running container from outside, where podling has no `exec` yet: nsenter(1) joins the namespaces of
//! a process that its cgroup says is the container's.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::running::Running;

/// How a command inside a container ended.
#[derive(Debug)]
pub struct Looked {
    /// Whether it ended with 0.
    pub success: bool,
    /// Both outputs.
    pub text: String,
}

impl Running<'_> {
    /// Runs a command of the container's image in its namespaces; `input` is what the command reads.
    pub fn look(&mut self, container: &str, words: &[&str], input: &str) -> Looked {
        let pid = self.pid_of(container).to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--all"]).args(words);
        finish(command, input)
    }

    /// Runs a command of this machine in the IPC namespace of the container.
    pub fn look_at_ipc(&mut self, container: &str, words: &[&str]) -> Looked {
        let pid = self.pid_of(container).to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--ipc"]).args(words);
        finish(command, "")
    }

    /// The first process of a container, as this machine numbers it.
    pub fn pid_of(&mut self, container: &str) -> u32 {
        let (node, end) = (format!("/podling/{}/", self.run_id()), format!("/{container}"));
        let is_inside = |pid: &u32| {
            let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroups.lines().any(|line| line.contains(&node) && line.ends_with(&end))
        };
        let entries = fs::read_dir("/proc").expect("/proc");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_inside).min().unwrap_or_else(|| panic!("{container} has no process:\n{self}"))
    }
}

fn finish(mut command: Command, input: &str) -> Looked {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        // A command that does not read is no failure of ours.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    Looked { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}
