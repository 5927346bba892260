//! The server of a container's execs: runs commands one beside the other for whoever repeats them (see
//! [`crate::commands`]).
//!
//! It is confined as the container is and holds nothing of the machine but its socket and /dev/null. A container cannot
//! name it: it is outside of the container's PID namespace, and where that is the machine's its memory is closed to
//! others. When the socket's other end goes, it kills what it runs and ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::exec::Arguments;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, access};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::attempt::Attempt;
use super::program::{c_strings, search};
use crate::commands::{Answer, Ask, Asked, MAX_OUTPUT_BYTES};
use crate::frame::{Incoming, Outgoing};
use crate::plan::ProcessPlan;
use crate::protocol::{StartError, Step};

/// How much of the output is read at once.
const READ_BYTES: usize = 4096;
/// How much is still read of a command that has ended, when others keep writing into its pipe.
const DRAIN_READS: usize = 16;

/// The server.
pub(super) struct Server<'a> {
    process: &'a ProcessPlan,
    /// The environment, and the arguments of the newest command.
    arguments: Arguments,
    socket: OwnedFd,
    incoming: Incoming,
    outgoing: Outgoing,
    running: Vec<Command>,
}

/// A command that runs.
struct Command {
    id: u64,
    pid: Pid,
    pidfd: OwnedFd,
    output: OwnedFd,
    /// Our own copy of the other end. As long as it is open the pipe does not end, so nothing wakes up for that.
    _writer: OwnedFd,
    kept: Vec<u8>,
}

impl<'a> Server<'a> {
    pub(super) fn new(process: &'a ProcessPlan, arguments: Arguments, socket: OwnedFd) -> Self {
        let (incoming, outgoing) = (Incoming::default(), Outgoing::default());
        Self { process, arguments, socket, incoming, outgoing, running: Vec::new() }
    }

    /// Serves until the socket ends.
    pub(super) fn serve(mut self) -> ! {
        let outcome = self.serve_requests();
        for command in &self.running {
            command.kill();
        }
        linux::clone::exit(i32::from(outcome.is_err()))
    }

    fn serve_requests(&mut self) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&self.socket, true)?;
        loop {
            let [requests, events @ ..] = &self.wait()?[..] else { return Ok(()) };
            let (requests, events) = (*requests, events.to_vec());
            for (index, [ended, wrote]) in events.into_iter().enumerate().rev() {
                if wrote {
                    self.running[index].read(1);
                }
                if ended {
                    self.answer_for(index)?;
                }
            }
            let may_end = requests[0] && !self.take_requests()?;
            self.flush()?;
            if may_end {
                return Ok(());
            }
        }
    }

    /// Waits for something to happen, and tells what: requests first, then for each command whether it ended and wrote.
    fn wait(&self) -> io::Result<Vec<[bool; 2]>> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut socket = readable(self.socket.as_fd());
        if !self.outgoing.is_empty() {
            socket = PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN | PollFlags::OUT);
        }
        let mut polled = vec![socket];
        for command in &self.running {
            polled.extend([readable(command.pidfd.as_fd()), readable(command.output.as_fd())]);
        }
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let requests = polled[0].revents() & !PollFlags::OUT;
        let commands = polled[1..].chunks_exact(2).map(|pair| [happened(&pair[0]), happened(&pair[1])]);
        Ok([[!requests.is_empty(), false]].into_iter().chain(commands).collect())
    }

    /// Takes what the socket brought; `false` at its end.
    fn take_requests(&mut self) -> io::Result<bool> {
        let open = match self.incoming.fill(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            outcome => outcome?,
        };
        while let Some(frame) = self.incoming.next_frame()? {
            let Ask { id, what } = frame.parse()?;
            match what {
                Asked::Run(args) => match self.run(id, args) {
                    Ok(command) => self.running.push(command),
                    Err(error) => self.send(Answer { id, outcome: Err(error), output: Vec::new() })?,
                },
                Asked::Kill => {
                    if let Some(command) = self.running.iter().find(|command| command.id == id) {
                        command.kill();
                    }
                }
            }
        }
        Ok(open)
    }

    fn run(&mut self, id: u64, args: Vec<String>) -> Result<Command, StartError> {
        self.arguments.set_arguments(c_strings(&args)?);
        let (output, writer) =
            pipe_with(PipeFlags::CLOEXEC).attempt(Step::Stdio, || "make a pipe".to_owned())?;
        rustix::io::ioctl_fionbio(&output, true).attempt(Step::Stdio, || "make a pipe".to_owned())?;
        let null = rustix::stdio::stdin();
        let streams = [null, writer.as_fd(), writer.as_fd()];
        let name = args.first().map(String::as_str).unwrap_or_default();
        let pid = search(name, &self.process.env, |path| {
            // A look costs a tenth of a child that finds nothing to execute.
            access(path, Access::EXISTS)?;
            linux::spawn::spawn(path, &self.arguments, streams)
        })?;
        let watch = || -> io::Result<(Pid, OwnedFd)> {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            Ok((pid, pidfd_open(pid, PidfdFlags::empty())?))
        };
        let (pid, pidfd) = watch().attempt(Step::Exec, || format!("watch the end of {name}"))?;
        Ok(Command { id, pid, pidfd, output, _writer: writer, kept: Vec::new() })
    }

    /// Reaps a command and tells its end.
    fn answer_for(&mut self, index: usize) -> io::Result<()> {
        let mut command = self.running.swap_remove(index);
        command.read(DRAIN_READS);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(command.pidfd.as_fd()), options)?;
        let code = status.and_then(|status| {
            status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))
        });
        self.send(Answer { id: command.id, outcome: Ok(code.unwrap_or(255)), output: command.kept })
    }

    fn send(&mut self, answer: Answer) -> io::Result<()> {
        self.outgoing.push(&answer, Vec::new())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.outgoing.flush(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome,
        }
    }
}

impl Command {
    /// Reads what there is, and keeps the beginning.
    fn read(&mut self, most_reads: usize) {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..most_reads {
            let Ok(length @ 1..) = rustix::io::read(&self.output, &mut buffer[..]) else { return };
            let room = MAX_OUTPUT_BYTES - self.kept.len();
            self.kept.extend_from_slice(&buffer[..length.min(room)]);
        }
    }

    /// It leads a session, so its group is its own; it is not reaped yet, so the number is still its own, too.
    fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}
