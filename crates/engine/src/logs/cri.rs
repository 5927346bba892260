//! The log format of the Container Runtime Interface, as written to disk:
//! `2026-11-20T21:42:02.123456789Z stdout F the text`.
//!
//! A tag of `P` says that the line goes on in the next record of its stream, `F` that it ends here. The
//! writer splits long lines and lines that it sees only part of.

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written, RFC 3339.
    pub time: &'a str,
    /// Standard output or standard error.
    pub stream: Stream,
    /// Whether the line goes on in the stream's next record.
    pub is_partial: bool,
    /// The text, without the end of the line.
    pub text: &'a [u8],
}

/// Where a container printed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Parses one record without its final newline; `None` for what is no record.
pub fn parse(record: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = word(record)?;
    let (stream, rest) = word(rest)?;
    // A record of an empty line may lack the space after its tag.
    let (tags, text) = word(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; only the first one has a meaning so far.
    let is_partial = match tags.split(|byte| *byte == b':').next() {
        Some(b"P") => true,
        Some(b"F") => false,
        _ => return None,
    };
    Some(Record { time: std::str::from_utf8(time).ok()?, stream, is_partial, text })
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..space], &bytes[space + 1..]))
}

/// Puts the parts of long lines together, each stream for itself.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: [Vec<u8>; 2],
}

/// A line longer than this is shown in pieces: a container that never ends its line must not fill memory.
const LONGEST_LINE_BYTES: usize = 1 << 20;

impl Joiner {
    /// Takes a record; calls `each` with the text when a line is complete.
    pub fn take(&mut self, record: &Record<'_>, mut each: impl FnMut(Stream, &str, &[u8])) {
        let parts = &mut self.parts[record.stream as usize];
        let goes_on = record.is_partial && parts.len() + record.text.len() < LONGEST_LINE_BYTES;
        match (goes_on, parts.is_empty()) {
            (true, _) => parts.extend_from_slice(record.text),
            (false, true) => each(record.stream, record.time, record.text),
            (false, false) => {
                parts.extend_from_slice(record.text);
                each(record.stream, record.time, parts);
                parts.clear();
            }
        }
    }

    /// Gives out what was begun and never ended.
    pub fn finish(&mut self, mut each: impl FnMut(Stream, &str, &[u8])) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let parts = std::mem::take(&mut self.parts[stream as usize]);
            if !parts.is_empty() {
                each(stream, "", &parts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(records: &[&str]) -> Vec<String> {
        let mut joiner = Joiner::default();
        let mut lines = Vec::new();
        let mut each = |stream: Stream, _: &str, text: &[u8]| {
            lines.push(format!("{}: {}", stream.as_str(), String::from_utf8_lossy(text)));
        };
        for record in records {
            joiner.take(&parse(record.as_bytes()).unwrap(), &mut each);
        }
        joiner.finish(&mut each);
        lines
    }

    #[test]
    fn a_record_has_time_stream_tag_and_any_text() {
        let record = parse(b"2026-11-20T21:42:02.1Z stderr F a b  c ").unwrap();
        assert_eq!(record.time, "2026-11-20T21:42:02.1Z");
        assert_eq!((record.stream, record.is_partial, record.text), (Stream::Stderr, false, &b"a b  c "[..]));
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        assert_eq!(parse(b"t stdout F").unwrap().text, b"");
        assert!(parse(b"t stdout P:x text").unwrap().is_partial);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for text in ["", "t", "t stdout", "t stdlog F x", "t stdout X x", "no record at all"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn parts_are_joined_per_stream() {
        let lines = joined(&["t stdout P one ", "t stderr F other", "t stdout P two ", "t stdout F three"]);
        assert_eq!(lines, ["stderr: other", "stdout: one two three"]);
    }

    #[test]
    fn a_line_without_end_is_given_out_at_the_end() {
        assert_eq!(joined(&["t stdout P half"]), ["stdout: half"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let record = format!("t stdout P {}", "x".repeat(LONGEST_LINE_BYTES / 2));
        let lines = joined(&[&record, &record, &record]);
        assert_eq!(lines.len(), 2);
    }
}
