//! attach: the first process of a running container, listened to and typed to by any number of parties.
//!
//! Listening is a copy with a bounded buffer. Whoever lets it run full is cut off with [`StreamError::CutOff`]; the
//! container and its log wait for nobody. Of an input with `stdinOnce` the first attachment that asks for it is the only
//! one, and its end is the container's end of input (`kubectl run -i`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use container::AttachRequest;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::ends::{End, Input, InputKind, Output};
use super::exec::{Finished, not_running, refused, resizer};
use super::{Ended, Reader, Session, StreamError, Streams, Writer, io_error};
use crate::pod::{PodContext, key, new_key};

/// What an attachment may be behind in the daemon, beside the shim's pipe.
const BEHIND_BYTES: usize = 8 << 20;

/// Forgets an attachment when nobody listens any more.
struct Listening {
    context: Arc<PodContext>,
    key: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.context.forget_attachment(&self.key);
    }
}

pub(super) async fn attach(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    streams: Streams,
) -> Result<Session, StreamError> {
    let pod = context.pod();
    let (Some(shim), Some(spec)) = (context.running_shim(), pod.spec.container(container)) else {
        return Err(not_running(context, container));
    };
    let attachment = new_key("attach");
    let cut = context.expect_cut(attachment.clone());
    let listening = Listening { context: Arc::clone(context), key: attachment.clone() };
    let request = AttachRequest {
        container: key(container, attempt),
        key: attachment,
        stdin: streams.stdin && spec.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr && !spec.tty,
        hand_over_stdin: spec.stdin_once,
    };
    let attached = shim.attach(request).await.map_err(|error| refused(context, container, error))?;
    let types = streams.stdin && spec.stdin;
    let kind = if spec.stdin_once { InputKind::Terminal } else { InputKind::SharedTerminal };
    let listener = Listener { listening, container: container.to_owned(), attempt, cut };
    let what = format!("take over the streams of container {container}");
    listener.session(attached, types.then_some(kind)).map_err(io_error(what))
}

struct Listener {
    listening: Listening,
    container: String,
    attempt: u32,
    cut: oneshot::Receiver<()>,
}

impl Listener {
    fn session(self, attached: container::Attached, typing: Option<InputKind>) -> io::Result<Session> {
        let Listener { listening, container, attempt, mut cut } = self;
        let end = |listening: &Listening| listening.context.incarnations.end_of(&container, attempt);
        let mut finished = Finished::default();
        let mut reader = |pipe: Option<OwnedFd>| -> io::Result<Option<Reader>> {
            let Some(pipe) = pipe else { return Ok(None) };
            let end = end(&listening);
            let output = Output::new(
                pipe,
                Box::pin(async {
                    end.await;
                }) as End,
            )?;
            Ok(Some(finished.reader(buffered(output))))
        };
        let (stdout, stderr) = (reader(attached.stdout)?, reader(attached.stderr)?);
        let input = match (attached.stdin, &attached.terminal, typing) {
            (Some(pipe), _, _) => Some(Input::new(pipe, InputKind::Pipe)?),
            (None, Some(terminal), Some(kind)) => Some(Input::new(terminal.try_clone()?, kind)?),
            _ => None,
        };
        let end = end(&listening);
        let ended = async move {
            let _listening = listening;
            let code = tokio::select! {
                biased;
                Ok(()) = &mut cut => None,
                code = end => Some(code),
            };
            finished.wait().await;
            match code {
                Some(code) if cut.try_recv().is_err() => {
                    let unknown = || io::Error::other("it is gone, and nobody knows how it ended");
                    let told = code.map(|code| Ended { code });
                    told.ok_or_else(|| io_error(format!("learn how container {container} ended"))(unknown()))
                }
                _ => Err(StreamError::CutOff { container }),
            }
        };
        Ok(Session {
            stdin: input.map(|input| Box::pin(input) as Writer),
            stdout,
            stderr,
            resize: attached.terminal.map(resizer),
            ended: Box::pin(ended),
        })
    }
}

/// Takes in what comes as fast as it comes, up to a bound, so that a burst cuts nobody off. Memory is used as needed.
fn buffered(mut output: Output) -> tokio::io::DuplexStream {
    let (reader, mut writer) = tokio::io::duplex(BEHIND_BYTES);
    tokio::spawn(async move {
        // Either end may go away first; both are the end.
        let _ = tokio::io::copy(&mut output, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    reader
}
