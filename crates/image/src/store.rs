//! The store's directory: what lies where, how it is read without locks and written under them.
//!
//! ```text
//! lock              flock(2): commits and removals, held for milliseconds
//! layer-locks       byte-range locks: who unpacks which layer (one flight per layer, across processes)
//! refs/<sha>.json   a name → an image; <sha> is the digest of the name
//! images/<hex>.json an image; a shared flock on it means "in use"
//! layers/<id>.json  an unpacked layer; a shared flock on it means "about to be used"
//! l/<id>            the layer itself, in overlayfs form: an EROFS image, or a directory
//! mounted/<id>      which Pods' shims have the layer mounted, for those that come after them
//! blobs/<hex>       configurations, manifests and layer archives as they came
//! staging/<n>/      work of one living process, which holds a lock on the directory
//! base/             the lowest layer of every root filesystem: what every container has mounted over
//! ```
//!
//! Layers have short names because overlayfs' options must fit one page when mounted by mount(2), the only way
//! on kernels before 6.5 (fsconfig's `lowerdir+`): 80 layers at `/var/lib/podling/images/l/` and 20 digits.
//!
//! **Invariant:** whoever sees a name sees a whole image. Contents become visible by rename(2) in the order layer, image,
//! name, and vanish in the reverse order. This holds after a power cut too: contents are on the disk before their record,
//! and each directory before the next kind is named or after the last kind is gone. An image that was told to be here is.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;

use crate::archive::DOCUMENT_MAX_BYTES;
use crate::digest::{Digest, read_limited};
use crate::error::Error;
use crate::form::Choice;
use crate::record::{Image, ImageRecord, LayerRecord, RefRecord};
use crate::reference::Reference;
use crate::unpack::Limits;

const SHORT_DIGITS: usize = 20;
const DIRECTORIES: [&str; 8] = ["refs", "images", "layers", "l", "mounted", "blobs", "staging", "base"];

/// What lies in `base/`. Where an image has no such directory or file, overlayfs would otherwise copy the parent up
/// and create it in each container's writable layer, on disk; images that were built by engines have most of them.
const MOUNT_POINT_DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const MOUNT_POINT_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];
const BASE_IS_WHOLE: &str = "base/etc/resolv.conf";

/// The images of this machine, shared by all nodes and processes that are given the same directory.
#[derive(Debug, Clone)]
pub struct Images {
    root: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) form: Choice,
}

