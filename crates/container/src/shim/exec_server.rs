//! The daemon's end of an exec server: commands out, answers to their askers (see [`shim::commands`]).

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use shim::commands::{Answer, Ask, Asked};
use shim::frame::{Incoming, Outgoing};
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::connection::watch;
use crate::Error;

/// What became of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// The beginning of its output, standard output and error in one.
    pub output: Vec<u8>,
}

/// A process that runs commands in one container, with all of the container's confinement: for those that are repeated,
/// because what an exec costs is paid once. It ends with this.
#[derive(Debug)]
pub struct ExecServer {
    shared: Arc<Shared>,
    reader: AbortHandle,
    next_id: AtomicU64,
    pod_dir: PathBuf,
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    outgoing: Mutex<Outgoing>,
    /// Who waits for which answer; `None` once the server has ended.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

impl Drop for ExecServer {
    fn drop(&mut self) {
        // The socket is closed with the last of its owners.
        self.reader.abort();
    }
}

impl ExecServer {
    /// Makes the socket: the server's end, and the rest of what will be the server.
    pub(super) fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((ours, theirs))
    }

    pub(super) fn open(socket: OwnedFd, pod_dir: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: watch(socket)?,
            outgoing: Mutex::default(),
            pending: Mutex::new(Some(HashMap::new())),
        });
        let reader = tokio::spawn(read(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, reader, next_id: AtomicU64::new(1), pod_dir: pod_dir.to_owned() })
    }

    /// Runs a command to its end. Given up, it kills the command.
    pub async fn run(&self, args: Vec<String>) -> Result<Ran, Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.shared.pending().as_mut().ok_or_else(|| self.gone())?.insert(id, sender);
        let mut command = Running { shared: &self.shared, id, ended: false };
        self.shared.send(&Ask { id, what: Asked::Run(args) }).await.map_err(|source| {
            command.ended = true;
            match source.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.gone(),
                _ => Error::Shim {
                    attempt: "speak to an exec server of",
                    pod_dir: self.pod_dir.clone(),
                    source,
                },
            }
        })?;
        let answer = answer.await;
        command.ended = true;
        let Answer { outcome, output, .. } = answer.map_err(|_| self.gone())?;
        Ok(Ran { code: outcome?, output })
    }

    fn gone(&self) -> Error {
        Error::Gone { pod_dir: self.pod_dir.clone() }
    }
}

/// A command that was asked for.
struct Running<'a> {
    shared: &'a Shared,
    id: u64,
    ended: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(pending) = self.shared.pending().as_mut() {
            pending.remove(&self.id);
        }
        if !self.ended {
            // What the socket does not take now goes with the next; a server that is gone has killed it.
            let mut outgoing = self.shared.outgoing();
            let kill = Ask { id: self.id, what: Asked::Kill };
            let _ = outgoing.push(&kill, Vec::new());
            let _ = outgoing.flush(self.shared.socket.get_ref());
        }
    }
}

impl Shared {
    async fn send(&self, ask: &Ask) -> io::Result<()> {
        self.outgoing().push(ask, Vec::new())?;
        loop {
            let flushed = self.outgoing().flush(self.socket.get_ref());
            match flushed {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?.clear_ready_matching(Ready::WRITABLE);
                }
                outcome => return outcome,
            }
        }
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        // Only insertions and removals happen under the lock; a panic cannot leave it half-changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the server ends, which it then tells everybody.
async fn read(shared: Arc<Shared>) {
    let mut incoming = Incoming::default();
    while let Ok(mut guard) = shared.socket.readable().await {
        match take(&shared, &mut incoming) {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready_matching(Ready::READABLE);
            }
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "connection to an exec server failed");
                break;
            }
        }
    }
    // Dropping the senders ends the waiting of the askers.
    shared.pending().take();
}

fn take(shared: &Shared, incoming: &mut Incoming) -> io::Result<bool> {
    let open = incoming.fill(shared.socket.get_ref())?;
    while let Some(frame) = incoming.next_frame()? {
        let answer: Answer = frame.parse()?;
        let waiting = shared.pending().as_mut().and_then(|pending| pending.remove(&answer.id));
        if let Some(waiting) = waiting {
            // Whoever gave up waiting does not need to know.
            let _ = waiting.send(answer);
        }
    }
    Ok(open)
}
