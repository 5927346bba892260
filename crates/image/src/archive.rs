//! The files of an image archive by name, whether they lie in a folder or in a tar file, packed or not.
//!
//! A tar file is indexed once and then read by offset, so that layers can be read by several threads. What cannot be read
//! by offset (packed archives, pipes) is first unpacked into a file without a name in the staging directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::compression::{Compression, decompress};
use crate::digest::read_limited;
use crate::error::Error;
use crate::progress::{Progress, Step};
use crate::staging::Session;
use crate::tar_reader::{Kind, Source, TarReader};

/// JSON documents larger than this are not images'.
pub(crate) const DOCUMENT_MAX_BYTES: u64 = 8 << 20;
const FILES_MAX: usize = 100_000;
/// Archives are read in pieces of this size.
const COPY_BYTES: usize = 128 * 1024;
const LINKS_MAX: usize = 10;

/// An image archive, opened.
pub(crate) enum Archive {
    Folder(OwnedFd),
    Tar { file: Arc<File>, index: HashMap<String, Place> },
}

/// Where a name of a tar file leads.
pub(crate) enum Place {
    At { offset: u64, bytes: u64 },
    Link(String),
}

/// A stretch of a file, read without moving the file's position.
pub(crate) struct Stretch {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Stretch {
    pub(crate) fn whole(file: File, bytes: u64) -> Self {
        Self { file: Arc::new(file), offset: 0, left: bytes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.left
    }
}

impl Read for Stretch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = self.left.min(out.len() as u64) as usize;
        let read = self.file.read_at(&mut out[..wanted], self.offset)?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Source for Stretch {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.left {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
        }
        self.offset += bytes;
        self.left -= bytes;
        Ok(())
    }
}

impl Archive {
    /// A folder in which blobs lie as in an OCI layout.
    pub(crate) fn open_folder(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self::Folder(file.into()))
    }

    pub(crate) fn open(path: &Path, session: &Session, progress: &dyn Progress) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        if metadata.is_dir() {
            return Ok(Self::Folder(file.into()));
        }
        let unreadable = |error| Error::io("read", path)(error);
        if metadata.is_file() {
            let mut start = [0; 6];
            let read = file.read_at(&mut start, 0).map_err(unreadable)?;
            let (compression, _) = decompress(&start[..read]).map_err(unreadable)?;
            if compression == Compression::Plain {
                return Self::index(path, file, metadata.len());
            }
        }
        let step =
            Step::begin(progress, "unpacking the archive", metadata.is_file().then_some(metadata.len()));
        let counted = BufReader::with_capacity(COPY_BYTES, Counted { file, step: &step });
        let (_, mut plain) = decompress(counted).map_err(unreadable)?;
        let (copy_path, mut copy) = session.fresh_file()?;
        // The file needs no name: it must not outlive this process.
        std::fs::remove_file(&copy_path).map_err(Error::io("remove", &copy_path))?;
        let bytes = copy_stream(&mut plain, &mut copy, session.store().limits.layer_bytes)
            .map_err(Error::io("unpack", path))?;
        Self::index(path, copy, bytes)
    }

    fn index(path: &Path, file: File, bytes: u64) -> Result<Self, Error> {
        let file = Arc::new(file);
        let mut reader = TarReader::new(Stretch { file: Arc::clone(&file), offset: 0, left: bytes });
        let mut index = HashMap::new();
        while let Some(entry) =
            reader.next_entry().map_err(|error| not_readable(path, error, index.is_empty()))?
        {
            let name = clean(&entry.path);
            let place = match entry.kind {
                Kind::Regular if entry.sparse.is_none() => {
                    Place::At { offset: reader.position(), bytes: entry.size_bytes }
                }
                // docker save, before version 25, writes a layer that appears twice as a link to the first.
                Kind::Symlink => Place::Link(beside(&name, &entry.link)),
                Kind::HardLink => Place::Link(clean(&entry.link)),
                _ => continue,
            };
            index.insert(name, place);
            if index.len() > FILES_MAX {
                return Err(Error::invalid(
                    path.display().to_string(),
                    "too many files for an image archive",
                ));
            }
        }
        Ok(Self::Tar { file, index })
    }

    /// Opens the file `name`, or `None` when there is none.
    pub(crate) fn file(&self, name: &str) -> Result<Option<Stretch>, Error> {
        match self {
            Self::Folder(folder) => open_in_folder(folder, name).map_err(Error::io("open", name)),
            Self::Tar { file, index } => {
                let mut name = clean(name.as_bytes());
                for _ in 0..LINKS_MAX {
                    match index.get(&name) {
                        Some(Place::At { offset, bytes }) => {
                            return Ok(Some(Stretch {
                                file: Arc::clone(file),
                                offset: *offset,
                                left: *bytes,
                            }));
                        }
                        Some(Place::Link(target)) => name = target.clone(),
                        None => return Ok(None),
                    }
                }
                Err(Error::invalid(name, "too many links in the archive"))
            }
        }
    }

    /// The file `name`, which has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<Stretch, Error> {
        let missing = || Error::invalid(name, "the archive does not contain it (is it cut off?)");
        self.file(name)?.ok_or_else(missing)
    }

    /// All of a JSON document.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        read_limited(self.required(name)?, DOCUMENT_MAX_BYTES).map_err(Error::io("read", name))
    }
}

/// A file whose very first block is no header was never an archive; later it is a damaged one.
fn not_readable(path: &Path, error: io::Error, is_first: bool) -> Error {
    if !is_first {
        return Error::io("read the image archive", path)(error);
    }
    let problem =
        format!("it is no image archive (neither a tar file nor one packed with gzip or zstd): {error}");
    Error::invalid(path.display().to_string(), problem)
}

struct Counted<'a> {
    file: File,
    step: &'a Step<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(out)?;
        self.step.advance(read as u64);
        Ok(read)
    }
}

fn copy_stream(from: &mut dyn Read, to: &mut File, limit_bytes: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("it is cut off or damaged ({error})")));
            }
        };
        total += read as u64;
        if total > limit_bytes {
            let problem = format!("it unpacks to more than the {limit_bytes} bytes allowed");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        to.write_all(&buffer[..read]).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("no copy of it can be kept in the image directory ({error})"),
            )
        })?;
    }
}

/// Opens a regular file below a folder that somebody else may be changing: links are followed only within it, and a FIFO
/// does not block.
fn open_in_folder(folder: &OwnedFd, name: &str) -> io::Result<Option<Stretch>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let fd = match rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(Some(Stretch::whole(fd.into(), u64::try_from(stat.st_size).unwrap_or(0))))
}

/// A name without `./` and doubled slashes. `..` needs no care: names are only compared.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

/// Where a relative link of `name` leads, within the archive.
fn beside(name: &str, link: &[u8]) -> String {
    let link = String::from_utf8_lossy(link);
    let mut parts: Vec<&str> = if link.starts_with('/') { Vec::new() } else { name.split('/').collect() };
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_within_the_archive() {
        assert_eq!(beside("abc/layer.tar", b"../def/layer.tar"), "def/layer.tar");
        assert_eq!(beside("a", b"../../../etc/passwd"), "etc/passwd");
        assert_eq!(beside("a/b", b"/etc/passwd"), "etc/passwd");
        assert_eq!(clean(b"./blobs//sha256/x"), "blobs/sha256/x");
    }
}
