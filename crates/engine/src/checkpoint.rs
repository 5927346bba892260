//! What the engine must find again after it was killed: the admitted Pod and its lifecycle Memory.
//!
//! One directory per Pod, two JSON files, each replaced by rename, so a reader sees the old or the new one.
//! Saved before acting. Nothing is fsynced: a checkpoint has to survive the daemon, not the machine; after a
//! power cut the Pod is decided anew from what is observed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lifecycle::Memory;
use model::pod::Pod;

/// The checkpoint of one Pod.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    directory: PathBuf,
    saved: Vec<u8>,
}

impl Checkpoint {
    /// Begins the checkpoint of a Pod in its data directory.
    pub(crate) fn create(directory: &Path, pod: &Pod) -> io::Result<Checkpoint> {
        replace(&directory.join("pod.json"), &serde_json::to_vec(pod)?)?;
        Ok(Checkpoint { directory: directory.to_owned(), saved: Vec::new() })
    }

    /// Saves the Memory, if it differs from what was saved last.
    pub(crate) fn save(&mut self, memory: &Memory) -> io::Result<()> {
        let bytes = serde_json::to_vec(memory)?;
        if bytes != self.saved {
            replace(&self.directory.join("memory.json"), &bytes)?;
            self.saved = bytes;
        }
        Ok(())
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let fresh = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}
