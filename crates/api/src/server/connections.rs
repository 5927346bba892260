//! Who is connected, and who has to go when there are too many: the connection that has been idle longest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// All connections of a server.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    next: AtomicU64,
    taken: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    requests: usize,
    idle_since: Instant,
    evict: Arc<Notify>,
}

/// The place of one connection; given back when the last clone goes.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    id: u64,
    evict: Arc<Notify>,
}

/// Held while a request is answered.
#[derive(Debug)]
pub(super) struct Busy {
    inner: Arc<Inner>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Connections {
        Connections { shared: Arc::new(Shared { most, next: AtomicU64::new(0), taken: Mutex::default() }) }
    }

    /// A place for one more. If there are too many, the one idle longest is told to go.
    pub(super) fn take(&self) -> Seat {
        if self.shared.lock().len() >= self.shared.most && !self.close_idlest() {
            tracing::warn!(
                most = self.shared.most,
                "more connections than allowed, and all of them are busy"
            );
        }
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let evict = Arc::new(Notify::new());
        let entry = Entry { requests: 0, idle_since: Instant::now(), evict: Arc::clone(&evict) };
        self.shared.lock().insert(id, entry);
        Seat { inner: Arc::new(Inner { shared: Arc::clone(&self.shared), id, evict }) }
    }

    /// Tells the connection that has been idle longest to go; false when none is idle.
    pub(super) fn close_idlest(&self) -> bool {
        let mut taken = self.shared.lock();
        let idle = taken.iter().filter(|(_, entry)| entry.requests == 0);
        let Some(id) = idle.min_by_key(|(_, entry)| entry.idle_since).map(|(id, _)| *id) else {
            return false;
        };
        if let Some(entry) = taken.remove(&id) {
            entry.evict.notify_one();
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Entry>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Completes when this connection has to go.
    pub(super) async fn evicted(&self) {
        self.inner.evict.notified().await;
    }

    /// Marks the connection as busy until the mark is dropped.
    pub(super) fn busy(&self) -> Busy {
        if let Some(entry) = self.inner.shared.lock().get_mut(&self.inner.id) {
            entry.requests += 1;
        }
        Busy { inner: Arc::clone(&self.inner) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(entry) = self.inner.shared.lock().get_mut(&self.inner.id) {
            entry.requests -= 1;
            entry.idle_since = Instant::now();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_connection_idle_longest_makes_room() {
        let connections = Connections::new(2);
        let (first, second) = (connections.take(), connections.take());
        let busy = first.busy();
        let third = connections.take();
        second.evicted().await;
        drop(busy);
        let _fourth = connections.take();
        third.evicted().await;
    }

    #[tokio::test]
    async fn busy_connections_stay() {
        let connections = Connections::new(1);
        let only = connections.take();
        let _busy = only.busy();
        assert!(!connections.close_idlest());
    }

    #[test]
    fn a_place_is_given_back() {
        let connections = Connections::new(1);
        drop(connections.take());
        assert!(connections.shared.lock().is_empty());
    }
}
