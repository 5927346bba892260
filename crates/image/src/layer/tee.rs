//! The bytes of a layer as they come: handed on, while a copy and a digest of them are kept.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use linux::writeback;

use super::overheard::{Listener, Overheard};
use crate::digest::{Digest, Hasher};
use crate::progress::Step;

/// The disk is told of so much at a time.
const WRITEBACK_BYTES: u64 = 4 << 20;

/// What was read to its end.
pub(super) struct Copied {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// A source that is copied while it is read.
pub(super) type Tee<'a, R> = Overheard<R, Copy<'a>>;

/// The copy in the making.
pub(super) struct Copy<'a> {
    blob: File,
    /// So much of the copy the disk was told of.
    written_back: u64,
    hasher: Hasher,
    bytes: u64,
    limit_bytes: Option<u64>,
    stop: &'a AtomicBool,
    step: &'a Step<'a>,
}

impl<'a> Copy<'a> {
    /// Copies into `blob`, until `stop` is set, and not more than `limit_bytes`.
    pub(super) fn new(
        blob: File,
        limit_bytes: Option<u64>,
        stop: &'a AtomicBool,
        step: &'a Step<'a>,
    ) -> Self {
        Self { blob, written_back: 0, hasher: Hasher::new(), bytes: 0, limit_bytes, stop, step }
    }

    /// Puts the copy on the disk, which is what the second result tells of.
    pub(super) fn finish(self) -> (Copied, io::Result<()>) {
        let synced = self.blob.sync_data();
        (Copied { digest: self.hasher.finish(), bytes: self.bytes }, synced)
    }
}

impl Listener for Copy<'_> {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped because another layer failed"));
        }
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
        self.step.advance(bytes.len() as u64);
        if self.bytes - self.written_back >= WRITEBACK_BYTES {
            writeback::begin(&self.blob, self.written_back, self.bytes - self.written_back);
            self.written_back = self.bytes;
        }
        Ok(())
    }
}
