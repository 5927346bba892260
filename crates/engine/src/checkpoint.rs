//! What the engine must find again after it was killed: the admitted Pod and its lifecycle Memory.
//!
//! One directory per Pod. `pod.json` is replaced by rename, so a reader sees the old or the new one. `memory.jsonl`
//! grows by a line for each save, and the last whole line counts: a save is one write(2) to an open file, where
//! creating and renaming one costs ten times as much and makes ext4 write the old one out (ext4(5), `auto_da_alloc`).
//! When it is long it is begun anew, by rename.
//!
//! Saved before acting. Nothing is fsynced: a checkpoint has to survive the daemon, not the machine; after a
//! power cut the Pod is decided anew from what is observed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lifecycle::Memory;
use model::pod::Pod;

/// How long `memory.jsonl` becomes before it is begun anew.
const MAX_MEMORY_BYTES: usize = 256 * 1024;

/// The checkpoint of one Pod.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    memory_path: PathBuf,
    memory: File,
    written: usize,
    saved: Vec<u8>,
}

impl Checkpoint {
    /// Begins the checkpoint of a Pod in its data directory.
    pub(crate) fn create(directory: &Path, pod: &Pod) -> io::Result<Checkpoint> {
        replace(&directory.join("pod.json"), &serde_json::to_vec(pod)?)?;
        let memory_path = directory.join("memory.jsonl");
        let memory = create(&memory_path)?;
        Ok(Checkpoint { memory_path, memory, written: 0, saved: Vec::new() })
    }

    /// Saves the Pod after an edit.
    pub(crate) fn save_pod(&self, pod: &Pod) -> io::Result<()> {
        replace(&self.memory_path.with_file_name("pod.json"), &serde_json::to_vec(pod)?).map(drop)
    }

    /// Saves the Memory, if it differs from what was saved last.
    pub(crate) fn save(&mut self, memory: &Memory) -> io::Result<()> {
        let mut line = serde_json::to_vec(memory)?;
        line.push(b'\n');
        if line == self.saved {
            return Ok(());
        }
        if self.written + line.len() > MAX_MEMORY_BYTES {
            self.memory = replace(&self.memory_path, &line)?;
            self.written = 0;
        } else if let Err(error) = self.memory.write_all(&line) {
            // What was written of the line must not run into the next one.
            let _ = self.memory.set_len(self.written as u64);
            return Err(error);
        }
        self.written += line.len();
        self.saved = line;
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
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&fresh)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
