//! The output of containers, from their pipes and terminals to their logs.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::attach::Attachment;
use super::container::{Pipes, STREAMS};
use super::log::{Stream, Unfinished};
use super::{Shim, Source};
use crate::execute::Attempt;
use crate::protocol::{StartError, Step};

/// How much is read at once.
const READ_BYTES: usize = 128 << 10;
/// How much is still read of a container that has ended, when others keep writing into its pipes.
const DRAIN_READS: usize = 64;

/// One stream of a container.
#[derive(Debug)]
pub(super) struct Output {
    descriptor: OwnedFd,
    pub(super) key: String,
    pub(super) stream: Stream,
    unfinished: Unfinished,
    /// Who gets a copy.
    pub(super) attachments: Vec<Attachment>,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    NothingNow,
    End,
}

impl Shim {
    /// Takes over the shim's ends of a container's pipes.
    pub(super) fn adopt_pipes(&mut self, key: &str, pipes: Pipes) -> Result<(), StartError> {
        if let Some(container) = self.containers.get_mut(key) {
            container.stdin = pipes.kept_stdin;
        }
        for (descriptor, stream) in pipes.kept_outputs.into_iter().zip(STREAMS) {
            self.add_output(key, descriptor, stream)?;
        }
        Ok(())
    }

    /// Takes over the master of a container's terminal.
    pub(super) fn adopt_terminal(&mut self, key: &str, master: OwnedFd) {
        let _ = rustix::io::ioctl_fionbio(&master, true);
        let copy = master.try_clone();
        if let (Some(container), Ok(copy)) = (self.containers.get_mut(key), copy) {
            container.terminal = Some(copy);
        }
        let _ = self.add_output(key, master, Stream::Stdout);
    }

    fn add_output(&mut self, key: &str, descriptor: OwnedFd, stream: Stream) -> Result<(), StartError> {
        let token = self
            .watch(descriptor.as_fd(), Source::Output)
            .attempt(Step::Stdio, || format!("watch the output of {key}"))?;
        let unfinished = Unfinished::new();
        let key = key.to_owned();
        self.outputs.insert(token, Output { descriptor, key, stream, unfinished, attachments: Vec::new() });
        Ok(())
    }

    /// Reads once from a stream into its log.
    pub(super) fn read_output(&mut self, token: u64) {
        if self.read_once(token) == Progress::End {
            self.close_output(token);
        }
    }

    fn read_once(&mut self, token: u64) -> Progress {
        let Some(output) = self.outputs.get_mut(&token) else { return Progress::NothingNow };
        // Capacity that is not written to costs no memory.
        self.read_buffer.reserve(READ_BYTES);
        let read =
            rustix::io::read(&output.descriptor, rustix::buffer::spare_capacity(&mut self.read_buffer));
        let progress = match read {
            // The terminal's other end was closed by everybody.
            Ok(0) | Err(Errno::IO) => Progress::End,
            Ok(_) => Progress::More,
            Err(Errno::AGAIN | Errno::INTR) => Progress::NothingNow,
            Err(_) => Progress::End,
        };
        if let Some(container) = self.containers.get_mut(&output.key) {
            let text = &self.read_buffer;
            container.log.write(output.stream, text, &mut output.unfinished, &mut self.write_buffer);
        }
        if !output.attachments.is_empty() {
            self.copy_output(token);
        }
        self.read_buffer.clear();
        progress
    }

    /// Reads what a container that has ended left in its pipes.
    pub(super) fn drain_outputs(&mut self, key: &str) {
        for token in self.outputs_of(key) {
            for _ in 0..DRAIN_READS {
                match self.read_once(token) {
                    Progress::More => {}
                    Progress::NothingNow => break,
                    Progress::End => {
                        self.close_output(token);
                        break;
                    }
                }
            }
        }
    }

    /// Closes all streams of a container.
    pub(super) fn close_outputs(&mut self, key: &str) {
        for token in self.outputs_of(key) {
            self.close_output(token);
        }
    }

    fn outputs_of(&self, key: &str) -> Vec<u64> {
        self.outputs.iter().filter(|(_, output)| output.key == key).map(|(token, _)| *token).collect()
    }

    fn close_output(&mut self, token: u64) {
        let Some(mut output) = self.outputs.remove(&token) else { return };
        self.unwatch(token, output.descriptor.as_fd());
        self.release(std::mem::take(&mut output.attachments));
        if let Some(container) = self.containers.get_mut(&output.key) {
            container.log.finish(output.stream, &mut output.unfinished, &mut self.write_buffer);
        }
    }
}
