//! Execs: further processes in running containers.

use std::os::fd::OwnedFd;

use linux::clone::Cloned;

use super::container::join_handles;
use super::requests::{Answer, Caller, refusal};
use super::start::Birth;
use super::{Role, Shim};
use crate::execute::{Attempt, ExecSurroundings, Streams, become_exec, report_channel};
use crate::plan::ProcessPlan;
use crate::protocol::{StartErrorKind, Step};

/// A running exec.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) pidfd: OwnedFd,
    /// The container it runs in.
    pub(super) container: String,
}

impl Shim {
    /// Runs a process in a container. `descriptors` are the streams that `streams` marks, in order.
    pub(super) fn start_exec(
        &mut self,
        caller: Caller,
        container: &str,
        key: String,
        mut process: ProcessPlan,
        streams: [bool; 3],
        descriptors: Vec<OwnedFd>,
    ) -> Answer {
        if self.execs.contains_key(&key) || self.containers.contains_key(&key) {
            return Err(refusal(StartErrorKind::Conflict, format!("{key} runs already")));
        }
        let mut descriptors = descriptors.into_iter();
        let given = streams.map(|is_given| if is_given { descriptors.next() } else { None });
        let init = self.running(container)?;
        let (join_files, directory) = match self.containers.get(container) {
            Some(container) => {
                // The daemon may have been restarted and not know it any more.
                process.seccomp = container.seccomp.as_deref().cloned();
                join_handles(&container.cgroup)?
            }
            None => (Vec::new(), None),
        };
        let (channel, reporter) =
            report_channel().attempt(Step::Stage, || "make a report channel".to_owned())?;
        let surroundings = ExecSurroundings {
            join_files,
            init: init.try_clone().attempt(Step::Stage, || "copy a descriptor".to_owned())?,
            proc: self.proc.try_clone().attempt(Step::Stage, || "copy a descriptor".to_owned())?,
            streams: Streams::new(given).attempt(Step::Stdio, || "open /dev/null".to_owned())?,
            reporter,
        };
        let cloned = self
            .clone_into(Some(&init), 0, directory.as_ref())
            .attempt(Step::Namespaces, || format!("clone a process for {key} in container {container}"))?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => become_exec(&process, surroundings),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(surroundings);
        self.execs.insert(key.clone(), Exec { pidfd, container: container.to_owned() });
        self.processes.insert(pid, Role::Exec(key.clone()));
        self.add_birth(channel, Birth::new(pid, Role::Exec(key), caller))?;
        Ok(None)
    }
}
