//! The bytes of a manifest as text: decoded, cut into documents, shown line by line.
//!
//! Documents are cut at their `---` lines before any of them is parsed (as kubectl does), so that a mistake
//! in one does not hide the mistakes in the next.

use super::problem::{Snippet, harmless};

/// The largest manifest that is read; the API server refuses objects far smaller than this.
pub(crate) const MOST_BYTES: usize = 8 << 20;

/// Characters of a line that a snippet shows at most.
const SNIPPET_WIDTH: usize = 100;

/// A manifest's name and text.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    line_starts: Vec<usize>,
}

/// One document of a manifest, as text.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) text: &'a str,
    /// Lines of the manifest before it.
    pub(crate) lines_before: usize,
}

/// Why bytes are no text.
pub(crate) struct NotText {
    pub(crate) line: usize,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// The bytes as text, without a byte order mark.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    let refuse = |at: usize, message: &str, hint: &str| {
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Err(NotText { line, message: message.to_owned(), hint: hint.to_owned() })
    };
    if let Some((what, hint)) = magic(bytes) {
        return refuse(0, &format!("this is {what}, not a manifest"), hint);
    }
    let bytes_after_mark = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes_after_mark) {
        Ok(text) => text,
        Err(error) => {
            let at = bytes.len() - bytes_after_mark.len() + error.valid_up_to();
            let message = format!("byte {at} (0x{:02x}) is not UTF-8 text", bytes[at]);
            return refuse(at, &message, "a manifest is YAML or JSON, saved as UTF-8");
        }
    };
    match text.find('\0') {
        Some(at) => refuse(at, "a NUL byte stands in the text", "a manifest is YAML or JSON, saved as UTF-8"),
        None => Ok(text),
    }
}

/// Formats that are often given by mistake, by their first bytes.
fn magic(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const LOAD: &str = "an image archive is loaded by `podling image load`; a manifest is YAML or JSON";
    const TEXT: &str = "a manifest is YAML or JSON, saved as UTF-8";
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Some(("a program (ELF)", TEXT)),
        [0x1f, 0x8b, ..] => Some(("a gzip archive", LOAD)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("a zstd archive", LOAD)),
        [b'P', b'K', 3, 4, ..] => Some(("a zip archive", TEXT)),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(("UTF-16 text", TEXT)),
        _ if bytes.get(257..262) == Some(b"ustar") => Some(("a tar archive", LOAD)),
        _ => None,
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Source<'a> {
        Source { name, text, line_starts: Vec::new() }
    }

    /// The documents that hold more than comments and directives.
    pub(crate) fn chunks(&self) -> Vec<Chunk<'a>> {
        let mut chunks = Vec::new();
        let (mut start, mut start_line) = (0, 0);
        let (mut at, mut line_number) = (0, 0);
        for line in self.text.split_inclusive('\n') {
            if is_separator(line) && at > start {
                chunks.push(Chunk { text: &self.text[start..at], lines_before: start_line });
                (start, start_line) = (at, line_number);
            }
            at += line.len();
            line_number += 1;
        }
        chunks.push(Chunk { text: &self.text[start..], lines_before: start_line });
        chunks.retain(|chunk| !is_blank(chunk.text));
        chunks
    }

    /// The text of a line, numbered from 1.
    pub(crate) fn line(&mut self, number: usize) -> &'a str {
        if self.line_starts.is_empty() {
            self.line_starts.push(0);
            self.line_starts.extend(self.text.match_indices('\n').map(|(at, _)| at + 1));
        }
        let Some(start) = self.line_starts.get(number.wrapping_sub(1)) else { return "" };
        self.text[*start..].lines().next().unwrap_or_default()
    }

    /// A line with a part of it marked; long lines are cut around that part. `column` counts from 1.
    pub(crate) fn snippet(&mut self, line: usize, column: usize, width: usize) -> Option<Snippet> {
        let characters: Vec<char> = self.line(line).chars().collect();
        let caret = column.saturating_sub(1).min(characters.len());
        let start = if characters.len() <= SNIPPET_WIDTH || caret < SNIPPET_WIDTH * 2 / 3 {
            0
        } else {
            caret - SNIPPET_WIDTH / 3
        };
        let end = characters.len().min(start + SNIPPET_WIDTH);
        let shown: String =
            characters[start..end].iter().map(|c| if *c == '\t' { ' ' } else { *c }).collect();
        let (before, after) =
            (if start > 0 { "… " } else { "" }, if end < characters.len() { " …" } else { "" });
        let caret = caret - start + before.chars().count();
        let most = (end - start + before.chars().count()).saturating_sub(caret).max(1);
        Some(Snippet {
            text: format!("{before}{}{after}", harmless(&shown)).trim_end().to_owned(),
            caret,
            width: width.clamp(1, most),
        })
    }
}

/// `---` at the start of a line, alone or followed by blank space.
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a document is nothing but separators, comments, directives and blank lines.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let content = if is_separator(line) || line.starts_with("...") { &line[3..] } else { line };
        let content = content.trim();
        content.is_empty() || content.starts_with('#') || line.starts_with('%')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_at_their_separators() {
        let text = "# only a comment\n---\na: 1\n--- # second\nb: |\n  --- inside\n--- {c: 3}\n---\n...\n";
        let chunks = Source::new("x", text).chunks();
        let chunks: Vec<(usize, &str)> =
            chunks.iter().map(|chunk| (chunk.lines_before, chunk.text)).collect();
        assert_eq!(
            chunks,
            [(1, "---\na: 1\n"), (3, "--- # second\nb: |\n  --- inside\n"), (6, "--- {c: 3}\n")]
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_part_that_is_meant() {
        let text = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let snippet = Source::new("x", &text).snippet(1, 501, 4).expect("a snippet");
        let marked: String = snippet.text.chars().skip(snippet.caret).take(snippet.width).collect();
        assert_eq!(marked, "HERE");
        assert!(snippet.text.chars().count() < 110);
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (bytes, expected) in [
            (&b"\x7fELF\x02"[..], "this is a program (ELF), not a manifest"),
            (b"\x1f\x8b\x08", "this is a gzip archive, not a manifest"),
            (b"\xff\xfea\0", "this is UTF-16 text, not a manifest"),
            (b"a: 1\nb: \xc3\x28", "byte 8 (0xc3) is not UTF-8 text"),
            (b"a: \0", "a NUL byte stands in the text"),
        ] {
            assert_eq!(decode(bytes).err().map(|error| error.message).as_deref(), Some(expected));
        }
        assert_eq!(decode(b"\xef\xbb\xbfa: 1").ok(), Some("a: 1"));
    }
}
