//! The unpacked archive of a layer as it leaves the pipe, while its digest is made.

use std::io::{self, Read};
use std::sync::OnceLock;

use super::overheard::{Listener, Overheard};
use crate::compression::Compression;
use crate::digest::{Digest, Hasher};
use crate::pipe::{Chunk, PipeReader};
use crate::tar_reader::Source;

pub(super) type Archive<'a> = Overheard<PipeReader<Chunk>, Hash<'a>>;

/// The digest in the making.
pub(super) struct Hash<'a> {
    /// How the bytes were packed: known to the pipe's other end before any of them comes.
    compression: &'a OnceLock<Compression>,
    hasher: Hasher,
    has_ended: bool,
}

impl<'a> Hash<'a> {
    pub(super) fn new(compression: &'a OnceLock<Compression>) -> Self {
        Self { compression, hasher: Hasher::new(), has_ended: false }
    }

    /// That of the whole archive, if it was packed and was read to its end.
    pub(super) fn finish(self) -> Option<Digest> {
        let was_packed = self.compression.get().is_some_and(|found| *found != Compression::Plain);
        (self.has_ended && was_packed).then(|| self.hasher.finish())
    }
}

impl Listener for Hash<'_> {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.compression.get() != Some(&Compression::Plain) {
            self.hasher.update(bytes);
        }
        self.has_ended = bytes.is_empty();
        Ok(())
    }
}

impl Archive<'_> {
    /// Reads on for the digest alone, at most so many bytes: contents that make no sense are mostly others than were meant.
    pub(super) fn read_to_digest(&mut self, most_bytes: u64) {
        // A pipe that fails leaves no digest, and what failed is told already.
        let _ = io::copy(&mut self.take(most_bytes), &mut io::sink());
    }
}

impl Source for &mut Archive<'_> {}
