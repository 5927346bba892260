//! One exec under way: who waits for its end, and that it does not outlive whoever wanted it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use container::{Exit, Key, Shim};
use tokio::sync::watch;

use super::PodContext;
use crate::clock;

/// The end of an exec, for any number of waiting parties.
#[derive(Debug, Clone)]
pub(crate) struct ExecEnd(watch::Receiver<Option<Exit>>);

impl ExecEnd {
    pub(super) fn new() -> (watch::Sender<Option<Exit>>, ExecEnd) {
        let (sender, receiver) = watch::channel(None);
        (sender, ExecEnd(receiver))
    }

    /// Waits; `None` when the shim is gone and nobody will ever know.
    pub(crate) async fn wait(mut self) -> Option<Exit> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|exit| *exit)
    }
}

/// A key that no exec ever had: the shim would answer the key of an earlier daemon's exec with what that one did.
pub(crate) fn new_key(kind: &str) -> Key {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{kind}:{}:{}", clock::now().boot_nanos, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Kills an exec, and all of its session, when nobody waits for it any more: a timeout, a connection that was closed, a
/// container that is being stopped.
pub(crate) struct RunningExec {
    context: Arc<PodContext>,
    shim: Shim,
    key: Key,
    has_ended: bool,
}

impl RunningExec {
    pub(crate) fn new(context: &Arc<PodContext>, shim: Shim, key: Key) -> RunningExec {
        RunningExec { context: Arc::clone(context), shim, key, has_ended: false }
    }

    /// There is nothing to kill any more.
    pub(crate) fn ended(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for RunningExec {
    fn drop(&mut self) {
        self.context.forget_exec(&self.key);
        // Without a runtime the daemon itself is ending, and the exec loses its streams.
        let (false, Ok(runtime)) = (self.has_ended, tokio::runtime::Handle::try_current()) else { return };
        let (shim, key) = (self.shim.clone(), std::mem::take(&mut self.key));
        runtime.spawn(async move {
            // One that has ended meanwhile is no error.
            let _ = shim.kill(&key).await;
        });
    }
}
