//! What is left of earlier incarnations when a container starts again. A crash loop may go on for months, so
//! everything that an incarnation leaves has a bound.

use std::path::Path;
use std::sync::Arc;

use super::chain;
use crate::pod::{PodContext, key};

/// Incarnations whose logs are kept, the new one included.
const LOGS_KEPT: u32 = 5;

/// Removes the incarnation before `attempt`, and the logs that are too old to be kept.
pub(super) async fn forget(context: &Arc<PodContext>, container: &str, attempt: u32) {
    let Some(earlier) = attempt.checked_sub(1) else { return };
    if let Some(shim) = context.running_shim()
        && let Err(error) = shim.remove(&key(container, earlier)).await
    {
        tracing::debug!(container, earlier, error = chain(&error), "cannot forget an earlier incarnation");
    }
    let directories = &context.directories;
    remove_tree(&directories.layer(container, earlier));
    remove_tree(&directories.staging(container, earlier));
    remove_file(&directories.termination_log(container, earlier));
    remove_file(&directories.container_record(container, earlier));
    if let Some(old) = attempt.checked_sub(LOGS_KEPT) {
        remove_logs(&directories.log(container, old));
    }
}

/// Has the shim forget an earlier try of the same incarnation, which it would answer with the same failure
/// (k8s#126543: a creation that failed once is tried again). One that runs is not forgotten: then this try was
/// begun before the daemon was restarted, and the shim answers it with what became of it.
pub(super) async fn forget_failed(context: &Arc<PodContext>, container: &str, attempt: u32, retry: u32) {
    if retry > 0
        && let Some(shim) = context.running_shim()
        && let Err(error) = shim.remove(&key(container, attempt)).await
    {
        tracing::debug!(container, attempt, error = chain(&error), "the earlier try is kept");
    }
}

/// Removes a log and those that were rotated away from it, `0.log.20261120-225500` and the like.
fn remove_logs(log: &Path) {
    let (Some(directory), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let rotated = format!("{name}.");
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|other| other == name || other.starts_with(&rotated)) {
            remove_file(&entry.path());
        }
    }
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove what an earlier incarnation left");
    }
}

/// A writable layer is a container's: it may be deep, and have links anywhere.
fn remove_tree(path: &Path) {
    if let Err(error) = linux::tree::remove(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove what an earlier incarnation left");
    }
}
