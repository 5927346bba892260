//! The bytes of a layer as they come: handed on, while a copy and a digest of them are kept.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use linux::writeback;

use crate::digest::{Digest, Hasher};
use crate::progress::Step;

/// The disk is told of so much at a time.
const WRITEBACK_BYTES: u64 = 4 << 20;

/// What was read to its end.
pub(super) struct Copied {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

pub(super) struct Tee<'a, R> {
    source: R,
    /// Of the source's buffer: what has been copied and counted, and was not yet taken.
    ahead_bytes: usize,
    blob: File,
    /// So much of the copy the disk was told of.
    written_back: u64,
    hasher: Hasher,
    bytes: u64,
    limit_bytes: Option<u64>,
    stop: &'a AtomicBool,
    step: &'a Step<'a>,
    /// The source or the copy failed, rather than what was made of the bytes.
    has_failed: bool,
}

impl<'a, R: BufRead> Tee<'a, R> {
    /// Copies `source` into `blob`, until `stop` is set. It must not have more than `limit_bytes`.
    pub(super) fn new(
        source: R,
        blob: File,
        limit_bytes: Option<u64>,
        stop: &'a AtomicBool,
        step: &'a Step<'a>,
    ) -> Self {
        let (ahead_bytes, written_back, bytes, has_failed) = (0, 0, 0, false);
        let hasher = Hasher::new();
        Self { source, ahead_bytes, blob, written_back, hasher, bytes, limit_bytes, stop, step, has_failed }
    }

    /// The source or the copy failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Puts the copy on the disk, which is what the second result tells of.
    pub(super) fn finish(self) -> (Copied, io::Result<()>) {
        let synced = self.blob.sync_data();
        (Copied { digest: self.hasher.finish(), bytes: self.bytes }, synced)
    }

    /// Waits for more of the source, and keeps it.
    fn read_on(&mut self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped because another layer failed"));
        }
        let bytes = self.source.fill_buf()?;
        self.bytes += bytes.len() as u64;
        if self.limit_bytes.is_some_and(|limit| self.bytes > limit) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes came than the manifest announced",
            ));
        }
        self.hasher.update(bytes);
        self.blob.write_all(bytes).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot keep a copy in the image directory: {error}"))
        })?;
        self.ahead_bytes = bytes.len();
        self.step.advance(bytes.len() as u64);
        if self.bytes - self.written_back >= WRITEBACK_BYTES {
            writeback::begin(&self.blob, self.written_back, self.bytes - self.written_back);
            self.written_back = self.bytes;
        }
        Ok(())
    }
}

impl<R: BufRead> BufRead for Tee<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead_bytes == 0
            && let Err(error) = self.read_on()
        {
            self.has_failed = true;
            return Err(error);
        }
        match self.ahead_bytes {
            0 => Ok(&[]),
            ahead => Ok(&self.source.fill_buf()?[..ahead]),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.ahead_bytes -= bytes;
        self.source.consume(bytes);
    }
}

impl<R: BufRead> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
