//! The thread that brings the log to the medium, and then answers those who wait for it.
//!
//! It takes all that waits, fsyncs once, and answers: what is committed during an fsync shares the next one, so the number of
//! fsyncs follows the disk and not the number of writers, and the writer itself waits for none. A log is one sequence, so an
//! fsync covers whatever was committed before it began, whoever did it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use crate::error::Error;
use crate::memory::Shared;
use crate::operation::Committed;
use crate::writer::Answer;

/// What was committed and has to be on the medium before it is answered.
#[derive(Debug)]
pub(crate) struct Unsynced {
    /// How many commits had been made.
    pub(crate) written: u64,
    /// Who waits; nobody, when relaxed writes have waited long enough.
    pub(crate) answers: Vec<(Answer, Committed)>,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Syncer {
    /// The log, opened beside SQLite to be fsynced without a commit. SQLite takes no locks on this file, so closing a second
    /// descriptor of it drops none (fcntl(2)).
    pub(crate) log: File,
    pub(crate) file: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) waiting: Receiver<Unsynced>,
}

impl Syncer {
    /// Runs until the writer ends; whoever waits then is answered before.
    pub(crate) fn run(self) {
        while let Ok(first) = self.waiting.recv() {
            let mut all = vec![first];
            all.extend(self.waiting.try_iter());
            let written = all.iter().map(|unsynced| unsynced.written).max().unwrap_or_default();
            let failed = self.sync(written).err();
            for (answer, committed) in all.into_iter().flat_map(|unsynced| unsynced.answers) {
                let result = match &failed {
                    Some(reason) => Err(Error::Failed { file: self.file.clone(), reason: reason.clone() }),
                    None => Ok(committed),
                };
                // Whoever does not wait for the answer has it done nevertheless.
                let _ = answer.send(result);
            }
        }
    }

    /// Brings that many commits to the medium, unless they are there. After a failure nothing is tried again: the kernel tells it
    /// once, and a second fsync would only seem to succeed (fsync(2)).
    fn sync(&self, written: u64) -> Result<(), Arc<str>> {
        if let Some(reason) = self.shared.failed.get() {
            return Err(reason.clone());
        }
        if self.shared.synced.load(Ordering::Acquire) >= written {
            return Ok(());
        }
        match self.log.sync_data() {
            Ok(()) => {
                self.shared.synced.fetch_max(written, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => Err(self.shared.fail(&self.file, &format!("fsync: {error}"))),
        }
    }
}
