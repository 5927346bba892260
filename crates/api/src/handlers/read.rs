//! get and list.
//!
//! A list is of one revision, also when it is read page by page: the token of the next page names the revision, and the
//! store lists the past as far as its history reaches; after that the client hears 410 and begins anew.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::{Cause, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use store::{List, ListError, ListRequest, Revision};

use super::shape;
use crate::api::Api;
use crate::call::Call;
use crate::negotiate::{Encoding, Shape};
use crate::objects;
use crate::respond::{self, Failure, Response};
use crate::selection::Selection;
use crate::storage;

/// How long a client that has seen the future elsewhere waits for it to come here, as kube-apiserver's cacher.
const FUTURE: Duration = Duration::from_secs(3);

/// Answers with the object that the path names.
pub(crate) fn get(api: &Arc<Api>, call: &Call) -> Result<Response, Failure> {
    shape::one(call, StatusCode::OK, api.named(call)?.object)
}

/// A page of a list, as it was asked for.
struct Page {
    selection: Selection,
    limit: Option<usize>,
    start_after: Option<String>,
    at: Option<Revision>,
}

/// Answers with the objects of a collection.
pub(crate) async fn list(api: &Arc<Api>, call: &Call) -> Result<Response, Failure> {
    let page = Page::of(call)?;
    await_revision(api, call).await?;
    let prefix = call.kind.prefix(call.namespace());
    let is_plain = page.selection.is_everything()
        && call.kind.is_shown_as_stored()
        && call.accepted.encoding == Encoding::Json
        && call.accepted.shape == Shape::Whole;
    if is_plain {
        let list = listed(api, &prefix, page.start_after.as_deref(), page.limit, page.at)?;
        let next = next_token(&list, list.objects.last().map(|last| &*last.key), &prefix);
        return Ok(plain(call, &list, next));
    }
    let (items, metadata) = select(api, call, &prefix, &page)?;
    let kind = &call.kind.resource;
    let object = match call.accepted.shape {
        Shape::Table => crate::tables::table(call, items, metadata)?,
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": items.into_iter().map(shape::partial).collect::<Vec<_>>(),
        }),
        Shape::Whole | Shape::Discovery => json!({
            "kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata, "items": items,
        }),
    };
    Ok(respond::object(StatusCode::OK, &object, call.accepted.encoding))
}

/// Reads rows until a page is full of what is selected.
fn select(api: &Api, call: &Call, prefix: &str, page: &Page) -> Result<(Vec<Value>, Value), Failure> {
    let mut list = listed(api, prefix, page.start_after.as_deref(), None, page.at)?;
    let mut items = Vec::new();
    let wanted_name = page.selection.name().map(|name| format!("/{name}"));
    let most = page.limit.unwrap_or(usize::MAX);
    let mut last = None;
    let rows = std::mem::take(&mut list.objects);
    let mut rows = rows.iter();
    for row in rows.by_ref() {
        if wanted_name.as_deref().is_some_and(|name| !row.key.ends_with(name)) {
            continue;
        }
        let object = objects::shown(&call.kind, storage::decode(&row.value, row.revision.get())?);
        if page.selection.has(&call.kind, &object) {
            items.push(object);
        }
        if items.len() >= most {
            last = Some(&*row.key);
            break;
        }
    }
    list.remaining = rows.count();
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if let Some(token) = next_token(&list, last, prefix) {
        metadata["continue"] = json!(token);
        // Of a selection it is not known how many are left.
        if page.selection.is_everything() {
            metadata["remainingItemCount"] = json!(list.remaining);
        }
    }
    Ok((items, metadata))
}

/// Writes a list of stored bytes without reading them.
fn plain(call: &Call, list: &List, next: Option<String>) -> Response {
    let kind = &call.kind.resource;
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if let Some(token) = next {
        metadata["continue"] = json!(token);
        metadata["remainingItemCount"] = json!(list.remaining);
    }
    let size: usize = list.objects.iter().map(|row| row.value.len() + 40).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        kind.list_kind,
        kind.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, row) in list.objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        storage::write_served(&mut out, &row.value, row.revision.get());
    }
    out.extend_from_slice(b"]}");
    respond::bytes(StatusCode::OK, call.accepted.encoding.content_type(), out)
}

