//! The image file while it is written from front to back: contents of files first, as they arrive.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::BLOCK_BYTES;

/// Small files are gathered into large writes.
const BUFFER_BYTES: usize = 512 * 1024;
/// What is at least this long is written as it comes.
const LARGE_BYTES: usize = 64 * 1024;
/// The disk is told of so much at a time.
const WRITEBACK_BYTES: u64 = 4 << 20;
/// Shorter gaps are written as zeroes, longer ones left as holes.
const HOLE_BYTES: u64 = 64 * 1024;

pub(super) struct Data {
    file: File,
    /// Not yet written; it belongs at `offset`.
    buffer: Vec<u8>,
    offset: u64,
    /// So far the disk was told of the file.
    written_back: u64,
}

impl Data {
    /// Leaves room for the superblock.
    pub(super) fn new(file: File) -> Self {
        Self { file, buffer: Vec::with_capacity(BUFFER_BYTES), offset: BLOCK_BYTES as u64, written_back: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= LARGE_BYTES || self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= LARGE_BYTES {
            self.file.write_all_at(bytes, self.offset)?;
            self.offset += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Goes on at `position`; what lies between reads as zeroes.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        let gap = position.saturating_sub(self.position());
        if gap < HOLE_BYTES {
            self.buffer.resize(self.buffer.len() + gap as usize, 0);
        } else {
            self.flush()?;
            self.offset = position;
        }
        Ok(())
    }

    /// The number of the next block that nothing is in; writing goes on there.
    pub(super) fn next_block(&mut self) -> io::Result<u32> {
        let position = self.position().next_multiple_of(BLOCK_BYTES as u64);
        self.skip_to(position)?;
        block_number(position)
    }

    /// Ends the file here, puts `head` at `head_offset`, and all of it on the disk: only now it is an image.
    pub(super) fn finish(mut self, head: &[u8], head_offset: u64) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(self.offset)?;
        self.file.write_all_at(head, head_offset)?;
        self.file.sync_data()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        if self.offset - self.written_back >= WRITEBACK_BYTES {
            linux::writeback::begin(&self.file, self.written_back, self.offset - self.written_back);
            self.written_back = self.offset;
        }
        Ok(())
    }
}

/// Blocks have 32-bit numbers: 16 TiB, far beyond what a layer may unpack to.
pub(super) fn block_number(position: u64) -> io::Result<u32> {
    u32::try_from(position / BLOCK_BYTES as u64).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
