//! `metav1.Status`: how the API says that something went wrong, with the codes, reasons and words of
//! `apimachinery/pkg/api/errors`. Clients react to [`Reason`] and to the causes; people read the message.
//!
//! This file makes the answer and does not choose it: who finds an error knows which one it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field_error::{FieldError, quoted};
use crate::group::{GroupKind, GroupResource};

/// Why a request failed, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// 400: the request makes no sense.
    BadRequest,
    /// 401: nobody knows who asks.
    Unauthorized,
    /// 403: who asks may not do this.
    Forbidden,
    /// 404: the object or the path does not exist.
    NotFound,
    /// 409: there is such an object.
    AlreadyExists,
    /// 409: somebody else was faster, or owns the field.
    Conflict,
    /// 410: it was here and will not come back.
    Gone,
    /// 410: the resourceVersion is too old.
    Expired,
    /// 422: the object breaks rules.
    Invalid,
    /// 405: the resource does not know this verb.
    MethodNotAllowed,
    /// 406: no form of the answer that the client takes.
    NotAcceptable,
    /// 415: the body is in no form that the server reads.
    UnsupportedMediaType,
    /// 413: the body is too large.
    RequestEntityTooLarge,
    /// 429: later.
    TooManyRequests,
    /// 504: it did not end in time.
    Timeout,
    /// 500: the server could not do it in time; the client may try again.
    ServerTimeout,
    /// 500: the server's fault.
    InternalError,
    /// 503: not now.
    ServiceUnavailable,
    /// A reason that this table does not know, when an answer of somebody else's is read.
    #[serde(other)]
    Unknown,
}

/// One of several things that are wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// What sort of thing, such as `FieldValueInvalid`; empty when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, such as `spec.containers[0].name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What an answer is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource, or its kind when it is invalid (as Kubernetes has it).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// All that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 when nothing is said.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As asked.
    Success,
    /// Not as asked.
    #[default]
    Failure,
}

/// The answer when there is no object to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// How it ended.
    #[serde(default, rename = "status")]
    pub outcome: Outcome,
    /// What is wrong, for people.
    #[serde(default)]
    pub message: String,
    /// What is wrong, for machines.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What it is about.
    #[serde(default)]
    pub details: Option<Box<Details>>,
    /// The HTTP status code; 0 when none is said, as in the answer to a deletion.
    #[serde(default)]
    pub code: u16,
}

