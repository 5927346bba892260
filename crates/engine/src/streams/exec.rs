//! exec: a further process in a running container, with all of the container's confinement.
//!
//! What ends with the session: when [`Session::ended`] is dropped before the first process has ended (a connection was
//! closed), that process and everything in its session is killed. containerd kills the first process alone there. When
//! the first process ends by itself, what it left in the background goes on, as with every container engine; its output
//! is not waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use container::{ExecStdio, ExecStreams, StartErrorKind};
use oci_spec::runtime::Process;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::{mpsc, oneshot};

use super::ends::{End, Input, InputKind, Output, Told};
use super::{Ended, ExecRequest, Reader, Session, StreamError, Streams, TerminalSize, Writer, io_error};
use crate::pod::{ExecEnd, PodContext, RunningExec, key, new_key};
use crate::spec::exec_process;

/// Sizes that may wait; a terminal needs only the newest.
const SIZES: usize = 4;

pub(super) async fn exec(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    request: ExecRequest,
) -> Result<Session, StreamError> {
    let ExecRequest { command, streams } = request;
    let process = context.prepared().processes.get(container).cloned();
    let (Some(shim), Some(process)) = (context.running_shim(), process) else {
        return Err(not_running(context, container));
    };
    if command.is_empty() {
        return Err(StreamError::CannotExecute { message: "no command was given".to_owned() });
    }
    let exec_key = new_key("exec");
    let end = context.expect_exec(exec_key.clone());
    let (stdio, ours) = stdio(streams).map_err(io_error("make pipes for a command"))?;
    let mut running = RunningExec::new(context, shim.clone(), exec_key.clone());
    let started = shim
        .exec(container::ExecRequest {
            container: key(container, attempt),
            key: exec_key,
            process: with_terminal(exec_process(&process, command, streams.tty), streams.tty),
            stdio,
        })
        .await;
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            running.ended();
            return Err(refused(context, container, error));
        }
    };
    let ours = match started.streams {
        ExecStreams::Terminal(master) => Ours::Terminal(master),
        _ => ours,
    };
    session(running, ours, streams, end).map_err(io_error("take over the streams of a command"))
}

/// Our ends of its streams.
enum Ours {
    Pipes { stdin: Option<OwnedFd>, stdout: Option<OwnedFd>, stderr: Option<OwnedFd> },
    Terminal(OwnedFd),
}

fn stdio(streams: Streams) -> io::Result<(ExecStdio, Ours)> {
    if streams.tty {
        let nothing = Ours::Pipes { stdin: None, stdout: None, stderr: None };
        return Ok((ExecStdio::Terminal { rows: 0, columns: 0 }, nothing));
    }
    let pipe = |is_wanted: bool| is_wanted.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose();
    let (theirs_in, stdin) = pipe(streams.stdin)?.unzip();
    let (stdout, theirs_out) = pipe(streams.stdout)?.unzip();
    let (stderr, theirs_err) = pipe(streams.stderr)?.unzip();
    let theirs = ExecStdio::Descriptors { stdin: theirs_in, stdout: theirs_out, stderr: theirs_err };
    Ok((theirs, Ours::Pipes { stdin, stdout, stderr }))
}

/// containerd gives every command with a terminal this one (`TERM=xterm`); what the container sets is left.
fn with_terminal(mut process: Process, tty: bool) -> Process {
    let mut environment = process.env().clone().unwrap_or_default();
    if tty && !environment.iter().any(|variable| variable.starts_with("TERM=")) {
        environment.push("TERM=xterm".to_owned());
        process.set_env(Some(environment));
    }
    process
}

fn session(running: RunningExec, ours: Ours, streams: Streams, end: ExecEnd) -> io::Result<Session> {
    let mut finished = Finished::default();
    let ended = || -> End {
        let end = end.clone();
        Box::pin(async {
            end.wait().await;
        })
    };
    let mut session = match ours {
        Ours::Pipes { stdin, stdout, stderr } => {
            let input = stdin.map(|stdin| Input::new(stdin, InputKind::Pipe)).transpose()?;
            let mut reader = |pipe: Option<OwnedFd>| -> io::Result<Option<Reader>> {
                pipe.map(|pipe| Ok(finished.reader(Output::new(pipe, ended())?))).transpose()
            };
            let (stdout, stderr) = (reader(stdout)?, reader(stderr)?);
            let stdin = input.map(|input| Box::pin(input) as Writer);
            Session { stdin, stdout, stderr, resize: None, ended: Box::pin(std::future::pending()) }
        }
        Ours::Terminal(master) => {
            let resize = resizer(master.try_clone()?);
            let input = streams.stdin.then(|| master.try_clone()).transpose()?;
            let input = input.map(|input| Input::new(input, InputKind::Terminal)).transpose()?;
            // Read also when nobody wants it: a full terminal would hold the program up.
            let output = finished.reader(Output::new(master, ended())?);
            let stdout = if streams.stdout { Some(output) } else { discard(output) };
            let stdin = input.map(|input| Box::pin(input) as Writer);
            let ended = Box::pin(std::future::pending());
            Session { stdin, stdout, stderr: None, resize: Some(resize), ended }
        }
    };
    session.ended = Box::pin(async move {
        let mut running = running;
        let exit = end.wait().await;
        // Known or not, there is nothing to kill any more.
        running.ended();
        finished.wait().await;
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the Pod's shim was killed");
        exit.map(|exit| Ended { code: exit.code })
            .ok_or_else(|| io_error("learn how a command ended")(gone()))
    });
    Ok(session)
}

fn discard(mut output: Reader) -> Option<Reader> {
    tokio::spawn(async move {
        // Its end is the process's.
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    });
    None
}

/// Which outputs were not read to their ends yet.
#[derive(Default)]
pub(super) struct Finished(Vec<oneshot::Receiver<()>>);

impl Finished {
    /// A reader whose end is waited for.
    pub(super) fn reader(&mut self, output: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Reader {
        let (reader, finished) = Told::new(output);
        self.0.push(finished);
        Box::pin(reader)
    }

    /// Waits until all were read, or dropped.
    pub(super) async fn wait(self) {
        for finished in self.0 {
            let _ = finished.await;
        }
    }
}

/// Takes sizes for a terminal for as long as somebody may send them.
pub(super) fn resizer(terminal: OwnedFd) -> mpsc::Sender<TerminalSize> {
    let (sender, mut sizes) = mpsc::channel::<TerminalSize>(SIZES);
    tokio::spawn(async move {
        while let Some(TerminalSize { width, height }) = sizes.recv().await {
            let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone has no size.
            let _ = tcsetwinsize(&terminal, size);
        }
    });
    sender
}

pub(super) fn not_running(context: &PodContext, container: &str) -> StreamError {
    StreamError::NotRunning {
        container: container.to_owned(),
        pod: context.pod().meta.name.clone(),
        state: "it has just ended".to_owned(),
    }
}

/// Why the shim did not do it.
pub(super) fn refused(context: &PodContext, container: &str, error: container::Error) -> StreamError {
    match error {
        container::Error::Start(start) => match start.kind {
            StartErrorKind::NoSuchContainer => not_running(context, container),
            _ => StreamError::CannotExecute { message: start.message },
        },
        container::Error::Spec { reason, .. } => StreamError::CannotExecute { message: reason },
        other => io_error(format!("reach into container {container}"))(io::Error::other(other)),
    }
}
