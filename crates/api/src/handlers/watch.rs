//! watch: the changes of a collection, one JSON document a line, for as long as the client listens.
//!
//! The store tells what changed and what was before; from both follows what a selector sees: an object that begins to be
//! selected is ADDED, one that ceases to be is DELETED. A client that falls behind is ended with 410 and lists anew; the
//! channel to it holds a few documents and no more.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::Status;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use store::{Change, Event, List, Object, Revision, WatchError, Watcher};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::{read, shape};
use crate::api::Api;
use crate::call::Call;
use crate::negotiate::{Encoding, Shape};
use crate::objects;
use crate::respond::{self, Failure, Response};
use crate::selection::Selection;
use crate::storage;

/// Documents on their way to a client.
const BUFFER: usize = 16;
/// How long a watch goes on that names no end: between 30 and 60 minutes, as kube-apiserver's.
const SHORTEST: u64 = 1800;
/// How often a client that wants them gets bookmarks.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Begins a watch.
pub(crate) async fn answer(api: &Arc<Api>, call: &Call) -> Result<Response, Failure> {
    if call.accepted.encoding != Encoding::Json {
        return Err(Status::not_acceptable(&["application/json", "application/json;stream=watch"]).into());
    }
    let watching = Watching::begin(api, call)?;
    let (sender, body) = respond::stream(BUFFER);
    let gauge = api.metrics.watcher(call);
    tokio::spawn(async move {
        let _gauge = gauge;
        watching.run(sender).await;
    });
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// One client's watch.
struct Watching {
    call: Shown,
    watcher: Watcher,
    first: Option<List>,
    is_streamed_list: bool,
    bookmarks: bool,
    until: Instant,
    is_closing: tokio::sync::watch::Receiver<bool>,
}

/// What of the request decides what the client sees.
struct Shown {
    kind: Arc<crate::kinds::Kind>,
    selection: Selection,
    name: Option<String>,
    shape: Shape,
    table: crate::tables::Header,
}

impl Watching {
    fn begin(api: &Arc<Api>, call: &Call) -> Result<Watching, Failure> {
        let selection = Selection::of(call)?;
        let prefix = call.kind.prefix(call.namespace());
        let version = call.query.get("resourceVersion").filter(|version| *version != "0");
        let is_streamed_list = call.query.flag("sendInitialEvents");
        check_initial(call, is_streamed_list)?;
        let (watcher, first) = match version {
            Some(version) if !is_streamed_list => {
                let from = read::revision(version)?;
                (api.store.watch(&prefix, Some(from)).map_err(refused)?, None)
            }
            _ => {
                let (list, watcher) = api.store.list_and_watch(&prefix).map_err(refused)?;
                let sends = is_streamed_list || call.query.get("sendInitialEvents").is_none();
                (watcher, Some(list).filter(|_| sends))
            }
        };
        let seconds = match call.query.get("timeoutSeconds").map(str::parse::<u64>) {
            Some(Ok(seconds)) if seconds > 0 => seconds,
            _ => SHORTEST + u64::from(crate::fresh::random::<2>()?[0]) * SHORTEST / 256,
        };
        let name = call.route.name.clone().or_else(|| selection.name().map(str::to_owned));
        Ok(Watching {
            call: Shown {
                kind: Arc::clone(&call.kind),
                selection,
                name,
                shape: call.accepted.shape,
                table: crate::tables::Header::of(call),
            },
            watcher,
            first,
            is_streamed_list,
            bookmarks: call.query.flag("allowWatchBookmarks"),
            until: Instant::now() + Duration::from_secs(seconds),
            is_closing: api.is_closing(),
        })
    }

    async fn run(mut self, sender: Sender<Bytes>) {
        if let Some(list) = self.first.take()
            && !self.tell_first(&sender, list).await
        {
            return;
        }
        let mut bookmark = Instant::now() + BOOKMARK;
        loop {
            let wake = if self.bookmarks { bookmark.min(self.until) } else { self.until };
            let events = tokio::select! {
                events = self.watcher.next() => Some(events),
                () = tokio::time::sleep_until(wake) => None,
                _ = self.is_closing.wait_for(|is_closing| *is_closing) => return,
                () = sender.closed() => return,
            };
            let is_heard = match events {
                Some(Ok(events)) => self.tell(&sender, &events).await,
                Some(Err(error)) => {
                    self.tell_end(&sender, &error).await;
                    false
                }
                None => {
                    bookmark = Instant::now() + BOOKMARK;
                    // The last thing a client hears lets it go on from there.
                    (!self.bookmarks || self.tell_bookmark(&sender).await) && wake < self.until
                }
            };
            if !is_heard {
                return;
            }
        }
    }

    async fn tell_first(&mut self, sender: &Sender<Bytes>, list: List) -> bool {
        for row in &list.objects {
            if let Some(line) = self.call.line("ADDED", row, row.revision)
                && sender.send(line).await.is_err()
            {
                return false;
            }
        }
        !self.is_streamed_list || !self.bookmarks || self.bookmark_at(sender, list.revision, true).await
    }

    async fn tell(&self, sender: &Sender<Bytes>, events: &[Arc<Event>]) -> bool {
        for event in events {
            if let Some(line) = self.call.event(event)
                && sender.send(line).await.is_err()
            {
                return false;
            }
        }
        true
    }

    async fn tell_bookmark(&mut self, sender: &Sender<Bytes>) -> bool {
        let revision = self.watcher.progress();
        self.bookmark_at(sender, revision, false).await
    }

    async fn bookmark_at(&self, sender: &Sender<Bytes>, revision: Revision, is_initial: bool) -> bool {
        let resource = &self.call.kind.resource;
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if is_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.call.shape {
            Shape::Metadata => shape::partial(object),
            Shape::Table => self.call.table.bookmark(&object),
            Shape::Whole | Shape::Discovery => object,
        };
        sender.send(document("BOOKMARK", &object)).await.is_ok()
    }

    async fn tell_end(&self, sender: &Sender<Bytes>, error: &WatchError) {
        let status = match error {
            WatchError::Closed => return,
            WatchError::Lagged { reached } => {
                Status::expired(format!("too old resource version: {reached} (the watcher was too slow)"))
            }
            other => Status::expired(other.to_string()),
        };
        let _ = sender.send(document("ERROR", &status.to_json())).await;
    }
}

/// sendInitialEvents needs to be told that it means what is there now (KEP-3157).
fn check_initial(call: &Call, is_streamed_list: bool) -> Result<(), Failure> {
    let matching = call.query.get("resourceVersionMatch");
    let is_given = call.query.get("sendInitialEvents").is_some();
    let fault = match (is_given, matching) {
        (true, Some("NotOlderThan")) => None,
        (true, _) => Some(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (false, Some(_)) => Some(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (false, None) => None,
    };
    if let Some(fault) = fault {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {fault}");
        return Err(Status::failure(422, apimachinery::status::Reason::Invalid, message).into());
    }
    if is_streamed_list && !call.query.flag("allowWatchBookmarks") {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents requires allowWatchBookmarks";
        return Err(Status::failure(422, apimachinery::status::Reason::Invalid, message).into());
    }
    Ok(())
}

fn refused(error: WatchError) -> Failure {
    match error {
        WatchError::Compacted { asked, oldest } => {
            Status::expired(format!("too old resource version: {asked} ({oldest})")).into()
        }
        WatchError::Future { asked, current } => read::too_large(asked.get(), current.get()),
        other => Failure::internal("begin a watch", &other),
    }
}

fn document(event: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{event}\",\"object\":{object}}}\n"))
}

impl Shown {
    /// What a client sees of a change; `None` when it does not concern it.
    fn event(&self, event: &Event) -> Option<Bytes> {
        if self.name.as_deref().is_some_and(|name| event.key().rsplit('/').next() != Some(name)) {
            return None;
        }
        let revision = event.revision;
        if self.selection.is_everything() {
            return match &event.change {
                Change::Put { object, previous: None } => self.line("ADDED", object, revision),
                Change::Put { object, .. } => self.line("MODIFIED", object, revision),
                Change::Delete { last } => self.line("DELETED", last, revision),
            };
        }
        let is_selected = |object: &Arc<Object>| self.selected(object).is_some();
        match &event.change {
            Change::Put { object, previous } => {
                let was = previous.as_ref().is_some_and(is_selected);
                match (was, is_selected(object)) {
                    (false, true) => self.line("ADDED", object, revision),
                    (true, true) => self.line("MODIFIED", object, revision),
                    // It is told as it was, at the revision that took it out of sight.
                    (true, false) => previous.as_ref().and_then(|last| self.line("DELETED", last, revision)),
                    (false, false) => None,
                }
            }
            Change::Delete { last } => {
                is_selected(last).then(|| self.line("DELETED", last, revision)).flatten()
            }
        }
    }

    fn selected(&self, object: &Object) -> Option<Value> {
        let read = storage::decode(&object.value, object.revision.get()).ok()?;
        let shown = objects::shown(&self.kind, read);
        self.selection.has(&self.kind, &shown).then_some(shown)
    }

    /// The document of an object; `None` when it is not selected.
    fn line(&self, event: &str, object: &Object, revision: Revision) -> Option<Bytes> {
        if self.name.as_deref().is_some_and(|name| object.key.rsplit('/').next() != Some(name)) {
            return None;
        }
        let is_plain = self.selection.is_everything()
            && self.kind.is_shown_as_stored()
            && matches!(self.shape, Shape::Whole | Shape::Discovery);
        if is_plain {
            let mut out = Vec::with_capacity(object.value.len() + 80);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(event.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            storage::write_served(&mut out, &object.value, revision.get());
            out.extend_from_slice(b"}\n");
            return Some(out.into());
        }
        let mut shown = self.selected(object)?;
        shown["metadata"]["resourceVersion"] = json!(revision.to_string());
        let shaped = match self.shape {
            Shape::Metadata => shape::partial(shown),
            Shape::Table => self.table.row(shown),
            Shape::Whole | Shape::Discovery => shown,
        };
        Some(document(event, &shaped))
    }
}
