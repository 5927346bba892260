//! What ends a run from outside: signals and `--timeout`.
//!
//! A task of its own, so that a terminal that is stopped, or a pipe that nobody reads, cannot keep podling from
//! stopping its Pods: the request goes to the engine from here, and only telling it waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::manifest_plane::ManifestPlane;
use crate::exit::Ending;

/// One request to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) ending: Ending,
    /// Without the Pods' grace.
    pub(super) at_once: bool,
}

/// Starts listening. Signals are caught from here on, until the process ends.
pub(super) fn listen(
    plane: Arc<ManifestPlane>,
    uids: Vec<String>,
    timeout: Option<Duration>,
) -> std::io::Result<mpsc::UnboundedReceiver<Request>> {
    let signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
    };
    // A timeout beyond the clock is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(pass_on(signals, deadline, plane, uids, sender));
    Ok(receiver)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

/// The first signal, or the timeout, stops in Kubernetes' order and grace; the second stops at once; the third,
/// for when even that does not end, leaves everything to the next start.
async fn pass_on(
    mut signals: Signals,
    deadline: Option<Instant>,
    plane: Arc<ManifestPlane>,
    uids: Vec<String>,
    sender: mpsc::UnboundedSender<Request>,
) {
    let mut deadline = deadline;
    for count in 1.. {
        let ending = tokio::select! {
            signal = signals.next() => Ending::Signal(signal),
            () = until(deadline) => Ending::TimedOut,
        };
        // It comes once; the signals after it still count from the beginning of the stopping.
        deadline = None;
        if let (3.., Ending::Signal(signal)) = (count, &ending) {
            std::process::exit(128 + signal);
        }
        let at_once = count > 1;
        for uid in &uids {
            plane.delete(uid, at_once.then_some(0)).await;
        }
        // Once the foreground is gone there is nobody to tell.
        let _ = sender.send(Request { ending, at_once });
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
