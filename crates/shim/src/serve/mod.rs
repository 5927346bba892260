//! The shim's life: one thread, one epoll, until it is told to end.
//!
//! ```text
//! signals (SIGCHLD) ─► reap          births: starts whose exec has not happened yet
//! listener ─► connections ─► requests    outputs: the containers' stdout and stderr ─► log files
//! ```
//!
//! What holds: every container is in `containers` from the request until Remove; its process is in `processes`
//! until it is reaped; a birth exists exactly while a start is not answered; an exit is on disk before it is told.
//! Nothing here waits for anything but epoll and podling's own files; what could hang (mounts of volumes, runtimes)
//! happens in children.

mod attach;
mod connection;
mod container;
mod exec;
mod exec_server;
mod external;
mod layers;
mod log;
mod output;
mod reap;
mod requests;
mod resize;
mod sandbox;
mod shutdown;
mod start;
mod time;
mod users;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use linux::cgroup::Hierarchy;
use linux::clone::SingleThreaded;
use linux::signalfd::SignalFd;
use rustix::event::epoll;
use rustix::process::DumpableBehavior;
use rustix::time::Timespec;

use crate::execute::Proc;
use crate::protocol::{Exit, Message};
use connection::Connection;
use container::Container;
use output::Output;
use sandbox::Sandbox;
use start::Birth;

/// SIGCHLD, by its number on all of Linux that podling runs on.
const SIGCHLD: i32 = 17;

/// When nothing happens for this long after something did, memory is let go; then there is nothing to wake up for.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };

/// What an epoll token stands for.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Listener,
    Connection,
    Birth,
    Output,
    /// The end of an attachment, which is heard of when nobody reads it any more.
    Copy,
}

/// What a child process is to the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Pause,
    Container(String),
    Exec(String),
    /// Runs a container's repeated commands.
    ExecServer(String),
    /// A process that makes or deletes a container in another way than becoming it, and ends.
    Runtime,
}

/// Everything the shim knows.
#[derive(Debug)]
struct Shim {
    single: SingleThreaded,
    proc: Proc,
    hierarchy: Hierarchy,
    pod_dir: PathBuf,
    /// The Pod's cgroup.
    cgroup: String,
    epoll: OwnedFd,
    signals: SignalFd,
    listener: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next_token: u64,
    connections: BTreeMap<u64, Connection>,
    births: BTreeMap<u64, Birth>,
    outputs: BTreeMap<u64, Output>,
    sandbox: Option<Sandbox>,
    /// Where memory volumes are mounted: they end with the shim's mount namespace.
    memory_volumes: Vec<PathBuf>,
    /// Layers of images that are mounted, each at its number.
    layers: Vec<PathBuf>,
    /// Directories of layers that are mounted again with mapped owners, each at its number.
    mapped_layers: Vec<PathBuf>,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<String, exec::Exec>,
    /// Execs that have ended lately: key, pid and end.
    ended_execs: VecDeque<(String, i32, Exit)>,
    processes: BTreeMap<i32, Role>,
    held: Vec<OwnedFd>,
    /// Who waits for the end of pause.
    stopping_sandbox: Vec<requests::Caller>,
    /// Who asked for the end of everything.
    shutting_down: Option<requests::Caller>,
    /// Whether something happened since memory was last let go.
    was_busy: bool,
    /// Working memory for output, allocated when first used.
    read_buffer: Vec<u8>,
    write_buffer: Vec<u8>,
}

