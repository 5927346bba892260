//! Follows the log files of containers as they grow, and gives out whole lines. Reading across rotation and hearing of
//! growth are the engine's; nothing polls: without a change nothing is read.

use std::io;
use std::path::Path;

use engine::logs::cri::{self, Joiner, Stream};
use engine::logs::{Changes, Files};

use super::cast::Member;
use crate::console::Line;

/// What is read of one file before the others have their turn.
const TURN_BYTES: usize = 1 << 20;
/// One read.
const CHUNK_BYTES: usize = 64 << 10;

/// The log files of a run.
pub(super) struct Logs {
    changes: Changes,
    followers: Vec<Follower>,
}

/// One incarnation of a container, whose file is followed.
struct Follower {
    /// Where it is watched.
    watch: i32,
    pod: String,
    member: Member,
    attempt: u32,
    files: Files,
    /// The beginning of a record whose end is not written yet.
    begun: Vec<u8>,
    joiner: Joiner,
    /// Whether there may be something to read.
    is_dirty: bool,
}

impl Logs {
    pub(super) fn new() -> io::Result<Logs> {
        Ok(Logs { changes: Changes::new()?, followers: Vec::new() })
    }

    /// Begins to follow a file, which need not exist yet.
    pub(super) fn follow(&mut self, pod: &str, member: &Member, attempt: u32, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory)?;
        let watch = self.changes.add(directory)?;
        self.followers.push(Follower {
            watch,
            pod: pod.to_owned(),
            member: member.clone(),
            attempt,
            files: Files::new(path.to_owned()),
            begun: Vec::new(),
            joiner: Joiner::default(),
            // What was written before the watch raises no event.
            is_dirty: true,
        });
        Ok(())
    }

    /// Waits until some file may have grown. Cancel-safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let followers = &mut self.followers;
        let note = |change: engine::logs::Change| {
            for follower in followers.iter_mut() {
                follower.is_dirty |= change.concerns(follower.watch);
            }
        };
        self.changes.next(note).await
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
            match self.files.read(&mut chunk)? {
                0 => return Ok(false),
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
}

#[cfg(test)]
mod tests;
