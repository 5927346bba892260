//! One layer: from a stream of (compressed) bytes to an EROFS image or a directory in the store, every byte checked.
//!
//! ```text
//!  source ─► blob digest ─► blobs/ ─► decompress ─► diffID digest ─► unpack ─► l/<id>
//! ```
//! The layer becomes visible only when both digests are right. One process at a time makes a given layer; others wait and
//! then find it there. In which threads this happens is `stream`'s.

mod archive;
mod overheard;
mod stream;
mod tee;

use std::io::BufRead;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use self::archive::Archive;
use self::stream::{Outcome, read};
use self::tee::{Copied, Copy, Tee};
use crate::compression::Compression;
use crate::digest::Digest;
use crate::erofs::ErofsImage;
use crate::error::Error;
use crate::form::LayerForm;
use crate::progress::{Progress, Step};
use crate::record::LayerRecord;
use crate::staging::{Session, rename};
use crate::store::{Hold, Images};
use crate::unpack::{LayerRoot, UnpackError, Unpacked, unpack};

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

/// What a stream turned out to be.
struct Contents {
    /// `None`: something that podling does not read.
    compression: Option<Compression>,
    blob: Copied,
    /// Known when the archive was read to its end, and is another than the blob's.
    diff_id: Option<Digest>,
}

impl Contents {
    /// The digest of the archive without packing: an uncompressed layer's two digests are one.
    fn archive_digest(&self) -> Option<&Digest> {
        match self.compression {
            Some(Compression::Plain) => Some(&self.blob.digest),
            _ => self.diff_id.as_ref(),
        }
    }
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
    let tee = Tee::new(open()?, Copy::new(blob_file, expected.blob_bytes, work.stop, &step));
    let outcome =
        read(tee, store.limits.layer_bytes, |archive| unpack_to(store, &path, &expected.diff_id, archive));
    let failed = |source| Error::Layer { diff_id: expected.diff_id.clone(), source };
    let Outcome { unpacked, compression, copied, diff_id } = outcome;
    match (unpacked, copied) {
        (Ok(unpacked), Some((blob, synced))) => {
            let contents = Contents { compression, blob, diff_id };
            check(expected, &contents)?;
            // What is unpacked was read to its end, so its digest is known; without it nothing becomes visible.
            contents.archive_digest().ok_or(Error::Stopped)?;
            synced.map_err(Error::io("write", &blob_path))?;
            commit(work.session, expected, &path, &blob_path, &contents, unpacked)
        }
        // An archive that cannot be read is mostly one that was damaged on its way: then its digest is the better answer.
        (Err(source @ UnpackError::Read(_)), Some((blob, _))) => {
            check(expected, &Contents { compression, blob, diff_id })?;
            Err(failed(source))
        }
        (Err(source), _) => Err(failed(source)),
        // Nothing is unpacked whose source failed.
        (Ok(_), None) => Err(Error::Stopped),
    }
}

/// Unpacks into the new file or directory `path`, whichever the store has.
fn unpack_to(
    store: &Images,
    path: &Path,
    diff_id: &Digest,
    archive: &mut Archive<'_>,
) -> Result<Unpacked, UnpackError> {
    let failed = |source| UnpackError::Write { name: path.display().to_string(), source };
    match store.layer_form() {
        LayerForm::Directory => {
            let root = LayerRoot::make(path).map_err(failed)?;
            unpack(archive, root, &store.limits)
        }
        LayerForm::Erofs => {
            let image = ErofsImage::create(path, diff_id).map_err(failed)?;
            unpack(archive, image, &store.limits)
        }
    }
}

fn check(expected: &Expected, contents: &Contents) -> Result<(), Error> {
    let what = format!("layer {}", expected.diff_id);
    if let Some(bytes) = expected.blob_bytes
        && bytes != contents.blob.bytes
    {
        return Err(Error::SizeMismatch { what, expected: bytes, actual: contents.blob.bytes });
    }
    let pairs = [
        expected.blob.as_ref().zip(Some(&contents.blob.digest)),
        Some(&expected.diff_id).zip(contents.archive_digest()),
    ];
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
    contents: &Contents,
    unpacked: Unpacked,
) -> Result<(Hold, LayerRecord), Error> {
    let store: &Images = session.store();
    let record = LayerRecord {
        diff_id: expected.diff_id.clone(),
        blob: contents.blob.digest.clone(),
        blob_bytes: contents.blob.bytes,
        compression: contents.compression.unwrap_or(Compression::Plain),
        entries: unpacked.entries,
        unpacked_bytes: unpacked.bytes,
    };
    let _lock = store.lock()?;
    let target = store.layer_path(&expected.diff_id);
    // Without a record nobody can use it: a process was killed between the two renames.
    if target.symlink_metadata().is_ok() {
        session.discard(&target)?;
    }
    rename(blob, &store.blob_path(&contents.blob.digest))?;
    rename(layer, &target)?;
    session.write_record(&store.layer_record_path(&expected.diff_id), &record)?;
    // Under the store's lock nothing removes it before it is pinned.
    let pinned = store.pin_layer(&expected.diff_id)?;
    pinned.ok_or(Error::Stopped)
}
