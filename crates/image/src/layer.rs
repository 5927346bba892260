//! One layer: from a stream of (compressed) bytes to an EROFS image or a directory in the store, every byte checked.
//!
//! ```text
//!  source ─► blob digest ─► blobs/ ─► decompress ─► diffID digest ─► pipe ─► unpack ─► l/<id>
//!  └──────────────── one thread ──────────────────────────────────┘       └─ another ─┘
//! ```
//! The layer becomes visible only when both digests are right. One process at a time makes a given layer; others wait and
//! then find it there.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use linux::writeback;

use crate::compression::{Compression, decompress};
use crate::digest::{Digest, Hasher};
use crate::erofs::ErofsImage;
use crate::error::Error;
use crate::form::LayerForm;
use crate::pipe::{Chunk, PipeReader, PipeWriter, pipe};
use crate::progress::{Progress, Step};
use crate::record::LayerRecord;
use crate::staging::{Session, rename};
use crate::store::{Hold, Images};
use crate::tar_reader::Source;
use crate::unpack::{LayerRoot, UnpackError, Unpacked, unpack};

impl Source for &mut PipeReader<Chunk> {}

/// The disk is told of so much at a time.
const WRITEBACK_BYTES: u64 = 4 << 20;

/// What is known of a layer before it is read.
pub(crate) struct Expected {
    /// The digest of the uncompressed archive, from the image's configuration.
    pub(crate) diff_id: Digest,
    /// The digest of the archive as it comes, from a manifest.
    pub(crate) blob: Option<Digest>,
    /// Its size, from a manifest or an archive's header.
    pub(crate) blob_bytes: Option<u64>,
}

/// What the layers of one operation share.
pub(crate) struct Work<'a> {
    pub(crate) session: &'a Session,
    pub(crate) progress: &'a dyn Progress,
    /// Set when one layer failed, so that the others stop.
    pub(crate) stop: &'a AtomicBool,
}

/// What the reading thread found out about the stream.
struct Stream {
    compression: Option<Compression>,
    blob: Digest,
    blob_bytes: u64,
    /// Known when the stream was decompressed to its end.
    diff_id: Option<Digest>,
    /// The copy is on the disk.
    synced: io::Result<()>,
}

/// Makes sure that the layer is in the store, and keeps it there for as long as the returned lock lives. `open` is called
/// only when the layer has to be read.
pub(crate) fn ensure<R: BufRead + Send>(
    work: &Work<'_>,
    expected: &Expected,
    open: impl FnOnce() -> Result<R, Error>,
) -> Result<(Hold, LayerRecord), Error> {
    let store = work.session.store();
    if let Some(pinned) = store.pin_layer(&expected.diff_id)? {
        return Ok(pinned);
    }
    let _flight = store.lock_layer(&expected.diff_id)?;
    if let Some(pinned) = store.pin_layer(&expected.diff_id)? {
        return Ok(pinned);
    }
    if work.stop.load(Ordering::Relaxed) {
        return Err(Error::Stopped);
    }
    let title = format!("layer {}", &expected.diff_id.hex()[..12]);
    let step = Step::begin(work.progress, &title, expected.blob_bytes);
    let path = work.session.fresh_path();
    let (blob_path, blob_file) = work.session.fresh_file()?;
    let tee = Tee {
        source: open()?,
        ahead_bytes: 0,
        blob: blob_file,
        written_back: 0,
        hasher: Hasher::new(),
        bytes: 0,
        limit_bytes: expected.blob_bytes,
        stop: work.stop,
        step: &step,
        has_failed: false,
    };
    let (writer, mut reader) = pipe();
    let is_unreadable = AtomicBool::new(false);
    let (unpacked, stream) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_stream(tee, writer, &is_unreadable));
        let unpacked = unpack_to(store, &path, &expected.diff_id, &mut reader);
        is_unreadable.store(matches!(unpacked, Err(UnpackError::Read(_))), Ordering::Release);
        // Ends the other thread too, should it still be writing.
        drop(reader);
        (unpacked, reading.join().unwrap_or(None))
    });
    let failed = |source| Error::Layer { diff_id: expected.diff_id.clone(), source };
    match (unpacked, stream) {
        (Ok(unpacked), Some(stream)) => {
            check(expected, &stream)?;
            stream
                .synced
                .as_ref()
                .map_err(|error| io::Error::new(error.kind(), error.to_string()))
                .map_err(Error::io("write", &blob_path))?;
            commit(work.session, expected, &path, &blob_path, &stream, unpacked)
        }
        // An archive that cannot be read is mostly one that was damaged on its way: then its digest is the better answer.
        (Err(source @ UnpackError::Read(_)), Some(stream)) => {
            check(expected, &stream)?;
            Err(failed(source))
        }
        (Err(source), _) => Err(failed(source)),
        // The reading thread cannot fail without the other noticing.
        (Ok(_), None) => Err(Error::Stopped),
    }
}

