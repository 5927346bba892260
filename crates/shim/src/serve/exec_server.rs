//! Exec servers: processes that run a container's repeated commands (see [`crate::commands`]).

use std::os::fd::OwnedFd;

use linux::clone::Cloned;
use rustix::process::{Signal, pidfd_send_signal};

use super::container::join_handles;
use super::exec::Exec;
use super::requests::{Answer, Caller, refusal};
use super::start::Birth;
use super::{Role, Shim};
use crate::execute::{Attempt, ExecSurroundings, Streams, become_exec_server, report_channel};
use crate::plan::ProcessPlan;
use crate::protocol::{StartErrorKind, Step};

impl Shim {
    /// Makes a process that runs commands in a container. `descriptors` is the one end of its socket.
    pub(super) fn open_exec_server(
        &mut self,
        caller: Caller,
        container: &str,
        key: String,
        mut process: ProcessPlan,
        descriptors: Vec<OwnedFd>,
    ) -> Answer {
        if self.execs.contains_key(&key) || self.containers.contains_key(&key) {
            return Err(refusal(StartErrorKind::Conflict, format!("{key} runs already")));
        }
        let copied = || "copy a descriptor".to_owned();
        let init = self.running(container)?;
        let unknown =
            || refusal(StartErrorKind::NoSuchContainer, format!("container {container} does not run"));
        let (join_files, directory) = match self.containers.get(container) {
            Some(container) => {
                process.seccomp = container.seccomp.as_deref().cloned();
                join_handles(&container.cgroup)?
            }
            None => return Err(unknown()),
        };
        let socket = descriptors.into_iter().next();
        let socket = socket.ok_or_else(|| {
            refusal(StartErrorKind::Setup, "an exec server was asked for without its socket".to_owned())
        })?;
        let (channel, reporter) =
            report_channel().attempt(Step::Stage, || "make a report channel".to_owned())?;
        let surroundings = ExecSurroundings {
            join_files,
            init: init.try_clone().attempt(Step::Stage, copied)?,
            users: self.id_range(),
            proc: self.proc.try_clone().attempt(Step::Stage, copied)?,
            streams: Streams::new([None, None, None]).attempt(Step::Stdio, || "open /dev/null".to_owned())?,
            reporter,
        };
        let cloned = self
            .clone_into(None, 0, directory.as_ref())
            .attempt(Step::Namespaces, || format!("clone a process for {key} in container {container}"))?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => become_exec_server(&process, surroundings, socket),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(surroundings);
        self.execs.insert(key.clone(), Exec { pid, pidfd, container: container.to_owned() });
        self.processes.insert(pid, Role::ExecServer(key.clone()));
        self.add_birth(channel, Birth::new(pid, Role::ExecServer(key), caller))?;
        Ok(None)
    }

    /// Ends the exec servers of a container that has ended: they hold its mounts, and are not in its PID namespace.
    pub(super) fn end_exec_servers(&self, container: &str) {
        let servers = self.processes.values().filter_map(|role| match role {
            Role::ExecServer(key) => self.execs.get(key),
            _ => None,
        });
        for server in servers.filter(|server| server.container == container) {
            // One that has ended by itself is no matter.
            let _ = pidfd_send_signal(&server.pidfd, Signal::KILL);
        }
    }
}
