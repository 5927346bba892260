//! A podling that runs: its lines as they come, its events, signals, and its end. Everything waits for what
//! happens, with one deadline, and a test that waits in vain is shown all that was printed.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use crate::podling::Podling;
use crate::terminal::Terminal;

/// Nothing in these tests takes so long, whatever else the machine does, and if it is emulated.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long the output may stay open after podling's end, which happens only when something holds it.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A running podling. One that is dropped is stopped.
pub struct Running<'a> {
    child: Child,
    pidfd: OwnedFd,
    /// What it prints, from the threads that read it.
    lines: Receiver<(Stream, String)>,
    seen: Vec<(Stream, String)>,
    events: Vec<Value>,
    keys: Option<File>,
    started_at: Instant,
    /// It uses the directories of a [`Podling`], which must not go before it.
    podling: PhantomData<&'a Podling>,
}

/// How a podling ended, and all that it printed.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; of one that a signal killed, minus the signal's number.
    pub code: i32,
    /// Standard output, or the terminal.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The lines of `--output json`.
    pub events: Vec<Value>,
    /// From the start to the end.
    pub duration: Duration,
}

impl<'a> Running<'a> {
    pub(crate) fn start(
        mut command: Command,
        stdin: Option<Vec<u8>>,
        terminal: Option<Terminal>,
    ) -> Running<'a> {
        let (sender, lines) = channel();
        let keys = match terminal {
            Some(terminal) => Some(terminal.attach(&mut command)),
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
        };
        if stdin.is_some() {
            command.stdin(Stdio::piped());
        }
        let started_at = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // It holds the other end of the terminal, whose reader would wait for ever.
        drop(command);
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd of podling");
        if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // Nobody need read it to its end.
            thread::spawn(move || pipe.write_all(&bytes));
        }
        if let Some(terminal) = &keys {
            let terminal = terminal.try_clone().expect("one more descriptor");
            read_lines(terminal, ON_TERMINAL, Stream::Stdout, sender.clone());
        }
        if let Some(pipe) = child.stdout.take() {
            read_lines(pipe, IN_PIPE, Stream::Stdout, sender.clone());
        }
        if let Some(pipe) = child.stderr.take() {
            read_lines(pipe, IN_PIPE, Stream::Stderr, sender);
        }
        let (seen, events) = (Vec::new(), Vec::new());
        Running { child, pidfd, lines, seen, events, keys, started_at, podling: PhantomData }
    }

    /// Waits for the first event, from the beginning of the run on, that is as asked; `what` says what it waits for.
    pub fn wait_for(&mut self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let mut looked_at = 0;
        loop {
            if let Some(found) = self.events[looked_at..].iter().find(|event| is(event)) {
                return found.clone();
            }
            looked_at = self.events.len();
            self.receive(what);
        }
    }

    /// Waits until a container's process was started for the `attempt`-th time, from 0.
    pub fn wait_for_start(&mut self, container: &str, attempt: u64) -> Value {
        self.wait_for(&format!("{container} to be started"), |event| {
            event["event"] == "started" && event["container"] == container && event["attempt"] == attempt
        })
    }

    /// Waits for the end of a container.
    pub fn wait_for_exit(&mut self, container: &str) -> Value {
        self.wait_for(&format!("{container} to end"), |event| {
            event["event"] == "exited" && event["container"] == container
        })
    }

    /// Waits until every Pod is ready.
    pub fn wait_until_ready(&mut self) -> Value {
        self.wait_for("the Pod to be ready", |event| event["event"] == "ready")
    }

    /// Waits for a line of a container that has this in it.
    pub fn wait_for_log(&mut self, container: &str, text: &str) -> Value {
        self.wait_for(&format!("{container} to print {text:?}"), |event| {
            event["event"] == "log"
                && event["container"] == container
                && event["line"].as_str().is_some_and(|line| line.contains(text))
        })
    }

    /// Waits for a line on either stream that has this in it; for what is not JSON.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let mut looked_at = 0;
        loop {
            if let Some((_, line)) = self.seen[looked_at..].iter().find(|(_, line)| line.contains(text)) {
                return line.clone();
            }
            looked_at = self.seen.len();
            self.receive(text);
        }
    }

    /// The events so far.
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// The id of the run.
    pub fn run_id(&mut self) -> String {
        let event = self.wait_for("the manifest to be read", |event| event["event"] == "manifest");
        event["run"].as_str().expect("the id of the run").to_owned()
    }

    /// Takes what was printed so far, which must not be the word of a broken invariant or a panic.
    pub fn assert_quiet(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.take(line);
        }
        let panicked = self.seen.iter().any(|(_, line)| line.contains("panicked"));
        assert!(!panicked, "{self}");
    }

    /// Podling's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to podling.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).expect("sending a signal to podling");
    }

    /// Types on the terminal; "\u{3}" is Ctrl-C.
    pub fn type_keys(&mut self, keys: &str) {
        let terminal = self.keys.as_mut().expect("it has no terminal");
        terminal.write_all(keys.as_bytes()).expect("typing");
    }

    /// Waits for the end of podling.
    pub fn wait(mut self) -> Finished {
        if !self.has_ended_within(self.left()) {
            self.give_up("podling to end");
        }
        let duration = self.started_at.elapsed();
        let status = self.child.wait().expect("the exit status of podling");
        let deadline = Instant::now() + OUTPUT_TIMEOUT;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("podling has ended, and something that it left holds its output open:\n{self}")
                }
            }
        }
        let text = |wanted| {
            let lines = self.seen.iter().filter(|(stream, _)| *stream == wanted);
            lines.map(|(_, line)| format!("{line}\n")).collect()
        };
        Finished {
            code: status.code().or(status.signal().map(|signal| -signal)).unwrap_or(i32::MIN),
            stdout: text(Stream::Stdout),
            stderr: text(Stream::Stderr),
            events: std::mem::take(&mut self.events),
            duration,
        }
    }

    fn left(&self) -> Duration {
        DEADLINE.saturating_sub(self.started_at.elapsed())
    }

    fn receive(&mut self, what: &str) {
        match self.lines.recv_timeout(self.left()) {
            Ok(line) => self.take(line),
            Err(_) => self.give_up(what),
        }
    }

    fn take(&mut self, (stream, line): (Stream, String)) {
        // The daemon holds itself to the invariants of a Pod's life, in whatever a test is about.
        assert!(!line.contains("InvariantBroken"), "{line}\n{self}");
        if stream == Stream::Stdout && line.starts_with("{\"event\"") {
            let event = serde_json::from_str(&line);
            self.events.push(event.unwrap_or_else(|error| panic!("no JSON, {error}: {line}")));
        }
        self.seen.push((stream, line));
    }

    fn give_up(&mut self, what: &str) -> ! {
        while let Ok(line) = self.lines.try_recv() {
            self.take(line);
        }
        let end = if self.has_ended_within(Duration::ZERO) { "it has ended" } else { "it still runs" };
        panic!("waited in vain for {what}; {end}, and printed:\n{self}");
    }

    fn has_ended_within(&self, timeout: Duration) -> bool {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).expect("waiting for podling") > 0
    }
}

