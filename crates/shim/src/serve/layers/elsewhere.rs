//! Where else a layer is mounted. A copy of a mount shares the pages that were read through it; a second mount of the same
//! image has its own, and reads everything anew. So whichever Pods use an image at the same time read it once.
//!
//! Each shim that mounted a layer says so in a file beside the layers, `mounted/<layer>`, one line for each: its process,
//! when that began, the inode of the image, and where it is mounted in its namespace. The lines are hints: a process that is
//! gone or became another is seen, and then the image is simply mounted. Only root may write there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use linux::clone::SingleThreaded;
use linux::mount_namespace;

/// Lines of the dead are dropped when there are so many bytes of them and others.
const LENGTH_MAX_BYTES: u64 = 16 * 1024;
/// So many shims are asked; the newest is alive in nearly all cases.
const ASKED_MAX: usize = 16;

/// A shim that has the layer mounted.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    pid: i32,
    /// In ticks since boot: with it, a process ID names one process only.
    started_ticks: u64,
    inode: u64,
    target: PathBuf,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started_ticks: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
            target: words.next().map(PathBuf::from).filter(|path| path.is_absolute())?,
        })
    }

    fn encode(&self) -> String {
        format!("{} {} {} {}\n", self.pid, self.started_ticks, self.inode, self.target.display())
    }

    fn lives(&self) -> bool {
        started_ticks(self.pid).is_some_and(|ticks| ticks == self.started_ticks)
    }
}

/// A copy of another shim's mount of `image`. None: nobody has one, or it is not to be had.
pub(super) fn copy(image: &Path, single: SingleThreaded) -> Option<OwnedFd> {
    let mut text = String::new();
    File::open(file_of(image)?).ok()?.read_to_string(&mut text).ok()?;
    let inode = fs::metadata(image).ok()?.ino();
    let own = mount_namespace::of_process(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let lines = text.lines().rev().filter_map(Line::parse).filter(|line| line.inode == inode);
    lines.take(ASKED_MAX).find_map(|line| {
        let namespace = mount_namespace::of_process(line.pid).ok()?;
        // Looked at with the namespace in hand: it is of the process that wrote the line, or of none.
        if !line.lives() {
            return None;
        }
        mount_namespace::copy_mount(namespace.as_fd(), &line.target, own.as_fd(), single).ok()
    })
}

/// Says that this process has `image` mounted at `target`.
pub(super) fn note(image: &Path, target: &Path) -> io::Result<()> {
    let Some(path) = file_of(image) else { return Ok(()) };
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let Some(started_ticks) = started_ticks(pid) else { return Ok(()) };
    let line = Line { pid, started_ticks, inode: fs::metadata(image)?.ino(), target: target.to_owned() };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
    if file.metadata()?.len() > LENGTH_MAX_BYTES {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let alive: String =
            text.lines().filter_map(Line::parse).filter(Line::lives).map(|line| line.encode()).collect();
        // What another shim adds between these two calls is lost, which costs its image a second mount.
        file.set_len(0)?;
        file.write_all(alive.as_bytes())?;
    }
    file.write_all(line.encode().as_bytes())
}

/// `<store>/mounted/<layer>` of `<store>/l/<layer>`.
fn file_of(image: &Path) -> Option<PathBuf> {
    Some(image.parent()?.parent()?.join("mounted").join(image.file_name()?))
}

/// When a process began: the 22nd field of /proc/PID/stat (proc(5)), counted behind the name, which may contain anything.
fn started_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written_and_nothing_else_does() {
        let line = Line { pid: 7, started_ticks: 99, inode: 5, target: "/run/a pod/layers/0".into() };
        assert_eq!(Line::parse(line.encode().trim_end()), Some(line));
        for wrong in ["", "7", "7 99 5", "7 99 5 relative", "x 99 5 /a", "7 99 -5 /a"] {
            assert_eq!(Line::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let pid = std::process::id() as i32;
        let mut line = Line { pid, started_ticks: started_ticks(pid).unwrap(), inode: 0, target: "/".into() };
        assert!(line.lives());
        line.started_ticks += 1;
        assert!(!line.lives());
    }

    #[test]
    fn lines_of_the_dead_are_dropped_when_there_are_many() {
        let store = tempfile::tempdir().unwrap();
        for directory in ["l", "mounted"] {
            fs::create_dir(store.path().join(directory)).unwrap();
        }
        let image = store.path().join("l/layer");
        fs::write(&image, "").unwrap();
        let dead = Line { pid: i32::MAX, started_ticks: 1, inode: 1, target: "/x".into() }.encode();
        fs::write(file_of(&image).unwrap(), dead.repeat(2000)).unwrap();
        note(&image, Path::new("/here")).unwrap();
        note(&image, Path::new("/there")).unwrap();
        let text = fs::read_to_string(file_of(&image).unwrap()).unwrap();
        let targets: Vec<_> = text.lines().filter_map(Line::parse).map(|line| line.target).collect();
        assert_eq!(targets, [PathBuf::from("/here"), PathBuf::from("/there")]);
    }
}
