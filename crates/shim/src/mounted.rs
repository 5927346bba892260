//! Where else a layer is mounted. A copy of a mount shares the pages that were read through it; a second mount of the same
//! image has its own, and reads everything anew. So whichever Pods use an image at the same time read it once, and those of
//! a node that keeps layers mounted, also one after the other.
//!
//! Whoever mounted a layer says so in a file beside the layers, `mounted/<layer>`, one line for each: who it is, its thread,
//! when that began, the inode of the image, and where it is mounted in its namespace. The lines are hints: a thread that is
//! gone or became another is seen, and so is a layer that is mounted no more; then the image is simply mounted. Only root
//! may write there.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use linux::mount_namespace::{self, CopyError, OwnRoot};

/// Lines of the dead are dropped when there are so many bytes of them and others.
const LENGTH_MAX_BYTES: u64 = 16 * 1024;
/// So many holders are asked; the first is alive in nearly all cases.
const ASKED_MAX: usize = 16;
/// statfs(2), of a mounted layer.
const EROFS_SUPER_MAGIC: u64 = 0xE0F5_E1E2;

/// Who has a layer mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// As long as its Pod is there.
    Shim,
    /// As long as the node works and the layer is in the store. It is asked first.
    Node,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shim => "shim",
            Self::Node => "node",
        })
    }
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Shim, Self::Node].into_iter().find(|holder| holder.to_string() == text).ok_or(())
    }
}

/// A place where the layer is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    holder: Holder,
    tid: i32,
    /// In ticks since boot: with it, a thread ID names one thread only.
    started_ticks: u64,
    inode: u64,
    target: PathBuf,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        Some(Self {
            holder: words.next()?.parse().ok()?,
            tid: words.next()?.parse().ok()?,
            started_ticks: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
            target: words.next().map(PathBuf::from).filter(|path| path.is_absolute())?,
        })
    }

    fn encode(&self) -> String {
        let Self { holder, tid, started_ticks, inode, target } = self;
        format!("{holder} {tid} {started_ticks} {inode} {}\n", target.display())
    }

    fn lives(&self) -> bool {
        started_ticks(self.tid).is_some_and(|ticks| ticks == self.started_ticks)
    }
}

/// The calling thread stands in the mount namespace of another and has to end.
#[derive(Debug)]
pub struct Stranded;

/// A copy of somebody's mount of `image`. `Ok(None)`: nobody has one, or it is not to be had.
pub fn copy(image: &Path, proof: OwnRoot) -> Result<Option<OwnedFd>, Stranded> {
    let Some((lines, own)) = places(image).zip(mount_namespace::own().ok()) else { return Ok(None) };
    for line in lines.iter().take(ASKED_MAX) {
        let Ok(namespace) = mount_namespace::of_thread(line.tid) else { continue };
        // Looked at with the namespace in hand: it is of the thread that wrote the line, or of none.
        if !line.lives() {
            continue;
        }
        match mount_namespace::copy_mount(namespace.as_fd(), &line.target, own.as_fd(), proof) {
            Ok(copy) if is_layer(&copy) => return Ok(Some(copy)),
            // What the place is without the layer that was mounted there.
            Ok(_) | Err(CopyError::Refused(_)) => {}
            Err(CopyError::Stranded(_)) => return Err(Stranded),
        }
    }
    Ok(None)
}

/// Where `image` is said to be mounted, in the order of asking: a node before shims, and of each the newest first.
fn places(image: &Path) -> Option<Vec<Line>> {
    let mut text = String::new();
    File::open(file_of(image)?).ok()?.read_to_string(&mut text).ok()?;
    let inode = fs::metadata(image).ok()?.ino();
    let lines = text.lines().rev().filter_map(Line::parse).filter(|line| line.inode == inode);
    let (mut lines, shims): (Vec<_>, Vec<_>) = lines.partition(|line| line.holder == Holder::Node);
    lines.extend(shims);
    Some(lines)
}

fn is_layer(mount: &OwnedFd) -> bool {
    rustix::fs::fstatfs(mount).is_ok_and(|stat| stat.f_type as u64 == EROFS_SUPER_MAGIC)
}

