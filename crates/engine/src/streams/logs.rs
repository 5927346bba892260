//! logs: one incarnation's log as `kubectl logs` shows it, from disk, in large pieces.
//!
//! Reading is done on a thread that may block, one turn at a time; between the turns of a followed log the task waits for
//! the kernel to tell of growth, for the container's end, or for the reader to go away.

use std::path::PathBuf;

use bytes::Bytes;
use lifecycle::status::ContainerState;
use tokio::sync::mpsc;

use super::node::Found;
use super::{LogRequest, LogStream, StreamError, io_error};
use crate::logs::{Files, Text, Wanted, Watching, cri, tail};
use crate::pod::{Incarnation, IncarnationState};

/// One read.
const READ_BYTES: usize = 256 << 10;
/// A piece is given out when it has grown to this, or when there is nothing more.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that may wait for their reader.
const PIECES: usize = 4;

type Pieces = mpsc::Sender<Result<Bytes, StreamError>>;

pub(super) fn logs(
    found: &Found,
    request: &LogRequest,
) -> Result<mpsc::Receiver<Result<Bytes, StreamError>>, StreamError> {
    let attempt = if request.previous { previous(found)? } else { newest(found)? };
    let path = found.context.directories.log(&found.container, attempt);
    let what = || format!("read the log {}", path.display());
    if request.previous && !path.exists() {
        return Err(no_previous(found));
    }
    let follow =
        request.follow.then(|| Follow::new(found, attempt, &path)).transpose().map_err(io_error(what()))?;
    let wanted = Wanted {
        timestamps: request.timestamps,
        since: request.since_wall_nanos.map(rfc3339),
        stream: request.stream.map(stream),
        limit_bytes: request.limit_bytes,
    };
    let (pieces, receiver) = mpsc::channel(PIECES);
    let reading =
        Reading { files: None, path, tail_lines: request.tail_lines, text: Text::new(wanted), pieces };
    tokio::spawn(read(reading, follow));
    Ok(receiver)
}

fn stream(stream: LogStream) -> cri::Stream {
    match stream {
        LogStream::Stdout => cri::Stream::Stdout,
        LogStream::Stderr => cri::Stream::Stderr,
    }
}

/// In UTC with nine digits, as the shim writes it, so that the two compare as text.
fn rfc3339(wall_nanos: i64) -> String {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(wall_nanos)).unwrap_or(jiff::Timestamp::MIN);
    format!("{instant:.9}")
}

/// The newest incarnation that has run. One that is just being started has no log worth showing, if there is another.
fn newest(found: &Found) -> Result<u32, StreamError> {
    match found.context.incarnations.get(&found.container) {
        Some(Incarnation { attempt, state: IncarnationState::Starting }) => {
            attempt.checked_sub(1).ok_or_else(|| found.not_running())
        }
        Some(incarnation) => Ok(incarnation.attempt),
        None => Err(found.not_running()),
    }
}

/// What `lastState.terminated` speaks of: the incarnation before the newest, or the newest itself while its container
/// waits to be started again (pkg/kubelet/kubelet_pods.go, `validateContainerLogStatus`).
fn previous(found: &Found) -> Result<u32, StreamError> {
    let newest = newest(found)?;
    let status = found.context.status();
    let state = status.as_ref().and_then(|status| status.container(&found.container)).map(|it| &it.state);
    match found.context.incarnations.get(&found.container).map(|incarnation| incarnation.state) {
        Some(IncarnationState::Starting) => Ok(newest),
        Some(IncarnationState::Ended { .. }) if matches!(state, Some(ContainerState::Waiting { .. })) => {
            Ok(newest)
        }
        _ => newest.checked_sub(1).ok_or_else(|| no_previous(found)),
    }
}

fn no_previous(found: &Found) -> StreamError {
    StreamError::NoPrevious { container: found.container.clone(), pod: found.context.pod().meta.name.clone() }
}

/// A log that is followed.
struct Follow {
    growth: Watching,
    end: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Follow {
    fn new(found: &Found, attempt: u32, path: &std::path::Path) -> std::io::Result<Follow> {
        let directory = path.parent().unwrap_or(path);
        // A start that failed early has not made it.
        std::fs::create_dir_all(directory)?;
        // Before the first turn: what is written after it raises an event.
        let growth = found.context.node.growth()?.follow(directory)?;
        let end = found.context.incarnations.end_of(&found.container, attempt);
        Ok(Follow {
            growth,
            end: Box::pin(async {
                end.await;
            }),
        })
    }
}

/// A log being read.
struct Reading {
    path: PathBuf,
    tail_lines: Option<u64>,
    /// None until the first turn.
    files: Option<Files>,
    text: Text,
    pieces: Pieces,
}

async fn read(mut reading: Reading, follow: Option<Follow>) {
    let Some(Follow { growth, mut end }) = follow else {
        turn(reading, true).await;
        return;
    };
    let mut has_ended = false;
    loop {
        // The end is known before the last turn, so that the turn sees everything.
        match turn(reading, has_ended).await {
            Some(next) if !has_ended => reading = next,
            _ => return,
        }
        tokio::select! {
            biased;
            () = reading.pieces.closed() => return,
            () = &mut end => has_ended = true,
            () = growth.changed() => {}
        }
    }
}

/// Reads what there is; `None` when nothing more is wanted or can be read.
async fn turn(mut reading: Reading, is_last: bool) -> Option<Reading> {
    let turned = tokio::task::spawn_blocking(move || {
        let outcome = reading.turn(is_last);
        match outcome {
            Ok(true) => Some(reading),
            Ok(false) => None,
            Err(source) => {
                let what = format!("read the log {}", reading.path.display());
                // One that went away needs no error.
                let _ = reading.pieces.blocking_send(Err(io_error(what)(source)));
                None
            }
        }
    });
    turned.await.ok().flatten()
}

impl Reading {
    /// Gives out what there is now; whether more may be wanted.
    fn turn(&mut self, is_last: bool) -> std::io::Result<bool> {
        let files = match &mut self.files {
            Some(files) => files,
            none => none.insert(match self.tail_lines {
                Some(lines) => tail::seek(&self.path, lines, self.text.stream())?,
                None => Files::new(self.path.clone()),
            }),
        };
        let mut buffer = vec![0; READ_BYTES];
        let mut piece = Vec::new();
        while !self.text.is_full() {
            let length = files.read(&mut buffer)?;
            if length == 0 {
                if is_last {
                    self.text.finish(&mut piece);
                }
                break;
            }
            piece.reserve(PIECE_BYTES + READ_BYTES);
            self.text.take(&buffer[..length], &mut piece);
            if piece.len() >= PIECE_BYTES && !give(&self.pieces, &mut piece) {
                return Ok(false);
            }
        }
        Ok((piece.is_empty() || give(&self.pieces, &mut piece)) && !self.text.is_full())
    }
}

/// Gives a piece to the reader; `false` when there is none any more.
fn give(pieces: &Pieces, piece: &mut Vec<u8>) -> bool {
    let mut piece = std::mem::take(piece);
    if piece.capacity() > 2 * piece.len() {
        piece.shrink_to_fit();
    }
    pieces.blocking_send(Ok(Bytes::from(piece))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_the_shim_writes_them() {
        assert_eq!(rfc3339(1_795_000_000_000_000_001), "2026-11-18T11:06:40.000000001Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
    }
}
