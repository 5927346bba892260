//! What is to be told of a container that ended: its exit, and its termination message.
//!
//! The message is the file at `terminationMessagePath`, at most 4096 bytes; where the policy says so and the
//! container failed without writing one, the end of its log: 80 lines or 2048 bytes, whichever is less.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use lifecycle::Exit;
use model::pod::TerminationMessagePolicy;

use crate::clock;
use crate::pod::{Ended, PodContext};

const MESSAGE_LIMIT_BYTES: u64 = 4096;
const LOG_TAIL_BYTES: usize = 2048;
const LOG_TAIL_LINES: usize = 80;

/// The end of one incarnation, with its message.
pub(crate) fn ended(context: &PodContext, container: &str, attempt: u32, exit: container::Exit) -> Ended {
    let wall_nanos = i64::try_from(exit.finished_at.0).unwrap_or(i64::MAX);
    Ended {
        at: clock::at_wall(wall_nanos),
        exit: Exit {
            code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            message: message(context, container, attempt, exit.code != 0),
        },
    }
}

fn message(context: &PodContext, container: &str, attempt: u32, failed: bool) -> Option<String> {
    let pod = context.pod();
    let spec = pod.spec.container(container)?;
    let written = read_message(&context.directories.termination_log(container, attempt));
    if written.is_some() {
        return written;
    }
    let fall_back = spec.termination_message_policy == TerminationMessagePolicy::FallbackToLogsOnError;
    if !(fall_back && failed) {
        return None;
    }
    let tail = log_tail(&context.directories.log(container, attempt), LOG_TAIL_BYTES);
    let lines: Vec<&str> = tail.lines().collect();
    let text = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
    (!text.is_empty()).then_some(text)
}

/// The file is a container's: it is opened without following links and never waited for.
fn read_message(path: &Path) -> Option<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MESSAGE_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The last text that a container wrote, without CRI's prefixes, `limit_bytes` at most.
pub(crate) fn log_tail(path: &Path, limit_bytes: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        // Every line has a prefix of some 40 bytes; four times the limit holds enough of text.
        file.seek(SeekFrom::Start(length.saturating_sub(4 * limit_bytes as u64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let log = String::from_utf8_lossy(&bytes);
    let text: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let text = text.join("\n");
    let mut start = text.len().saturating_sub(limit_bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}
