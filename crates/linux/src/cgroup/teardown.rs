//! Killing what is in a cgroup, waiting until it is empty, removing it.
//!
//! With a v2 tree (also the twin of a hybrid machine) killing is one write and emptiness is an event. Pure
//! v1 has neither: processes are killed while frozen, and their pidfds are waited for.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::group::write_file;
use super::usage::read_if_exists;
use super::{Cgroup, CgroupError, Hierarchy};

/// The pause between two looks when the kernel has no event to offer (see `wait_for_a_death`).
const NO_EVENT_PAUSE: Duration = Duration::from_millis(1);

impl Cgroup {
    /// Sends SIGKILL to everything in the cgroup and below. Does not wait.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(directory) = self.v2_directory() {
            let path = directory.join("cgroup.kill");
            match write_file(&path, "1") {
                Err(error) if is_gone(&error) => {}
                outcome => outcome.map_err(|error| CgroupError::write(&path, "1", error))?,
            }
        }
        if self.is_v2() {
            return Ok(());
        }
        self.kill_v1()
    }

    /// Kills by PID what the v1 hierarchies list, frozen meanwhile so that nothing forks away.
    fn kill_v1(&self) -> Result<(), CgroupError> {
        let pids = self.procs_below()?;
        if pids.is_empty() {
            return Ok(());
        }
        let freezer = self.controller_directory("freezer").ok().map(|dir| dir.join("freezer.state"));
        let frozen = freezer.filter(|state| write_file(state, "FROZEN").is_ok());
        let killed = self.kill_listed();
        if let Some(state) = frozen {
            write_file(&state, "THAWED").map_err(|error| CgroupError::write(&state, "THAWED", error))?;
        }
        killed
    }

    /// A PID read from a file may have been given to somebody else since. So: pidfd first, then a second
    /// look at the list, then the signal through the pidfd.
    fn kill_listed(&self) -> Result<(), CgroupError> {
        let held: Vec<(u32, OwnedFd)> =
            self.procs_below()?.into_iter().filter_map(|pid| Some((pid, pidfd(pid)?))).collect();
        let still: HashSet<u32> = self.procs_below()?.into_iter().collect();
        for (pid, fd) in held {
            if still.contains(&pid) {
                // ESRCH: it died by itself.
                let _ = rustix::process::pidfd_send_signal(&fd, Signal::KILL);
            }
        }
        Ok(())
    }

    /// Kills everything in the cgroup and below, and waits until nothing is left.
    pub fn kill_until_empty(&self, timeout: Duration) -> Result<(), CgroupError> {
        self.kill_all()?;
        self.wait_for_the_killed(timeout)
    }

    /// Waits until no process is left, killing again what forked away from [`Cgroup::kill_all`] on v1.
    fn wait_for_the_killed(&self, timeout: Duration) -> Result<(), CgroupError> {
        let started = Instant::now();
        loop {
            // Before the look at the processes: what happens after it must still be an event.
            let events = self.events()?;
            let pids = self.procs_below()?;
            if pids.is_empty() && !events.as_ref().is_some_and(|events| events.populated) {
                return Ok(());
            }
            let waited = started.elapsed();
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                let (path, waited_ms) = (self.path.clone(), waited.as_millis());
                return Err(CgroupError::StillPopulated { path, pids, waited_ms });
            };
            wait_for_a_death(&pids, events.as_ref(), left);
            if !self.is_v2() {
                self.kill_v1()?;
            }
        }
    }

    /// Removes the cgroup and whatever a container has created below it, in every hierarchy. The processes
    /// must have been killed; those that are still dying are waited for. Not existing is success.
    pub fn remove(&self, timeout: Duration) -> Result<(), CgroupError> {
        let started = Instant::now();
        loop {
            let failures: Vec<CgroupError> =
                self.all_directories().filter_map(|directory| remove_tree(directory).err()).collect();
            if failures.is_empty() {
                return Ok(());
            }
            let left = timeout.saturating_sub(started.elapsed());
            let busy = failures.iter().any(|failure| {
                matches!(failure, CgroupError::Path { source, .. } if source.raw_os_error() == Some(libc::EBUSY))
            });
            if !busy || left.is_zero() {
                return Err(CgroupError::Remove { path: self.path.clone(), failures });
            }
            self.wait_for_the_killed(left)?;
            // Empty and yet busy: only while a dead task is being taken out, see `wait_for_a_death`.
            std::thread::sleep(NO_EVENT_PAUSE.min(left));
        }
    }

    /// Removes the parents (`/podling/NODE`, `/podling`) as far as they are empty. Others may be using them
    /// or creating children at this moment, so a refusal is no error.
    pub fn remove_empty_parents(&self, hierarchy: &Hierarchy) {
        for root in hierarchy.roots() {
            let directory = root.join(self.path.trim_start_matches('/'));
            for parent in directory.ancestors().skip(1).take_while(|ancestor| *ancestor != root) {
                match fs::remove_dir(parent) {
                    Err(error) if !is_gone(&error) => break,
                    _ => {}
                }
            }
        }
    }

    /// The processes in this cgroup and below.
    pub fn procs_below(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = self.procs()?;
        let v1 = if self.is_v2() { None } else { Some(self.controller_directory("pids")?) };
        for top in self.v2_directory().into_iter().chain(v1) {
            for directory in descendants(top).into_iter().skip(1) {
                let text = read_if_exists(&directory.join("cgroup.procs"))?.unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// `cgroup.events` as it is now, or nothing where the kernel has no such file.
    fn events(&self) -> Result<Option<Events>, CgroupError> {
        let Some(directory) = self.v2_directory() else { return Ok(None) };
        let path = directory.join("cgroup.events");
        let read = || -> io::Result<Events> {
            let mut file = fs::File::open(&path)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Events { populated: text.lines().any(|line| line == "populated 1"), file })
        };
        match read() {
            Ok(events) => Ok(Some(events)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(CgroupError::at("read", &path, error)),
        }
    }
}

/// A state of `cgroup.events`, and the descriptor that tells of the next one. Only a descriptor that was
/// read can: polling a fresh one returns at once (fs/kernfs/file.c, `kernfs_generic_poll`).
struct Events {
    file: fs::File,
    populated: bool,
}

/// Blocks until one of the processes ends, or the kernel says that the cgroup's state changed.
fn wait_for_a_death(pids: &[u32], events: Option<&Events>, timeout: Duration) {
    let dying: Vec<OwnedFd> = pids.iter().filter_map(|pid| pidfd(*pid)).collect();
    let mut polled: Vec<PollFd<'_>> = dying.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let already = Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&already)).unwrap_or(0) > 0 {
        // Ended but still listed; their pidfds would end every wait at once.
        polled.clear();
    }
    if let Some(events) = events.filter(|events| events.populated) {
        polled.push(PollFd::from_borrowed_fd(events.file.as_fd(), PollFlags::PRI));
    }
    if polled.is_empty() {
        // The kernel takes a dead task out of its cgroup a moment after telling its parent (since 6.19 only
        // after the last context switch), and v1 has no event for that.
        std::thread::sleep(NO_EVENT_PAUSE.min(timeout));
    } else {
        let limit = Timespec::try_from(timeout).ok();
        let _ = rustix::event::poll(&mut polled, limit.as_ref());
    }
}

/// A pidfd, or nothing when the process is gone.
fn pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The directory and all directories below it, parents before children. Vanishing ones are skipped.
fn descendants(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let children: Vec<PathBuf> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// rmdir, children first; the common case, no children, is one call.
fn remove_tree(top: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(top) {
        Ok(()) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(_) => {}
    }
    let mut first_failure = None;
    for directory in descendants(top).iter().rev() {
        match fs::remove_dir(directory) {
            Err(error) if !is_gone(&error) => {
                first_failure.get_or_insert(CgroupError::at("remove cgroup", directory, error));
            }
            _ => {}
        }
    }
    first_failure.map_or(Ok(()), Err)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
