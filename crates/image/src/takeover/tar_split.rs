//! An archive put together again from its files and what lay between them (github.com/vbatts/tar-split, `tar/storage`).
//!
//! The second is a gzipped stream of JSON objects: segments with bytes of the archive, and files by name and size.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use serde_json::StreamDeserializer;
use serde_json::de::IoRead;

use crate::error::Error;

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(Deserialize)]
struct Entry {
    r#type: u8,
    #[serde(default)]
    name: String,
    /// Base64 of a name that is not UTF-8.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

type Entries = StreamDeserializer<'static, IoRead<BufReader<GzDecoder<File>>>, Entry>;

/// Reads as the archive.
pub(super) struct SplitArchive {
    entries: Entries,
    files: OwnedFd,
    current: Current,
}

enum Current {
    Segment(Cursor<Vec<u8>>),
    File { file: File, left: u64 },
}

impl SplitArchive {
    pub(super) fn open(rest: &Path, files: &Path) -> Result<Self, Error> {
        let rest_file = File::open(rest).map_err(Error::io("open", rest))?;
        let reader = BufReader::new(GzDecoder::new(rest_file));
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let files_fd = rustix::fs::open(files, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(Error::io("open", files))?;
        let entries = serde_json::Deserializer::from_reader(reader).into_iter();
        Ok(Self { entries, files: files_fd, current: Current::Segment(Cursor::default()) })
    }

    /// `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(entry) = self.entries.next() else { return Ok(false) };
        let entry = entry.map_err(io::Error::from)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "its list of parts is damaged");
        match entry.r#type {
            SEGMENT => {
                let payload = entry.payload.unwrap_or_default();
                let bytes = STANDARD.decode(payload).map_err(|_| bad())?;
                self.current = Current::Segment(Cursor::new(bytes));
            }
            FILE if entry.size > 0 => {
                let name = match &entry.name_raw {
                    Some(raw) => STANDARD.decode(raw).map_err(|_| bad())?,
                    None => entry.name.into_bytes(),
                };
                let file = self.file(std::ffi::OsString::from_vec(name).as_ref())?;
                self.current = Current::File { file, left: entry.size };
            }
            FILE => {}
            _ => return Err(bad()),
        }
        Ok(true)
    }

    /// A layer's links may lead anywhere: they are followed within it.
    fn file(&self, name: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let named = |error: rustix::io::Errno| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("{}: {error}", name.display()))
        };
        let fd = rustix::fs::openat2(&self.files, name, flags, Mode::empty(), resolve).map_err(named)?;
        let stat = rustix::fs::fstat(&fd).map_err(named)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no file", name.display())));
        }
        Ok(fd.into())
    }
}

impl Read for SplitArchive {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.current {
                Current::Segment(segment) => segment.read(out)?,
                Current::File { left: 0, .. } => 0,
                Current::File { file, left } => {
                    let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
                    let read = file.read(&mut out[..wanted])?;
                    if read == 0 && wanted > 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "a file has become shorter",
                        ));
                    }
                    *left -= read as u64;
                    read
                }
            };
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}
