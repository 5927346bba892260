//! The files of one incarnation, read as one stream: what was rotated away comes before what is written now.
//!
//! A file is read until its end; then, if another file has taken its name, the rotated files between the two are read in
//! order, so that no line is lost that is still on disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A place in the log of one incarnation, and what follows it.
#[derive(Debug)]
pub struct Files {
    /// The name of the newest file.
    path: PathBuf,
    /// The file being read; none until it exists.
    file: Option<File>,
}

impl Files {
    /// From the oldest file on. None need exist yet.
    pub fn new(path: PathBuf) -> Files {
        Files { path, file: None }
    }

    /// From a place in one of them.
    pub(crate) fn at(path: PathBuf, file: File) -> Files {
        Files { path, file: Some(file) }
    }

    /// Reads what comes next; 0 is the end as of now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.file.is_none() && !self.open_next()? {
                return Ok(0);
            }
            let Some(file) = &mut self.file else { return Ok(0) };
            let length = file.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            // The name must be looked at before the end is looked at again: a file that has a successor is complete,
            // and what was written before the successor came is read now.
            if !self.has_successor()? {
                return Ok(0);
            }
            let Some(file) = &mut self.file else { return Ok(0) };
            let length = file.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            if !self.open_next()? {
                return Ok(0);
            }
        }
    }

    /// Whether the name leads to another file than the one that is being read.
    fn has_successor(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        match std::fs::metadata(&self.path) {
            Ok(newest) => Ok(newest.ino() != file.metadata()?.ino()),
            // Between the renaming of the old file and the making of the new one.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the file after the one that was read, which may itself be a rotated one. `false`: there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        let current = match &self.file {
            Some(file) => Some(file.metadata()?.ino()),
            None => None,
        };
        let mut opened = open_all(&self.path)?;
        let next = match opened.iter().position(|(inode, _)| Some(*inode) == current) {
            Some(position) => position + 1,
            // Nothing was read yet, or what was read is deleted: the oldest file that is left.
            None => 0,
        };
        if next >= opened.len() {
            return Ok(false);
        }
        self.file = Some(opened.swap_remove(next).1);
        Ok(true)
    }
}

/// Every file of an incarnation with its inode, oldest first. Files may be rotated away while they are looked at; those
/// are skipped.
pub(super) fn open_all(path: &Path) -> io::Result<Vec<(u64, File)>> {
    let mut paths = rotated(path)?;
    paths.push(path.to_owned());
    let mut opened: Vec<(u64, File)> = Vec::new();
    for path in paths {
        if let Ok(file) = File::open(path)
            && let Ok(metadata) = file.metadata()
            // One that was renamed between the listing and here is there already.
            && opened.iter().all(|(inode, _)| *inode != metadata.ino())
        {
            opened.push((metadata.ino(), file));
        }
    }
    Ok(opened)
}

/// The rotated files beside a log, oldest first: the name and a time, which sorts as text.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(directory) = path.parent() else { return Ok(Vec::new()) };
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
