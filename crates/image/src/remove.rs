//! Taking names, images and what nobody needs any more out of the store.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::digest::Digest;
use crate::error::{Error, Holder};
use crate::record::{ImageRecord, LayerRecord, RefRecord};
use crate::reference::Reference;
use crate::staging::{Session, Trash, sync_directory};
use crate::store::{Images, StoreLock, read_records, try_flock};

/// What a removal came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// The image that is gone, when its last name was.
    pub deleted: Option<Digest>,
    /// What its layers that no other image uses took, unpacked and as archives.
    pub freed_bytes: u64,
}

impl Images {
    /// Removes the image called `name`: its name alone while it has others; with all its names when `name` is an ID.
    /// An image that is in use stays. Its space is free when this returns.
    pub fn remove(&self, name: &str) -> Result<Removed, Error> {
        self.remove_to_trash(name).map(|(removed, _trash)| removed)
    }

    /// As [`Self::remove`], but its space is free only when the trash is gone.
    pub fn remove_to_trash(&self, name: &str) -> Result<(Removed, Trash), Error> {
        let session = Session::begin(self)?;
        let removed = self.remove_in(&session, name)?;
        Ok((removed, Trash(session)))
    }

    fn remove_in(&self, session: &Session, name: &str) -> Result<Removed, Error> {
        let lock = self.lock()?;
        let (id, named) = self.resolve(name)?;
        let mut names: Vec<(PathBuf, RefRecord)> = read_records(&self.path("refs"))?;
        names.retain(|(_, record)| record.image == id);
        if let Some(named) = &named {
            let (gone, stays): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|(_, other)| goes_with(other, named));
            if !stays.is_empty() {
                return untag(gone).map(|untagged| Removed { untagged, ..Removed::default() });
            }
            names = gone;
        }
        let path = self.image_path(&id);
        self.refuse_if_in_use(name, &path)?;
        let untagged = untag(names)?;
        remove_file(&path)?;
        let freed_bytes = self.collect_garbage(session, &lock)?;
        Ok(Removed { untagged, deleted: Some(id), freed_bytes })
    }

    /// Removes the image `id` unless it has a name or is in use; whether it did.
    pub(crate) fn remove_if_unneeded(&self, session: &Session, id: &Digest) -> Result<bool, Error> {
        let lock = self.lock()?;
        let is_named =
            read_records::<RefRecord>(&self.path("refs"))?.iter().any(|(_, record)| record.image == *id);
        if is_named || !remove_if_free(&self.image_path(id))? {
            return Ok(false);
        }
        self.collect_garbage(session, &lock)?;
        Ok(true)
    }

    fn refuse_if_in_use(&self, name: &str, path: &Path) -> Result<(), Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        // Whoever locks it after this finds it unlinked, since the store's lock is held until then.
        if try_flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(Error::io("lock", path))? {
            return Ok(());
        }
        drop(file);
        Err(Error::InUse { name: name.to_owned(), holders: holders(path) })
    }

    /// Removes layers and blobs that no image uses and nobody is about to use, and tells how many bytes that frees.
    /// No name comes back after a power cut whose contents do not: each kind is gone from the disk before the next.
    pub(crate) fn collect_garbage(&self, session: &Session, _lock: &StoreLock) -> Result<u64, Error> {
        let mut layers: HashSet<Digest> = HashSet::new();
        let mut blobs: HashSet<Digest> = HashSet::new();
        for (_, image) in read_records::<ImageRecord>(&self.path("images"))? {
            layers.extend(image.layers);
            blobs.insert(image.id);
        }
        for (_, named) in read_records::<RefRecord>(&self.path("refs"))? {
            blobs.extend(named.manifest);
        }
        for directory in ["refs", "images"] {
            sync_directory(&self.path(directory))?;
        }
        let mut freed_bytes = 0;
        let mut directories: HashSet<PathBuf> = HashSet::new();
        for (path, layer) in read_records::<LayerRecord>(&self.path("layers"))? {
            if !layers.contains(&layer.diff_id) && remove_if_free(&path)? {
                freed_bytes += layer.unpacked_bytes;
                continue;
            }
            directories.insert(self.layer_path(&layer.diff_id));
            blobs.insert(layer.blob);
        }
        sync_directory(&self.path("layers"))?;
        for path in entries(&self.layer_directory())? {
            if !directories.contains(&path) {
                session.discard(&path)?;
            }
        }
        for path in entries(&self.path("mounted"))? {
            if !path
                .file_name()
                .is_some_and(|layer| directories.contains(&self.layer_directory().join(layer)))
            {
                remove_file(&path)?;
            }
        }
        for path in entries(&self.path("blobs"))? {
            let digest =
                path.file_name().and_then(OsStr::to_str).map(|hex| Digest::parse(&format!("sha256:{hex}")));
            if !matches!(digest, Some(Ok(digest)) if blobs.contains(&digest)) {
                freed_bytes += path.symlink_metadata().map_or(0, |metadata| metadata.len());
                session.discard(&path)?;
            }
        }
        Ok(freed_bytes)
    }
}

/// A name by digest goes with the last tag of its repository: people remove what they pulled, not what podling noted.
fn goes_with(other: &RefRecord, removed: &RefRecord) -> bool {
    if other.reference == removed.reference {
        return true;
    }
    match (Reference::parse(&other.reference), Reference::parse(&removed.reference)) {
        (Ok(other), Ok(removed)) => {
            other.digest().is_some()
                && (other.registry(), other.repository()) == (removed.registry(), removed.repository())
        }
        _ => false,
    }
}

fn untag(names: Vec<(PathBuf, RefRecord)>) -> Result<Vec<String>, Error> {
    let mut untagged = Vec::new();
    for (path, record) in names {
        remove_file(&path)?;
        untagged.push(record.reference);
    }
    untagged.sort();
    Ok(untagged)
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a record unless somebody holds it.
fn remove_if_free(path: &Path) -> Result<bool, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    if !try_flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(Error::io("lock", path))? {
        return Ok(false);
    }
    remove_file(path)?;
    Ok(true)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    entries.map(|entry| Ok(entry.map_err(Error::io("list", directory))?.path())).collect()
}

/// The processes that have `path` open. Looked up in /proc only when a removal is refused; /proc/locks would name the
/// process that took the lock, which may be gone while its descriptor lives on in a shim.
fn holders(path: &Path) -> Vec<Holder> {
    let Ok(wanted) = path.metadata() else { return Vec::new() };
    let mut found = Vec::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = descriptors
            .filter_map(|fd| fd.path().metadata().ok())
            .any(|metadata| (metadata.dev(), metadata.ino()) == (wanted.dev(), wanted.ino()));
        if holds {
            found.push(Holder { pid, command: command_line(&process.path()) });
        }
    }
    found
}

fn command_line(process: &Path) -> String {
    let bytes = fs::read(process.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "a process".to_owned() } else { text }
}
