//! Fields that others own and somebody would change, told as Kubernetes tells them.

use std::fmt::Write;

use super::element::PathElement;
use super::managers::{ManagerId, Managers, Operation};
use super::set::{FieldSet, path_text};
use crate::field_error::quoted;
use crate::status::{Cause, Status};

/// A field that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who.
    pub manager: ManagerId,
    /// When that manager wrote last.
    pub time: Option<String>,
    /// The field.
    pub path: Vec<PathElement>,
}

/// All of them, by manager and path.
pub(super) fn conflicts(managers: &Managers, applier: &ManagerId, changed: &FieldSet) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (id, owned) in managers.owned.iter().filter(|(id, _)| *id != applier) {
        for path in owned.set.intersection(changed).paths() {
            conflicts.push(Conflict { manager: id.clone(), time: owned.time.clone(), path });
        }
    }
    conflicts
}

fn who(manager: &ManagerId) -> String {
    let mut text = quoted(&manager.manager);
    if !manager.subresource.is_empty() {
        text.push_str(" with subresource ");
        text.push_str(&quoted(&manager.subresource));
    }
    if manager.operation == Operation::Update {
        text.push_str(" using ");
        text.push_str(&manager.api_version);
    }
    text
}

/// The message: one line for one conflict, a list by manager for more.
pub(super) fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            who(&only.manager),
            path_text(&only.path)
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            let line_break = if last.is_some() { "\n" } else { "" };
            // Writing into a String cannot fail.
            let _ = write!(text, "{line_break}conflicts with {}:", who(&conflict.manager));
            last = Some(&conflict.manager);
        }
        let _ = write!(text, "\n- {}", path_text(&conflict.path));
    }
    text
}

/// The answer to the client, 409.
pub(super) fn status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts.iter().map(|conflict| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", who(&conflict.manager)),
        field: path_text(&conflict.path),
    });
    Status::apply_conflict(message(conflicts), causes.collect())
}
