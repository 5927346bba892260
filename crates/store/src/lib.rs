//! Durable objects with resourceVersions, and their watchers. Objects are bytes here; what they mean is not known.
//!
//! ```text
//!  callers ──requests──► writer (one thread) ──commit──► objects.db (SQLite, WAL)
//!   ▲  ▲                     │        └──► syncer (one thread) ──fsync──► answers what is durable
//!   │  │ get, list, watch    ▼ publish, after the commit                               │
//!   │  └──────────────── memory: every object, and the latest changes                  │
//!   └──────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Everything is read from memory.** The database is there to be durable and is read once, when the store is opened. A node
//! has hundreds of objects and seldom thousands; 5,000 Pods are 20 MB, and an empty node none. In return a list is
//! a walk over an ordered map under a lock held for less than a millisecond, a watcher costs no copy of
//! anything, and nobody who reads ever waits for a disk.
//!
//! **One thread writes.** It takes all requests that wait, decides each against the memory and what was decided before it, commits
//! them as one transaction (group commit), and only then publishes. So whatever is seen has been committed, changes
//! are seen in the order of their revisions, and a transaction is seen whole or not at all.
//!
//! **What is seen may not be on the medium yet**, only what was answered as durable is. A Pod can be started while its own commit is
//! being fsynced. After a power cut it was never there, and nobody was told that it would be. Whoever saw it and wrote because of
//! it wrote behind it.
//!
//! **What an answer promises** is chosen by the request. [`Durability::Durable`]: the write is on the medium; it survives a power
//! cut. [`Durability::Relaxed`]: the write is in the write-ahead log and with the kernel, so it survives `kill -9`; it reaches the
//! medium with the next durable write and within [`Options::relaxed_sync_timeout`] at the latest. The log is one sequence, so
//! nothing durable ever depends on something that was lost.
//!
//! **No revision is given twice**, also not after a power cut that takes relaxed writes away: revisions are reserved in blocks,
//! and a block is on the medium before the first of it is given. A store that was not closed goes on after its block.
//!
//! **Watchers share one history**, bounded by count and bytes. A watcher is a position in it and holds nothing: one that is
//! too slow loses its position and is told ([`WatchError::Lagged`]). A change wakes only those watchers whose prefix it has.
//!
//! Damage is told, never repaired in silence: the structure of the file and a checksum of every row are checked when it is opened.
//!
//! This crate must not know Kubernetes, and must not interpret a value.

mod backup;
mod checksum;
mod database;
mod error;
mod history;
mod lock;
mod memory;
mod object;
mod operation;
mod plan;
mod store;
mod syncer;
mod watch;
mod writer;

pub use backup::{Existing, Verified, backup, restore, verify};
pub use error::{Error, ListError, OpenError, WatchError};
pub use lock::DataLock;
pub use memory::{List, ListRequest};
pub use object::{Change, Event, Object, ParseRevisionError, Revision};
pub use operation::{Committed, Durability, Operation};
pub use store::{Options, Statistics, Store};
pub use watch::Watcher;
