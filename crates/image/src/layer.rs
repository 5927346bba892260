//! One layer: from a stream of (compressed) bytes to a directory in the store, every byte checked.
//!
//! ```text
//!  source ─► blob digest ─► blobs/ ─► decompress ─► diffID digest ─► pipe ─► unpack ─► l/<id>
//!  └──────────────── one thread ──────────────────────────────────┘       └─ another ─┘
//! ```
//! The layer becomes visible only when both digests are right. One process at a time makes a given layer; others wait and
//! then find it there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::compression::{Compression, decompress};
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::pipe::{PipeReader, PipeWriter, pipe};
use crate::progress::{Progress, Step};
use crate::record::LayerRecord;
use crate::staging::{Session, rename};
use crate::store::{Hold, Images};
use crate::tar_reader::Source;
use crate::unpack::{Unpacked, unpack};

impl Source for PipeReader {}

const CHUNK_BYTES: usize = 128 * 1024;

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
    compression: Compression,
    blob: Digest,
    blob_bytes: u64,
    diff_id: Digest,
}

/// Makes sure that the layer is in the store, and keeps it there for as long as the returned lock lives. `open` is called
/// only when the layer has to be read.
pub(crate) fn ensure<R: Read + Send>(
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
    let directory = work.session.fresh_directory()?;
    let (blob_path, blob_file) = work.session.fresh_file()?;
    let tee = Tee {
        source: open()?,
        blob: blob_file,
        hasher: Hasher::new(),
        bytes: 0,
        limit_bytes: expected.blob_bytes,
        stop: work.stop,
        step: &step,
    };
    let (writer, reader) = pipe();
    let (unpacked, stream) = std::thread::scope(|scope| {
        let reading = scope.spawn(move || read_stream(tee, writer));
        // The reader is moved in and gone when this returns, which ends the other thread too.
        let unpacked = unpack(reader, &directory, &store.limits);
        (unpacked, reading.join())
    });
    let unpacked = unpacked.map_err(|source| Error::Layer { diff_id: expected.diff_id.clone(), source })?;
    let stream = match stream {
        Ok(Some(stream)) => stream,
        // The reading thread cannot fail without the other noticing.
        Ok(None) | Err(_) => return Err(Error::Stopped),
    };
    check(expected, &stream)?;
    commit(work.session, expected, &directory, &blob_path, &stream, unpacked)
}

fn check(expected: &Expected, stream: &Stream) -> Result<(), Error> {
    let what = format!("layer {}", expected.diff_id);
    if let Some(bytes) = expected.blob_bytes
        && bytes != stream.blob_bytes
    {
        return Err(Error::SizeMismatch { what, expected: bytes, actual: stream.blob_bytes });
    }
    let blob = expected.blob.as_ref().map(|blob| (blob, &stream.blob));
    for (expected, actual) in blob.into_iter().chain([(&expected.diff_id, &stream.diff_id)]) {
        if expected != actual {
            return Err(Error::DigestMismatch { what, expected: expected.clone(), actual: actual.clone() });
        }
    }
    Ok(())
}

fn commit(
    session: &Session,
    expected: &Expected,
    directory: &std::path::Path,
    blob: &std::path::Path,
    stream: &Stream,
    unpacked: Unpacked,
) -> Result<(Hold, LayerRecord), Error> {
    let store: &Images = session.store();
    let record = LayerRecord {
        diff_id: expected.diff_id.clone(),
        blob: stream.blob.clone(),
        blob_bytes: stream.blob_bytes,
        compression: stream.compression,
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
    rename(directory, &target)?;
    session.write_record(&store.layer_record_path(&expected.diff_id), &record)?;
    // Under the store's lock nothing removes it before it is pinned.
    let pinned = store.pin_layer(&expected.diff_id)?;
    pinned.ok_or(Error::Stopped)
}

/// Reads all of the source, telling both digests. Failures reach the other thread through the pipe.
fn read_stream<R: Read + Send>(mut tee: Tee<'_, R>, mut writer: PipeWriter) -> Option<Stream> {
    match pump(&mut tee, &mut writer) {
        Ok((compression, diff_id)) => {
            let (blob, blob_bytes) = (tee.hasher.finish(), tee.bytes);
            let diff_id = diff_id.unwrap_or_else(|| blob.clone());
            writer.finish().ok()?;
            Some(Stream { compression, blob, blob_bytes, diff_id })
        }
        Err(error) => {
            writer.fail(error);
            None
        }
    }
}

fn pump<R: Read + Send>(
    tee: &mut Tee<'_, R>,
    writer: &mut PipeWriter,
) -> io::Result<(Compression, Option<Digest>)> {
    let (compression, mut plain) = decompress(tee)?;
    // An uncompressed layer's two digests are one.
    let mut hasher = (compression != Compression::Plain).then(Hasher::new);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer[..read]);
        }
        writer.write_all(&buffer[..read])?;
    }
    Ok((compression, hasher.map(Hasher::finish)))
}

/// Hands bytes on while keeping a copy and a digest of them.
struct Tee<'a, R> {
    source: R,
    blob: File,
    hasher: Hasher,
    bytes: u64,
    limit_bytes: Option<u64>,
    stop: &'a AtomicBool,
    step: &'a Step<'a>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped because another layer failed"));
        }
        let read = self.source.read(out)?;
        let bytes = &out[..read];
        self.bytes += read as u64;
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
        self.step.advance(read as u64);
        Ok(read)
    }
}
