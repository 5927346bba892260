//! All objects of a kind, and every change of them: list, then watch from there, and again when the watch ends.
//!
//! ```text
//!          ┌──────────────── 410 Gone ────────────────┐
//!          ▼                                          │
//!   list (what vanished meanwhile is told) ─► Synced ─► watch ─► changes
//!          ▲                                          │  ▲  │
//!          └── server away: wait, longer each time ◄──┘  └──┘ ended: again from the last revision
//! ```
//!
//! It waits only when the server is away; nothing polls. Dropping the [`Informer`] ends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;
use crate::request::{Client, Kind, Query};

/// The first wait for a server that is away, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Changes that may wait for their reader; more make the watch wait.
const QUEUE_LENGTH: usize = 256;

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The object is there, as it stands here.
    Applied(Arc<Value>),
    /// The object is gone; this was its last state, as far as it was seen.
    Deleted(Arc<Value>),
    /// Everything that was there at a beginning has been told. Told again after each new list.
    Synced,
}

/// A running list and watch.
pub struct Informer {
    changes: mpsc::Receiver<Change>,
    task: JoinHandle<()>,
}

impl Informer {
    pub(crate) fn start(client: Client, kind: Kind, namespace: Option<String>, query: Query) -> Informer {
        let (sender, changes) = mpsc::channel(QUEUE_LENGTH);
        let follower = Follower { client, kind, namespace, query, known: BTreeMap::new(), sender };
        Informer { changes, task: tokio::spawn(follower.run()) }
    }

    /// The next change. Cancel-safe. There is no end but the informer's own.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    client: Client,
    kind: Kind,
    namespace: Option<String>,
    query: Query,
    /// What the reader believes to exist, by namespace and name.
    known: BTreeMap<String, Arc<Value>>,
    sender: mpsc::Sender<Change>,
}

/// Nobody reads any more.
struct Unread;

/// Why a watch ended.
enum Ended {
    Unread,
    /// By the server, in order; the last revision it told.
    InOrder(String),
    /// It cannot go on from that revision.
    Gone,
    /// The server is away.
    Away(String, Error),
}

impl Follower {
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let listed = self.client.list(&self.kind, self.namespace.as_deref(), &self.query).await;
            let mut revision = match listed {
                Ok(list) => {
                    let Ok(()) = self.take_list(list.items).await else { return };
                    list.resource_version
                }
                Err(error) => {
                    let Ok(()) = self.wait(&mut wait, &error).await else { return };
                    continue;
                }
            };
            loop {
                match self.watch(&revision, &mut wait).await {
                    Ended::Unread => return,
                    Ended::InOrder(last) => revision = last,
                    Ended::Gone => break,
                    Ended::Away(last, error) => {
                        revision = last;
                        let Ok(()) = self.wait(&mut wait, &error).await else { return };
                    }
                }
            }
        }
    }

    /// Waits before asking again a server that is away or refuses; each time twice as long.
    async fn wait(&self, wait: &mut Duration, error: &Error) -> Result<(), Unread> {
        tracing::warn!(kind = %self.kind.plural, %error, "cannot follow; trying again");
        tokio::select! {
            () = tokio::time::sleep(*wait) => {}
            () = self.sender.closed() => return Err(Unread),
        }
        *wait = (*wait * 2).min(LONGEST_WAIT);
        Ok(())
    }

    /// Tells the difference between what the reader believes and what is there.
    async fn take_list(&mut self, items: Vec<Value>) -> Result<(), Unread> {
        let mut gone = std::mem::take(&mut self.known);
        for item in items {
            let key = key(&item);
            let before = gone.remove(&key);
            let is_same = before.as_deref().is_some_and(|before| revision(before) == revision(&item));
            // Another object of the same name: the first one went unseen.
            if let Some(before) = before.as_ref().filter(|before| uid(before) != uid(&item)) {
                self.tell(Change::Deleted(Arc::clone(before))).await?;
            }
            let item = before.filter(|_| is_same).unwrap_or_else(|| Arc::new(item));
            self.known.insert(key, Arc::clone(&item));
            if !is_same {
                self.tell(Change::Applied(item)).await?;
            }
        }
        for object in gone.into_values() {
            self.tell(Change::Deleted(object)).await?;
        }
        self.tell(Change::Synced).await
    }

    async fn watch(&mut self, from: &str, wait: &mut Duration) -> Ended {
        let mut last = from.to_owned();
        let mut query = self.query.clone().with("resourceVersion", from);
        if self.client.may_break() {
            query = query.with("allowWatchBookmarks", "true");
        }
        let mut lines = match self.client.watch(&self.kind, self.namespace.as_deref(), &query).await {
            Ok(lines) => lines,
            Err(error) if error.is_gone() => return Ended::Gone,
            Err(error) => return Ended::Away(last, error),
        };
        loop {
            let next = tokio::select! {
                next = lines.next() => next,
                () = self.sender.closed() => return Ended::Unread,
            };
            let mut event = match next {
                Ok(Some(event)) => event,
                Ok(None) => return Ended::InOrder(last),
                Err(error) => return Ended::Away(last, error),
            };
            *wait = FIRST_WAIT;
            let object = event["object"].take();
            let kind = event["type"].as_str().unwrap_or_default();
            if kind == "ERROR" {
                let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
                let error = Error::of_status(code, &object);
                return if error.is_gone() { Ended::Gone } else { Ended::Away(last, error) };
            }
            if let Some(revision) = revision(&object) {
                last = revision.to_owned();
            }
            let Ok(()) = self.take_event(kind, object).await else { return Ended::Unread };
        }
    }

    async fn take_event(&mut self, kind: &str, object: Value) -> Result<(), Unread> {
        let key = key(&object);
        match kind {
            "ADDED" | "MODIFIED" => {
                let object = Arc::new(object);
                let before = self.known.insert(key, Arc::clone(&object));
                if let Some(before) = before.filter(|before| uid(before) != uid(&object)) {
                    self.tell(Change::Deleted(before)).await?;
                }
                self.tell(Change::Applied(object)).await
            }
            "DELETED" => {
                self.known.remove(&key);
                self.tell(Change::Deleted(Arc::new(object))).await
            }
            // Bookmarks say only how far the watch has come.
            _ => Ok(()),
        }
    }

    async fn tell(&self, change: Change) -> Result<(), Unread> {
        self.sender.send(change).await.map_err(|_| Unread)
    }
}

fn metadata<'v>(object: &'v Value, field: &str) -> Option<&'v str> {
    object.get("metadata")?.get(field)?.as_str()
}

fn key(object: &Value) -> String {
    let part = |field| metadata(object, field).unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}

fn revision(object: &Value) -> Option<&str> {
    metadata(object, "resourceVersion")
}

fn uid(object: &Value) -> Option<&str> {
    metadata(object, "uid")
}

#[cfg(test)]
mod tests;
