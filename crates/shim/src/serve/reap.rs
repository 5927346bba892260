//! The ends of processes: reaped, recorded, told.

use std::io;

use rustix::process::{WaitOptions, WaitStatus, wait};

use super::{Role, Shim, time};
use crate::protocol::{ContainerState, Exit, Message, Reply};

impl Shim {
    /// Reaps all children that have ended.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        // One signal may stand for many children.
        while self.signals.read().is_ok() {}
        self.attend_all_births();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid.as_raw_nonzero().get(), status),
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        // What it reported before its end comes first.
        let birth = self.births.iter().find(|(_, birth)| birth.pid == pid).map(|(token, _)| *token);
        if let Some(token) = birth {
            self.attend_birth(token);
        }
        match self.processes.remove(&pid) {
            Some(Role::Pause) => self.pause_ended(status),
            Some(Role::Container(key)) => {
                // An external runtime that has not told yet that it started what has ended already.
                let role = Role::Container(key.clone());
                match self.births.values_mut().find(|birth| birth.role == role) {
                    Some(birth) => birth.early_end = Some(status),
                    None => self.container_ended(key, status),
                }
            }
            Some(Role::Exec(key)) => self.exec_ended(key, status),
            // The end of its socket has told.
            Some(Role::ExecServer(key)) => drop(self.execs.remove(&key)),
            // Somebody's orphan.
            Some(Role::Runtime) | None => {}
        }
    }

    fn pause_ended(&mut self, status: WaitStatus) {
        let Some(sandbox) = self.drop_sandbox() else { return };
        if !sandbox.stopping {
            let exit = exit_of(status, false);
            self.record(&sandbox.key, &exit);
            self.tell(&Message::SandboxGone { key: sandbox.key, exit });
        }
        for caller in std::mem::take(&mut self.stopping_sandbox) {
            self.reply(caller, Ok(Reply::Done), Vec::new());
        }
    }

    pub(super) fn container_ended(&mut self, key: String, status: WaitStatus) {
        // Its last lines are in the log before anybody hears of its end.
        self.drain_outputs(&key);
        let Some(container) = self.containers.get_mut(&key) else { return };
        container.pidfd = None;
        container.stdin = None;
        container.terminal = None;
        if container.leaves_processes {
            // Its children would otherwise go on in the Pod's PID namespace.
            let _ = container.cgroup.kill_all();
        }
        let oom_killed = container.oom_killed();
        self.end_exec_servers(&key);
        let Some(container) = self.containers.get_mut(&key) else { return };
        let exit = exit_of(status, oom_killed);
        let started_at = container.started.map_or(exit.finished_at, |(_, at)| at);
        container.state = ContainerState::Exited { started_at, exit };
        self.record(&key, &exit);
        self.tell(&Message::Exited { key, exit });
    }

    fn exec_ended(&mut self, key: String, status: WaitStatus) {
        let Some(exec) = self.execs.remove(&key) else { return };
        let killed = status.terminating_signal() == Some(9);
        let container = self.containers.get(&exec.container);
        let oom_killed = killed && container.is_some_and(|container| container.oom_killed());
        let exit = exit_of(status, oom_killed);
        self.remember_exec(&key, exec.pid, exit);
        self.tell(&Message::Exited { key, exit });
    }
}

/// How a process ended, with the exit code that shells and Kubernetes give to signals.
fn exit_of(status: WaitStatus, oom_killed: bool) -> Exit {
    let signal = status.terminating_signal();
    let code = status.exit_status().or(signal.map(|signal| 128 + signal)).unwrap_or(255);
    Exit { code, signal, oom_killed, finished_at: time::now() }
}
