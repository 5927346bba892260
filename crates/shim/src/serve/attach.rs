//! Attaching to a container: copies of what it writes, and the way to its standard input.
//!
//! ```text
//! pipe or terminal of the container ─► log file           (always, and first)
//!                                   └► pipe ─► daemon     (one for each attachment and stream)
//! ```
//!
//! The pipe is the whole buffer. An attachment that lets it fill is cut off and told so: neither the container nor its
//! log ever waits for somebody who looks on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::log::Stream;
use super::requests::{Answer, Caller};
use super::{Shim, Source};
use crate::execute::Attempt;
use crate::protocol::{Message, Reply, StartError, Step};

/// What an attachment may be behind: the largest pipe that the kernel gives without being told otherwise (pipe(7)).
const PIPE_BYTES: usize = 1 << 20;

/// Somebody who gets a copy of one stream.
#[derive(Debug)]
pub(super) struct Attachment {
    key: String,
    /// Whom it is told to that it was cut off.
    connection: u64,
    pipe: OwnedFd,
    token: u64,
}

/// What a copy came to.
#[derive(Debug, PartialEq, Eq)]
enum Copied {
    Whole,
    /// The pipe is full.
    Behind,
    /// Nobody reads.
    Gone,
}

impl Shim {
    /// Attaches to a running container.
    pub(super) fn attach(
        &mut self,
        caller: Caller,
        key: String,
        container: &str,
        [stdin, stdout, stderr]: [bool; 3],
        hand_over_stdin: bool,
    ) -> Answer {
        self.running(container)?;
        let (terminal, input) = self.way_in(container, stdin, hand_over_stdin)?;
        let is_terminal = terminal.is_some();
        let output = self.copy_to(caller, &key, container, Stream::Stdout, stdout)?;
        let errors = self.copy_to(caller, &key, container, Stream::Stderr, stderr && !is_terminal)?;
        let streams = [input.is_some(), output.is_some(), errors.is_some()];
        let beside = [terminal, input, output, errors].into_iter().flatten().collect();
        Ok(Some((Reply::Attached { terminal: is_terminal, streams }, beside)))
    }

    /// The terminal's master, and the write end of standard input.
    fn way_in(
        &mut self,
        container: &str,
        wanted: bool,
        hand_over: bool,
    ) -> Result<(Option<OwnedFd>, Option<OwnedFd>), StartError> {
        let copied =
            |copy: std::io::Result<OwnedFd>| copy.attempt(Step::Stdio, || "copy a descriptor".to_owned());
        let Some(container) = self.containers.get_mut(container) else { return Ok((None, None)) };
        if let Some(master) = &container.terminal {
            return Ok((Some(copied(master.try_clone())?), None));
        }
        let input = match &container.stdin {
            Some(_) if wanted && hand_over => container.stdin.take(),
            Some(stdin) if wanted => Some(copied(stdin.try_clone())?),
            _ => None,
        };
        Ok((None, input))
    }

    /// Copies a stream from now on. One that the container has closed already is at its end.
    fn copy_to(
        &mut self,
        caller: Caller,
        key: &str,
        container: &str,
        stream: Stream,
        wanted: bool,
    ) -> Result<Option<OwnedFd>, StartError> {
        if !wanted {
            return Ok(None);
        }
        let (theirs, pipe) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .attempt(Step::Stdio, || "make a pipe".to_owned())?;
        rustix::io::ioctl_fionbio(&pipe, true)
            .map_err(std::io::Error::from)
            .attempt(Step::Stdio, || "set up a pipe".to_owned())?;
        // Where the kernel gives less, an attachment is cut off sooner.
        let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
        let is_it = |output: &super::Output| output.key == container && output.stream == stream;
        let output = self.outputs.iter().find(|(_, output)| is_it(output)).map(|(token, _)| *token);
        if let Some(output) = output {
            let token = self
                .watch(pipe.as_fd(), Source::Copy)
                .attempt(Step::Stdio, || format!("watch an attachment to {container}"))?;
            if let Some(output) = self.outputs.get_mut(&output) {
                let connection = caller.connection;
                output.attachments.push(Attachment { key: key.to_owned(), connection, pipe, token });
            }
        }
        Ok(Some(theirs))
    }

    /// Gives what was just read from a stream to everybody attached to it.
    pub(super) fn copy_output(&mut self, output: u64) {
        let Some(output) = self.outputs.get_mut(&output) else { return };
        let text = &self.read_buffer;
        let mut leaving = Vec::new();
        for attachment in std::mem::take(&mut output.attachments) {
            match copy(attachment.pipe.as_fd(), text) {
                Copied::Whole => output.attachments.push(attachment),
                Copied::Behind => leaving.push((attachment, true)),
                Copied::Gone => leaving.push((attachment, false)),
            }
        }
        for (attachment, is_behind) in leaving {
            if is_behind {
                // Before the end of the pipe is seen.
                let key = attachment.key.clone();
                self.send(attachment.connection, &Message::CutOff { key }, Vec::new());
            }
            self.release(vec![attachment]);
        }
    }

    /// Nobody reads that attachment any more.
    pub(super) fn close_copy(&mut self, token: u64) {
        let mut leaving = Vec::new();
        for output in self.outputs.values_mut() {
            leaving.extend(output.attachments.extract_if(.., |attachment| attachment.token == token));
        }
        self.release(leaving);
    }

    /// Ends attachments: whoever reads one sees its end.
    pub(super) fn release(&mut self, attachments: Vec<Attachment>) {
        for attachment in attachments {
            self.unwatch(attachment.token, attachment.pipe.as_fd());
        }
    }
}

fn copy(pipe: BorrowedFd<'_>, mut text: &[u8]) -> Copied {
    while !text.is_empty() {
        match rustix::io::write(pipe, text) {
            Ok(written) => text = &text[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Copied::Behind,
            Err(_) => return Copied::Gone,
        }
    }
    Copied::Whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_is_full_or_unread_holds_nobody_up() {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let bytes = fcntl_setpipe_size(&ours, 4096).unwrap();
        assert_eq!(copy(ours.as_fd(), &vec![b'x'; bytes]), Copied::Whole);
        assert_eq!(copy(ours.as_fd(), b"more"), Copied::Behind);
        drop(theirs);
        assert_eq!(copy(ours.as_fd(), b"more"), Copied::Gone);
    }
}
