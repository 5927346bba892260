//! The journal of one Pod on disk: `<data-dir>/journals/UID/`, two files of JSON lines (docs/journal.md).
//!
//! What happens is collected as it is and becomes text only when it is written: when the Pod's task has nothing else to
//! do, at most `DELAY` after the first entry (or with the next round, if that is due within `PATIENCE`), and at once when
//! much has come together. So a Pod's start never waits for the journal, and a podling that is killed loses what the last
//! second held; one that panics loses nothing. Nothing is fsynced.
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
use std::sync::Arc;
use std::time::Duration;

use lifecycle::invariants::Violation;
use lifecycle::journal::{Entry, Recorder, bare};
use lifecycle::{Decision, Fact, Memory, Now, Observation, Policy};
use model::pod::Pod;
use tokio::time::Instant;

pub use read::{JournalError, Recorded, find, keep, read_file};

/// How long an entry may wait to be written.
const DELAY: Duration = Duration::from_millis(100);
/// How much longer it may wait for a round that is due by then: what happens each second is written each second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// So many entries are written without waiting any longer; they take about a megabyte of memory at most.
const MOST_WAITING: usize = 96;
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
    waiting: Vec<Waiting>,
    /// When what waits must be written.
    due_at: Option<Instant>,
    /// The beginning of a segment for which there is no file yet.
    beginning: Vec<u8>,
    file: Option<File>,
    written_bytes: u64,
    is_failing: bool,
}

/// What becomes an entry when it is written.
enum Waiting {
    Admitted { pod: Arc<Pod>, policy: Policy, now: Now },
    Asked(Arc<Pod>),
    Noted { fact: Fact, now: Now, took_nanos: Option<u64> },
    Round(Box<Decided>),
    Breach { violation: Violation, now: Now },
}

/// A round, to be written.
struct Decided {
    seen: Observation,
    decision: Decision,
    now: Now,
}

impl Journal {
    /// The journal of a Pod that was admitted at `now`. Writes nothing yet.
    pub(crate) fn new(data_dir: &Path, pod: Arc<Pod>, policy: Policy, now: Now) -> Journal {
        let mut journal = Journal {
            directory: data_dir.join(DIRECTORY).join(&pod.meta.uid),
            recorder: Recorder::default(),
            waiting: Vec::new(),
            due_at: None,
            beginning: Vec::new(),
            file: None,
            written_bytes: 0,
            is_failing: false,
        };
        journal.push(Waiting::Admitted { pod, policy, now });
        journal
    }

    /// The journal of a Pod that a daemon began which died; what it had not written yet is missing.
    pub(crate) fn resumed(data_dir: &Path, pod: &Pod, memory: &Memory, now: Now) -> Journal {
        let mut journal = Journal {
            directory: data_dir.join(DIRECTORY).join(&pod.meta.uid),
            recorder: Recorder::default(),
            waiting: Vec::new(),
            due_at: None,
            beginning: Vec::new(),
            file: None,
            written_bytes: 0,
            is_failing: false,
        };
        let began = journal.recorder.continued(pod, memory, now, true);
        append(&mut journal.beginning, &began);
        journal
    }

    /// What is asked for is another Pod from here on.
    pub(crate) fn asked(&mut self, pod: Arc<Pod>) {
        self.push(Waiting::Asked(pod));
    }

    /// A fact was noted. An observation is kept with its round instead.
    pub(crate) fn noted(&mut self, fact: Fact, now: Now, took_nanos: Option<u64>) {
        if !matches!(fact, Fact::Observed(_)) {
            self.push(Waiting::Noted { fact, now, took_nanos });
        }
    }

    /// A round was decided, and its actions were begun.
    pub(crate) fn round(&mut self, seen: Observation, decision: Decision, now: Now) {
        self.push(Waiting::Round(Box::new(Decided { seen, decision, now })));
    }

    /// An invariant was broken.
    pub(crate) fn breach(&mut self, violation: Violation, now: Now) {
        self.push(Waiting::Breach { violation, now });
    }

    /// Where it is written.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// When [`Journal::flush`] must be called, if nothing else happens before.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether that time has come.
    pub(crate) fn is_due(&self) -> bool {
        self.due_at.is_some_and(|due_at| due_at <= Instant::now())
    }

    /// Whether so much has come together that it should be written now.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// Writes what has come together. To be called between rounds: a segment that is full is followed by one that
    /// begins with the Memory as it is now.
    pub(crate) fn flush(&mut self, pod: &Pod, memory: &Memory, now: Now) {
        if self.waiting.is_empty() {
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
        append(&mut self.beginning, &began);
    }

    /// Removes what was written of a Pod that is gone.
    pub(crate) fn remove(mut self) {
        self.waiting.clear();
        let removed = linux::tree::remove(&self.directory);
        if let Err(error) = removed {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the journal");
        }
        // The last Pod takes the directory of all journals along; it is not empty before.
        if let Some(parent) = self.directory.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
        if self.due_at.is_none() {
            self.due_at = Some(Instant::now() + DELAY);
        }
    }

    /// Writes all that waits, and keeps nothing of it whether or not that succeeds.
    fn write(&mut self) -> io::Result<()> {
        self.due_at = None;
        let mut bytes = std::mem::take(&mut self.beginning);
        for waiting in std::mem::take(&mut self.waiting) {
            self.append_waiting(&mut bytes, waiting);
        }
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

    fn append_waiting(&mut self, bytes: &mut Vec<u8>, waiting: Waiting) {
        match waiting {
            Waiting::Admitted { pod, policy, now } => {
                let (recorder, began) = Recorder::admitted(&pod, policy, now);
                self.recorder = recorder;
                append(bytes, &began);
            }
            Waiting::Asked(pod) => append(bytes, &Entry::Asked(Box::new(bare(&pod)))),
            Waiting::Noted { fact, now, took_nanos } => {
                append(bytes, &Entry::Noted { now, fact: Cow::Owned(fact), took_nanos });
            }
            Waiting::Round(round) => {
                let Decided { seen, decision, now } = *round;
                append(bytes, &self.recorder.round(seen, &decision, now));
            }
            Waiting::Breach { violation: Violation { number, what }, now } => {
                append(bytes, &Entry::Breach { now, number, what: Cow::Owned(what) });
            }
        }
    }
}

impl Drop for Journal {
    /// What is left to write when a task ends before its Pod, also by a panic.
    fn drop(&mut self) {
        if !self.waiting.is_empty()
            && let Err(error) = self.write()
        {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot write the end of the journal");
        }
    }
}

/// One entry as one line. The types are plain data, so writing them to memory cannot fail; if it did, the line would
/// be missing and the replay would tell.
fn append(buffer: &mut Vec<u8>, entry: &Entry<'_>) {
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
