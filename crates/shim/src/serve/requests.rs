//! What a daemon asks, and its answers.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, openat};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen as listen_on, socket_with,
};

use super::container::unknown;
use super::{Role, Shim};
use crate::frame::Frame;
use crate::protocol::{
    Call, Message, Reply, Request, SandboxState, StartError, StartErrorKind, State, Step, VERSION,
};

/// The name of the socket in the Pod's run directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// Locked by the shim that has the socket: a daemon may have died while it started another one.
const LOCK: &str = "shim.lock";

/// Whom an answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) connection: u64,
    pub(super) id: u64,
}

/// What a request gets; `None` when the answer comes later.
pub(super) type Answer = Result<Option<(Reply, Vec<OwnedFd>)>, StartError>;

/// Makes this process the only shim of its Pod, for as long as the descriptor is open.
pub(super) fn lock(pod_dir: &Path) -> io::Result<OwnedFd> {
    std::fs::create_dir_all(pod_dir)?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = openat(CWD, pod_dir.join(LOCK), flags, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other("another shim serves this Pod")),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens the socket by which a restarted daemon finds the shim. Paths of sockets are short (unix(7)), so it is
/// named through a descriptor of its directory.
pub(super) fn listen(pod_dir: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let directory = openat(CWD, pod_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = bind(&socket, &SocketAddrUnix::new(path.as_str())?);
    rustix::process::umask(umask);
    bound?;
    listen_on(&socket, 16)?;
    Ok(socket)
}

/// An error of an act on what exists.
pub(super) fn refusal(kind: StartErrorKind, message: String) -> StartError {
    StartError { step: Step::Stage, errno: None, message, kind }
}

impl Shim {
    /// Serves what a connection brought.
    pub(super) fn serve_connection(&mut self, token: u64) {
        if self.take_requests(token).is_err() {
            self.close_connection(token);
        }
    }

    fn take_requests(&mut self, token: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        connection.flush()?;
        let open = connection.fill()?;
        while let Some(connection) = self.connections.get_mut(&token)
            && let Some(frame) = connection.next_frame()?
        {
            self.take(token, frame)?;
        }
        self.update_interest(token);
        if open { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn take(&mut self, token: u64, frame: Frame) -> io::Result<()> {
        let call: Call = frame.parse()?;
        let caller = Caller { connection: token, id: call.id };
        let greeted = self.connections.get(&token).is_some_and(|connection| connection.greeted);
        if !greeted && !matches!(call.request, Request::Hello { .. }) {
            return Err(io::Error::other("a request before Hello"));
        }
        match self.answer(caller, call.request, frame.descriptors) {
            Ok(None) => {}
            Ok(Some((reply, descriptors))) => self.reply(caller, Ok(reply), descriptors),
            Err(error) => self.reply(caller, Err(error), Vec::new()),
        }
        Ok(())
    }

    fn answer(&mut self, caller: Caller, request: Request, mut descriptors: Vec<OwnedFd>) -> Answer {
        let is_allowed = matches!(request, Request::Hello { .. } | Request::State | Request::Shutdown);
        if self.shutting_down.is_some() && !is_allowed {
            let message = "the shim is shutting down".to_owned();
            return Err(refusal(StartErrorKind::Conflict, message));
        }
        match request {
            Request::Hello { version } => self.greet(caller, version),
            Request::CreateSandbox { key, plan } => self.create_sandbox(caller, key, *plan, descriptors),
            Request::StartContainer { key, plan } => self.start_container(caller, key, *plan),
            Request::StartExternal { key, plan } => self.start_external(caller, key, *plan),
            Request::Exec { container, key, process, streams } => {
                self.start_exec(caller, &container, key, *process, streams, descriptors)
            }
            Request::Signal { key, signal } => self.signal(&key, signal).map(done),
            Request::SignalOnce { key, signal } => self.signal_once(&key, signal).map(done),
            Request::Await { key } => self.answer_again(caller, &key).unwrap_or_else(|| Err(unknown(&key))),
            Request::Kill { key } => self.kill(&key).map(done),
            Request::Remove { key } => self.remove(caller, &key),
            Request::Hold => {
                self.held.append(&mut descriptors);
                Ok(done(()))
            }
            Request::State => Ok(Some((Reply::State(self.state()), Vec::new()))),
            Request::StopSandbox => self.stop_sandbox(caller),
            Request::Resize { key, limits } => self.resize(key.as_deref(), &limits),
            Request::OpenExecServer { container, key, process } => {
                self.open_exec_server(caller, &container, key, *process, descriptors)
            }
            Request::Attach { key, container, streams, hand_over_stdin } => {
                self.attach(caller, key, &container, streams, hand_over_stdin)
            }
            Request::Shutdown => {
                self.shut_down(caller);
                Ok(None)
            }
        }
    }

    fn greet(&mut self, caller: Caller, version: u32) -> Answer {
        if version > VERSION {
            let message = format!("the shim speaks version {VERSION} of its protocol, not {version}");
            return Err(refusal(StartErrorKind::Conflict, message));
        }
        if let Some(connection) = self.connections.get_mut(&caller.connection) {
            connection.greeted = true;
        }
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Some((Reply::Welcome { version: VERSION, pid, cgroup: self.cgroup.clone() }, Vec::new())))
    }

    pub(super) fn reply(
        &mut self,
        caller: Caller,
        outcome: Result<Reply, StartError>,
        descriptors: Vec<OwnedFd>,
    ) {
        self.send(caller.connection, &Message::Reply { id: caller.id, outcome }, descriptors);
    }

    fn state(&self) -> State {
        State {
            sandbox: self.sandbox.as_ref().map(|sandbox| SandboxState {
                key: sandbox.key.clone(),
                pause_pid: sandbox.pid,
                created_at: sandbox.created_at,
                shares_processes: sandbox.shares_processes,
            }),
            containers: self
                .containers
                .iter()
                .map(|(key, container)| (key.clone(), container.state.clone()))
                .collect(),
            execs: self
                .processes
                .iter()
                .filter_map(|(pid, role)| match role {
                    Role::Exec(key) => Some((key.clone(), *pid)),
                    _ => None,
                })
                .collect(),
        }
    }
}

pub(super) fn done(_: ()) -> Option<(Reply, Vec<OwnedFd>)> {
    Some((Reply::Done, Vec::new()))
}
