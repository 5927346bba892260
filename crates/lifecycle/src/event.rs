//! Events in Kubernetes' words, as `kubectl describe pod` shows them.
//!
//! Nearly all are told by [`crate::Memory::note`], at the transition that they are about, so none is told
//! twice. The exception is the beginning of an action ([`Action::event`]): the engine tells it when it begins.

use serde::Serialize;

use crate::action::Action;

/// One event about a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
    /// The container it is about (`involvedObject.fieldPath`).
    pub container: Option<String>,
}

impl Action {
    /// The event that tells the beginning of this action, if there is one; for a pull, only when the registry is asked.
    pub fn event(&self) -> Option<Event> {
        match self {
            Action::Pull { container, image, .. } => Some(Event {
                warning: false,
                reason: "Pulling",
                message: format!("Pulling image {image:?}"),
                container: Some(container.clone()),
            }),
            _ => None,
        }
    }
}

impl Event {
    pub(crate) fn normal(reason: &'static str, container: &str, message: String) -> Event {
        Event { warning: false, reason, message, container: Some(container.to_owned()) }
    }

    pub(crate) fn warning(reason: &'static str, container: &str, message: String) -> Event {
        Event { warning: true, reason, message, container: Some(container.to_owned()) }
    }

    pub(crate) fn pod_normal(reason: &'static str, message: String) -> Event {
        Event { warning: false, reason, message, container: None }
    }

    pub(crate) fn pod_warning(reason: &'static str, message: String) -> Event {
        Event { warning: true, reason, message, container: None }
    }
}
