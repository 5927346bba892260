//! When a connection last carried something in either direction, and the end of those that carry nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When something was last sent or received.
pub(crate) struct Activity {
    since: Instant,
    after_millis: AtomicU64,
}

impl Activity {
    /// Active just now.
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), after_millis: AtomicU64::new(0) }
    }

    /// Something was sent or received.
    pub(crate) fn note(&self) {
        self.after_millis.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Ends when nothing was noted for so long.
    pub(crate) async fn idle(&self, timeout: Duration) {
        loop {
            let deadline = self.last() + timeout;
            tokio::time::sleep_until(deadline).await;
            if self.last() + timeout <= deadline {
                return;
            }
        }
    }

    fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.after_millis.load(Ordering::Relaxed))
    }
}
