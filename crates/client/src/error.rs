//! Why a request came to nothing.

use serde_json::Value;

use crate::transport::BoxError;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a `metav1.Status` of failure.
    #[error("{message}")]
    Status {
        /// HTTP's code.
        code: u16,
        /// Kubernetes' reason, such as `AlreadyExists`.
        reason: String,
        /// The server's words.
        message: String,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("cannot {attempted} {path}")]
    Transport {
        /// The method.
        attempted: String,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The answer is not what the API promises.
    #[error("the answer to {attempted} {path} is not a Kubernetes object: {why}")]
    Answer {
        /// The method.
        attempted: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The error that a `Status` object says.
    pub(crate) fn of_status(code: u16, status: &Value) -> Error {
        let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = match text("message") {
            message if message.is_empty() => format!("the server answered with code {code}"),
            message => message,
        };
        Error::Status { code, reason: text("reason"), message }
    }

    /// HTTP's code, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// No such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// It exists already, or somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The revision to watch from is compacted.
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether the same request may succeed later: the server is not there, overloaded or failed.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Status { code, .. } => *code == 429 || *code >= 500,
            Error::Transport { .. } => true,
            Error::Answer { .. } => false,
        }
    }
}
