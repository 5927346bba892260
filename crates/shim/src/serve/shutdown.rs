//! The end of everything of the Pod: processes, then cgroups and mounts, then the shim.

use std::io;

use linux::cgroup::Cgroup;
use rustix::process::{Signal, pidfd_send_signal};

use super::Shim;
use super::container::EMPTY_TIMEOUT;
use super::requests::{Caller, SOCKET, refusal};
use crate::protocol::StartErrorKind;

impl Shim {
    /// Kills everything. The loop calls [`Shim::finish`] when all of it has been reaped.
    pub(super) fn shut_down(&mut self, caller: Caller) {
        self.shutting_down = Some(caller);
        for container in self.containers.values() {
            if let Some(first) = &container.pidfd {
                let _ = pidfd_send_signal(first, Signal::KILL);
            }
            let _ = container.cgroup.kill_all();
        }
        for exec in self.execs.values() {
            let _ = pidfd_send_signal(&exec.pidfd, Signal::KILL);
        }
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.stopping = true;
            let _ = pidfd_send_signal(&sandbox.pidfd, Signal::KILL);
        }
        let externals: Vec<_> =
            self.containers.values().filter_map(|container| container.external.clone()).collect();
        for external in externals {
            let _ = self.delete_external(None, &external);
        }
    }

    /// Removes what processes leave behind. Mounts go with the shim's mount namespace, the network namespace with
    /// its last descriptor. Goes on after a failure and tells the first.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut failures = Vec::new();
        for container in std::mem::take(&mut self.containers).into_values() {
            if !container.owns_cgroup {
                continue;
            }
            if let Err(error) = container.cgroup.remove(EMPTY_TIMEOUT) {
                failures.push(error.to_string());
            }
        }
        match Cgroup::open(&self.hierarchy, &self.cgroup) {
            Ok(pod) => {
                if let Err(error) = pod.kill_all().and_then(|()| pod.remove(EMPTY_TIMEOUT)) {
                    failures.push(error.to_string());
                }
                pod.remove_empty_parents(&self.hierarchy);
            }
            Err(error) => failures.push(error.to_string()),
        }
        let _ = std::fs::remove_file(self.pod_dir.join(SOCKET));
        let Some(first) = failures.into_iter().next() else { return Ok(()) };
        if let Some(caller) = self.shutting_down {
            self.reply(caller, Err(refusal(StartErrorKind::Setup, first.clone())), Vec::new());
        }
        Err(io::Error::other(first))
    }
}
