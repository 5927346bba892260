//! A bounded pipe between two threads (or an async task and a thread) that carries errors as well as bytes.
//!
//! What arrives is read where it lies (`BufRead`): a layer's bytes pass here twice, and each copy of them would show.
//!
//! A failed producer makes the consumer fail with the producer's error; a producer that vanishes without
//! `finish` makes it fail with `UnexpectedEof`, so that a cut-off stream is never taken for a whole one.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Chunks in flight: enough to keep both sides busy, little enough to bound memory at 8 × 256 KiB a pipe.
const DEPTH: usize = 8;
const CHUNK_BYTES: usize = 256 * 1024;

/// What travels: bytes, an end that was meant, or the producer's failure.
pub(crate) enum Piece<B> {
    Bytes(B),
    End,
    Failed(io::Error),
}

/// A pipe whose writing side is filled by a thread.
pub(crate) fn pipe() -> (PipeWriter, PipeReader<Chunk>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let (used, spare) = mpsc::channel(DEPTH);
    (PipeWriter { sender, spare }, PipeReader::new(receiver, Some(used)))
}

/// A pipe whose writing side is a channel, for async producers.
pub(crate) fn channel() -> (mpsc::Sender<Piece<Bytes>>, PipeReader<Bytes>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (sender, PipeReader::new(receiver, None))
}

/// A buffer of which a beginning is filled. They go round: a fresh one for each piece would have to be zeroed.
pub(crate) struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

pub(crate) struct PipeWriter {
    sender: mpsc::Sender<Piece<Chunk>>,
    /// What the reader is done with.
    spare: mpsc::Receiver<Chunk>,
}

impl PipeWriter {
    /// A buffer to read into.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spare.try_recv().map_or_else(|_| vec![0; CHUNK_BYTES], |chunk| chunk.buffer)
    }

    /// Sends the first `filled` bytes of `buffer`.
    pub(crate) fn send(&self, buffer: Vec<u8>, filled: usize) -> io::Result<()> {
        self.pass(Piece::Bytes(Chunk { buffer, filled }))
    }

    /// Sends the end. Without this call the reader takes the stream for cut off.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.pass(Piece::End)
    }

    /// Lets the reader fail with `error`. A reader that is gone already has failed for a reason of its own.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.sender.blocking_send(Piece::Failed(error));
    }

    fn pass(&self, piece: Piece<Chunk>) -> io::Result<()> {
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

pub(crate) struct PipeReader<B> {
    receiver: mpsc::Receiver<Piece<B>>,
    /// Where pieces go that have been read.
    used: Option<mpsc::Sender<B>>,
    current: Option<B>,
    offset: usize,
    has_ended: bool,
}

impl<B> PipeReader<B> {
    fn new(receiver: mpsc::Receiver<Piece<B>>, used: Option<mpsc::Sender<B>>) -> Self {
        Self { receiver, used, current: None, offset: 0, has_ended: false }
    }
}

impl<B: AsRef<[u8]>> PipeReader<B> {
    fn next_piece(&mut self) -> io::Result<()> {
        if let (Some(read), Some(used)) = (self.current.take(), &self.used) {
            // A writer that is gone, or has enough of them, needs it no more.
            let _ = used.try_send(read);
        }
        self.offset = 0;
        match self.receiver.blocking_recv() {
            Some(Piece::Bytes(bytes)) => self.current = Some(bytes),
            Some(Piece::End) => self.has_ended = true,
            Some(Piece::Failed(error)) => return Err(error),
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off")),
        }
        Ok(())
    }

    fn is_at_end_of_piece(&self) -> bool {
        self.current.as_ref().is_none_or(|current| self.offset >= current.as_ref().len())
    }
}

impl<B: AsRef<[u8]>> BufRead for PipeReader<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.is_at_end_of_piece() && !self.has_ended {
            self.next_piece()?;
        }
        Ok(self.current.as_ref().map_or(&[], |current| &current.as_ref()[self.offset..]))
    }

    fn consume(&mut self, bytes: usize) {
        self.offset += bytes;
    }
}

impl<B: AsRef<[u8]>> Read for PipeReader<B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_end_and_failure_arrive_and_a_vanished_producer_is_an_error() {
        let (mut writer, mut reader) = pipe();
        let thread = std::thread::spawn(move || {
            for number in 0..100 {
                let mut buffer = writer.buffer();
                buffer[..3000].fill(number);
                writer.send(buffer, 3000).unwrap();
            }
            writer.finish().unwrap();
        });
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        thread.join().unwrap();
        assert_eq!(bytes, (0..100).flat_map(|number| [number; 3000]).collect::<Vec<u8>>());

        let (writer, mut reader) = pipe();
        writer.fail(io::Error::other("disk on fire"));
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().to_string(), "disk on fire");

        let (mut writer, mut reader) = pipe();
        let buffer = writer.buffer();
        writer.send(buffer, 4).unwrap();
        drop(writer);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_empty_piece_is_no_end() {
        let (sender, mut reader) = channel();
        for piece in [Bytes::new(), Bytes::from_static(b"a"), Bytes::new()] {
            sender.try_send(Piece::Bytes(piece)).map_err(drop).unwrap();
        }
        sender.try_send(Piece::End).map_err(drop).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"a");
    }
}
