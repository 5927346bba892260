//! One connection to a shim: requests out, replies to their askers, events to the receiver.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use shim::frame::{Incoming, Outgoing};
use shim::protocol::{Call, Message, Reply, Request, StartError};
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::ShimEvent;
use crate::Error;

/// How many events wait for their receiver in the channel; more wait in the reader, so that a receiver that is
/// itself waiting for a reply stops nobody.
const EVENTS: usize = 64;

type Answer = (Result<Reply, StartError>, Vec<OwnedFd>);

/// What the reader task and the askers share.
#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    /// Who waits for which reply; `None` once the connection has ended.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    reader: AbortHandle,
    outgoing: tokio::sync::Mutex<Outgoing>,
    next_id: AtomicU64,
    pod_dir: PathBuf,
    pid: i32,
    process: Arc<AsyncFd<OwnedFd>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    /// Takes over a connected socket.
    pub(super) fn open(
        socket: OwnedFd,
        pod_dir: &Path,
        pid: i32,
        pidfd: OwnedFd,
    ) -> Result<(Arc<Self>, mpsc::Receiver<ShimEvent>), Error> {
        let open = || -> io::Result<(Arc<Shared>, Arc<AsyncFd<OwnedFd>>)> {
            rustix::io::ioctl_fionbio(&socket, true)?;
            let shared = Shared { socket: watch(socket)?, pending: Mutex::new(Some(HashMap::new())) };
            let process = watch(pidfd)?;
            Ok((Arc::new(shared), Arc::new(process)))
        };
        let (shared, process) = open().map_err(|source| Error::Shim {
            attempt: "watch the connection to",
            pod_dir: pod_dir.to_owned(),
            source,
        })?;
        let (sender, events) = mpsc::channel(EVENTS);
        let reader = tokio::spawn(read(shared.clone(), sender)).abort_handle();
        tokio::spawn(reap(process.clone()));
        let connection = Self {
            shared,
            reader,
            outgoing: tokio::sync::Mutex::default(),
            next_id: AtomicU64::new(1),
            pod_dir: pod_dir.to_owned(),
            pid,
            process,
        };
        Ok((Arc::new(connection), events))
    }

    pub(super) fn pod_dir(&self) -> &Path {
        &self.pod_dir
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// The error of an answer that does not belong to its question.
    pub(super) fn nonsense(&self, to: &str) -> Error {
        Error::Protocol { pod_dir: self.pod_dir.clone(), reason: format!("an unexpected answer to {to}") }
    }

    /// Sends a request whose answer nobody waits for.
    pub(super) async fn post(&self, request: Request) -> Result<(), Error> {
        self.send(request, Vec::new()).await.map(drop)
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let answer = self.send(request, descriptors).await?;
        let (outcome, descriptors) = answer.await.map_err(|_| self.gone())?;
        Ok((outcome?, descriptors))
    }

    /// Has the shim end everything, and waits for its end.
    pub(super) async fn shut_down(&self) -> Result<(), Error> {
        let answer = match self.send(Request::Shutdown, Vec::new()).await {
            Ok(answer) => Some(answer),
            // It is on its way out already.
            Err(Error::Gone { .. }) => None,
            Err(error) => return Err(error),
        };
        // An answer is a failure; without one the connection ends with the shim.
        let failure = match answer {
            Some(answer) => answer.await.ok().and_then(|(outcome, _)| outcome.err()),
            None => None,
        };
        ended(&self.process).await.map_err(|source| Error::Shim {
            attempt: "wait for the end of",
            pod_dir: self.pod_dir.clone(),
            source,
        })?;
        reap_now(&self.process);
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    async fn send(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.shared.pending().as_mut().ok_or_else(|| self.gone())?.insert(id, sender);
        let failed = |source| Error::Shim { attempt: "speak to", pod_dir: self.pod_dir.clone(), source };
        let mut outgoing = self.outgoing.lock().await;
        outgoing.push(&Call { id, request }, descriptors).map_err(failed)?;
        while !outgoing.is_empty() {
            match outgoing.flush(self.shared.socket.get_ref()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut guard = self.shared.socket.writable().await.map_err(failed)?;
                    guard.clear_ready_matching(Ready::WRITABLE);
                }
                Err(error) if is_disconnect(&error) => return Err(self.gone()),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(answer)
    }

    fn gone(&self) -> Error {
        Error::Gone { pod_dir: self.pod_dir.clone() }
    }
}

/// Registers an owned descriptor with the runtime.
#[allow(
    deprecated,
    reason = "`new` is unsound only for types whose descriptor changes hands; OwnedFd's does not"
)]
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

fn is_disconnect(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        // Only insertions and removals happen under the lock; a panic cannot leave it half-changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a reply to its asker; an event is returned.
    fn sort(&self, message: Message, descriptors: Vec<OwnedFd>) -> Option<ShimEvent> {
        match message {
            Message::Reply { id, outcome } => {
                let asker = self.pending().as_mut().and_then(|pending| pending.remove(&id));
                if let Some(asker) = asker {
                    // One that does not wait any more loses nothing.
                    let _ = asker.send((outcome, descriptors));
                }
                None
            }
            Message::Exited { key, exit } => Some(ShimEvent::Exited { key, exit }),
            Message::SandboxGone { key, exit } => Some(ShimEvent::SandboxGone { key, exit }),
            Message::CutOff { key } => Some(ShimEvent::CutOff { key }),
        }
    }
}

/// Reads until the connection ends, which it then tells everybody.
async fn read(shared: Arc<Shared>, events: mpsc::Sender<ShimEvent>) {
    let mut waiting = VecDeque::new();
    let mut incoming = Incoming::default();
    loop {
        tokio::select! {
            permit = events.reserve(), if !waiting.is_empty() => match (permit, waiting.pop_front()) {
                (Ok(permit), Some(event)) => permit.send(event),
                // Nobody listens to events; replies still matter.
                _ => waiting.clear(),
            },
            ready = shared.socket.readable() => {
                let Ok(mut guard) = ready else { break };
                match take(&shared, &mut incoming, &mut waiting) {
                    Ok(true) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        guard.clear_ready_matching(Ready::READABLE);
                    }
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "connection to a shim failed");
                        break;
                    }
                }
            }
        }
    }
    // Dropping the senders ends the waiting of the askers.
    shared.pending().take();
    for event in waiting.into_iter().chain([ShimEvent::Disconnected]) {
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn take(shared: &Shared, incoming: &mut Incoming, waiting: &mut VecDeque<ShimEvent>) -> io::Result<bool> {
    let open = incoming.fill(shared.socket.get_ref())?;
    while let Some(frame) = incoming.next_frame()? {
        let message: Message = frame.parse()?;
        waiting.extend(shared.sort(message, frame.descriptors));
    }
    Ok(open)
}

/// Waits for the end of a process.
async fn ended(process: &AsyncFd<OwnedFd>) -> io::Result<()> {
    // A pidfd stays readable once its process has ended, so readiness is never cleared.
    process.readable().await.map(drop)
}

/// Reaps the shim when it ends.
async fn reap(process: Arc<AsyncFd<OwnedFd>>) {
    if ended(&process).await.is_ok() {
        reap_now(&process);
    }
}

/// Reaps a shim that has ended, if it is a child of this process and nobody has done so; else this does nothing.
fn reap_now(process: &AsyncFd<OwnedFd>) {
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
