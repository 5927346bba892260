//! Which node of this machine has which range. The kernel's state is the truth: a range is claimed while its
//! gateway stands on the loopback link (see [`crate::plan`]), so a crash can leave no claim behind that is
//! not also visible there. A file beside it only says whose it is; without the address it means nothing.
//!
//! Looking for a free range and claiming it happens under a lock of the whole machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use linux::netlink::Socket;

use crate::address::{self, Range};
use crate::{Error, link, plan};

/// The claims of one network namespace (normally the machine's own).
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    dir: PathBuf,
    /// Distinguishes hosts that share the directory but not the network.
    netns_inode: u64,
}

/// The machine-wide lock; dropping it unlocks.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Claims {
    /// Names the claims of the calling thread's network namespace in this directory.
    pub(crate) fn new(dir: &Path) -> Result<Self, Error> {
        let inode = linux::netns::current().and_then(|netns| Ok(rustix::fs::fstat(&netns)?.st_ino));
        let netns_inode =
            inode.map_err(|source| Error::kernel("reading which network namespace this is", source))?;
        Ok(Self { dir: dir.to_owned(), netns_inode })
    }

    /// Waits for the lock. Its holders need it for a millisecond.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = self.dir.join("lock");
        let locked = || {
            std::fs::create_dir_all(&self.dir)?;
            let file = File::options().create(true).append(true).open(&path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(Lock { _file: file })
        };
        locked().map_err(|source| Error::Claims { path: path.clone(), source })
    }

    /// The range this node has already: claimed before the daemon was last restarted.
    pub(crate) fn of_node(&self, socket: &mut Socket, run_dir: &str) -> Result<Option<Range>, Error> {
        let survey =
            link::survey(socket).map_err(|source| Error::kernel("reading addresses and routes", source))?;
        Ok(survey.claimed.into_iter().find(|range| self.owner(*range).as_deref() == Some(run_dir)))
    }

    /// Claims a range for the node: the wanted one, or a free one.
    pub(crate) fn take(
        &self,
        socket: &mut Socket,
        run_dir: &str,
        wanted: Option<Range>,
        _lock: &Lock,
    ) -> Result<Range, Error> {
        let survey =
            link::survey(socket).map_err(|source| Error::kernel("reading addresses and routes", source))?;
        let range = match wanted {
            Some(range) => match survey.taken.iter().find(|other| other.overlaps(range)) {
                Some(other) => {
                    return Err(Error::RangeTaken { range, other: *other, owner: self.owner(*other) });
                }
                None => range,
            },
            None => address::choose_range(&survey.taken, plan::hash(&[run_dir.as_bytes()]))
                .ok_or(Error::NoFreeRange)?,
        };
        // Whose it is must be known before it is visible.
        let path = self.path(range);
        std::fs::write(&path, run_dir).map_err(|source| Error::Claims { path, source })?;
        link::ensure_range(socket, range)
            .map_err(|source| Error::kernel(format!("claiming the range {range}"), source))?;
        Ok(range)
    }

    /// Gives a range back. What is gone already is no error.
    pub(crate) fn release(&self, socket: &mut Socket, range: Range, _lock: &Lock) -> Result<(), Error> {
        link::remove_range(socket, range)
            .map_err(|source| Error::kernel(format!("giving back the range {range}"), source))?;
        let path = self.path(range);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| Error::Claims { path, source }),
        }
    }

    /// The run directory of the node that has the range, as far as the file tells.
    pub(crate) fn owner(&self, range: Range) -> Option<String> {
        std::fs::read_to_string(self.path(range)).ok()
    }

    /// The ranges that have a file.
    pub(crate) fn files(&self) -> Vec<Range> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let prefix = format!("{}-", self.netns_inode);
        let range = |name: &str| {
            let (network, prefix_len) = name.strip_prefix(&prefix)?.rsplit_once('-')?;
            format!("{network}/{prefix_len}").parse().ok()
        };
        entries.flatten().filter_map(|entry| range(entry.file_name().to_str()?)).collect()
    }

    fn path(&self, range: Range) -> PathBuf {
        self.dir.join(format!("{}-{}-{}", self.netns_inode, range.network(), range.prefix_len()))
    }
}
