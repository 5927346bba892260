//! Reads journals: those of a data directory, and files in which they were kept.
//!
//! A journal may come from anywhere, so nothing of it is trusted: it has a limit of size, and what is no journal is an
//! error that names file and line. Only the end may be cut off, as a kill or a full disk leaves it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use lifecycle::journal::{Entry, FORMAT, Head, Start};

use super::{CURRENT, DIRECTORY, EARLIER};

/// No journal is larger: two segments for each Pod of a run.
const LIMIT_BYTES: u64 = 256 * 1024 * 1024;
/// How often a segment may be followed by the next one while both are being read.
const TRIES: usize = 5;

/// The journal of one Pod.
#[derive(Debug)]
pub struct Recorded {
    /// The file it was read from, or its directory.
    pub path: PathBuf,
    /// Its entries; the first is a beginning.
    pub entries: Vec<Entry<'static>>,
    /// The last line was cut off and is not among the entries.
    pub is_cut_short: bool,
}

impl Recorded {
    /// The first entry.
    pub fn head(&self) -> Option<&Head<'static>> {
        match self.entries.first() {
            Some(Entry::Began(head)) => Some(head),
            _ => None,
        }
    }

    /// `namespace/name` of the Pod.
    pub fn pod(&self) -> String {
        self.head()
            .map_or_else(String::new, |head| format!("{}/{}", head.pod.meta.namespace, head.pod.meta.name))
    }

    /// UID of the Pod.
    pub fn uid(&self) -> &str {
        self.head().map_or("", |head| &head.pod.meta.uid)
    }
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The filesystem refused.
    #[error("cannot read the journal {path}")]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Larger than any journal.
    #[error("{path} is larger than any journal ({} MiB)", LIMIT_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is in it.
    #[error("{path} is empty: no entry was written to it")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is no entry.
    #[error("{path}, line {line}: this is no entry of a journal")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The first line is an entry, but no beginning.
    #[error("{path}, line 1: a journal begins with an entry `began`, and this one does not")]
    NoBeginning {
        /// The file.
        path: PathBuf,
    },
    /// A podling of another time wrote it.
    #[error(
        "{path}, line {line}: the journal has format {found}, written by podling {podling}; this podling reads format \
         {FORMAT}"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Its number.
        found: u32,
        /// The version that wrote it.
        podling: String,
    },
    /// It is written faster than it can be read.
    #[error("the journal in {path} was replaced again and again while it was read; try once more")]
    Moving {
        /// The directory.
        path: PathBuf,
    },
}

/// The journals of the Pods of a node, by its data directory, in no particular order; one that cannot be read is an
/// error in its place. A node without Pods has none.
pub fn find(data_dir: &Path) -> Result<Vec<Result<Recorded, JournalError>>, JournalError> {
    let directory = data_dir.join(DIRECTORY);
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| read_directory(&entry.path()).transpose()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(JournalError::Read { path: directory, source }),
    }
}

/// The journals in a file, one after the other: what [`keep`] wrote, or one segment alone.
pub fn read_file(path: &Path) -> Result<Vec<Recorded>, JournalError> {
    let file = File::open(path).map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
    let segment = parse(path, &read_limited(path, file)?)?;
    let mut journals: Vec<Recorded> = Vec::new();
    for entry in segment.entries {
        let begins_another = match &entry {
            Entry::Began(head) => journals.last().is_none_or(|journal| journal.uid() != head.pod.meta.uid),
            _ => false,
        };
        if begins_another {
            journals.push(Recorded { path: path.to_owned(), entries: Vec::new(), is_cut_short: false });
        }
        if let Some(journal) = journals.last_mut() {
            journal.entries.push(entry);
        }
    }
    if let Some(last) = journals.last_mut() {
        last.is_cut_short = segment.is_cut_short;
    }
    Ok(journals)
}

