//! The journal of one Pod on disk: `<data-dir>/journals/UID/`, two files of JSON lines (docs/journal.md).
//!
//! Entries are collected in memory and written when the Pod's task has nothing else to do, at most [`DELAY`] after the
//! first of them, and at once when much has come together. So a Pod's start never waits for the journal, and a podling
//! that is killed loses what the last [`DELAY`] held; one that panics loses nothing. Nothing is fsynced.
//!
//! A journal that cannot be written (disk full) stops no Pod: what could not be written is dropped, and the next entry
//! that can be says that something is missing.

mod read;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifecycle::invariants::Violation;
use lifecycle::journal::{Entry, Recorder, bare};
use lifecycle::{Decision, Fact, Memory, Now, Observation, Policy};
use model::pod::Pod;
use tokio::time::Instant;

pub use read::{JournalError, Recorded, find, keep, read_file};

/// How long an entry may wait to be written.
const DELAY: Duration = Duration::from_millis(100);
/// Entries that are written without waiting any longer.
const BUFFER_BYTES: usize = 64 * 1024;
/// A file that has grown to this is followed by another; the one before that is removed.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// The directory of all journals in a node's data directory.
const DIRECTORY: &str = "journals";
/// The newest entries.
const CURRENT: &str = "journal.jsonl";
/// Those before.
const EARLIER: &str = "journal.1.jsonl";

/// The journal of a Pod that is being written.
pub(crate) struct Journal {
    directory: PathBuf,
    recorder: Recorder,
    /// Whole lines that are not written yet. The first is a beginning whenever there is no file.
    buffer: Vec<u8>,
    /// When they must be written.
    due_at: Option<Instant>,
    file: Option<File>,
    written_bytes: u64,
    is_failing: bool,
}

impl Journal {
    /// The journal of a Pod that was admitted at `now`. Writes nothing yet.
    pub(crate) fn new(data_dir: &Path, pod: &Pod, policy: Policy, now: Now) -> Journal {
        let (recorder, began) = Recorder::admitted(pod, policy, now);
        let mut journal = Journal {
            directory: data_dir.join(DIRECTORY).join(&pod.meta.uid),
            recorder,
            buffer: Vec::new(),
            due_at: None,
            file: None,
            written_bytes: 0,
            is_failing: false,
        };
        journal.append(&began);
        journal
    }

    /// What is asked for is another Pod from here on.
    pub(crate) fn asked(&mut self, pod: &Pod) {
        self.append(&Entry::Asked(Box::new(bare(pod))));
    }

    /// A fact was noted. An observation is kept with its round instead.
    pub(crate) fn noted(&mut self, fact: &Fact, now: Now, took_nanos: Option<u64>) {
        if !matches!(fact, Fact::Observed(_)) {
            self.append(&Entry::Noted { now, fact: Cow::Borrowed(fact), took_nanos });
        }
    }

    /// A round was decided, and its actions were begun.
    pub(crate) fn round(&mut self, seen: Observation, decision: &Decision, now: Now) {
        let round = self.recorder.round(seen, decision, now);
        self.append(&round);
    }

    /// An invariant was broken.
    pub(crate) fn breach(&mut self, violation: &Violation, now: Now) {
        let what = Cow::Borrowed(violation.what.as_str());
        self.append(&Entry::Breach { now, number: violation.number, what });
    }

    /// Where it is written.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// When [`Journal::flush`] must be called, if nothing else happens before.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether so much has come together that it should be written now.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER_BYTES
    }

    /// Writes what has come together. To be called between rounds: a segment that is full is followed by one that
    /// begins with the Memory as it is now.
    pub(crate) fn flush(&mut self, pod: &Pod, memory: &Memory, now: Now) {
        if self.buffer.is_empty() {
            self.due_at = None;
            return;
        }
        let has_gap = match self.write() {
            Ok(()) if self.written_bytes < SEGMENT_BYTES => return,
            Ok(()) => false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(directory = %self.directory.display(), %error, "cannot write the journal");
                }
                true
            }
        };
        self.file = None;
        self.written_bytes = 0;
        let began = self.recorder.continued(pod, memory, now, has_gap);
        append_to(&mut self.buffer, &began);
    }

    /// Removes what was written of a Pod that is gone.
    pub(crate) fn remove(mut self) {
        self.buffer.clear();
        let removed = linux::tree::remove(&self.directory);
        if let Err(error) = removed {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the journal");
        }
        // The last Pod takes the directory of all journals along; it is not empty before.
        if let Some(parent) = self.directory.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }

    fn append(&mut self, entry: &Entry<'_>) {
        append_to(&mut self.buffer, entry);
        if self.due_at.is_none() {
            self.due_at = Some(Instant::now() + DELAY);
        }
    }

    /// Writes the buffer, and empties it whether or not that succeeds.
    fn write(&mut self) -> io::Result<()> {
        self.due_at = None;
        let bytes = std::mem::take(&mut self.buffer);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(begin_segment(&self.directory)?),
        };
        if let Err(error) = file.write_all(&bytes) {
            // A line that was written in part is taken back.
            let _ = file.set_len(self.written_bytes);
            return Err(error);
        }
        self.written_bytes += bytes.len() as u64;
        self.is_failing = false;
        Ok(())
    }
}

impl Drop for Journal {
    /// What is left to write when a task ends before its Pod, also by a panic.
    fn drop(&mut self) {
        if !self.buffer.is_empty()
            && let Err(error) = self.write()
        {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot write the end of the journal");
        }
    }
}

/// One entry as one line. The types are plain data, so writing them to memory cannot fail; if it did, the line would
/// be missing and the replay would tell.
fn append_to(buffer: &mut Vec<u8>, entry: &Entry<'_>) {
    let before = buffer.len();
    if let Err(error) = serde_json::to_writer(&mut *buffer, entry) {
        buffer.truncate(before);
        tracing::error!(%error, "an entry of a journal has no JSON");
        return;
    }
    buffer.push(b'\n');
}

/// Sets the current file aside, in the place of the one before, and begins an empty one, for root's eyes only.
fn begin_segment(directory: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let current = directory.join(CURRENT);
    match std::fs::rename(&current, directory.join(EARLIER)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(current)
}
