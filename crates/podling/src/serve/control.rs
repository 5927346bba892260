//! The control socket of a node that serves, `DATA_DIR/control.sock`: what only somebody on the machine may ask, and what the API cannot
//! do because it is about the API's own store. Today that is one thing, a restore.
//!
//! One line of JSON is asked, one line is answered, and a connection asks once. Only the owner of the data directory gets to
//! the socket. Its path can be longer than a socket's address, so it is reached through a descriptor of the directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use store::DataLock;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::{Failure, chain};

const NAME: &str = "control.sock";
/// A request is a path and a few words.
const MOST_BYTES: u64 = 64 << 10;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    /// To take the objects of this backup in the place of one's own.
    Restore(PathBuf),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Restored(Restored),
    Refused(String),
}

/// How a restore went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// How many objects there are now.
    pub(crate) objects: usize,
    /// The revision after which they go on.
    pub(crate) revision: u64,
    /// Where the store is kept that was there before.
    pub(crate) replaced: Option<PathBuf>,
}

/// The socket of a node. It vanishes with this.
pub(super) struct Control {
    path: PathBuf,
    asked: mpsc::Receiver<RestoreRequest>,
    accepting: JoinHandle<()>,
}

/// Somebody waits for a restore.
pub(super) struct RestoreRequest {
    backup: PathBuf,
    asker: UnixStream,
}

/// A restore that was tried, and whoever waits for its answer.
pub(super) struct Tried {
    answer: Answer,
    asker: UnixStream,
}

impl Control {
    /// Listens. Whoever has the directory's lock has its socket, so an older one is nobody's.
    pub(super) fn listen(lock: &DataLock) -> Result<Control, Failure> {
        let path = lock.directory().join(NAME);
        let failed = || Failure::io("listen on", &path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed()(error)),
            _ => {}
        }
        let directory = open(lock.directory()).map_err(failed())?;
        let listener = UnixListener::bind(address(&directory)).map_err(failed())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed())?;
        let (sender, asked) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, sender));
        Ok(Control { path, asked, accepting })
    }

    /// The next restore that is asked for.
    pub(super) async fn restore(&mut self) -> RestoreRequest {
        match self.asked.recv().await {
            Some(request) => request,
            // Nobody can ask any more; the node goes on without.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepting.abort();
        // What cannot be removed is replaced by the next node.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl RestoreRequest {
    /// Restores; no store may be open in the directory.
    pub(super) async fn perform(self, lock: &DataLock) -> Tried {
        let RestoreRequest { backup, asker } = self;
        let lock = lock.clone();
        let result = tokio::task::spawn_blocking(move || store::restore(&lock, &backup)).await;
        let answer = match result {
            Ok(Ok((verified, replaced))) => Answer::Restored(Restored {
                objects: verified.objects,
                revision: verified.revision.get(),
                replaced,
            }),
            Ok(Err(error)) => Answer::Refused(chain(&error)),
            Err(panic) => Answer::Refused(chain(&panic)),
        };
        Tried { answer, asker }
    }
}

impl Tried {
    /// Tells how it went, once the node serves again.
    pub(super) async fn tell(mut self) {
        // Whoever does not listen any more has not changed his mind: it is done.
        let _ = send(&mut self.asker, &self.answer).await;
    }
}

/// Takes connections; each is read by a task of its own, so that a silent one holds nobody up.
async fn accept(listener: UnixListener, sender: mpsc::Sender<RestoreRequest>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(receive(stream, sender.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket any more");
                return;
            }
        }
    }
}

async fn receive(mut stream: UnixStream, sender: mpsc::Sender<RestoreRequest>) {
    let mut line = String::new();
    let read = tokio::io::BufReader::new((&mut stream).take(MOST_BYTES)).read_line(&mut line).await;
    if !matches!(read, Ok(1..)) {
        return;
    }
    match serde_json::from_str(&line) {
        Ok(Request::Restore(backup)) => {
            // When the node ends, the connection does, which tells it.
            let _ = sender.send(RestoreRequest { backup, asker: stream }).await;
        }
        Err(error) => {
            let answer = Answer::Refused(format!("this podling does not understand the request: {error}"));
            let _ = send(&mut stream, &answer).await;
        }
    }
}

async fn send(stream: &mut UnixStream, answer: &Answer) -> std::io::Result<()> {
    let line = serde_json::to_string(answer)? + "\n";
    stream.write_all(line.as_bytes()).await
}

/// Asks the node that has a data directory, `pid`, to restore a backup, and waits until it serves it.
pub(crate) fn ask(data_dir: &Path, pid: Option<u32>, backup: &Path) -> Result<Restored, Failure> {
    let deaf = |source| Failure::TakesNoRestore { data_dir: data_dir.to_owned(), pid, source };
    let directory = open(data_dir).map_err(deaf)?;
    let mut stream = std::os::unix::net::UnixStream::connect(address(&directory)).map_err(deaf)?;
    let backup = std::path::absolute(backup).map_err(Failure::io("find", backup))?;
    let request = serde_json::to_string(&Request::Restore(backup)).unwrap_or_default() + "\n";
    let mut line = String::new();
    let answered =
        stream.write_all(request.as_bytes()).and_then(|()| BufReader::new(stream).read_line(&mut line));
    match answered.map(|_| serde_json::from_str(&line)) {
        Ok(Ok(Answer::Restored(restored))) => Ok(restored),
        Ok(Ok(Answer::Refused(why))) => Err(Failure::RestoreRefused { why }),
        _ => Err(Failure::RestoreUnanswered { data_dir: data_dir.to_owned() }),
    }
}

/// The directory, to name what is in it.
fn open(directory: &Path) -> std::io::Result<File> {
    let flags = (OFlags::PATH | OFlags::DIRECTORY).bits();
    std::fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(directory)
}

fn address(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(NAME)
}