/// The whole program. Arguments: the Pod's run directory and its cgroup. Standard input is the first connection.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(pod_dir), Some(cgroup)) =
        (arguments.next(), arguments.next().and_then(|text| text.into_string().ok()))
    else {
        eprintln!("podling-shim is started by podling: podling-shim POD_DIR CGROUP");
        return ExitCode::from(2);
    };
    match Shim::new(PathBuf::from(pod_dir), cgroup).and_then(Shim::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("podling-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Shim {
    fn new(pod_dir: PathBuf, cgroup: String) -> io::Result<Self> {
        // The program's memory and descriptors are nobody's but root's, also for a container in the host's PID
        // namespace, and for those that are cloned from here (CVE-2019-5736).
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::thread::set_name(c"podling-shim")?;
        let _ = rustix::process::setsid();
        // Orphans of external runtimes and of containers in the host's PID namespace come here.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let single = SingleThreaded::verify()?;
        linux::exec::reset_all_signals();
        // Rust's runtime had done so: a daemon that went away is an error of a write, not the end.
        linux::exec::ignore_broken_pipes();
        let signals = SignalFd::block_and_open(&[SIGCHLD], true)?;
        // It sees what the machine mounts, and the machine sees nothing of the Pod's.
        linux::mount_namespace::enter_own()?;
        std::env::set_current_dir("/")?;
        let lock = requests::lock(&pod_dir)?;
        let listener = requests::listen(&pod_dir)?;
        let mut shim = Self {
            single,
            proc: Proc::open()?,
            hierarchy: Hierarchy::detect().map_err(io::Error::other)?,
            pod_dir,
            cgroup,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            signals,
            listener,
            sources: BTreeMap::new(),
            next_token: 0,
            connections: BTreeMap::new(),
            births: BTreeMap::new(),
            outputs: BTreeMap::new(),
            sandbox: None,
            memory_volumes: Vec::new(),
            layers: Vec::new(),
            mapped_layers: Vec::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            ended_execs: VecDeque::new(),
            processes: BTreeMap::new(),
            held: vec![lock],
            stopping_sandbox: Vec::new(),
            shutting_down: None,
            was_busy: true,
            read_buffer: Vec::new(),
            write_buffer: Vec::new(),
        };
        shim.watch_first_descriptors()?;
        Ok(shim)
    }

    fn watch_first_descriptors(&mut self) -> io::Result<()> {
        let signals = self.signals.as_fd().try_clone_to_owned()?;
        self.watch(signals.as_fd(), Source::Signals)?;
        self.held.push(signals);
        let listener = self.listener.try_clone()?;
        self.watch(listener.as_fd(), Source::Listener)?;
        self.held.push(listener);
        let first = Connection::new(rustix::stdio::stdin().try_clone_to_owned()?)?;
        self.add_connection(first)?;
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
        linux::exec::replace_stdio(null.as_fd(), 0)
    }

    /// Serves until everything has ended.
    fn serve(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(32);
        loop {
            events.clear();
            let timeout = self.was_busy.then_some(&QUIET);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Err(rustix::io::Errno::INTR) => continue,
                outcome => outcome?,
            };
            self.was_busy = !events.is_empty();
            if events.is_empty() {
                self.release_memory();
            }
            for event in &events {
                let token = event.data.u64();
                // What an earlier event of the same round has closed is not there any more.
                let Some(source) = self.sources.get(&token).copied() else { continue };
                match source {
                    Source::Signals => self.reap()?,
                    Source::Listener => self.accept()?,
                    Source::Connection => self.serve_connection(token),
                    Source::Birth => self.attend_birth(token),
                    Source::Output => self.read_output(token),
                    Source::Copy => self.close_copy(token),
                }
            }
            let is_over = self.shutting_down.is_some() && self.processes.is_empty() && self.births.is_empty();
            if is_over || self.is_forgotten() {
                return self.finish();
            }
        }
    }

    /// Whether the daemon died before it had the shim make anything. Nothing of the Pod is here then, and the next daemon
    /// starts a shim of its own.
    fn is_forgotten(&self) -> bool {
        self.connections.is_empty()
            && self.sandbox.is_none()
            && self.containers.is_empty()
            && self.processes.is_empty()
            && self.memory_volumes.is_empty()
    }

    /// Lets go of what only work needs. There is one shim for each Pod, and most wait most of the time.
    fn release_memory(&mut self) {
        self.read_buffer = Vec::new();
        self.write_buffer = Vec::new();
        // Without it the shim is larger and works as well.
        let _ = linux::program::release_memory();
    }

    fn watch(&mut self, descriptor: BorrowedFd<'_>, source: Source) -> io::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        // That the other end is closed is told unasked (epoll_ctl(2), EPOLLERR).
        let flags =
            if matches!(source, Source::Copy) { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(token), flags)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Forgets a token. Before its descriptor is closed, because a child may still hold a copy of that.
    fn unwatch(&mut self, token: u64, descriptor: BorrowedFd<'_>) {
        self.sources.remove(&token);
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    fn accept(&mut self) -> io::Result<()> {
        // A peer that went away meanwhile, or that is not root, is nobody's error.
        if let Ok(Some(connection)) = Connection::accept(self.listener.as_fd()) {
            self.add_connection(connection)?;
        }
        Ok(())
    }

    fn add_connection(&mut self, connection: Connection) -> io::Result<()> {
        let token = self.watch(connection.as_fd(), Source::Connection)?;
        self.connections.insert(token, connection);
        Ok(())
    }

    fn close_connection(&mut self, token: u64) {
        if let Some(connection) = self.connections.remove(&token) {
            self.unwatch(token, connection.as_fd());
        }
    }

    /// Sends to one connection; one that cannot take it is closed.
    fn send(&mut self, token: u64, message: &Message, descriptors: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.send(message, descriptors).is_err() {
            self.close_connection(token);
            return;
        }
        self.update_interest(token);
    }

    /// Listens for writability only while something waits for it.
    fn update_interest(&mut self, token: u64) {
        let Some(connection) = self.connections.get(&token) else { return };
        let mut flags = epoll::EventFlags::IN;
        if connection.has_unsent() {
            flags |= epoll::EventFlags::OUT;
        }
        let _ = epoll::modify(&self.epoll, connection.as_fd(), epoll::EventData::new_u64(token), flags);
    }

    /// Tells everybody who said Hello.
    fn tell(&mut self, message: &Message) {
        let greeted: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.greeted)
            .map(|(token, _)| *token)
            .collect();
        for token in greeted {
            self.send(token, message, Vec::new());
        }
    }

    /// Writes an exit down. A run directory that takes no file is no reason to leave a container unreaped.
    fn record(&self, key: &str, exit: &Exit) {
        if let Err(error) = crate::exits::record(&self.pod_dir, key, exit) {
            eprintln!("podling-shim: cannot record the exit of {key}: {error}");
        }
    }
}