fn listed(
    api: &Api,
    prefix: &str,
    start_after: Option<&str>,
    limit: Option<usize>,
    at: Option<Revision>,
) -> Result<List, Failure> {
    let request = ListRequest { prefix, start_after, limit, at };
    api.store.list(&request).map_err(|error| match error {
        ListError::Compacted { .. } => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        )
        .into(),
        ListError::Future { asked, current } => too_large(asked.get(), current.get()),
    })
}

/// 504 of a revision that has not been.
pub(crate) fn too_large(asked: u64, current: u64) -> Failure {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    Status::timeout(message, 1).because(vec![cause]).retry_after(1).into()
}

/// A client that names a resourceVersion wants nothing older.
async fn await_revision(api: &Api, call: &Call) -> Result<(), Failure> {
    let Some(version) = call.query.get("resourceVersion").filter(|_| call.query.get("continue").is_none())
    else {
        return Ok(());
    };
    let asked = revision(version)?;
    if asked <= api.store.current_revision() {
        return Ok(());
    }
    // Any change anywhere counts the revision up.
    let reached = async {
        let mut watcher = api.store.watch("", None).ok()?;
        while api.store.current_revision() < asked {
            watcher.next().await.ok()?;
        }
        Some(())
    };
    match tokio::time::timeout(FUTURE, reached).await {
        Ok(Some(())) => Ok(()),
        _ => Err(too_large(asked.get(), api.store.current_revision().get())),
    }
}

/// Reads a resourceVersion.
pub(crate) fn revision(text: &str) -> Result<Revision, Failure> {
    text.parse().map_err(|_| {
        let fault = apimachinery::field_error::FieldError::invalid(
            "resourceVersion",
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        );
        Status::bad_request(fault.to_string()).into()
    })
}

impl Page {
    fn of(call: &Call) -> Result<Page, Failure> {
        let selection = Selection::of(call)?;
        let limit = match call.query.get("limit").map(str::parse::<i64>) {
            None => None,
            Some(Ok(limit)) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
            Some(Err(error)) => {
                return Err(Status::bad_request(format!("cannot read the limit: {error}")).into());
            }
        };
        let version = call.query.get("resourceVersion");
        if let Some(token) = call.query.get("continue") {
            if version.is_some_and(|version| version != "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                )
                .into());
            }
            let (at, key) = read_token(token, &call.kind.prefix(call.namespace()))?;
            return Ok(Page { selection, limit, start_after: Some(key), at: Some(at) });
        }
        let at = match (call.query.get("resourceVersionMatch"), version) {
            (None | Some("NotOlderThan"), _) => None,
            (Some("Exact"), Some(version)) if version != "0" => Some(revision(version)?),
            (Some(other), _) => {
                let message = format!(
                    "resourceVersionMatch {other:?} is not possible with resourceVersion {:?}",
                    version.unwrap_or_default()
                );
                return Err(Status::bad_request(message).into());
            }
        };
        Ok(Page { selection, limit, start_after: None, at })
    }
}

/// What the next page begins with; `None` when this is the last.
fn next_token(list: &List, last: Option<&str>, prefix: &str) -> Option<String> {
    let last = last.filter(|_| list.remaining > 0)?;
    let rest = last.strip_prefix(prefix)?;
    let token = json!({"v": "podling/v1", "rv": list.revision.get(), "after": rest});
    Some(URL_SAFE_NO_PAD.encode(token.to_string()))
}

fn read_token(token: &str, prefix: &str) -> Result<(Revision, String), Failure> {
    let invalid =
        || Failure::from(Status::bad_request("continue key is not valid: it is not of this server"));
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    match (token["v"].as_str(), token["rv"].as_u64(), token["after"].as_str()) {
        (Some("podling/v1"), Some(at), Some(after)) if !after.is_empty() => {
            Ok((Revision::new(at), format!("{prefix}{after}")))
        }
        _ => Err(invalid()),
    }
}
