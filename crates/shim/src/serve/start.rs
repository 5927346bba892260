//! Starts under way: a process was cloned, and its exec has not happened yet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::WaitStatus;

use super::requests::{Caller, refusal};
use super::{Role, Shim, Source, time};
use crate::execute::{Attempt, Report, receive_report};
use crate::protocol::{ContainerState, Reply, StartError, StartErrorKind, Step};

/// One start under way.
#[derive(Debug)]
pub(super) struct Birth {
    /// The process that reports.
    pub(super) pid: i32,
    /// What it becomes.
    pub(super) role: Role,
    /// Who waits for the answer.
    pub(super) callers: Vec<Caller>,
    /// Set once the birth is watched.
    channel: Option<OwnedFd>,
    warnings: Vec<String>,
    terminal: Option<OwnedFd>,
    ready: bool,
    failure: Option<StartError>,
    /// The first process, when another one made it.
    external_pid: Option<i32>,
    /// How that one ended, when it did so before its start was answered.
    pub(super) early_end: Option<WaitStatus>,
}

impl Birth {
    pub(super) fn new(pid: i32, role: Role, caller: Caller) -> Self {
        Self { role, callers: vec![caller], ..Self::for_runtime(pid, None) }
    }

    /// A call of an external runtime; nobody may be waiting for it.
    pub(super) fn for_runtime(pid: i32, caller: Option<Caller>) -> Self {
        Self {
            pid,
            role: Role::Runtime,
            callers: caller.into_iter().collect(),
            channel: None,
            warnings: Vec::new(),
            terminal: None,
            ready: false,
            failure: None,
            external_pid: None,
            early_end: None,
        }
    }

    /// What the shim itself could not do fully.
    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    fn note(&mut self, report: Report, descriptor: Option<OwnedFd>) {
        match report {
            Report::Warning(sentence) => self.warnings.push(sentence),
            Report::Terminal => self.terminal = descriptor,
            Report::Pid(pid) => self.external_pid = Some(pid),
            Report::Ready => self.ready = true,
            Report::Failed(failure) => self.failure = Some(failure),
        }
    }

    fn outcome(&self) -> Result<(), StartError> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.ready => Ok(()),
            None => Err(refusal(
                StartErrorKind::Setup,
                "the process ended before its program was executed: it was killed, perhaps because the memory \
                 limit is too small to start anything"
                    .to_owned(),
            )),
        }
    }
}

impl Shim {
    /// Watches a birth.
    pub(super) fn add_birth(&mut self, channel: OwnedFd, mut birth: Birth) -> Result<(), StartError> {
        let token = self
            .watch(channel.as_fd(), Source::Birth)
            .attempt(Step::Namespaces, || "watch a new process".to_owned())?;
        birth.channel = Some(channel);
        self.births.insert(token, birth);
        Ok(())
    }

    /// Reads what a process that is being set up reports; at the end of the reports the start is answered.
    pub(super) fn attend_birth(&mut self, token: u64) {
        let Some(birth) = self.births.get_mut(&token) else { return };
        while let Some(channel) = &birth.channel {
            match receive_report(channel) {
                Ok(Some((report, descriptor))) => {
                    // What another process made is the shim's from the moment its pid is known.
                    if let (Report::Pid(pid), Role::Container(key)) = (&report, &birth.role) {
                        self.processes.insert(*pid, birth.role.clone());
                        if let Some(container) = self.containers.get_mut(key) {
                            container.pidfd = super::container::open_pidfd(*pid);
                        }
                    }
                    birth.note(report, descriptor);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        let Some(mut birth) = self.births.remove(&token) else { return };
        if let Some(channel) = birth.channel.take() {
            self.unwatch(token, channel.as_fd());
        }
        self.conclude(birth);
    }

    /// Reads all reports that have arrived, so that no end of a process is told before its start.
    pub(super) fn attend_all_births(&mut self) {
        let tokens: Vec<u64> = self.births.keys().copied().collect();
        for token in tokens {
            self.attend_birth(token);
        }
    }

    fn conclude(&mut self, birth: Birth) {
        let outcome = birth.outcome();
        let (outcome, mut descriptors) = match &birth.role {
            Role::Pause => match outcome.and_then(|()| self.sandbox_reply()) {
                Ok((reply, descriptors)) => (Ok(reply), descriptors),
                Err(failure) => {
                    self.processes.remove(&birth.pid);
                    self.drop_sandbox();
                    (Err(failure), Vec::new())
                }
            },
            Role::Container(key) => {
                (self.conclude_container(key, &birth, outcome, birth.external_pid), Vec::new())
            }
            Role::Exec(key) | Role::ExecServer(key) => self.conclude_exec(key, &birth, outcome),
            Role::Runtime => (outcome.map(|()| Reply::Done), Vec::new()),
        };
        if let Role::Container(key) = &birth.role
            && let Some(master) = birth.terminal
        {
            self.adopt_terminal(key, master);
        }
        let early_end = birth.early_end.filter(|_| outcome.is_ok());
        for caller in birth.callers {
            let beside = descriptors.iter().filter_map(|one| one.try_clone().ok()).collect();
            self.reply(caller, outcome.clone(), beside);
        }
        descriptors.clear();
        if let (Role::Container(key), Some(status)) = (birth.role, early_end) {
            self.container_ended(key, status);
        }
    }

    fn conclude_container(
        &mut self,
        key: &str,
        birth: &Birth,
        outcome: Result<(), StartError>,
        external_pid: Option<i32>,
    ) -> Result<Reply, StartError> {
        let pid = external_pid.unwrap_or(birth.pid);
        let Some(container) = self.containers.get_mut(key) else {
            return outcome.map(|()| Reply::Done);
        };
        match outcome {
            Ok(()) => {
                let started_at = time::now();
                container.state = ContainerState::Running { pid, started_at };
                container.started = Some((pid, started_at));
                Ok(Reply::Started { pid, started_at, warnings: birth.warnings.clone() })
            }
            Err(failure) => {
                // Its end is not an exit of the container; it never ran.
                for pid in [Some(birth.pid), external_pid].into_iter().flatten() {
                    self.processes.remove(&pid);
                }
                container.state = ContainerState::Failed(failure.clone());
                let _ = container.cgroup.kill_all();
                Err(failure)
            }
        }
    }

    fn conclude_exec(
        &mut self,
        key: &str,
        birth: &Birth,
        outcome: Result<(), StartError>,
    ) -> (Result<Reply, StartError>, Vec<OwnedFd>) {
        match outcome {
            Ok(()) => {
                let terminal = birth.terminal.as_ref().and_then(|master| master.try_clone().ok());
                let reply = Reply::Exec { pid: birth.pid, warnings: birth.warnings.clone() };
                (Ok(reply), terminal.into_iter().collect())
            }
            Err(failure) => {
                self.processes.remove(&birth.pid);
                self.execs.remove(key);
                (Err(failure), Vec::new())
            }
        }
    }
}
