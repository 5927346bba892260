//! The unpacked archive of a layer as it leaves the pipe: read where it lies, while its digest is made.

use std::io::{self, BufRead, Read};
use std::sync::OnceLock;

use crate::compression::Compression;
use crate::digest::{Digest, Hasher};
use crate::pipe::{Chunk, PipeReader};
use crate::tar_reader::Source;

pub(super) struct Archive<'a> {
    pipe: PipeReader<Chunk>,
    /// How the bytes were packed: known to the pipe's other end before any of them comes.
    compression: &'a OnceLock<Compression>,
    hasher: Hasher,
    /// Of the pipe's piece: what has been hashed and was not yet taken.
    ahead_bytes: usize,
    has_ended: bool,
}

impl<'a> Archive<'a> {
    pub(super) fn new(pipe: PipeReader<Chunk>, compression: &'a OnceLock<Compression>) -> Self {
        Self { pipe, compression, hasher: Hasher::new(), ahead_bytes: 0, has_ended: false }
    }

    /// Reads on for the digest alone, at most so many bytes: contents that make no sense are mostly others than were meant.
    pub(super) fn read_to_digest(&mut self, most_bytes: u64) {
        // A pipe that fails leaves no digest, and what failed is told already.
        let _ = io::copy(&mut self.take(most_bytes), &mut io::sink());
    }

    /// Ends the pipe. The digest is that of the whole archive, if it was packed and was read to its end.
    pub(super) fn finish(self) -> Option<Digest> {
        let was_packed = self.compression.get().is_some_and(|found| *found != Compression::Plain);
        (self.has_ended && was_packed).then(|| self.hasher.finish())
    }

    fn read_on(&mut self) -> io::Result<()> {
        let bytes = self.pipe.fill_buf()?;
        if self.compression.get() != Some(&Compression::Plain) {
            self.hasher.update(bytes);
        }
        self.ahead_bytes = bytes.len();
        self.has_ended = bytes.is_empty();
        Ok(())
    }
}

impl BufRead for Archive<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead_bytes == 0 {
            self.read_on()?;
        }
        match self.ahead_bytes {
            0 => Ok(&[]),
            ahead => Ok(&self.pipe.fill_buf()?[..ahead]),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.ahead_bytes -= bytes;
        self.pipe.consume(bytes);
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl Source for &mut Archive<'_> {}