/// The store's lock for commits and removals; released on drop.
pub(crate) struct StoreLock(#[allow(dead_code, reason = "held, not used")] File);

/// A shared lock: the image (or layer) is in use and will not be removed while any copy of the descriptor is open.
#[derive(Debug)]
pub struct Hold(File);

impl Hold {
    /// The descriptor, to be passed on to a process that outlives this one.
    pub fn into_fd(self) -> OwnedFd {
        self.0.into()
    }
}

impl AsFd for Hold {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Images {
    /// Where the images are when nothing else is said.
    pub const DEFAULT_ROOT: &'static str = "/var/lib/podling/images";

    /// Opens the store at `root`, making it when it is not there. One system call when it is.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        let bad = |reason| Error::BadRoot { path: root.clone(), reason };
        let text = root.to_str().ok_or_else(|| bad("its path is not UTF-8"))?;
        if text.contains([':', ',', '\\']) {
            return Err(bad(
                "overlayfs separates layers by ':' and options by ',', so the path must contain neither",
            ));
        }
        let images = Self { root, limits: Limits::default(), form: Choice::default() };
        if rustix::fs::access(images.path(BASE_IS_WHOLE), rustix::fs::Access::EXISTS).is_err() {
            images.make_directories()?;
        }
        Ok(images)
    }

    /// The same store with other limits for what is unpacked into it.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What lies below every image's layers: the directories and files that a container has something mounted over.
    pub fn base(&self) -> PathBuf {
        self.path("base")
    }

    /// Where the layers lie, each under a name that no other layer ever has.
    pub fn layer_directory(&self) -> PathBuf {
        self.path("l")
    }

    /// Where a file appears with each image that comes.
    pub fn image_directory(&self) -> PathBuf {
        self.path("images")
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// [`BASE_IS_WHOLE`] comes last: where it is, everything is. Only root may look: layers hold setuid programs.
    fn make_directories(&self) -> Result<(), Error> {
        let create = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        create(&self.root).map_err(Error::io("make the image directory", &self.root))?;
        for file in ["lock", "layer-locks"] {
            self.open_lock_file(file)?;
        }
        for name in DIRECTORIES {
            let path = self.path(name);
            create(&path).map_err(Error::io("make", &path))?;
        }
        let base = self.base();
        for name in MOUNT_POINT_DIRECTORIES {
            let path = base.join(name);
            create(&path).map_err(Error::io("make", &path))?;
            open_to_all(&path, 0o755)?;
        }
        open_to_all(&base, 0o755)?;
        for name in MOUNT_POINT_FILES {
            let path = base.join(name);
            File::create(&path).map_err(Error::io("make", &path))?;
            open_to_all(&path, 0o644)?;
        }
        Ok(())
    }

    fn open_lock_file(&self, name: &str) -> Result<File, Error> {
        let path = self.path(name);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))
    }

    /// The image called `reference`, if it is here. Reads two small files and takes no lock.
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>, Error> {
        let Some(named) = self.read_ref(&reference.key())? else { return Ok(None) };
        let Some(record) = self.read_image(&named.image)? else { return Ok(None) };
        let image = self.image(record, Some(&named));
        self.check_platform(&image)?;
        Ok(Some(image))
    }

    /// The image with this ID, if it is here.
    pub fn find_id(&self, id: &Digest) -> Result<Option<Image>, Error> {
        let Some(record) = self.read_image(id)? else { return Ok(None) };
        let image = self.image(record, None);
        self.check_platform(&image)?;
        Ok(Some(image))
    }

    /// Keeps `image` from being removed for as long as the returned descriptor, or a copy of it in any process, is open.
    pub fn hold(&self, image: &Image) -> Result<Hold, Error> {
        let hold = self.hold_file(&self.image_path(&image.id))?.ok_or_else(|| Error::NotFound {
            name: image.reference.as_ref().map_or_else(|| image.id.to_string(), Reference::familiar),
            store: self.root.clone(),
        })?;
        mark_used(&hold.0);
        Ok(hold)
    }

    /// Says that a container has used the image until now.
    pub fn was_used(&self, image: &Digest) {
        // One that is gone is not missed.
        let _ = File::open(self.image_path(image)).map(|file| mark_used(&file));
    }

    pub(crate) fn image(&self, record: ImageRecord, named: Option<&RefRecord>) -> Image {
        // overlayfs takes no layer twice. All that a layer says, its topmost copy says of those below, too.
        let mut seen = HashSet::new();
        let topmost = record.layers.iter().rev().filter(|diff_id| seen.insert(*diff_id));
        let layers = topmost.map(|diff_id| self.layer_path(diff_id)).collect();
        let reference = named.and_then(|named| Reference::parse(&named.reference).ok());
        let repo_digest = named
            .and_then(|named| named.target.clone())
            .zip(reference.as_ref())
            .map(|(target, reference)| reference.with_digest(target).to_string());
        Image {
            id: record.id,
            reference,
            repo_digest,
            config: record.config,
            layers,
            size_bytes: record.size_bytes,
        }
    }

    fn check_platform(&self, image: &Image) -> Result<(), Error> {
        let (os, architecture) = (image.config.os(), image.config.architecture());
        if crate::record::runs_here(os, architecture) {
            return Ok(());
        }
        Err(Error::WrongPlatform {
            name: image.reference.as_ref().map_or_else(|| image.id.to_string(), Reference::familiar),
            image: crate::record::platform(os, architecture, image.config.variant().as_deref()),
            host: crate::record::host_platform(),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn ref_path(&self, key: &str) -> PathBuf {
        self.root.join("refs").join(format!("{}.json", Digest::of(key.as_bytes()).hex()))
    }

    pub(crate) fn image_path(&self, id: &Digest) -> PathBuf {
        self.image_directory().join(format!("{}.json", id.hex()))
    }

    pub(crate) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_directory().join(short(diff_id))
    }

    pub(crate) fn layer_record_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(format!("{}.json", short(diff_id)))
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.hex())
    }

    pub(crate) fn read_ref(&self, key: &str) -> Result<Option<RefRecord>, Error> {
        read_record(&self.ref_path(key))
    }

    pub(crate) fn read_image(&self, id: &Digest) -> Result<Option<ImageRecord>, Error> {
        read_record(&self.image_path(id))
    }

    /// The manifest or configuration `digest`, if it is here and unharmed.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.blob_path(digest);
        let read = File::open(&path).and_then(|file| read_limited(file, DOCUMENT_MAX_BYTES));
        match read {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == *digest)),
            // Also a layer of that name, which is no document.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => {
                Ok(None)
            }
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Waits for the store's lock.
    pub(crate) fn lock(&self) -> Result<StoreLock, Error> {
        let file = self.open_lock_file("lock")?;
        flock(&file, FlockOperation::LockExclusive).map_err(Error::io("lock", self.path("lock")))?;
        Ok(StoreLock(file))
    }

    /// Waits until nobody else unpacks the layer `diff_id`. Two layers may share a lock, which costs time and nothing else;
    /// whoever holds one must not wait for another.
    pub(crate) fn lock_layer(&self, diff_id: &Digest) -> Result<File, Error> {
        let file = self.open_lock_file("layer-locks")?;
        let name = u32::from_str_radix(&diff_id.hex()[..8], 16).unwrap_or_default();
        linux::range_lock::lock_exclusive(&file, name)
            .map_err(Error::io("lock a layer in", self.path("layer-locks")))?;
        Ok(file)
    }

    /// Pins the layer `diff_id` if it is here, and tells what it is.
    pub(crate) fn pin_layer(&self, diff_id: &Digest) -> Result<Option<(Hold, LayerRecord)>, Error> {
        let path = self.layer_record_path(diff_id);
        let Some(hold) = self.hold_file(&path)? else { return Ok(None) };
        let record: LayerRecord = parse_record(&path, &hold.0)?;
        if record.diff_id != *diff_id {
            return Err(Error::LayerCollision { diff_id: diff_id.clone(), other: record.diff_id });
        }
        Ok(Some((hold, record)))
    }

    /// Pins the image `id` if it is here.
    pub(crate) fn pin_image(&self, id: &Digest) -> Result<Option<Hold>, Error> {
        self.hold_file(&self.image_path(id))
    }

    /// A shared lock on `path`, if it is there and still is once locked.
    fn hold_file(&self, path: &Path) -> Result<Option<Hold>, Error> {
        loop {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", path)(error)),
            };
            flock(&file, FlockOperation::LockShared).map_err(Error::io("lock", path))?;
            let stat =
                rustix::fs::fstat(&file).map_err(io::Error::from).map_err(Error::io("look at", path))?;
            if stat.st_nlink > 0 {
                return Ok(Some(Hold(file)));
            }
        }
    }
}

