//! One JSON object per line on standard output, for machines: `{"event": ..., "at_ms": ..., ...}`.

use std::borrow::Cow;
use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use serde::Serialize;

use super::told::{Line, Told};

pub(crate) struct Json {
    out: BufWriter<Stdout>,
}

#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    told: &'a Told<'a>,
    at_ms: f64,
}

/// A line of a container; not part of [`Told`], because there may be a million of them a second.
#[derive(Serialize)]
struct Log<'a> {
    event: &'static str,
    pod: &'a str,
    container: &'a str,
    attempt: u32,
    stream: &'a str,
    time: &'a str,
    /// What is not UTF-8 becomes U+FFFD: JSON has no bytes.
    line: Cow<'a, str>,
    at_ms: f64,
}

impl Json {
    pub(super) fn new() -> Json {
        Json { out: BufWriter::with_capacity(64 * 1024, io::stdout()) }
    }

    pub(super) fn tell(&mut self, at: Duration, told: &Told<'_>) -> io::Result<()> {
        self.write(&Stamped { told, at_ms: millis(at) })
    }

    pub(super) fn line(&mut self, at: Duration, line: &Line<'_>) -> io::Result<()> {
        self.write(&Log {
            event: "log",
            pod: line.pod,
            container: line.container,
            attempt: line.attempt,
            stream: line.stream,
            time: line.time,
            line: String::from_utf8_lossy(line.text),
            at_ms: millis(at),
        })
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }
}

/// Milliseconds to the microsecond: more digits are noise.
fn millis(at: Duration) -> f64 {
    at.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_stands_first_and_the_time_is_there() {
        let told = Told::Gone { pod: "default/web" };
        let text =
            serde_json::to_string(&Stamped { told: &told, at_ms: millis(Duration::from_micros(12_345)) });
        assert_eq!(text.unwrap(), r#"{"event":"gone","pod":"default/web","at_ms":12.345}"#);
    }
}