/// Appends the journals of these Pods to a file, so that they outlive the data directory. A Pod without a journal is
/// passed over.
pub fn keep<'a>(
    data_dir: &Path,
    uids: impl IntoIterator<Item = &'a str>,
    file: &mut File,
) -> Result<(), JournalError> {
    for uid in uids {
        let directory = data_dir.join(DIRECTORY).join(uid);
        for name in [EARLIER, CURRENT] {
            let path = directory.join(name);
            let failed = |source| JournalError::Read { path: path.clone(), source };
            match File::open(&path) {
                Ok(mut segment) => io::copy(&mut segment, file).map_err(failed)?,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
        }
    }
    file.flush().map_err(|source| JournalError::Read { path: data_dir.to_owned(), source })
}

/// The entries of one file.
struct Segment {
    entries: Vec<Entry<'static>>,
    is_cut_short: bool,
}

impl Segment {
    fn head(&self) -> Option<&Head<'static>> {
        match self.entries.first() {
            Some(Entry::Began(head)) => Some(head),
            _ => None,
        }
    }
}

/// Both segments of a journal that may be written at the same time; nothing while none is there.
fn read_directory(directory: &Path) -> Result<Option<Recorded>, JournalError> {
    let path = directory.to_owned();
    for _ in 0..TRIES {
        let earlier = read_segment(&directory.join(EARLIER))?;
        let current = read_segment(&directory.join(CURRENT))?;
        let (mut entries, is_cut_short) = match (earlier, current) {
            (None, None) => return Ok(None),
            (Some(only), None) | (None, Some(only)) => (only.entries, only.is_cut_short),
            (Some(earlier), Some(current)) if follows(&earlier, &current) => {
                let entries = earlier.entries.into_iter().chain(current.entries).collect();
                (entries, current.is_cut_short)
            }
            // One was replaced by the next between the two looks.
            (Some(_), Some(_)) => continue,
        };
        entries.shrink_to_fit();
        return Ok(Some(Recorded { path, entries, is_cut_short }));
    }
    Err(JournalError::Moving { path })
}

/// Whether nothing but what the beginning of `current` tells is missing between the two.
fn follows(earlier: &Segment, current: &Segment) -> bool {
    let (Some(earlier), Some(current)) = (earlier.head(), current.head()) else { return true };
    current.start != Start::Continued || current.segment == earlier.segment.saturating_add(1)
}

fn read_segment(path: &Path) -> Result<Option<Segment>, JournalError> {
    match File::open(path) {
        Ok(file) => {
            let bytes = read_limited(path, file)?;
            // One that has just been begun.
            if bytes.is_empty() { Ok(None) } else { parse(path, &bytes).map(Some) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(JournalError::Read { path: path.to_owned(), source }),
    }
}

fn read_limited(path: &Path, file: File) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    let read = file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(JournalError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Every line an entry, the first a beginning. A last line without its end is left out.
fn parse(path: &Path, bytes: &[u8]) -> Result<Segment, JournalError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let is_cut_short = whole < bytes.len();
    let mut entries = Vec::new();
    for (index, text) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (path, line) = (path.to_owned(), index + 1);
        if index == 0 {
            check_format(&path, text)?;
        }
        let entry: Entry<'static> = match serde_json::from_slice(text) {
            Ok(entry) => entry,
            Err(source) => return Err(JournalError::Line { path, line, source }),
        };
        match &entry {
            Entry::Began(head) if head.format != FORMAT => {
                let (found, podling) = (head.format, head.podling.to_string());
                return Err(JournalError::Format { path, line, found, podling });
            }
            Entry::Began(_) => {}
            _ if index == 0 => return Err(JournalError::NoBeginning { path }),
            _ => {}
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(JournalError::Empty { path: path.to_owned() });
    }
    Ok(Segment { entries, is_cut_short })
}

/// Another format may have other fields, so its number is looked at before the rest.
fn check_format(path: &Path, line: &[u8]) -> Result<(), JournalError> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { return Ok(()) };
    let head = &value["began"];
    let found = head["format"].as_u64().and_then(|format| u32::try_from(format).ok());
    match found {
        Some(found) if found != FORMAT => {
            let podling = head["podling"].as_str().unwrap_or("of an unknown version").to_owned();
            Err(JournalError::Format { path: path.to_owned(), line: 1, found, podling })
        }
        _ => Ok(()),
    }
}
