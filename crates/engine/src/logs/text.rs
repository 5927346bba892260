//! From records to what `kubectl logs` prints, as the kubelet does it (pkg/kubelet/kuberuntime/logs/logs.go): text
//! without its prefix, parts of a line joined, on request with the time in front.
//!
//! This is the hot loop of `kubectl logs`: it looks for newlines and copies, and allocates nothing for a line.

use memchr::memchr;

use super::cri::{self, Stream};

/// Which text of a log is wanted, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The time stands before each line.
    pub(crate) timestamps: bool,
    /// Nothing older: RFC 3339 in UTC with nine digits behind the point, which sorts as text.
    pub(crate) since: Option<String>,
    /// Of one stream only.
    pub(crate) stream: Option<Stream>,
    /// No more than this.
    pub(crate) limit_bytes: Option<u64>,
}

/// Text being made.
#[derive(Debug)]
pub(crate) struct Text {
    wanted: Wanted,
    left_bytes: u64,
    /// The beginning of a record whose end was not read yet.
    begun: Vec<u8>,
    /// The last record was a part: the next one goes on with its line.
    goes_on: bool,
    /// Whether that line is wanted.
    is_kept: bool,
}

/// `2026-11-20T21:42:02.123456789Z stdout F `: what the shim writes before every text.
const PREFIX_BYTES: usize = 40;

impl Text {
    pub(crate) fn new(wanted: Wanted) -> Text {
        let left_bytes = wanted.limit_bytes.unwrap_or(u64::MAX);
        Text { wanted, left_bytes, begun: Vec::new(), goes_on: false, is_kept: true }
    }

    /// Which stream is wanted, if not both.
    pub(crate) fn stream(&self) -> Option<Stream> {
        self.wanted.stream
    }

    /// Whether all that is allowed was given out.
    pub(crate) fn is_full(&self) -> bool {
        self.left_bytes == 0
    }

    /// Takes bytes of the files and appends the text of the records that they complete.
    pub(crate) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        if !self.begun.is_empty() {
            let Some(end) = memchr(b'\n', bytes) else {
                self.begun.extend_from_slice(bytes);
                return;
            };
            let mut record = std::mem::take(&mut self.begun);
            record.extend_from_slice(&bytes[..=end]);
            self.take_record(&record, out);
            bytes = &bytes[end + 1..];
        }
        while let Some(end) = memchr(b'\n', bytes) {
            self.take_record(&bytes[..=end], out);
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        self.cut(before, out);
    }

    /// Appends what was begun and will not be ended.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        let mut begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            begun.push(b'\n');
            self.take_record(&begun, out);
        }
        self.cut(before, out);
    }

    fn cut(&mut self, before: usize, out: &mut Vec<u8>) {
        let allowed = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(out.len() - before);
        out.truncate(before + allowed);
        if self.wanted.limit_bytes.is_some() {
            self.left_bytes -= allowed as u64;
        }
    }

    /// Takes one record with its newline.
    fn take_record(&mut self, record: &[u8], out: &mut Vec<u8>) {
        let usual = match record.get(..PREFIX_BYTES) {
            Some([.., b' ', b's', b't', b'd', b'o', b'u', b't', b' ', tag @ (b'F' | b'P'), b' ']) => {
                Some((Stream::Stdout, *tag == b'P'))
            }
            Some([.., b' ', b's', b't', b'd', b'e', b'r', b'r', b' ', tag @ (b'F' | b'P'), b' ']) => {
                Some((Stream::Stderr, *tag == b'P'))
            }
            _ => None,
        };
        if let Some((stream, is_partial)) = usual {
            return self.append(&record[..30], stream, is_partial, &record[PREFIX_BYTES..], out);
        }
        let without_end = &record[..record.len() - 1];
        match cri::parse(without_end) {
            Some(parsed) => {
                let text = &record[without_end.len() - parsed.text.len()..];
                self.append(parsed.time.as_bytes(), parsed.stream, parsed.is_partial, text, out);
            }
            // Only the shim writes these files; what is no record is shown rather than lost.
            None => out.extend_from_slice(record),
        }
    }

    /// Appends a text, which has its newline, if it is wanted.
    fn append(&mut self, time: &[u8], stream: Stream, is_partial: bool, text: &[u8], out: &mut Vec<u8>) {
        if self.wanted.stream.is_some_and(|wanted| wanted != stream) {
            return;
        }
        let begins = !self.goes_on;
        self.goes_on = is_partial;
        if begins {
            self.is_kept = self.wanted.since.as_ref().is_none_or(|since| time >= since.as_bytes());
        }
        if !self.is_kept {
            return;
        }
        if begins && self.wanted.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(if is_partial { &text[..text.len() - 1] } else { text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F one\n\
                       2026-01-01T00:00:02.000000000Z stderr F two\n\
                       2026-01-01T00:00:03.000000000Z stdout P thr\n\
                       2026-01-01T00:00:04.000000000Z stdout F ee\n\
                       2026-01-01T00:00:05.000000000Z stdout F \n\
                       2026-01-01T00:00:06.000000000Z stdout F last\n";

    fn shown(wanted: Wanted) -> String {
        let mut whole = Vec::new();
        let mut text = Text::new(wanted.clone());
        text.take(LOG.as_bytes(), &mut whole);
        text.finish(&mut whole);
        // However it is read, it is the same.
        for size in 1..60 {
            let (mut text, mut pieces) = (Text::new(wanted.clone()), Vec::new());
            LOG.as_bytes().chunks(size).for_each(|chunk| text.take(chunk, &mut pieces));
            text.finish(&mut pieces);
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn prefixes_go_and_parts_are_joined() {
        assert_eq!(shown(Wanted::default()), "one\ntwo\nthree\n\nlast\n");
    }

    #[test]
    fn a_line_in_parts_has_the_time_of_its_first() {
        let text = shown(Wanted { timestamps: true, stream: Some(Stream::Stdout), ..Wanted::default() });
        assert_eq!(
            text,
            "2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:03.000000000Z three\n\
             2026-01-01T00:00:05.000000000Z \n2026-01-01T00:00:06.000000000Z last\n"
        );
    }

    #[test]
    fn since_keeps_whole_lines_only() {
        let since = |text: &str| shown(Wanted { since: Some(text.to_owned()), ..Wanted::default() });
        assert_eq!(since("2026-01-01T00:00:03.000000000Z"), "three\n\nlast\n");
        assert_eq!(since("2026-01-01T00:00:04.000000000Z"), "\nlast\n");
        assert_eq!(since("2027-01-01T00:00:00.000000000Z"), "");
    }

    #[test]
    fn the_limit_cuts_anywhere() {
        for limit in 0..25 {
            let text = shown(Wanted { limit_bytes: Some(limit), ..Wanted::default() });
            assert_eq!(text, &"one\ntwo\nthree\n\nlast\n"[..20.min(limit as usize)]);
        }
    }

    #[test]
    fn what_is_no_record_and_what_has_no_end_is_shown() {
        let (mut text, mut out) = (Text::new(Wanted::default()), Vec::new());
        text.take(b"nonsense\nt stdout F\nt stderr F half", &mut out);
        text.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "nonsense\n\nhalf\n");
    }
}