/// Says that the calling thread has `image` mounted at `target`.
pub fn note(image: &Path, target: &Path, holder: Holder) -> io::Result<()> {
    let Some(path) = file_of(image) else { return Ok(()) };
    let tid = rustix::thread::gettid().as_raw_nonzero().get();
    let Some(started_ticks) = started_ticks(tid) else { return Ok(()) };
    let line =
        Line { holder, tid, started_ticks, inode: fs::metadata(image)?.ino(), target: target.to_owned() };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
    if file.metadata()?.len() > LENGTH_MAX_BYTES {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let alive: String =
            text.lines().filter_map(Line::parse).filter(Line::lives).map(|line| line.encode()).collect();
        // What another holder adds between these two calls is lost, which costs its image a second mount.
        file.set_len(0)?;
        file.write_all(alive.as_bytes())?;
    }
    file.write_all(line.encode().as_bytes())
}

/// `<store>/mounted/<layer>` of `<store>/l/<layer>`.
fn file_of(image: &Path) -> Option<PathBuf> {
    Some(image.parent()?.parent()?.join("mounted").join(image.file_name()?))
}

/// When a thread began: the 22nd field of /proc/TID/stat (proc(5)), counted behind the name, which may contain anything.
fn started_ticks(tid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(holder: Holder, tid: i32, target: &str) -> Line {
        Line { holder, tid, started_ticks: started_ticks(tid).unwrap_or(99), inode: 5, target: target.into() }
    }

    /// A store of one layer, of which this is said.
    fn store(lines: impl Fn(u64) -> String) -> (tempfile::TempDir, PathBuf) {
        let store = tempfile::tempdir().unwrap();
        for directory in ["l", "mounted"] {
            fs::create_dir(store.path().join(directory)).unwrap();
        }
        let image = store.path().join("l/layer");
        fs::write(&image, "").unwrap();
        fs::write(file_of(&image).unwrap(), lines(image.metadata().unwrap().ino())).unwrap();
        (store, image)
    }

    #[test]
    fn a_line_reads_as_it_was_written_and_nothing_else_does() {
        for holder in [Holder::Shim, Holder::Node] {
            let line = line(holder, 7, "/run/a pod/layers/0");
            assert_eq!(Line::parse(line.encode().trim_end()), Some(line));
        }
        for wrong in [
            "",
            "shim 7",
            "shim 7 99 5",
            "shim 7 99 5 relative",
            "shim x 99 5 /a",
            "shim 7 99 -5 /a",
            "7 99 5 /a",
        ] {
            assert_eq!(Line::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_thread_is_told_from_a_later_one_of_its_number() {
        let tid = std::thread::spawn(|| {
            let mut line = line(Holder::Shim, rustix::thread::gettid().as_raw_nonzero().get(), "/");
            assert!(line.lives());
            line.started_ticks += 1;
            assert!(!line.lives());
            line.tid
        });
        let mut line = line(Holder::Shim, std::process::id() as i32, "/");
        line.tid = tid.join().unwrap();
        assert!(!line.lives(), "it has ended");
    }

    #[test]
    fn a_node_is_asked_before_shims_and_the_newest_of_each_first() {
        let (_store, image) = store(|inode| {
            let of = |holder, target, inode| Line { inode, ..line(holder, 7, target) }.encode();
            [
                of(Holder::Shim, "/old", inode),
                of(Holder::Node, "/former-node", inode),
                of(Holder::Node, "/node", inode),
                of(Holder::Shim, "/new", inode),
                of(Holder::Shim, "/another-image", inode + 1),
            ]
            .concat()
        });
        let places = places(&image).unwrap();
        let targets: Vec<_> = places.iter().map(|line| line.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/node", "/former-node", "/new", "/old"]);
    }

    #[test]
    fn lines_of_the_dead_are_dropped_when_there_are_many() {
        let (_store, image) = store(|_| line(Holder::Shim, i32::MAX, "/x").encode().repeat(2000));
        note(&image, Path::new("/here"), Holder::Shim).unwrap();
        note(&image, Path::new("/there"), Holder::Node).unwrap();
        let text = fs::read_to_string(file_of(&image).unwrap()).unwrap();
        let targets: Vec<_> = text.lines().filter_map(Line::parse).map(|line| line.target).collect();
        assert_eq!(targets, [PathBuf::from("/here"), PathBuf::from("/there")]);
    }
}
