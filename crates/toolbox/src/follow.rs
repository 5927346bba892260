//! `tail -F`: prints what is appended to files that may not exist yet, may be replaced (rotation) and may be
//! truncated. Driven by inotify(7); it never looks without being told.
//!
//! What is watched: the directory of each file (or, while that is missing, the nearest directory above that
//! exists), and the open file itself, because a write through another link or mount of the file is told on
//! its inode only. Every event makes each file look again; looking is cheap and idempotent.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::failure::Failure;
use crate::{signals, text};

#[derive(Debug, PartialEq)]
struct Settings {
    lines: usize,
    paths: Vec<PathBuf>,
}

/// `tail -F [-n LINES] FILE...`
pub fn tail(arguments: &[String]) -> Result<(), Failure> {
    let settings = parse(arguments)?;
    signals::exit_at_stop(signals::Stop::AsKilled)?;
    let mut out = Output { several: settings.paths.len() > 1, last: None };
    let mut followed: Vec<_> = settings.paths.into_iter().map(|path| Followed { path, open: None }).collect();
    let events =
        inotify::init(CreateFlags::CLOEXEC).map_err(|error| Failure::io("opening inotify", error))?;
    let mut first = Some(settings.lines);
    loop {
        for (index, file) in followed.iter_mut().enumerate() {
            file.look(&events, index, first, &mut out)?;
        }
        first = None;
        wait(&events).map_err(|error| Failure::io("waiting for a change", error))?;
    }
}

fn parse(arguments: &[String]) -> Result<Settings, Failure> {
    let mut settings = Settings { lines: 10, paths: Vec::new() };
    let mut follow = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-F" | "-f" => follow = true,
            "-n" => {
                let value = rest.next().ok_or_else(|| Failure::usage("-n needs a number"))?;
                settings.lines = if value == "+1" { usize::MAX } else { text::number("-n", value)? };
            }
            flag if flag.starts_with('-') => return Err(Failure::usage(format!("does not know {flag}"))),
            path => settings.paths.push(PathBuf::from(path)),
        }
    }
    if !follow || settings.paths.is_empty() {
        return Err(Failure::usage("follows files: tail -F FILE..."));
    }
    Ok(settings)
}

/// Blocks until something has happened; what it was does not matter.
fn wait(events: &OwnedFd) -> io::Result<()> {
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    inotify::Reader::new(events, &mut buffer).next()?;
    Ok(())
}

struct Followed {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    inode: (u64, u64),
    position_bytes: u64,
}

impl Followed {
    /// Prints what is new. `first` is the number of lines wanted of a file that is there from the start.
    fn look(
        &mut self,
        events: &OwnedFd,
        index: usize,
        first: Option<usize>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        // The watch comes before the look, so that nothing can happen in between unseen.
        watch_directory(events, &self.path)?;
        if let Some(open) = &mut self.open {
            open.print_rest(&self.path, index, out)?;
        }
        let found = match fs::metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(_) => return Ok(()),
        };
        if self.open.as_ref().is_some_and(|open| open.inode == found) {
            return Ok(());
        }
        match File::open(&self.path) {
            Ok(file) => {
                let mut open = Open::new(events, file, first, &self.path)?;
                open.print_rest(&self.path, index, out)?;
                self.open = Some(open);
            }
            // Gone again: there will be another event.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io(self.path.display(), error)),
        }
        Ok(())
    }
}

impl Open {
    fn new(events: &OwnedFd, mut file: File, first: Option<usize>, path: &Path) -> Result<Self, Failure> {
        let told = |error| Failure::io(path.display(), error);
        let metadata = file.metadata().map_err(told)?;
        if !metadata.is_file() {
            return Err(Failure::Failed(format!("{} is not a regular file", path.display())));
        }
        // A file replaced meanwhile gives a watch too many, which does no harm.
        let _ = inotify::add_watch(events, path, WatchFlags::MODIFY | WatchFlags::ATTRIB);
        let position_bytes = match first {
            Some(lines) => start_of_last_lines(&mut file, lines).map_err(told)?,
            None => 0,
        };
        Ok(Self { file, inode: (metadata.dev(), metadata.ino()), position_bytes })
    }

    fn print_rest(&mut self, path: &Path, index: usize, out: &mut Output) -> Result<(), Failure> {
        let told = |error| Failure::io(path.display(), error);
        if self.file.metadata().map_err(told)?.len() < self.position_bytes {
            out.note(&format!("{} was truncated", path.display()));
            self.position_bytes = 0;
        }
        self.file.seek(SeekFrom::Start(self.position_bytes)).map_err(told)?;
        let mut chunk = [0u8; 16 << 10];
        loop {
            let length = self.file.read(&mut chunk).map_err(told)?;
            if length == 0 {
                return Ok(());
            }
            self.position_bytes += length as u64;
            out.print(path, index, &chunk[..length])?;
        }
    }
}

/// Where the last `lines` lines of a file begin.
fn start_of_last_lines(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if lines == usize::MAX {
        return Ok(0);
    }
    let length = end;
    let mut seen = 0;
    let mut chunk = [0u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        for (i, byte) in part.iter().enumerate().rev() {
            let position = start + i as u64;
            // The end of line that ends the file ends its last line and begins none.
            if *byte == b'\n' && position + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        if lines == 0 {
            return Ok(length);
        }
        end = start;
    }
    Ok(0)
}

/// Watches the directory of `path`, or the nearest one above that exists. Repeating it changes nothing.
fn watch_directory(events: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let flags = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MODIFY
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::ONLYDIR;
    let mut below: Option<&Path> = None;
    for directory in path.ancestors().skip(1) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match inotify::add_watch(events, directory, flags) {
            // What was missing a moment ago may have appeared before this watch did.
            Ok(_) if below.is_some_and(Path::exists) => return watch_directory(events, path),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::NOENT) => below = Some(directory),
            Err(error) => return Err(Failure::io(format!("watching {}", directory.display()), error)),
        }
    }
    Err(Failure::Failed(format!("no directory above {} can be watched", path.display())))
}

/// Standard output, with a heading whenever another file speaks.
struct Output {
    several: bool,
    last: Option<usize>,
}

impl Output {
    fn print(&mut self, path: &Path, index: usize, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let mut print = || {
            if self.several && self.last != Some(index) {
                writeln!(out, "==> {} <==", path.display())?;
                self.last = Some(index);
            }
            out.write_all(bytes)?;
            out.flush()
        };
        print().map_err(|error| Failure::io("writing to standard output", error))
    }

    fn note(&self, text: &str) {
        eprintln!("tail: {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn arguments() {
        let parsed = parse(&words("-n 3 -F /a /b")).unwrap();
        assert_eq!(parsed, Settings { lines: 3, paths: vec!["/a".into(), "/b".into()] });
        assert_eq!(parse(&words("-n +1 -F /a")).unwrap().lines, usize::MAX);
        for wrong in ["/a", "-F", "-F -x /a", "-F /a -n"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_lines_of_a_file() {
        let path = std::env::temp_dir().join(format!("toolbox-last-lines-{}", std::process::id()));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let mut file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let starts = [0, 1, 2, 3, 4, usize::MAX].map(|lines| start_of_last_lines(&mut file, lines).unwrap());
        assert_eq!(starts, [14, 8, 4, 0, 0, 0]);
    }
}