/// Unpacks into the new file or directory `path`, whichever the store has.
fn unpack_to(
    store: &Images,
    path: &Path,
    diff_id: &Digest,
    reader: &mut PipeReader<Chunk>,
) -> Result<Unpacked, UnpackError> {
    let failed = |source| UnpackError::Write { name: path.display().to_string(), source };
    match store.layer_form() {
        LayerForm::Directory => {
            let root = LayerRoot::make(path).map_err(failed)?;
            unpack(reader, root, &store.limits)
        }
        LayerForm::Erofs => {
            let image = ErofsImage::create(path, diff_id).map_err(failed)?;
            unpack(reader, image, &store.limits)
        }
    }
}

fn check(expected: &Expected, stream: &Stream) -> Result<(), Error> {
    let what = format!("layer {}", expected.diff_id);
    if let Some(bytes) = expected.blob_bytes
        && bytes != stream.blob_bytes
    {
        return Err(Error::SizeMismatch { what, expected: bytes, actual: stream.blob_bytes });
    }
    // An uncompressed layer's two digests are one.
    let is_plain = stream.compression == Some(Compression::Plain);
    let diff_id = if is_plain { Some(&stream.blob) } else { stream.diff_id.as_ref() };
    let pairs = [expected.blob.as_ref().zip(Some(&stream.blob)), Some(&expected.diff_id).zip(diff_id)];
    match pairs.into_iter().flatten().find(|(expected, actual)| expected != actual) {
        Some((expected, actual)) => {
            Err(Error::DigestMismatch { what, expected: expected.clone(), actual: actual.clone() })
        }
        None => Ok(()),
    }
}

fn commit(
    session: &Session,
    expected: &Expected,
    layer: &Path,
    blob: &Path,
    stream: &Stream,
    unpacked: Unpacked,
) -> Result<(Hold, LayerRecord), Error> {
    let store: &Images = session.store();
    let record = LayerRecord {
        diff_id: expected.diff_id.clone(),
        blob: stream.blob.clone(),
        blob_bytes: stream.blob_bytes,
        compression: stream.compression.unwrap_or(Compression::Plain),
        entries: unpacked.entries,
        unpacked_bytes: unpacked.bytes,
    };
    let _lock = store.lock()?;
    let target = store.layer_path(&expected.diff_id);
    // Without a record nobody can use it: a process was killed between the two renames.
    if target.symlink_metadata().is_ok() {
        session.discard(&target)?;
    }
    rename(blob, &store.blob_path(&stream.blob))?;
    rename(layer, &target)?;
    session.write_record(&store.layer_record_path(&expected.diff_id), &record)?;
    // Under the store's lock nothing removes it before it is pinned.
    let pinned = store.pin_layer(&expected.diff_id)?;
    pinned.ok_or(Error::Stopped)
}

/// Reads all of the source, telling both digests. Failures reach the other thread through the pipe. When the contents turn
/// out unreadable, the rest is read for its digest alone; not so when the source fails or an entry is refused.
fn read_stream<R: BufRead + Send>(
    mut tee: Tee<'_, R>,
    mut writer: PipeWriter,
    is_unreadable: &AtomicBool,
) -> Option<Stream> {
    let mut compression = None;
    let diff_id = match pump(&mut tee, &mut writer, &mut compression) {
        Ok(diff_id) => {
            writer.finish().ok()?;
            diff_id
        }
        Err(error) => {
            let is_refused =
                error.kind() == io::ErrorKind::BrokenPipe && !is_unreadable.load(Ordering::Acquire);
            writer.fail(error);
            if tee.has_failed || is_refused {
                return None;
            }
            io::copy(&mut tee, &mut io::sink()).ok()?;
            None
        }
    };
    // While the other thread does the same for what it made of the bytes.
    let synced = tee.blob.sync_data();
    Some(Stream { compression, blob: tee.hasher.finish(), blob_bytes: tee.bytes, diff_id, synced })
}

fn pump<R: BufRead + Send>(
    tee: &mut Tee<'_, R>,
    writer: &mut PipeWriter,
    compression: &mut Option<Compression>,
) -> io::Result<Option<Digest>> {
    let (found, mut plain) = decompress(tee)?;
    *compression = Some(found);
    let mut hasher = (found != Compression::Plain).then(Hasher::new);
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
            break;
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer[..filled]);
        }
        writer.send(buffer, filled)?;
    }
    Ok(hasher.map(Hasher::finish))
}

/// Hands bytes on while keeping a copy and a digest of them.
struct Tee<'a, R> {
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

impl<R: BufRead> Tee<'_, R> {
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
