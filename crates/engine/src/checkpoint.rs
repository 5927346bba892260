//! What the engine must find again after it was killed: the admitted Pod, its lifecycle Memory, and the ledger by which
//! its decisions are held against the invariants.
//!
//! One directory per Pod. `pod.json` is replaced by rename, so a reader sees the old or the new one. `memory.jsonl`
//! grows by a line for each save, and the last whole line counts: a save is one write(2) to an open file, where
//! creating and renaming one costs ten times as much and makes ext4 write the old one out (ext4(5), `auto_da_alloc`).
//! When it is long it is begun anew, by rename.
//!
//! Saved before acting. Nothing is fsynced: a checkpoint has to survive the daemon, not the machine; after a
//! power cut the Pod is decided anew from what is observed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use lifecycle::Memory;
use lifecycle::invariants::Ledger;
use model::pod::Pod;
use serde::{Deserialize, Serialize};

/// How long `memory.jsonl` becomes before it is begun anew.
const MAX_MEMORY_BYTES: usize = 256 * 1024;

const POD: &str = "pod.json";
const MEMORY: &str = "memory.jsonl";

/// The checkpoint of one Pod.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    memory_path: PathBuf,
    memory: File,
    written: usize,
    /// What was saved last, without the rounds of probes.
    saved: Option<Memory>,
}

/// One line of `memory.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    memory: &'a Memory,
    ledger: &'a Ledger,
}

/// The same, read back.
#[derive(Debug, Deserialize)]
struct Remembered {
    memory: Memory,
    ledger: Ledger,
}

/// A Pod as a daemon that died has left it.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) pod: Pod,
    pub(crate) memory: Memory,
    pub(crate) ledger: Ledger,
}

impl Saved {
    /// Reads the checkpoint in a Pod's data directory. None: nothing was begun of that Pod, or nothing can be understood of
    /// what was written.
    pub(crate) fn load(directory: &Path) -> io::Result<Option<Saved>> {
        let (Some(pod), Some(lines)) = (read(&directory.join(POD))?, read(&directory.join(MEMORY))?) else {
            return Ok(None);
        };
        let Ok(pod) = serde_json::from_slice(&pod) else { return Ok(None) };
        // The last one may be cut off: the daemon died while it wrote it, and had not acted on it yet.
        let mut remembered = lines.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let whole = remembered.find_map(|line| serde_json::from_slice::<Remembered>(line).ok());
        Ok(whole.map(|Remembered { memory, ledger }| Saved { pod, memory, ledger }))
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

impl Checkpoint {
    /// Begins the checkpoint of a Pod in its data directory, or goes on with one whose daemon died.
    pub(crate) fn begin(directory: &Path, pod: &Pod) -> io::Result<Checkpoint> {
        replace(&directory.join(POD), &serde_json::to_vec(pod)?)?;
        let memory_path = directory.join(MEMORY);
        let memory = create(&memory_path)?;
        // So long that the first save begins the file anew: its end may be half a line.
        let written = match memory.metadata()?.len() {
            0 => 0,
            _ => MAX_MEMORY_BYTES,
        };
        Ok(Checkpoint { memory_path, memory, written, saved: None })
    }

    /// Saves the Pod after an edit.
    pub(crate) fn save_pod(&self, pod: &Pod) -> io::Result<()> {
        replace(&self.memory_path.with_file_name(POD), &serde_json::to_vec(pod)?).map(drop)
    }

    /// Saves Memory and ledger, unless nothing but rounds of probes has passed since they were saved last: a daemon that goes
    /// on from there is like one that was away during these rounds, and a Pod that is only probed costs no writing.
    pub(crate) fn save(&mut self, memory: &Memory, ledger: &Ledger) -> io::Result<()> {
        let saved = memory.without_rounds();
        if self.saved.as_ref() == Some(&saved) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&Line { memory, ledger })?;
        line.push(b'\n');
        if self.written + line.len() > MAX_MEMORY_BYTES {
            self.memory = replace(&self.memory_path, &line)?;
            self.written = 0;
        } else if let Err(error) = self.memory.write_all(&line) {
            // What was written of the line must not run into the next one.
            let _ = self.memory.set_len(self.written as u64);
            return Err(error);
        }
        self.written += line.len();
        self.saved = Some(saved);
        Ok(())
    }
}

/// For appending, so that a file that was cut is gone on with at its new end.
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&fresh)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
