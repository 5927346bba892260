//! An object's end: at once, when its grace is over, or when its last finalizer is gone. Rules of `rest.BeforeDelete`.

use std::sync::Arc;

use apimachinery::status::Status;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Durability, Operation, Revision};

use super::create::refused;
use super::{Stored, metadata, stored};
use crate::admission;
use crate::api::Api;
use crate::call::Call;
use crate::fresh;
use crate::kinds::fill::{child, child_list, text};
use crate::kinds::{Admission, Kind};
use crate::respond::Failure;
use crate::storage;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub(crate) grace_seconds: Option<i64>,
    /// `preconditions.uid`.
    pub(crate) uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub(crate) resource_version: Option<String>,
    /// `propagationPolicy`.
    pub(crate) propagation: Option<Propagation>,
    /// `dryRun` of the body or the query.
    pub(crate) is_dry_run: bool,
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They lose their owner and stay.
    Orphan,
    /// They are taken away afterwards.
    Background,
    /// They are taken away before.
    Foreground,
}

/// What a deletion has led to.
pub(crate) enum Deleted {
    /// The object is no more; this is what it was.
    Gone(Value),
    /// Its end has begun.
    Begun(Value),
}

/// What is to be done with an object that shall go.
#[derive(Debug, PartialEq)]
enum Step {
    Remove,
    Write(Value),
    Nothing,
}

/// Whether an ending object has nothing left that keeps it.
pub(super) fn is_ready_to_go(call: &Call, object: &Value) -> bool {
    let is_kept_by_spec = call.kind.has("finalize")
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    metadata::is_ending(object)
        && metadata::finalizers(object).next().is_none()
        && !is_kept_by_spec
        && grace == 0
}

/// Ends the object of a key.
pub(crate) async fn delete(
    api: &Arc<Api>,
    call: &Call,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Failure> {
    let key: Arc<str> = call.kind.key(namespace, name).into();
    loop {
        let Some(found) = api.read_key(&key)? else {
            return Err(Status::not_found(&call.group_resource(), name).into());
        };
        check_preconditions(call, name, &found, options)?;
        admission::delete(api, call, &found.object).await?;
        let step = decide(&call.kind, &found.object, options, Timestamp::now());
        if options.is_dry_run {
            return Ok(match step {
                Step::Write(object) => Deleted::Begun(object),
                Step::Remove => Deleted::Gone(found.object),
                Step::Nothing => Deleted::Begun(found.object),
            });
        }
        let expected = Revision::new(found.revision);
        let (operation, is_end) = match &step {
            Step::Nothing => return Ok(Deleted::Begun(found.object)),
            Step::Remove => (Operation::Delete { key: Arc::clone(&key), expected }, true),
            Step::Write(object) => {
                let value = storage::encode(object).into();
                (Operation::Update { key: Arc::clone(&key), value, expected }, false)
            }
        };
        let mut operations = vec![operation];
        if is_end {
            operations.extend(admission::beside_update(api, call, &found.object, &found.object, true).await?);
        }
        match api.store.transaction(operations, Durability::Durable).await {
            Ok(_) if is_end => {
                admission::gone(api, call, &found.object).await;
                return Ok(Deleted::Gone(found.object));
            }
            Ok(committed) => {
                let written = committed.objects.into_iter().next().flatten();
                let written =
                    written.ok_or_else(|| Failure::internal("end an object", &"the store gave none back"))?;
                let object = stored(&written.value, written.revision.get())?.object;
                admission::updated(api, call, &object).await;
                return Ok(Deleted::Begun(object));
            }
            // The preconditions are looked at again with what is there now.
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(refused(call, name, &error)),
        }
    }
}

fn check_preconditions(
    call: &Call,
    name: &str,
    found: &Stored,
    options: &DeleteOptions,
) -> Result<(), Failure> {
    let uid = metadata::uid(&found.object);
    let why = match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => {
            format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}")
        }
        (_, Some(wanted)) if *wanted != found.revision.to_string() => format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {}",
            found.revision
        ),
        _ => return Ok(()),
    };
    Err(Status::conflict(&call.group_resource(), name, why).into())
}

/// What has to be done, without doing it.
fn decide(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
    let grace = grace_seconds(kind, object, options);
    let mut new = object.clone();
    let finalizers_changed = set_finalizers(&mut new, options.propagation);
    let is_kept_by_spec = kind.has("finalize")
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let is_kept = metadata::finalizers(&new).next().is_some() || is_kept_by_spec;
    if metadata::is_ending(object) {
        let old_grace =
            object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        // A later request shortens the grace and never lengthens it.
        let shortens = options.grace_seconds.is_some() && grace < old_grace;
        if !is_kept && (grace == 0 && (shortens || old_grace == 0)) {
            return Step::Remove;
        }
        if shortens {
            let at = text(object, "/metadata/deletionTimestamp").and_then(|at| at.parse::<Timestamp>().ok());
            let earlier = at.unwrap_or(now) - SignedDuration::from_secs(old_grace - grace);
            set_end(&mut new, earlier, grace);
        }
        return if shortens || finalizers_changed { Step::Write(new) } else { Step::Nothing };
    }
    if grace == 0 && !is_kept {
        return Step::Remove;
    }
    set_end(&mut new, now + SignedDuration::from_secs(grace), grace);
    if kind.strategy.counts_generation {
        metadata::next_generation(&mut new);
    }
    if kind.strategy.admission == Admission::Namespace {
        child(&mut new, "status")["phase"] = json!("Terminating");
    }
    Step::Write(new)
}

fn set_end(object: &mut Value, at: Timestamp, grace: i64) {
    let metadata = child(object, "metadata");
    metadata["deletionTimestamp"] = json!(fresh::written(at));
    metadata["deletionGracePeriodSeconds"] = json!(grace);
}

/// Only Pods end gracefully, and only those that a node runs.
fn grace_seconds(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    if kind.strategy.admission != Admission::Pod {
        return 0;
    }
    let phase = text(object, "/status/phase").unwrap_or_default();
    if text(object, "/spec/nodeName").is_none() || matches!(phase, "Failed" | "Succeeded") {
        return 0;
    }
    let of_pod = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    match options.grace_seconds.unwrap_or(of_pod) {
        negative if negative < 0 => 1,
        grace => grace,
    }
}

/// Adds and removes what stands for the propagation; true when that changed something.
fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) -> bool {
    let Some(propagation) = propagation else { return false };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let before: Vec<Value> = metadata::finalizers(object).map(Value::from).collect();
    let mut after: Vec<Value> =
        before.iter().filter(|name| *name != ORPHAN && *name != FOREGROUND).cloned().collect();
    after.extend(wanted.map(Value::from));
    if before == after {
        return false;
    }
    *child_list(child(object, "metadata"), "finalizers") = after;
    true
}

#[cfg(test)]
mod tests;