/// By its time the image used longest ago is found when room is needed; without it, it only seems older.
fn mark_used(image: &File) {
    let _ = image.set_modified(std::time::SystemTime::now());
}

/// Sets the mode, whatever the umask.
fn open_to_all(path: &Path, mode: u32) -> Result<(), Error> {
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))
        .map_err(io::Error::from)
        .map_err(Error::io("set the mode of", path))
}

/// 80 bits of a digest; `pin_layer` refuses two layers that share them.
fn short(diff_id: &Digest) -> &str {
    &diff_id.hex()[..SHORT_DIGITS]
}

pub(crate) fn flock(fd: impl AsFd, operation: FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(&fd, operation) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// `false`: somebody else has the lock.
pub(crate) fn try_flock(fd: impl AsFd, operation: FlockOperation) -> io::Result<bool> {
    match flock(fd, operation) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match File::open(path) {
        Ok(file) => parse_record(path, &file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn parse_record<T: DeserializeOwned>(path: &Path, mut file: &File) -> Result<T, Error> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| Error::DamagedRecord { path: path.to_owned(), source })
}

/// The records of a directory; one that vanishes meanwhile is passed over.
pub(crate) fn read_records<T: DeserializeOwned>(directory: &Path) -> Result<Vec<(PathBuf, T)>, Error> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        if let Some(record) = read_record(&path)? {
            records.push((path, record));
        }
    }
    Ok(records)
}
