//! `metav1.Status`: what a client is told when something is not done, and at the end of every command.

use std::error::Error;

use engine::streams::StreamError;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{Body, whole};

/// A request that is refused or failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { code: StatusCode::BAD_REQUEST, reason: "BadRequest", message: message.into(), details: None }
    }

    /// 403: the client speaks no protocol that is spoken here.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self { code: StatusCode::FORBIDDEN, reason: "Forbidden", message: message.into(), details: None }
    }

    /// 404.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: StatusCode::NOT_FOUND, reason: "NotFound", message: message.into(), details: None }
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".into();
        let code = StatusCode::METHOD_NOT_ALLOWED;
        Self { code, reason: "MethodNotAllowed", message, details: None }
    }

    /// 422, with its causes.
    pub(crate) fn invalid(message: String, details: Value) -> Self {
        let code = StatusCode::UNPROCESSABLE_ENTITY;
        Self { code, reason: "Invalid", message, details: Some(details) }
    }

    /// 500, as `apierrors.NewInternalError` words it.
    pub(crate) fn internal(message: &str) -> Self {
        Self {
            code: StatusCode::INTERNAL_SERVER_ERROR,
            reason: "InternalError",
            message: format!("Internal error occurred: {message}"),
            details: Some(json!({ "causes": [{ "message": message }] })),
        }
    }

    /// What the engine refused, when somebody asked for a log.
    pub(crate) fn of_logs(error: &StreamError) -> Self {
        match error {
            // Worded as `validateContainerLogStatus` of the kubelet does.
            StreamError::NotRunning { container, pod, state } => Self::bad_request(format!(
                "container \"{container}\" in pod \"{pod}\" is waiting to start: {state}"
            )),
            other => Self::of_stream(other),
        }
    }

    /// What the engine refused.
    pub(crate) fn of_stream(error: &StreamError) -> Self {
        match error {
            StreamError::NoSuchPod { .. } => Self::not_found(error.to_string()),
            StreamError::NotRunning { .. }
            | StreamError::NoSuchContainer { .. }
            | StreamError::ContainerNeeded { .. }
            | StreamError::Over { .. }
            | StreamError::NoPrevious { .. } => Self::bad_request(error.to_string()),
            StreamError::CannotExecute { .. }
            | StreamError::CutOff { .. }
            | StreamError::Port { .. }
            | StreamError::Io { .. } => Self::internal(&chain(error)),
        }
    }

    /// What people read.
    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As a `Status` object.
    pub(crate) fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status["code"] = self.code.as_u16().into();
        status
    }

    /// As an answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(whole(self.to_status().to_string()));
        *response.status_mut() = self.code;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
