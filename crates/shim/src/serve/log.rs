//! Container output as CRI log lines: `2026-01-01T00:00:00.000000000Z stdout F text`, rotated.
//!
//! A line longer than 16 KiB is written in parts, all but the last tagged P. All lines of one read carry one
//! timestamp. Writes are batched: what one read brought is one write. A disk that is full loses lines and never
//! stops the container; how many were lost is written when there is room again.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use memchr::memchr;

use super::time;
use crate::protocol::LogConfig;

/// The longest line that is written in one part, as in containerd and CRI-O.
const MAX_LINE_BYTES: usize = 16 << 10;
/// How much is formatted before it is written.
const BATCH_BYTES: usize = 128 << 10;

/// One of the streams of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A container's log file and its older generations.
#[derive(Debug)]
pub(super) struct Log {
    config: LogConfig,
    file: File,
    size: u64,
    rotated: VecDeque<PathBuf>,
    lost: Lost,
}

/// What could not be written since the last write that could.
#[derive(Debug, Default)]
struct Lost {
    lines: usize,
    why: String,
    /// The file ends in the middle of a line.
    is_cut: bool,
}

/// What a stream brought that does not end with a newline yet.
pub(super) type Unfinished = Vec<u8>;

impl Log {
    /// Opens the file, making its directory.
    pub(super) fn open(config: LogConfig) -> io::Result<Self> {
        let file = match open(&config) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(directory) = config.path.parent() {
                    std::fs::create_dir_all(directory)?;
                }
                open(&config)?
            }
            opened => opened?,
        };
        let size = file.metadata()?.len();
        Ok(Self { config, file, size, rotated: VecDeque::new(), lost: Lost::default() })
    }

    /// Writes what a stream brought. `batch` is working memory.
    pub(super) fn write(
        &mut self,
        stream: Stream,
        mut text: &[u8],
        unfinished: &mut Unfinished,
        batch: &mut Vec<u8>,
    ) {
        let prefix = prefix(stream);
        while !text.is_empty() {
            let room = MAX_LINE_BYTES - unfinished.len();
            let window = &text[..text.len().min(room)];
            match memchr(b'\n', window) {
                Some(end) => {
                    push_line(batch, &prefix, b"F ", unfinished, &text[..end]);
                    unfinished.clear();
                    text = &text[end + 1..];
                }
                None if window.len() == room && text.len() > room => {
                    // A newline right behind the window ends the line without a part that is empty.
                    let (tag, skip) = if text[room] == b'\n' { (b"F ", 1) } else { (b"P ", 0) };
                    push_line(batch, &prefix, tag, unfinished, window);
                    unfinished.clear();
                    text = &text[room + skip..];
                }
                None => {
                    unfinished.extend_from_slice(window);
                    text = &text[window.len()..];
                    if unfinished.len() == MAX_LINE_BYTES {
                        push_line(batch, &prefix, b"P ", unfinished, &[]);
                        unfinished.clear();
                    }
                }
            }
            if batch.len() >= BATCH_BYTES {
                self.flush(batch);
            }
        }
        self.flush(batch);
    }

    /// Writes what is left when a stream ends without a newline.
    pub(super) fn finish(&mut self, stream: Stream, unfinished: &mut Unfinished, batch: &mut Vec<u8>) {
        if !unfinished.is_empty() {
            push_line(batch, &prefix(stream), b"F ", unfinished, &[]);
            *unfinished = Vec::new();
        }
        self.flush(batch);
    }

    fn flush(&mut self, batch: &mut Vec<u8>) {
        if batch.is_empty() && self.lost.lines == 0 {
            return;
        }
        if self.size > 0 && self.size + batch.len() as u64 > self.config.max_bytes {
            // Where the file cannot be rotated, it grows: lines matter more than their number.
            let _ = self.rotate();
        }
        let told_bytes = if self.lost.lines > 0 { self.lost.tell_before(batch) } else { 0 };
        let (written, error) = write_as_much_as_possible(&mut self.file, batch);
        self.size += written as u64;
        match error {
            None => self.lost = Lost::default(),
            Some(error) => self.lost.add(batch, told_bytes, written, &error),
        }
        batch.clear();
    }

    /// Renames the file to `NAME.TIMESTAMP`, as the kubelet does, drops the oldest generation and begins anew.
    fn rotate(&mut self) -> io::Result<()> {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{}", time::for_file_name(time::now())));
        let name = PathBuf::from(name);
        std::fs::rename(&self.config.path, &name)?;
        self.rotated.push_back(name);
        self.file = open(&self.config)?;
        self.size = 0;
        while self.rotated.len() + 1 > (self.config.max_files as usize).max(2) {
            if let Some(oldest) = self.rotated.pop_front() {
                std::fs::remove_file(oldest)?;
            }
        }
        Ok(())
    }
}

impl Lost {
    /// Of `batch`, whose first `told_bytes` tell of earlier losses, only the beginning was written.
    fn add(&mut self, batch: &[u8], told_bytes: usize, written: usize, error: &io::Error) {
        if told_bytes > 0 && written >= told_bytes {
            self.lines = 0;
        }
        let missing = &batch[written.max(told_bytes)..];
        self.lines += missing.iter().filter(|byte| **byte == b'\n').count();
        self.why = error.to_string();
        if written > 0 {
            self.is_cut = batch[written - 1] != b'\n';
        }
    }