impl Status {
    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, Reason::BadRequest, message)
    }

    /// 401; says nothing of why, as Kubernetes does not.
    pub fn unauthorized() -> Self {
        Self::failure(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 403; without a name the collection is meant, and without a resource a path that is no object's.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.as_str(), name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{resource} is forbidden: {why}"),
            (_, name) => format!("{resource} {} is forbidden: {why}", quoted(name)),
        };
        Self::failure(403, Reason::Forbidden, message).about(resource, name)
    }

    /// 404 of an object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} not found", quoted(name));
        Self::failure(404, Reason::NotFound, message).about(resource, name)
    }

    /// 404 of a path that is nothing's.
    pub fn no_such_path() -> Self {
        let mut status =
            Self::failure(404, Reason::NotFound, "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 409 of a creation.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} already exists", quoted(name));
        Self::failure(409, Reason::AlreadyExists, message).about(resource, name)
    }

    /// 409 of a creation whose generated names were all taken.
    pub fn generated_name_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quoted(name)
        );
        Self::failure(409, Reason::AlreadyExists, message).about(resource, name).retry_after(1)
    }

    /// 409 with a reason of one's own, such as a precondition.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quoted(name));
        Self::failure(409, Reason::Conflict, message).about(resource, name)
    }

    /// 409 of a write that was made from an older version.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 of server-side apply: others own these fields.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::failure(409, Reason::Conflict, message).because(causes)
    }

    /// 410 of something that will not come back.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, Reason::Gone, message)
    }

    /// 410 of a resourceVersion or a continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, Reason::Expired, message)
    }

    /// 422 with every rule that the object breaks; equal messages are said once.
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let mut message = format!("{kind} {} is invalid", quoted(name));
        match texts.as_slice() {
            [] => {}
            [only] => message.push_str(&format!(": {only}")),
            several => message.push_str(&format!(": [{}]", several.join(", "))),
        }
        let causes = errors.iter().map(Cause::from).collect();
        let mut status = Self::failure(422, Reason::Invalid, message).because(causes);
        if let Some(details) = &mut status.details {
            details.group.clone_from(&kind.group);
            details.kind.clone_from(&kind.kind);
            name.clone_into(&mut details.name);
        }
        status
    }

    /// 405; `action` such as `delete`.
    pub fn method_not_allowed(resource: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", quoted(&resource.to_string()));
        Self::failure(405, Reason::MethodNotAllowed, message).about(resource, "")
    }

    /// 406 with what there would be.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, Reason::NotAcceptable, message)
    }

    /// 415 with what would be read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::failure(415, Reason::UnsupportedMediaType, message)
    }

    /// 413.
    pub fn request_entity_too_large(why: impl fmt::Display) -> Self {
        let message = format!("Request entity too large: {why}");
        Self::failure(413, Reason::RequestEntityTooLarge, message)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, Reason::TooManyRequests, message).retry_after(retry_after_seconds)
    }

    /// 504.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, Reason::Timeout, format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// 500 of an operation, such as `list`, that may be tried again.
    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Self::failure(500, Reason::ServerTimeout, message)
            .about(resource, operation)
            .retry_after(retry_after_seconds)
    }

    /// 500.
    pub fn internal_error(cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        let message = format!("Internal error occurred: {cause}");
        let cause = Cause { message: cause, ..Cause::default() };
        Self::failure(500, Reason::InternalError, message).because(vec![cause])
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, Reason::ServiceUnavailable, message)
    }

    /// The answer to a deletion that leaves no object to show.
    pub fn deleted(resource: &GroupResource, name: &str, uid: &str) -> Self {
        let mut details =
            Details { kind: resource.resource.clone(), group: resource.group.clone(), ..Details::default() };
        name.clone_into(&mut details.name);
        uid.clone_into(&mut details.uid);
        Self {
            outcome: Outcome::Success,
            message: String::new(),
            reason: None,
            details: Some(Box::new(details)),
            code: 0,
        }
    }

    /// A failure with words of one's own.
    pub fn failure(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure, message: message.into(), reason: Some(reason), details: None, code }
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Says all that is wrong.
    pub fn because(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group.clone_from(&resource.group);
        details.kind.clone_from(&resource.resource);
        name.clone_into(&mut details.name);
        self
    }

    /// The HTTP status code to answer with.
    pub fn http_code(&self) -> u16 {
        match (self.code, self.outcome) {
            (0, Outcome::Success) => 200,
            (0, Outcome::Failure) => 500,
            (code, _) => code,
        }
    }

    /// The object, its fields in Kubernetes' order.
    pub fn to_json(&self) -> Value {
        let mut json = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}});
        json["status"] = json!(self.outcome);
        if !self.message.is_empty() {
            json["message"] = json!(self.message);
        }
        if let Some(reason) = self.reason.filter(|reason| *reason != Reason::Unknown) {
            json["reason"] = json!(reason);
        }
        if let Some(details) = &self.details {
            json["details"] = json!(details);
        }
        if self.code != 0 {
            json["code"] = json!(self.code);
        }
        json
    }

    /// Reads the answer of another server; `None` when it is no Status.
    pub fn from_json(json: &Value) -> Option<Self> {
        if json.get("kind")? != "Status" {
            return None;
        }
        Self::deserialize(json).ok()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl From<&FieldError> for Cause {
    fn from(error: &FieldError) -> Self {
        Self { reason: error.kind.cause().to_owned(), message: error.body(), field: error.field.clone() }
    }
}

#[cfg(test)]
mod tests;
