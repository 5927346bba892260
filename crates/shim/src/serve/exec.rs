//! Execs: further processes in running containers.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use linux::clone::Cloned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::container::{join_handles, open_pidfd};
use super::requests::{Answer, Caller, refusal};
use super::start::Birth;
use super::{Role, Shim};
use crate::execute::{Attempt, ExecSurroundings, Streams, become_exec, report_channel};
use crate::plan::ProcessPlan;
use crate::protocol::{Exit, Message, Reply, StartError, StartErrorKind, Step};

/// How long the processes of an exec may take to die before those that are left are left to the container's end. It is
/// less than a millisecond, unless they fork without end or hang in the kernel.
const DEATH_TIMEOUT: Duration = Duration::from_millis(100);

/// How many ends of execs are remembered.
pub(super) const ENDED_EXECS: usize = 64;

/// A running exec.
#[derive(Debug)]
pub(super) struct Exec {
    /// Its first process, which leads a session of its own.
    pub(super) pid: i32,
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
        if self.containers.contains_key(&key) {
            return Err(refusal(StartErrorKind::Conflict, format!("{key} is a container")));
        }
        if let Some(answer) = self.answer_exec_again(caller, &key) {
            return answer;
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
            users: self.id_range(),
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
        self.execs.insert(key.clone(), Exec { pid, pidfd, container: container.to_owned() });
        self.processes.insert(pid, Role::Exec(key.clone()));
        self.add_birth(channel, Birth::new(pid, Role::Exec(key), caller))?;
        Ok(None)
    }

    /// Answers a key that was seen before. Its streams went to whoever asked first; its end is told again.
    fn answer_exec_again(&mut self, caller: Caller, key: &str) -> Option<Answer> {
        let role = Role::Exec(key.to_owned());
        if let Some(birth) = self.births.values_mut().find(|birth| birth.role == role) {
            birth.callers.push(caller);
            return Some(Ok(None));
        }
        if let Some(exec) = self.execs.get(key) {
            return Some(Ok(Some((Reply::Exec { pid: exec.pid, warnings: Vec::new() }, Vec::new()))));
        }
        let (_, pid, exit) = self.ended_execs.iter().find(|(ended, _, _)| ended == key)?;
        let (reply, exit) = (Reply::Exec { pid: *pid, warnings: Vec::new() }, *exit);
        self.reply(caller, Ok(reply), Vec::new());
        self.send(caller.connection, &Message::Exited { key: key.to_owned(), exit }, Vec::new());
        Some(Ok(None))
    }

    /// Remembers the end of an exec for a while: the daemon may die before it has written down what it was told.
    pub(super) fn remember_exec(&mut self, key: &str, pid: i32, exit: Exit) {
        if self.ended_execs.len() == ENDED_EXECS {
            self.ended_execs.pop_front();
        }
        self.ended_execs.push_back((key.to_owned(), pid, exit));
    }

    /// Kills an exec and everything that it started and that has not left its session: the same that a hang-up of a
    /// terminal reaches. What made a session of its own (a daemon) is the container's, and stays.
    pub(super) fn kill_session(&self, exec: &Exec) -> Result<(), StartError> {
        let killed = pidfd_send_signal(&exec.pidfd, Signal::KILL);
        if let Err(error) = killed
            && error != rustix::io::Errno::SRCH
        {
            return Err(io::Error::from(error)).attempt(Step::Stage, || "kill an exec".to_owned());
        }
        let Some(container) = self.containers.get(&exec.container) else { return Ok(()) };
        let deadline = Instant::now() + DEATH_TIMEOUT;
        // A process that is being killed may be in the middle of a fork, whose child is listed only afterwards. So nobody
        // is left when a look finds nobody, and whoever was found has died before the next look.
        while Instant::now() < deadline {
            let listed = container.cgroup.procs_below().map_err(io::Error::other);
            let pids = listed.attempt(Step::Cgroup, || format!("list processes of {}", exec.container))?;
            let mut dying = Vec::new();
            for pid in pids.into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
                // Held first, then looked at again: a pid may have been given to somebody else meanwhile.
                if self.session_of(pid) == Some(exec.pid)
                    && let Some(process) = open_pidfd(pid)
                    && self.session_of(pid) == Some(exec.pid)
                {
                    let _ = pidfd_send_signal(&process, Signal::KILL);
                    dying.push(process);
                }
            }
            if dying.is_empty() {
                break;
            }
            wait_for_deaths(&dying, deadline);
        }
        Ok(())
    }

    /// The session of a living process, as the host counts (proc_pid_stat(5)). The name before it may hold anything.
    fn session_of(&self, pid: i32) -> Option<i32> {
        let stat = self.proc.read(&format!("{pid}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        let mut fields = fields.split_ascii_whitespace();
        let is_alive = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
        if is_alive { fields.nth(2)?.parse().ok() } else { None }
    }
}

/// Waits until all of them have ended, but no longer than until then.
fn wait_for_deaths(dying: &[OwnedFd], deadline: Instant) {
    for process in dying {
        let limit = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref());
    }
}
