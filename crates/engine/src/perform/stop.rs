//! Signal, Kill and RemoveSandbox.

use std::sync::Arc;

use lifecycle::{Done, Reason};

use super::{Performed, chain, failed, performed};
use crate::pod::{Change, PodContext, key};

/// SIGTERM, for a container whose stop signal is not known.
const SIGTERM: i32 = 15;

/// Sends the container's stop signal to its first process.
pub(super) async fn signal(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    let signal = context.prepared().stop_signals.get(container).copied().unwrap_or(SIGTERM);
    let Some(shim) = context.running_shim() else { return performed(Change::Nothing) };
    outcome(shim.signal_once(&key(container, attempt), signal).await)
}

/// Kills everything in the container.
pub(super) async fn kill(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    let Some(shim) = context.running_shim() else { return performed(Change::Nothing) };
    outcome(shim.kill(&key(container, attempt)).await)
}

fn outcome(result: Result<(), container::Error>) -> Performed {
    let result =
        result.map(|()| Done::Performed).map_err(|error| failed(Reason::FailedKillPod, chain(&error)));
    (result, Change::Nothing)
}

/// Releases address and namespaces. The network is released while pause ends, as neither waits for the other.
pub(super) async fn remove_sandbox(context: &Arc<PodContext>) -> Performed {
    let pod = context.pod();
    let detach = async {
        if pod.spec.host_network { Ok(()) } else { context.node.network.detach(&pod.meta.uid).await }
    };
    let stop = async {
        match context.running_shim() {
            Some(shim) => shim.stop_sandbox().await,
            None => Ok(()),
        }
    };
    context.prepared().netns = None;
    context.prepared().ahead = None;
    let (detached, stopped) = tokio::join!(detach, stop);
    let errors: Vec<String> = [
        detached.err().map(|error| chain(&error)),
        // A shim that is gone has taken its sandbox with it.
        stopped
            .err()
            .filter(|error| !matches!(error, container::Error::Gone { .. }))
            .map(|error| chain(&error)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if errors.is_empty() {
        if let Err(error) = context.directories.forget_sandbox() {
            tracing::warn!(%error, "cannot remove the record of a sandbox");
        }
        performed(Change::SandboxAbsent)
    } else {
        (Err(failed(Reason::FailedKillPod, errors.join("; "))), Change::Nothing)
    }
}
