//! Follows the log files of containers as they grow: inotify tells when, reading tells what.
//!
//! A file is read until its end; then, if another file has taken its name, the rotated files between the two
//! are read in order, so that no line is lost that is still on disk. Nothing polls: without a change nothing
//! is read.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::cast::Member;
use super::cri::{self, Joiner, Stream};
use crate::console::Line;

/// What is read of one file before the others have their turn.
const TURN_BYTES: usize = 1 << 20;
/// One read.
const CHUNK_BYTES: usize = 64 << 10;

/// The log files of a run.
pub(super) struct Logs {
    inotify: AsyncFd<OwnedFd>,
    followers: Vec<Follower>,
}

/// One incarnation of a container, whose file is followed.
struct Follower {
    /// Where it is watched.
    watch: i32,
    pod: String,
    member: Member,
    attempt: u32,
    /// The name of the newest file.
    path: PathBuf,
    /// The file being read; none until it exists.
    file: Option<File>,
    /// The beginning of a record whose end is not written yet.
    begun: Vec<u8>,
    joiner: Joiner,
    /// Whether there may be something to read.
    is_dirty: bool,
}

impl Logs {
    pub(super) fn new() -> io::Result<Logs> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        Ok(Logs { inotify: watched(inotify)?, followers: Vec::new() })
    }

    /// Begins to follow a file, which need not exist yet.
    pub(super) fn follow(&mut self, pod: &str, member: &Member, attempt: u32, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory)?;
        let changes = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(self.inotify.get_ref(), directory, changes)?;
        self.followers.push(Follower {
            watch,
            pod: pod.to_owned(),
            member: member.clone(),
            attempt,
            path: path.to_owned(),
            file: None,
            begun: Vec::new(),
            joiner: Joiner::default(),
            // What was written before the watch raises no event.
            is_dirty: true,
        });
        Ok(())
    }

    /// Waits until some file may have grown. Cancel-safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut changes = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            let mut is_any = false;
            loop {
                match changes.next() {
                    Ok(change) => {
                        // -1 is an overflow of the queue: everything may have changed.
                        for follower in &mut self.followers {
                            follower.is_dirty |= change.wd() == follower.watch || change.wd() == -1;
                        }
                        is_any = true;
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            guard.clear_ready();
            if is_any {
                return Ok(());
            }
        }
    }

    /// Reads what has grown, a bounded amount of it; returns whether there is more.
    pub(super) fn read(&mut self, mut each: impl FnMut(&Line<'_>) -> io::Result<()>) -> io::Result<bool> {
        let mut is_more = false;
        for follower in self.followers.iter_mut().filter(|follower| follower.is_dirty) {
            follower.is_dirty = follower.read(TURN_BYTES, &mut each)?;
            is_more |= follower.is_dirty;
        }
        Ok(is_more)
    }

    /// Reads all of a container's incarnations to their ends and follows them no longer: it has ended.
    /// Without a name, all containers of the Pod.
    pub(super) fn finish(
        &mut self,
        uid: &str,
        container: Option<&str>,
        mut each: impl FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_it = |follower: &Follower| {
            follower.member.uid == uid && container.is_none_or(|name| follower.member.name == name)
        };
        for follower in self.followers.iter_mut().filter(|follower| is_it(follower)) {
            while follower.read(TURN_BYTES, &mut each)? {}
            follower.finish(&mut each)?;
        }
        self.followers.retain(|follower| !is_it(follower));
        Ok(())
    }
}

impl Follower {
    /// Reads up to `budget_bytes`; returns whether there is more.
    fn read(
        &mut self,
        budget_bytes: usize,
        each: &mut impl FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = budget_bytes;
        while left > 0 {
            if self.file.is_none() && !self.open_next()? {
                return Ok(false);
            }
            let Some(file) = &mut self.file else { return Ok(false) };
            match file.read(&mut chunk)? {
                0 => {
                    // The name must be looked at before the end is looked at again: a file that has a successor
                    // is complete, and what was written before the successor came is read now.
                    if !self.has_successor()? {
                        return Ok(false);
                    }
                    let Some(file) = &mut self.file else { return Ok(false) };
                    match file.read(&mut chunk)? {
                        0 => _ = self.open_next()?,
                        length => self.take(&chunk[..length], each)?,
                    }
                }
                length => {
                    left = left.saturating_sub(length);
                    self.take(&chunk[..length], each)?;
                }
            }
        }
        Ok(true)
    }

    /// Takes bytes of the file: prints the records that are complete, keeps the beginning of the next.
    fn take(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                self.take_record(&bytes[..end], each)?;
            } else {
                let mut record = std::mem::take(&mut self.begun);
                record.extend_from_slice(&bytes[..end]);
                self.take_record(&record, each)?;
            }
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    fn take_record(
        &mut self,
        record: &[u8],
        each: &mut impl FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        // Only the shim writes these files; what is no record is shown rather than lost.
        let whole = cri::Record { time: "", stream: Stream::Stdout, is_partial: false, text: record };
        let record = cri::parse(record).unwrap_or(whole);
        let mut result = Ok(());
        let mut joiner = std::mem::take(&mut self.joiner);
        joiner.take(&record, |stream, time, text| result = each(&self.line(stream, time, text)));
        self.joiner = joiner;
        result
    }

    /// Prints what was begun and will not be ended.
    fn finish(&mut self, each: &mut impl FnMut(&Line<'_>) -> io::Result<()>) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            self.take_record(&begun, each)?;
        }
        let mut result = Ok(());
        let mut joiner = std::mem::take(&mut self.joiner);
        joiner.finish(|stream, time, text| result = each(&self.line(stream, time, text)));
        result
    }

    fn line<'a>(&'a self, stream: Stream, time: &'a str, text: &'a [u8]) -> Line<'a> {
        Line {
            pod: &self.pod,
            label: &self.member.label,
            index: self.member.index,
            container: &self.member.name,
            attempt: self.attempt,
            stream: stream.as_str(),
            time,
            text,
        }
    }

    /// Whether the name leads to another file than the one that is being read.
    fn has_successor(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        match std::fs::metadata(&self.path) {
            Ok(newest) => Ok(newest.ino() != file.metadata()?.ino()),
            // Between the renaming of the old file and the making of the new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the file after the one that was read, which may itself be a rotated one. `false`: there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        let mut files = rotated(&self.path)?;
        files.push(self.path.clone());
        let current = match &self.file {
            Some(file) => Some(file.metadata()?.ino()),
            None => None,
        };
        // Files may be rotated away while they are looked at; those are skipped.
        let mut opened: Vec<(u64, File)> = Vec::new();
        for path in files {
            if let Ok(file) = File::open(path)
                && let Ok(metadata) = file.metadata()
            {
                opened.push((metadata.ino(), file));
            }
        }
        let next = match opened.iter().position(|(inode, _)| Some(*inode) == current) {
            Some(position) => position + 1,
            // Nothing was read yet, or what was read is deleted: the oldest file that is left.
            None => 0,
        };
        match opened.into_iter().nth(next) {
            Some((_, file)) => {
                self.file = Some(file);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The descriptor as one that can be awaited.
#[expect(deprecated, reason = "its successor is unsafe only for types that may give away their descriptor")]
fn watched(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// The rotated files beside a log, oldest first: the name and a time, which sorts as text.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(directory) = path.parent() else { return Ok(Vec::new()) };
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
