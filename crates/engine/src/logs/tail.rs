//! Where the last lines of a log begin: found by reading backwards, over rotated files, no further than needed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memrchr_iter;

use super::cri::{self, Stream};
use super::files::{Files, open_all};

/// How much is read at once.
const BLOCK_BYTES: usize = 256 << 10;
/// The most that is needed of a record to tell its stream and its tag.
const HEAD_BYTES: usize = 64;

/// The files of an incarnation from where their last `lines` lines begin; of one stream, if one is given. A line that was
/// written in parts is one line.
pub(crate) fn seek(path: &Path, lines: u64, stream: Option<Stream>) -> io::Result<Files> {
    let mut files = open_all(path)?;
    let mut search = Search { lines, stream, seen: 0, has_looked: false };
    let mut found = None;
    for (index, (_, file)) in files.iter().enumerate().rev() {
        let start = search.look_through(file)?;
        // The newer file, from its beginning, is where an older one has nothing of it.
        let end = file.metadata()?.len();
        match start {
            Some(start) if start >= end && index + 1 < files.len() => {
                found = Some((index + 1, 0));
                break;
            }
            Some(start) => {
                found = Some((index, start));
                break;
            }
            None => {}
        }
    }
    let Some((index, start)) = found.or((!files.is_empty()).then_some((0, 0))) else {
        return Ok(Files::new(path.to_owned()));
    };
    let mut file = files.swap_remove(index).1;
    file.seek(SeekFrom::Start(start))?;
    Ok(Files::at(path.to_owned(), file))
}

struct Search {
    lines: u64,
    stream: Option<Stream>,
    /// Lines that were seen whole or begun, from the end.
    seen: u64,
    /// Whether a record that counts was seen.
    has_looked: bool,
}

impl Search {
    /// The offset behind the last record that does not belong to the lines; `None` when all of the file belongs to them.
    fn look_through(&mut self, file: &File) -> io::Result<Option<u64>> {
        let mut end = file.metadata()?.len();
        let mut next_start = end;
        let mut buffer = Vec::new();
        // The beginning of what follows the block: a record's head may reach over the block's end.
        let mut following: Vec<u8> = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(BLOCK_BYTES as u64);
            buffer.resize((end - start) as usize, 0);
            file.read_exact_at(&mut buffer, start)?;
            let block = buffer.len();
            buffer.extend_from_slice(&following);
            for newline in memrchr_iter(b'\n', &buffer[..block]) {
                let record = newline + 1;
                if self.take(&buffer[record..]) {
                    return Ok(Some(next_start));
                }
                if record < buffer.len() {
                    next_start = start + record as u64;
                }
            }
            if start == 0 && self.take(&buffer) {
                return Ok(Some(next_start));
            }
            following = buffer[..block.min(HEAD_BYTES)].to_vec();
            end = start;
        }
        Ok(None)
    }

    /// Takes a record, given by at least its head; whether it is one more than wanted.
    fn take(&mut self, record: &[u8]) -> bool {
        let head = &record[..record.len().min(HEAD_BYTES)];
        let head = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if head.is_empty() {
            return false;
        }
        let parsed = cri::parse(head);
        if let (Some(wanted), Some(record)) = (self.stream, &parsed)
            && record.stream != wanted
        {
            return false;
        }
        let is_partial = parsed.is_some_and(|record| record.is_partial);
        // The last line of all may still be without its end.
        if !is_partial || !self.has_looked {
            self.seen += 1;
        }
        self.has_looked = true;
        self.seen > self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(path: &Path, lines: u64, stream: Option<Stream>) -> String {
        let mut files = seek(path, lines, stream).unwrap();
        let mut text = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match files.read(&mut buffer).unwrap() {
                0 => break,
                length => text.extend_from_slice(&buffer[..length]),
            }
        }
        let texts = String::from_utf8(text).unwrap();
        texts.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap()).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_last_lines_are_found_over_rotated_files_parts_and_streams() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        assert_eq!(rest(&path, 3, None), "");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("0.log.20260101-000000", "t stdout F a\nt stderr F b\n");
        write("0.log.20260101-000001", "t stdout F c\nt stdout P d1\n");
        write("0.log", "t stdout F d2\nt stderr F e\n");
        assert_eq!(rest(&path, 0, None), "");
        assert_eq!(rest(&path, 1, None), "e");
        assert_eq!(rest(&path, 2, None), "d1,d2,e", "a line in parts is one");
        assert_eq!(rest(&path, 3, None), "c,d1,d2,e");
        assert_eq!(rest(&path, 4, None), "b,c,d1,d2,e");
        assert_eq!(rest(&path, 100, None), "a,b,c,d1,d2,e");
        assert_eq!(rest(&path, 1, Some(Stream::Stdout)), "d1,d2,e", "others are filtered later");
        assert_eq!(rest(&path, 1, Some(Stream::Stderr)), "c,d1,d2,e");
        write("0.log", "");
        assert_eq!(rest(&path, 1, None), "d1", "an unfinished line is one");
    }

    #[test]
    fn any_number_of_lines_is_found_whatever_the_blocks_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let line = |number: usize| format!("2026-01-01T00:00:00.000000000Z stdout F {number:0>50}\n");
        let text: String = (0..20_000).map(line).collect();
        assert!(text.len() > 4 * BLOCK_BYTES);
        std::fs::write(&path, &text).unwrap();
        for lines in (0..20_000).step_by(617) {
            let mut files = seek(&path, lines as u64, None).unwrap();
            let mut buffer = vec![0; 200];
            let length = files.read(&mut buffer).unwrap();
            let expected = text.len() - lines * line(0).len();
            assert_eq!(buffer[..length], text.as_bytes()[expected..][..length], "{lines}");
            assert_eq!(length, 200.min(text.len() - expected));
        }
    }
}
