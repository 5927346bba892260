//! The latest changes, for watchers that are behind and for lists of a moment ago. Bounded by count and bytes; pure.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::object::{Change, Event, Revision};

/// What an event costs beside its bytes: the event, its object, and their places in the ring.
const EVENT_BYTES: usize = 200;

/// Changes in the order of their revisions, without a gap from `compacted` to the newest.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    limit_events: usize,
    limit_bytes: usize,
    compacted: Revision,
}

impl History {
    /// An empty history that begins after `compacted`.
    pub(crate) fn new(compacted: Revision, limit_events: usize, limit_bytes: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, limit_events, limit_bytes, compacted }
    }

    /// Every change after this revision is here.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += cost_bytes(&event);
        self.events.push_back(event);
        while self.events.len() > self.limit_events || self.bytes > self.limit_bytes {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= cost_bytes(&oldest);
            self.compacted = oldest.revision;
        }
    }

    /// The changes after `revision`, oldest first.
    pub(crate) fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let from = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(from..)
    }
}

/// What is before a change is counted too: after an update the history may be the only one to hold it.
fn cost_bytes(event: &Event) -> usize {
    let value_bytes = match &event.change {
        Change::Put { object, previous } => {
            object.value.len() + previous.as_ref().map_or(0, |previous| previous.value.len())
        }
        Change::Delete { last } => last.value.len(),
    };
    EVENT_BYTES + event.key().len() + value_bytes
}
