//! The bytes of one layer on their way from the source to what they become, in two threads.
//!
//! ```text
//!  source ─► Tee ─► decompress ─► pipe ─► Archive ─► unpack
//!  └──────── one thread ────────┘       └──── another ────┘
//! ```
//! So divided, neither waits long for the other when the layer is the only one, or the last. One thread for each layer while
//! others keep the processors busy was tried, for the caches' sake: it took the same time.

use std::io::{self, BufRead, Read};
use std::sync::OnceLock;

use super::archive::{Archive, Hash};
use super::tee::{Copied, Tee};
use crate::compression::{Compression, decompress};
use crate::digest::Digest;
use crate::pipe::{PipeWriter, pipe};
use crate::unpack::{UnpackError, Unpacked};

/// What became of a stream.
pub(super) struct Outcome {
    pub(super) unpacked: Result<Unpacked, UnpackError>,
    /// `None`: something that podling does not read.
    pub(super) compression: Option<Compression>,
    /// What was read to its end, and whether its copy is on the disk. `None`: the source failed, or an entry was refused.
    pub(super) copied: Option<(Copied, io::Result<()>)>,
    /// Known when the archive was packed and was read to its end, so always when it is unpacked: what was not packed has one
    /// digest only.
    pub(super) diff_id: Option<Digest>,
}

/// Has `unpack` read the archive in the source. When that turns out unreadable, what is left is read for its digests alone,
/// and at most so many bytes of it are decompressed.
pub(super) fn read<R: BufRead + Send>(
    tee: Tee<'_, R>,
    most_bytes: u64,
    unpack: impl FnOnce(&mut Archive<'_>) -> Result<Unpacked, UnpackError>,
) -> Outcome {
    let found = OnceLock::new();
    let (writer, reader) = pipe();
    let (unpacked, diff_id, copied) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_ahead(tee, writer, &found));
        let mut archive = Archive::new(reader, Hash::new(&found));
        let unpacked = unpack(&mut archive);
        if matches!(unpacked, Err(UnpackError::Read(_))) {
            archive.read_to_digest(most_bytes);
        }
        // Ends the other thread too, should it still be writing.
        let diff_id = archive.into_listener().finish();
        (unpacked, diff_id, reading.join().unwrap_or(None))
    });
    Outcome { unpacked, compression: found.into_inner(), copied, diff_id }
}

/// Fills the pipe. Failures pass through it.
fn read_ahead<R: BufRead + Send>(
    mut tee: Tee<'_, R>,
    mut writer: PipeWriter,
    found: &OnceLock<Compression>,
) -> Option<(Copied, io::Result<()>)> {
    match pump(&mut tee, &mut writer, found) {
        Ok(()) => writer.finish().ok()?,
        // The other thread refused an entry.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
        Err(error) => writer.fail(error),
    }
    read_to_end(tee)
}

fn pump<R: BufRead + Send>(
    tee: &mut Tee<'_, R>,
    writer: &mut PipeWriter,
    found: &OnceLock<Compression>,
) -> io::Result<()> {
    let (compression, mut plain) = decompress(tee)?;
    found.get_or_init(|| compression);
    loop {
        let mut buffer = writer.buffer();
        let mut filled = 0;
        while filled < buffer.len() {
            match plain.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        writer.send(buffer, filled)?;
    }
}

/// What is left of a source that did not fail: nothing, unless its contents could not be decompressed.
fn read_to_end<R: BufRead>(mut tee: Tee<'_, R>) -> Option<(Copied, io::Result<()>)> {
    if tee.has_failed() {
        return None;
    }
    io::copy(&mut tee, &mut io::sink()).ok()?;
    Some(tee.into_listener().finish())
}
