//! Our ends of a process's pipes and terminal, as what can be read and written.
//!
//! A stream of a process is at its end when everybody has closed it, or when the process has ended and all that it wrote
//! was read: what it left running in the background may hold the other end for ever, and is not waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The end of a process.
pub(super) type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a process writes.
pub(super) struct Output {
    descriptor: AsyncFd<OwnedFd>,
    /// None once it has come.
    end: Option<End>,
}

impl Output {
    /// Takes over the read end of a pipe, or a copy of a terminal's master.
    pub(super) fn new(descriptor: OwnedFd, end: End) -> io::Result<Output> {
        Ok(Output { descriptor: watched(descriptor)?, end: Some(end) })
    }
}

impl AsyncRead for Output {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
                this.end = None;
            }
            let mut readiness = match &this.end {
                Some(_) => Some(ready!(this.descriptor.poll_read_ready(cx))?),
                // It has ended: all that it wrote is there already.
                None => None,
            };
            match rustix::io::read(&this.descriptor, buf.initialize_unfilled()) {
                Ok(length) => {
                    buf.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // EIO is how a terminal ends.
                Err(Errno::IO) => return Poll::Ready(Ok(())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match &mut readiness {
                    Some(readiness) => readiness.clear_ready(),
                    None => return Poll::Ready(Ok(())),
                },
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}

/// Something readable, and the news that it was read to its end, or that nobody wants it any more.
pub(super) struct Told<R> {
    inner: R,
    finished: Option<oneshot::Sender<()>>,
}

impl<R> Told<R> {
    pub(super) fn new(inner: R) -> (Told<R>, oneshot::Receiver<()>) {
        let (finished, receiver) = oneshot::channel();
        (Told { inner, finished: Some(finished) }, receiver)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Told<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() == before && room > 0 {
            // Dropping it tells.
            self.finished = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// The way to a process's standard input. Shutting it down is the end of input.
pub(super) struct Input {
    /// None after the end of input.
    descriptor: Option<AsyncFd<OwnedFd>>,
    kind: InputKind,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputKind {
    /// A pipe: closing it is the end of input.
    Pipe,
    /// A terminal, which stays open: its end of input is a character, if it edits lines (termios(3), VEOF).
    Terminal,
    /// A terminal that others type into later: it is left as it is.
    SharedTerminal,
}

impl Input {
    /// Takes over the write end of a pipe, or a copy of a terminal's master.
    pub(super) fn new(descriptor: OwnedFd, kind: InputKind) -> io::Result<Input> {
        Ok(Input { descriptor: Some(watched(descriptor)?), kind })
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(descriptor) = &self.descriptor else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        loop {
            let mut guard = ready!(descriptor.poll_write_ready(cx))?;
            match rustix::io::write(descriptor, bytes) {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kind == InputKind::Terminal
            && let Some(character) =
                self.descriptor.as_ref().and_then(|terminal| end_of_input(terminal.get_ref()))
        {
            // A terminal that is gone needs none.
            let _ = ready!(self.as_mut().poll_write(cx, &[character]));
        }
        self.descriptor = None;
        Poll::Ready(Ok(()))
    }
}

fn end_of_input(terminal: &OwnedFd) -> Option<u8> {
    let settings = tcgetattr(terminal).ok()?;
    settings
        .local_modes
        .contains(LocalModes::ICANON)
        .then(|| settings.special_codes[SpecialCodeIndex::VEOF])
        .filter(|character| *character != 0)
}

/// A descriptor of ours that never blocks, registered with the runtime.
#[expect(deprecated, reason = "its successor is unsafe only for types that may give away their descriptor")]
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(descriptor.as_fd(), true)?;
    AsyncFd::new(descriptor)
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_output_ends_with_its_process_though_others_hold_it() {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (process, end) = oneshot::channel::<()>();
        let output = Output::new(ours, Box::pin(async { drop(end.await) })).unwrap();
        let (mut output, finished) = Told::new(output);
        rustix::io::write(&theirs, b"first ").unwrap();
        let mut first = [0; 6];
        output.read_exact(&mut first).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut rest = String::new();
            output.read_to_string(&mut rest).await.unwrap();
            rest
        });
        tokio::task::yield_now().await;
        rustix::io::write(&theirs, b"last").unwrap();
        process.send(()).unwrap();
        assert_eq!(reading.await.unwrap(), "last");
        let _ = finished.await;
        drop(theirs);
    }

    #[tokio::test]
    async fn the_end_of_input_closes_a_pipe() {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut input = Input::new(ours, InputKind::Pipe).unwrap();
        input.write_all(b"text").await.unwrap();
        input.shutdown().await.unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut std::fs::File::from(theirs), &mut text).unwrap();
        assert_eq!(text, "text");
        assert!(input.write_all(b"more").await.is_err());
    }
}