impl Drop for Running<'_> {
    /// A test that fails on its way leaves a podling that runs: it is asked twice, then killed. What that leaves is
    /// found, and cleaned up, by the [`Podling`].
    fn drop(&mut self) {
        for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            let _ = pidfd_send_signal(&self.pidfd, signal);
            self.has_ended_within(Duration::from_secs(2));
        }
        let _ = self.child.wait();
    }
}

impl fmt::Display for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen.iter().try_for_each(|(stream, line)| writeln!(f, "{stream:?}: {line}"))
    }
}

impl Finished {
    /// What a container printed, from JSON output or from lines that its name stands before.
    pub fn lines_of(&self, container: &str) -> Vec<&str> {
        if !self.events.is_empty() {
            let logs = self.events.iter().filter(|event| event["event"] == "log");
            return logs
                .filter(|log| log["container"] == container)
                .filter_map(|log| log["line"].as_str())
                .collect();
        }
        let lines = self.stdout.lines().filter_map(|line| line.split_once(" | "));
        lines.filter(|(name, _)| name.trim() == container).map(|(_, text)| text).collect()
    }

    /// The events of one kind.
    pub fn events_of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }

    /// The place of the first event that is as asked.
    pub fn position(&self, what: &str, is: impl FnMut(&Value) -> bool) -> usize {
        self.events.iter().position(is).unwrap_or_else(|| panic!("there is no event of {what}: {self}"))
    }

    /// Fails unless it ended with that code and said all these words on standard error.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said: {self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("it ended with code {} after {:?}\n", self.code, self.duration);
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in output.lines() {
                // A megabyte of environment helps nobody.
                let line = line.get(..4000).unwrap_or(line);
                writeln!(text, "{name}: {line}")?;
            }
        }
        f.write_str(&text)
    }
}

/// Passes lines on until the end. Bytes that are no UTF-8 are replaced, a last line may have no end.
/// What ends a line of a pipe.
const IN_PIPE: &[u8] = b"\n";
/// What ends a line of a terminal: a progress bar is drawn over itself, after a carriage return.
const ON_TERMINAL: &[u8] = b"\r\n";

fn read_lines(
    mut source: impl Read + Send + 'static,
    ends: &'static [u8],
    stream: Stream,
    lines: Sender<(Stream, String)>,
) {
    thread::spawn(move || {
        let mut pending = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let count = match source.read(&mut buffer) {
                // The last line may have no end.
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // EIO is how a terminal says that nobody has its other end any more.
                Err(_) => break,
            };
            pending.extend_from_slice(&buffer[..count]);
            while let Some(end) = pending.iter().position(|byte| ends.contains(byte)) {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line[..end]).into_owned();
                // A terminal ends a line with both.
                if (ends == ON_TERMINAL && text.is_empty()) || lines.send((stream, text)).is_ok() {
                    continue;
                }
                return;
            }
        }
        if !pending.is_empty() {
            let _ = lines.send((stream, String::from_utf8_lossy(&pending).into_owned()));
        }
    });
}
