//! A bounded pipe between two threads (or an async task and a thread) that carries errors as well as bytes.
//!
//! A failed producer makes the consumer fail with the producer's error; a producer that vanishes without
//! `finish` makes it fail with `UnexpectedEof`, so that a cut-off stream is never taken for a whole one.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

/// Chunks in flight: enough to keep both sides busy, little enough to bound memory at 16 × 128 KiB a pipe.
const DEPTH: usize = 16;
const CHUNK_BYTES: usize = 128 * 1024;

/// What travels: bytes, an end that was meant, or the producer's failure.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    End,
    Failed(io::Error),
}

/// A pipe whose writing side is a plain `Write`.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, reader) = channel();
    (PipeWriter { sender, buffer: Vec::with_capacity(CHUNK_BYTES) }, reader)
}

/// A pipe whose writing side is a channel, for async producers.
pub(crate) fn channel() -> (mpsc::Sender<Piece>, PipeReader) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (sender, PipeReader { receiver, current: None, offset: 0, ended: false })
}

pub(crate) struct PipeWriter {
    sender: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
}

impl PipeWriter {
    /// Sends what is left and the end. Without this call the reader takes the stream for cut off.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Piece::End)
    }

    /// Lets the reader fail with `error`. A reader that is gone already has failed for a reason of its own.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.sender.blocking_send(Piece::Failed(error));
    }

    fn send(&self, piece: Piece) -> io::Result<()> {
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.send(Piece::Bytes(full))
    }
}

pub(crate) struct PipeReader {
    receiver: mpsc::Receiver<Piece>,
    current: Option<Vec<u8>>,
    offset: usize,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &self.current {
                let rest = &current[self.offset..];
                if !rest.is_empty() {
                    let taken = rest.len().min(out.len());
                    out[..taken].copy_from_slice(&rest[..taken]);
                    self.offset += taken;
                    return Ok(taken);
                }
            }
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => (self.current, self.offset) = (Some(bytes), 0),
                Some(Piece::End) => (self.current, self.ended) = (None, true),
                Some(Piece::Failed(error)) => return Err(error),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_end_and_failure_arrive_and_a_vanished_producer_is_an_error() {
        let (mut writer, mut reader) = pipe();
        let thread = std::thread::spawn(move || {
            writer.write_all(&vec![7; 300_000]).unwrap();
            writer.finish().unwrap();
        });
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        thread.join().unwrap();
        assert_eq!(bytes, vec![7; 300_000]);

        let (writer, mut reader) = pipe();
        writer.fail(io::Error::other("disk on fire"));
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().to_string(), "disk on fire");

        let (mut writer, mut reader) = pipe();
        writer.write_all(b"half").unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