    /// Puts the record that stands where the lines are missing before a batch, and tells its length.
    fn tell_before(&self, batch: &mut Vec<u8>) -> usize {
        let mut text = if self.is_cut { b"\n".to_vec() } else { Vec::new() };
        let told = format!("podling: {} lines are missing here: {}", self.lines, self.why);
        push_line(&mut text, &prefix(Stream::Stderr), b"F ", told.as_bytes(), &[]);
        let length = text.len();
        batch.splice(0..0, text);
        length
    }
}

/// How much of the text was written, and why not all of it.
fn write_as_much_as_possible(file: &mut impl Write, text: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

fn open(config: &LogConfig) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(&config.path)
}

fn prefix(stream: Stream) -> Vec<u8> {
    let mut prefix = time::rfc3339(time::now());
    prefix.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    prefix
}

fn push_line(batch: &mut Vec<u8>, prefix: &[u8], tag: &[u8], begun: &[u8], rest: &[u8]) {
    batch.reserve(prefix.len() + tag.len() + begun.len() + rest.len() + 1);
    batch.extend_from_slice(prefix);
    batch.extend_from_slice(tag);
    batch.extend_from_slice(begun);
    batch.extend_from_slice(rest);
    batch.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("podling-log-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn log(&self, max_bytes: u64) -> Log {
            Log::open(LogConfig { path: self.0.join("web/0.log"), max_bytes, max_files: 3 }).unwrap()
        }

        /// Tag and text of all lines of the current file.
        fn lines(&self) -> Vec<(String, String)> {
            let text = std::fs::read_to_string(self.0.join("web/0.log")).unwrap();
            let line = |line: &str| {
                let mut fields = line.splitn(4, ' ');
                let (tag, text) = (fields.nth(2).unwrap(), fields.next().unwrap());
                (tag.to_owned(), text.to_owned())
            };
            text.lines().map(line).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_are_joined_over_reads() {
        let scratch = Scratch::new("joined");
        let (mut log, mut unfinished, mut batch) = (scratch.log(1 << 20), Vec::new(), Vec::new());
        log.write(Stream::Stdout, b"one\ntw", &mut unfinished, &mut batch);
        log.write(Stream::Stdout, b"o\n\nend", &mut unfinished, &mut batch);
        log.finish(Stream::Stdout, &mut unfinished, &mut batch);
        let lines: Vec<String> = scratch.lines().into_iter().map(|(tag, text)| tag + " " + &text).collect();
        assert_eq!(lines, ["F one", "F two", "F ", "F end"]);
    }

    #[test]
    fn long_lines_are_written_in_parts_of_16_kib() {
        let scratch = Scratch::new("parts");
        let (mut log, mut unfinished, mut batch) = (scratch.log(1 << 20), Vec::new(), Vec::new());
        let mut text = vec![b'x'; 2 * MAX_LINE_BYTES + 5];
        text.push(b'\n');
        for piece in text.chunks(1000) {
            log.write(Stream::Stderr, piece, &mut unfinished, &mut batch);
        }
        let lines: Vec<(String, usize)> =
            scratch.lines().into_iter().map(|(tag, text)| (tag, text.len())).collect();
        let part = |tag: &str, length| (tag.to_owned(), length);
        assert_eq!(lines, [part("P", MAX_LINE_BYTES), part("P", MAX_LINE_BYTES), part("F", 5)]);
    }

    /// A disk that takes ten bytes more.
    struct FullDisk(Vec<u8>);

    impl Write for FullDisk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let room = 10usize.saturating_sub(self.0.len()).min(text.len());
            self.0.extend_from_slice(&text[..room]);
            if room > 0 { Ok(room) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_did_not_take_are_counted_and_told() {
        let mut batch = b"t F one\nt F two\nt F three\n".to_vec();
        let (written, error) = write_as_much_as_possible(&mut FullDisk(Vec::new()), &batch);
        let mut lost = Lost::default();
        let error = error.unwrap();
        lost.add(&batch, 0, written, &error);
        assert_eq!((written, lost.lines, lost.is_cut), (10, 2, true));
        // The disk is still full: the three lines again, and what would have told of the two.
        let told_bytes = lost.tell_before(&mut batch);
        lost.add(&batch, told_bytes, 0, &error);
        assert_eq!((lost.lines, lost.is_cut), (5, true));
        // It takes what is told, and no more.
        lost.add(&batch, told_bytes, told_bytes, &error);
        assert_eq!((lost.lines, lost.is_cut), (3, false));
        let told = String::from_utf8(batch[..told_bytes].to_vec()).unwrap();
        assert!(told.starts_with('\n') && told.ends_with("no storage space\n"), "{told}");
        assert!(told.contains(" stderr F podling: 2 lines are missing here: "), "{told}");
    }

    #[test]
    fn files_are_rotated_and_the_oldest_dropped() {
        let scratch = Scratch::new("rotated");
        let (mut log, mut unfinished, mut batch) = (scratch.log(1000), Vec::new(), Vec::new());
        for _ in 0..100 {
            log.write(
                Stream::Stdout,
                b"0123456789012345678901234567890123456789\n",
                &mut unfinished,
                &mut batch,
            );
        }
        let files: Vec<u64> = std::fs::read_dir(scratch.0.join("web"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|size| *size <= 1000), "{files:?}");
    }
}
